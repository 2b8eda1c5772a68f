"""The code in the pages of the documentation: blocks in fences, and indented ones."""

from __future__ import annotations

import ast
import re
import shlex
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("README.md", "CONTRIBUTING.md", "data/README.md", *(
    str(path.relative_to(ROOT)) for path in sorted((ROOT / "docs").rglob("*.md"))
))  # fmt: skip

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_INDENTED = re.compile(r"(?<=\n\n)(?: {4}.*\n)+")
_PROGRAMS = ("radsynth", "make", "pip", "python", "pre-commit")
_PREFIX = re.compile(r"^(?:[A-Z]+=\S+ +|time +)*(?:\.venv/bin/)?")


@dataclass(frozen=True)
class Block:
    """Lines of code of a page, without the indentation."""

    page: str
    text: str

    @property
    def language(self) -> str:
        """Return "sh", "python" or "text", that is outputs and formulas."""
        if _program(self.text.split("\n")[0]):
            return "sh"
        return "python" if _is_python(without_prompts(self.text)) else "text"

    def commands(self) -> Iterator[list[str]]:
        """Yield the commands of a block of the shell, as words; lines of output are left out."""
        for line in self.text.replace("\\\n", " ").split("\n"):
            if _program(line):
                yield shlex.split(_PREFIX.sub("", line), comments=True)


def blocks(page: str) -> list[Block]:
    """Return the blocks of a page; an empty line ends an indented one."""
    text = (ROOT / page).read_text()
    found = [(match.start(), match[2]) for match in _FENCE.finditer(text)]
    blank = _FENCE.sub(lambda match: "\n" * len(match[0]), text)  # keeps the places
    found += [(match.start(), match[0]) for match in _INDENTED.finditer(blank)]
    return [Block(page, textwrap.dedent(part).rstrip()) for _, part in sorted(found)]


def python_of(page: str) -> list[str]:
    """Return the blocks of Python of a page, without prompts."""
    return [without_prompts(block.text) for block in blocks(page) if block.language == "python"]


def before_adapters(parts: list[str]) -> list[str]:
    """Return the blocks of docs/python.md before those that need MONAI or PyTorch."""
    return parts[: next(place for place, part in enumerate(parts) if "radsynth.adapters" in part)]


def commands_in_text(page: str) -> set[tuple[str, ...]]:
    """Return what stands between backticks in a page and begins with ``radsynth``, as words."""
    spans = re.findall(r"`(radsynth [^`]+)`", (ROOT / page).read_text())
    return {tuple(shlex.split(span, comments=True)) for span in spans}


def without_prompts(text: str) -> str:
    """Return an interactive session as a program."""
    lines = text.split("\n")
    if not lines[0].startswith(">>> "):
        return text
    return "\n".join(line[4:] for line in lines if line.startswith((">>> ", "... ")))


def _program(line: str) -> str:
    first = _PREFIX.sub("", line).split(" ")[0]
    return first if first in _PROGRAMS and "->" not in line else ""  # an arrow is of a diagram


def _is_python(text: str) -> bool:
    try:
        nodes = list(ast.walk(ast.parse(text)))
    except SyntaxError:
        return False
    return any(isinstance(node, ast.Import | ast.ImportFrom | ast.Call) for node in nodes)
