"""A kernel as data in, a program in C out: one function that does what one thread does.

Every register is a variable, every instruction a statement, every label a label. Accesses to memory go
through native/checks.h. Products and sums are rounded one by one, unless the PTX says `fma`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from ptx.parsing import Instruction, Kernel, Label, Memory, NotEmulatedError

_SPECIAL = {
    **{f"%tid.{axis}": f"tid_{axis}" for axis in "xyz"},
    **{f"%ctaid.{axis}": f"ctaid_{axis}" for axis in "xyz"},
    **{f"%ntid.{axis}": f"launch.block[{k}]" for k, axis in enumerate("xyz")},
    **{f"%nctaid.{axis}": f"launch.grid[{k}]" for k, axis in enumerate("xyz")},
}
"""Registers that the device sets."""

_COMPARISONS = {
    **{"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="},
    **{"lo": "<", "ls": "<=", "hi": ">", "hs": ">="},
}
_OPERATORS = {"add": "+", "sub": "-", "mul": "*", "div": "/", "and": "&", "or": "|", "xor": "^"}
_ROUNDINGS = {"rmi": "floor", "rpi": "ceil", "rni": "nearbyint", "rzi": "trunc"}


def program(kernel: Kernel, file: str) -> str:
    """Return the C source of a kernel, which includes files of `native`; `file` has its PTX, for messages.

    Raises
    ------
    NotEmulatedError
        If an instruction is not known.
    """
    writer = _Writer(kernel)
    statements = [
        f"{_label(part.name)}:;" if isinstance(part, Label) else writer.statement(part)
        for part in kernel.body
    ]
    registers = [f"  {_c_type(kind)} {_variable(name)};" for name, kind in kernel.registers.items()]
    sizes = [str(_SIZES[_c_type(kind)]) for kind in kernel.parameters.values()]
    return "\n".join(
        [
            '#include "checks.h"',
            '#include "arithmetic.h"',
            f'const char kernel_name[] = "{kernel.name}";',
            f'const char ptx_file[] = "{file}";',
            f"const int parameter_count = {len(kernel.parameters)};",
            f"const int parameter_sizes[] = {{{', '.join([*sizes, '0'])}}};",
            _bytes("constants", writer.constants.size, b"".join(kernel.constants.values())),
            _bytes("shared_bytes", kernel.shared.size),
            _bytes("local_bytes", kernel.local.size),
            _bytes("local_shadow", kernel.local.size),
            f"static u32 shared_shadow[{kernel.shared.size} + 1];",
            _LOAD_CONSTANT,
            "static void thread(void) {",
            *registers,
            *statements,
            "}",
            "int run(const Launch *given) {",
            "  shared_memory = shared_bytes, shared_writer = shared_shadow;",
            "  local_memory = local_bytes, local_written = local_shadow;",
            f"  shared_size = {kernel.shared.size}, local_size = {kernel.local.size};",
            "  return run_threads(given);",
            "}",
            "",
        ]
    )


_LOAD_CONSTANT = """\
static const void *constant(u64 address, int size, int line) {
  if (address >= (u64)constants && address + size < (u64)constants + sizeof constants) return (void *)address;
  report("read out of bounds of constant memory", address, line);
  return nowhere;
}"""


def _bytes(name: str, size: int, values: bytes = b"") -> str:
    """Return the declaration of an array of bytes, one longer than needed, since C has no empty arrays."""
    start = f" = {{{', '.join(map(str, values))}}}" if values else ""
    return f"static _Alignas(64) u8 {name}[{size} + 1]{start};"


def _label(name: str) -> str:
    return "label_" + name.replace("$", "_")


def _variable(register: str) -> str:
    return "r_" + register.removeprefix("%")


def _c_type(kind: str) -> str:
    """Return the type in C of a type of PTX: the same, except that bits are unsigned numbers."""
    if kind == "pred":
        return "u8"
    name = kind.replace("b", "u")
    if name not in _SIZES:
        msg = f"the type .{kind} is not emulated"
        raise NotEmulatedError(msg)
    return name


_SIZES: Mapping[str, int] = MappingProxyType(
    {f"{sort}{bits}": bits // 8 for sort in "us" for bits in (8, 16, 32, 64)} | {"f32": 4, "f64": 8}
)
"""Bytes of the types of C."""


class _Writer:
    """Writes the statements of one kernel."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._parameters = {name: place for place, name in enumerate(kernel.parameters)}
        self.constants = Memory()
        for name, data in kernel.constants.items():
            self.constants.add(name, len(data), 1)

    def statement(self, instruction: Instruction) -> str:
        """Return an instruction as a statement, under its guard."""
        write = _WRITERS.get(instruction.operation[0])
        try:
            if write is None:
                raise NotEmulatedError
            written = write(self, instruction)
        except (NotEmulatedError, KeyError, ValueError, IndexError) as error:
            text = f"{'.'.join(instruction.operation)} {', '.join(instruction.operands)}"
            msg = f"line {instruction.line} of the PTX is not emulated: {text}"
            raise NotEmulatedError(msg) from error
        guard = instruction.guard
        negated = "!" if guard.startswith("!") else ""
        condition = f"if ({negated}{_variable(guard.removeprefix('!'))}) " if guard else ""
        return f"  {condition}{{ {written} }}"

    def value(self, operand: str, kind: str) -> str:
        """Return the expression of an operand as a C type; numbers and bits keep their bits."""
        if operand in self._kernel.registers:
            return _as(kind, _variable(operand), _c_type(self._kernel.registers[operand]))
        if operand in _SPECIAL:
            return _as(kind, _SPECIAL[operand], "u32")
        if operand.startswith("0d"):
            return _as(kind, f"0x{operand[2:]}ull", "u64")
        if operand.startswith("0f"):
            return _as(kind, f"0x{operand[2:]}u", "u32")
        for memory, start in (
            (self._kernel.shared, "shared_bytes"),
            (self._kernel.local, "local_bytes"),
            (self.constants, "constants"),
        ):
            if operand in memory.offsets:
                return _as(kind, f"((u64){start} + {memory.offsets[operand]})", "u64")
        number = int(operand.removesuffix("U"), 0)
        return _as(kind, f"{number % 2**64}ull", "u64")

    def assign(self, register: str, expression: str, kind: str) -> str:
        """Return the statement that puts an expression of a C type into a register."""
        own = _c_type(self._kernel.registers[register])
        return f"{_variable(register)} = {_as(own, f'({expression})', kind)};"

    def address(self, operand: str) -> str:
        """Return the expression of an address, as ``[%rd1+8]``."""
        base, _, offset = operand.strip("[]").partition("+")
        return f"({self.value(base.strip(), 'u64')} + (u64){int(offset or 0)})"

    def parameter(self, operand: str) -> int:
        """Return the place of a parameter, as ``[name]``, among all."""
        return self._parameters[operand.strip("[]")]


def _as(kind: str, expression: str, own: str) -> str:
    """Return an expression of the C type `own` as another type; numbers and bits keep their bits."""
    if (kind[0] == "f") == (own[0] == "f"):
        return f"({kind}){expression}"
    if kind[0] == "f":
        return f"{kind}_bits((u{kind[1:]}){expression})"
    return f"({kind})bits_{own}({expression})"


def _parts(operand: str) -> list[str]:
    """Return the registers of a vector, or the one that is none."""
    return [part.strip() for part in operand.strip("{}").split(",")]


def _jump(writer: _Writer, instruction: Instruction) -> str:
    return f"goto {_label(instruction.operands[0])};"


def _return(writer: _Writer, instruction: Instruction) -> str:
    return "return;"


def _load(writer: _Writer, instruction: Instruction) -> str:
    _, *spaces, kind = instruction.operation
    target, source = instruction.operands
    c_type, line = _c_type(kind), instruction.line
    if spaces == ["param"]:
        held = f"*({c_type} *)launch.parameters[{writer.parameter(source)}]"
        return writer.assign(target, held, c_type)
    if spaces == ["const"]:
        held = f"*({c_type} *)constant({writer.address(source)}, sizeof({c_type}), {line})"
        return writer.assign(target, held, c_type)
    targets, size = _accessed(spaces, target, c_type)
    loads = [
        writer.assign(register, f"LOAD({c_type}, start + {place * _SIZES[c_type]}, {line})", c_type)
        for place, register in enumerate(targets)
    ]
    return f"u64 start = aligned({writer.address(source)}, {size}, {line}); {' '.join(loads)}"


def _store(writer: _Writer, instruction: Instruction) -> str:
    _, *spaces, kind = instruction.operation
    target, source = instruction.operands
    c_type, line = _c_type(kind), instruction.line
    sources, size = _accessed(spaces, source, c_type)
    stores = [
        f"STORE({c_type}, start + {place * _SIZES[c_type]}, {writer.value(operand, c_type)}, {line});"
        for place, operand in enumerate(sources)
    ]
    return f"u64 start = aligned({writer.address(target)}, {size}, {line}); {' '.join(stores)}"


def _accessed(modifiers: list[str], operand: str, c_type: str) -> tuple[list[str], int]:
    """Return the registers that an access to memory moves and its bytes; refuse what is not a plain one."""
    registers = _parts(operand)
    known = {"global", "shared", "local", "nc", *([f"v{len(registers)}"] if len(registers) > 1 else [])}
    if not known.issuperset(modifiers):
        raise NotEmulatedError
    return registers, len(registers) * _SIZES[c_type]


def _same_address(writer: _Writer, instruction: Instruction) -> str:
    """Conversions between kinds of addresses: all memory has addresses of the host here."""
    target, source = instruction.operands
    return writer.assign(target, writer.value(source, "u64"), "u64")


def _move(writer: _Writer, instruction: Instruction) -> str:
    (_, kind), (target, source) = instruction.operation, instruction.operands
    c_type = _c_type(kind)
    if source.startswith("{"):
        low, high = (writer.value(part, f"u{_SIZES[c_type] * 4}") for part in _parts(source))
        return writer.assign(target, f"(u64){low} | (u64){high} << {_SIZES[c_type] * 4}", "u64")
    if target.startswith("{"):
        low, high = _parts(target)
        taken = writer.assign(low, "both", "u64"), writer.assign(high, f"both >> {_SIZES[c_type] * 4}", "u64")
        return f"u64 both = {writer.value(source, f'u{_SIZES[c_type] * 8}')}; {' '.join(taken)}"
    return writer.assign(target, writer.value(source, c_type), c_type)


def _compare(writer: _Writer, instruction: Instruction) -> str:
    _, relation, kind = instruction.operation
    target, *operands = instruction.operands
    a, b = (writer.value(operand, _c_type(kind)) for operand in operands)
    if kind[0] != "f":
        return writer.assign(target, f"{a} {_COMPARISONS[relation]} {b}", "u8")
    # With NaN, relations are false, except those whose names end in u (for unordered).
    unordered = f"(isnan({a}) || isnan({b}))"
    if relation in ("num", "nan"):
        return writer.assign(target, f"{'!' if relation == 'num' else ''}{unordered}", "u8")
    holds = f"{a} {_COMPARISONS[relation.removesuffix('u') if len(relation) == 3 else relation]} {b}"
    ordered = f"{unordered} || {holds}" if len(relation) == 3 else f"!{unordered} && {holds}"
    return writer.assign(target, ordered, "u8")


def _select(writer: _Writer, instruction: Instruction) -> str:
    (_, kind), (target, first, second, chosen) = instruction.operation, instruction.operands
    c_type = _c_type(kind)
    a, b = writer.value(first, c_type), writer.value(second, c_type)
    return writer.assign(target, f"{_variable(chosen)} ? {a} : {b}", c_type)


def _convert(writer: _Writer, instruction: Instruction) -> str:
    _, *modifiers, to, source_kind = instruction.operation
    target, source = instruction.operands
    new, old = _c_type(to), _c_type(source_kind)
    value = writer.value(source, old)
    match (new[0] == "f", old[0] == "f", modifiers):
        case (True, True, [rounding]) if rounding in _ROUNDINGS:
            return writer.assign(target, f"{_ROUNDINGS[rounding]}({value})", new)
        case (False, True, ["rzi"]) if new in ("s32", "s64", "u64"):
            return writer.assign(target, f"{new}_f64({value})", new)
        case (_, False, []) | (True, _, [] | ["rn"]):
            return writer.assign(target, f"({new}){value}", new)
    raise NotEmulatedError


def _of_predicates(writer: _Writer, instruction: Instruction) -> str:
    name, _ = instruction.operation
    target, *operands = instruction.operands
    values = [writer.value(operand, "u8") for operand in operands]
    if name == "not":
        return writer.assign(target, f"!{values[0]}", "u8")
    return writer.assign(target, f"{values[0]} {_OPERATORS[name]} {values[1]}", "u8")


def _calculate(writer: _Writer, instruction: Instruction) -> str:
    """Arithmetic and logic of all types."""
    name, *modifiers, kind = instruction.operation
    if kind == "pred":
        return _of_predicates(writer, instruction)
    target, *operands = instruction.operands
    c_type = _c_type(kind)
    if name in ("shl", "shr"):  # the distance is always of 32 bits
        shifted = f"{writer.value(operands[0], c_type)}, {writer.value(operands[1], 'u32')}"
        return writer.assign(target, f"{name}_{kind}({shifted})", f"u{c_type[1:]}")
    if name == "bfi":
        wide = [writer.value(operand, c_type) for operand in operands[:2]]
        places = [writer.value(operand, "u32") for operand in operands[2:]]
        return writer.assign(target, f"bfi_{kind}({', '.join((*wide, *places))})", c_type)
    if name in ("mul", "mad") and c_type[0] != "f":
        return writer.assign(target, *_product(writer, modifiers, operands, c_type))
    values = [writer.value(operand, c_type) for operand in operands]
    of_type = _of_floats if c_type[0] == "f" else _of_integers
    return writer.assign(target, of_type(name, modifiers, values, c_type, instruction.line), c_type)


def _product(writer: _Writer, modifiers: list[str], operands: list[str], c_type: str) -> tuple[str, str]:
    """Return the product of two integers, plus a third if there is one, and its type."""
    (part,), bits = modifiers, 8 * _SIZES[c_type]
    a, b = (writer.value(operand, c_type) for operand in operands[:2])
    result = f"{c_type[0]}{2 * bits}" if part == "wide" else c_type
    extra = f" + {writer.value(operands[2], result)}" if len(operands) > 2 else ""
    if part == "lo":
        return f"(u64){a} * (u64){b}{extra}", result
    if part == "wide":
        return f"({result}){a} * ({result}){b}{extra}", result
    if part == "hi":
        wide = "__int128" if c_type[0] == "s" else "unsigned __int128"
        return f"({c_type})((({wide}){a} * ({wide}){b}) >> {bits}){extra}", result
    raise NotEmulatedError


def _of_floats(name: str, modifiers: list[str], values: list[str], c_type: str, line: int) -> str:
    """Return an operation on floating-point numbers, rounded to nearest."""
    if modifiers not in ([], ["rn"]):  # approximations of a device are not known here
        raise NotEmulatedError
    if name in _OPERATORS:
        return f"{values[0]} {_OPERATORS[name]} {values[1]}"
    if name in ("min", "max"):
        return f"{name}_f64({values[0]}, {values[1]})"
    if name == "neg":
        return f"-{values[0]}"
    if name == "rcp":
        return f"({c_type})1 / {values[0]}"
    function = {"fma": "fma", "sqrt": "sqrt", "abs": "fabs"}[name]
    return f"{function}{'f' if c_type == 'f32' else ''}({', '.join(values)})"


def _of_integers(name: str, modifiers: list[str], values: list[str], c_type: str, line: int) -> str:
    """Return an operation on integers. Sums wrap: the compiler is told so (see `building`)."""
    if modifiers:
        raise NotEmulatedError
    if name in ("div", "rem"):
        return f"{name}_{c_type[0]}({values[0]}, {values[1]}, {line})"
    if name in _OPERATORS:
        return f"{values[0]} {_OPERATORS[name]} {values[1]}"
    if name in ("min", "max"):
        return f"{values[0]} {'<' if name == 'min' else '>'} {values[1]} ? {values[0]} : {values[1]}"
    if name == "prmt":
        return f"prmt_b32({', '.join(values)})"
    return {
        "neg": "0 - {0}",
        "not": "~{0}",
        "abs": "{0} < 0 ? 0 - {0} : {0}",
        "popc": "__builtin_popcountll({0})",
    }[name].format(*values)


_WRITERS: dict[str, Callable[[_Writer, Instruction], str]] = {
    "bra": _jump,
    "ret": _return,
    "ld": _load,
    "st": _store,
    "cvta": _same_address,
    "mov": _move,
    "setp": _compare,
    "selp": _select,
    "cvt": _convert,
    **dict.fromkeys(
        ("add", "sub", "mul", "mad", "fma", "div", "rem", "rcp", "min", "max", "neg", "abs", "sqrt"),
        _calculate,
    ),
    **dict.fromkeys(("and", "or", "xor", "not", "shl", "shr", "bfi", "prmt", "popc"), _calculate),
}
"""What writes an instruction, by its first name."""
