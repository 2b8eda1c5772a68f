"""PTX as text in, its kernel as data out: parameters, registers, memory and instructions.

Reads what nvJitLink writes for one kernel, after it has inlined all functions. Anything else is refused.
References: NVIDIA, "PTX ISA".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field


class NotEmulatedError(Exception):
    """The PTX has something that the emulator does not know."""


@dataclass(frozen=True)
class Label:
    """A place to jump to."""

    name: str


@dataclass(frozen=True)
class Instruction:
    """One instruction.

    `line` is its line in the PTX; `guard` the predicate under which it runs, as ``%p1`` or ``!%p1``, or
    empty; `operation` its name by parts, as ``("ld", "global", "u32")``; an operand in braces, a vector,
    keeps them.
    """

    line: int
    guard: str
    operation: tuple[str, ...]
    operands: tuple[str, ...]


@dataclass
class Memory:
    """Arrays of one kind of memory, one behind the other."""

    size: int = 0
    offsets: dict[str, int] = field(default_factory=dict)

    def add(self, name: str, size: int, alignment: int) -> None:
        """Place one more array."""
        start = -(-self.size // alignment) * alignment
        self.offsets[name] = start
        self.size = start + size


@dataclass
class Kernel:
    """A kernel. Types are those of PTX, as ``u32`` or ``b64``."""

    name: str
    parameters: dict[str, str]  # type by name, in order
    registers: dict[str, str] = field(default_factory=dict)  # type by name
    shared: Memory = field(default_factory=Memory)
    local: Memory = field(default_factory=Memory)
    constants: dict[str, bytes] = field(default_factory=dict)
    body: list[Label | Instruction] = field(default_factory=list)


_ENTRY = re.compile(r"\.entry\s+([\w$]+)\s*\((.*?)\)", re.DOTALL)
_PARAMETER = re.compile(r"\.param\s+(?:\.align\s+\d+\s+)?\.(\w+)\s+([\w$]+)(\[)?")
_REGISTERS = re.compile(r"\.reg\s+\.(\w+)\s+(%\w+)(?:<(\d+)>)?;")
_ARRAY = re.compile(
    r"\.(shared|local|const)\s+\.align\s+(\d+)\s+\.b8\s+([\w$]+)\[(\d+)\](?:\s*=\s*\{([^}]*)\})?;"
)
_LABEL = re.compile(r"([\w$]+):")
_INSTRUCTION = re.compile(r"(?:@(!?%\w+)\s+)?([a-z][\w.:]*)\s*(.*);")
_OPERAND = re.compile(r"\{[^}]*\}|\[[^\]]*\]|[^,\s][^,]*")

_WITHOUT_EFFECT = {"", "{", "}", ".version", ".target", ".address_size", ".loc", ".file", ".pragma"}
"""First words of lines that say nothing of what the kernel does."""


def parsed(ptx: str) -> Kernel:
    """Return the one kernel of a PTX module.

    Raises
    ------
    NotEmulatedError
        If there is not exactly one kernel, or something else that is not known.
    """
    entries = list(_ENTRY.finditer(ptx))
    if len(entries) != 1:
        msg = f"the emulator needs PTX with one kernel, got {len(entries)}"
        raise NotEmulatedError(msg)
    (entry,) = entries
    kernel = Kernel(entry[1], dict(_parameters(entry[2])))
    head, body = ptx[: entry.start()], ptx[entry.end() :]
    _read(head.removesuffix(".visible ").splitlines(), 1, kernel)
    _read(body.splitlines(), ptx[: entry.end()].count("\n") + 1, kernel)
    return kernel


def _parameters(text: str) -> Iterator[tuple[str, str]]:
    """Yield name and type of every parameter."""
    for kind, name, array in _PARAMETER.findall(text):
        if array:
            msg = f"parameters that are structures are not emulated: {name}"
            raise NotEmulatedError(msg)
        yield name, kind


def _read(lines: Sequence[str], first: int, kernel: Kernel) -> None:
    """Add what the lines declare or instruct to a kernel; `first` is the number of the first line."""
    for number, commented in enumerate(lines, first):
        line = commented.partition("//")[0].strip()
        if line.partition(" ")[0].partition("\t")[0] in _WITHOUT_EFFECT:
            continue
        if not (_declared(line, kernel) or _instructed(line, number, kernel)):
            msg = f"line {number} of the PTX is not emulated: {line}"
            raise NotEmulatedError(msg)


def _declared(line: str, kernel: Kernel) -> bool:
    """Add registers or an array to a kernel; return whether the line declares such."""
    if found := _REGISTERS.fullmatch(line):
        kind, name, count = found.groups()
        names: Iterable[str] = [name] if count is None else [f"{name}{i}" for i in range(int(count))]
        kernel.registers.update(dict.fromkeys(names, kind))
        return True
    if found := _ARRAY.fullmatch(line):
        space, alignment, name, size, values = found.groups()
        if space == "const":
            data = bytes(map(int, values.split(","))) if values else b""
            kernel.constants[name] = data.ljust(int(size), b"\0")
        else:
            memory = kernel.shared if space == "shared" else kernel.local
            memory.add(name, int(size), int(alignment))
        return True
    return False


def _instructed(line: str, number: int, kernel: Kernel) -> bool:
    """Add a label or an instruction to a kernel; return whether the line is one."""
    if found := _LABEL.fullmatch(line):
        kernel.body.append(Label(found[1]))
        return True
    if found := _INSTRUCTION.fullmatch(line):
        guard, operation, operands = found.groups()
        split = tuple(operand.strip() for operand in _OPERAND.findall(operands))
        kernel.body.append(Instruction(number, guard or "", tuple(operation.split(".")), split))
        return True
    return False
