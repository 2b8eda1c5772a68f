"""YAML files read strictly: no key twice, no unknown name, every value of its kind."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from reprlib import Repr
from typing import Any, NoReturn

import yaml

from glcm_cuda.base.checks import nearest


class _Short(Repr):
    """Shows sections as the mappings that they are."""

    repr_Section = Repr.repr_dict  # noqa: N815


_SHORT = _Short()  # Python 3.12 takes these as arguments
"""Shows the beginning of a value: a file of a few lines may hold one of any size, by references."""
_SHORT.maxlevel, _SHORT.maxlist, _SHORT.maxdict = 2, 8, 8
_SHORT.maxstring, _SHORT.maxlong, _SHORT.maxother = 120, 80, 120


class Section(dict[str, Any]):
    """A mapping of a file that knows where its keys stand.

    `lines` has the line of each key and, where its value is a list, those of the list's parts.
    """

    def __init__(self, content: Mapping[Any, Any] | None = None) -> None:
        super().__init__({str(key): value for key, value in (content or {}).items()})
        self.lines: dict[str, list[int]] = dict(getattr(content, "lines", {}))

    def place(self, key: str, part: int | None = None) -> str:
        """Return ``" (line N)"`` of a key or of a part of its list, or "" for what stands in no file."""
        lines = self.lines.get(key)
        if lines is None:
            return ""
        return f" (line {lines[0 if part is None else part + 1]})"

    def changed_by(self, other: Mapping[str, Any]) -> Section:
        """Return both mappings; the other replaces what this one has, too."""
        both = Section({**self, **other})
        own = {key: lines for key, lines in self.lines.items() if key not in other}
        both.lines = own | Section(other).lines
        return both


class UnfitError(ValueError):
    """A value that is none of those that are expected; the message has its line, if it stands in a file."""


def read_yaml(path: Path) -> Section:
    """Return the mapping in a YAML or JSON file, whose words mean what they mean in YAML 1.2.

    Raises
    ------
    FileNotFoundError
        If nothing is there.
    ValueError
        If the file is not YAML in UTF-8, is not a mapping, or has a key twice.
    """
    if not path.is_file():
        msg = f"parameter file {path} does not exist"
        raise FileNotFoundError(msg)
    try:
        content = yaml.load(path.read_text(encoding="utf-8-sig"), _Loader)
    except RecursionError:
        msg = "must be a parameter file, got one that is nested too deeply"
        raise ValueError(msg) from None
    except yaml.YAMLError as error:
        raise ValueError(_not_yaml(error)) from None
    except UnicodeDecodeError:
        msg = "must be a YAML file in UTF-8, got another encoding or a binary file"
        raise ValueError(msg) from None
    return mapping("a parameter file", content)


class _Loader(yaml.SafeLoader):
    """A loader that notes lines and refuses a key that is there twice; YAML's own keeps the last."""

    def construct_section(self, node: yaml.MappingNode) -> Iterator[Section]:
        """Make a section, empty at first: aliases inside may refer to it."""
        section = Section()
        yield section
        section.update({str(key): value for key, value in self.construct_mapping(node).items()})
        for key, value in node.value:
            parts = value.value if isinstance(value, yaml.SequenceNode) else []
            section.lines[str(key.value)] = [one.start_mark.line + 1 for one in (key, *parts)]

    def construct_integer(self, node: yaml.ScalarNode) -> int:
        """Return a whole number: of 010 ten, which YAML 1.1 takes for eight."""
        text = self.construct_scalar(node)
        return int(text, 0 if re.match("0[xo]", text) else 10)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                msg = f"{key.value} is given twice, again in line {key.start_mark.line + 1}; keep one"
                raise ValueError(msg)
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


_CORE = {
    "bool": ("true|True|TRUE|false|False|FALSE", "tTfF"),
    "int": ("[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    "float": (
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+0123456789.",
    ),
}
"""Words of YAML 1.2 and what they may begin with; 1.1, which PyYAML reads, also takes yes, on and 1:30."""


def _read_as_yaml_12() -> None:
    inherited = yaml.SafeLoader.yaml_implicit_resolvers
    replaced = {f"tag:yaml.org,2002:{kind}" for kind in _CORE}
    _Loader.yaml_implicit_resolvers = {
        first: [one for one in found if one[0] not in replaced] for first, found in inherited.items()
    }
    for kind, (words, first) in _CORE.items():
        _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{kind}", re.compile(f"^(?:{words})$"), list(first))
    _Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_integer)
    _Loader.add_constructor("tag:yaml.org,2002:map", _Loader.construct_section)


_read_as_yaml_12()


def _not_yaml(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    where = "" if mark is None else f" in line {mark.line + 1}"
    return f"is not valid YAML{where}: {getattr(error, 'problem', None) or error}"


def mapping(name: str, value: Any, place: str = "") -> Section:
    """Return a value that must be a mapping; `name` is what messages call it, `place` where it stands."""
    if not isinstance(value, Mapping):
        advice = "; remove it, or write {}" if value is None else ""
        msg = f"{name} must be a mapping of names to values, got {shown(value)}{advice}{place}"
        raise UnfitError(msg)
    return Section(value)


def refuse_unknown(
    section: str, names: Mapping[str, Any], known: Sequence[str], elsewhere: Mapping[str, str] | None = None
) -> None:
    """Refuse names that a section does not have.

    Parameters
    ----------
    section : str
        What messages call it.
    names : mapping
        Those in the file are its keys.
    known : sequence of str
        Those that the section may have.
    elsewhere : mapping of str to str, optional
        The section of names that belong to another.

    Raises
    ------
    ValueError
        If a name is not among them; the message gives the nearest.
    """
    names = Section(names)
    for name in names:
        if name in (elsewhere or {}):
            msg = f"{name} belongs in {(elsewhere or {})[name]}, got it in {section}{names.place(name)}"
            raise UnfitError(msg)
        if name not in known:
            hint = nearest(name, known) or f"; expected {', '.join(known)}"
            where = f"no {section}" if section == "section" else f"{section}: no"
            msg = f"{where} {name!r}{hint}{names.place(name)}"
            raise UnfitError(msg)


class Values:
    """Values by name, checked when they are asked for; null counts as missing.

    Parameters
    ----------
    section : mapping
        As they stand in the file.
    may_be_null : collection of str
        Names whose value may be null.
    """

    def __init__(self, section: Mapping[str, Any], may_be_null: Collection[str]) -> None:
        self.section = section if isinstance(section, Section) else Section(section)
        self.values = {name: value for name, value in self.section.items() if value is not None}
        self.nulls = self.section.keys() - self.values.keys()
        for name in sorted(self.nulls - set(may_be_null)):
            msg = f"{name} must have a value, got null; set it or remove it{self.section.place(name)}"
            raise UnfitError(msg)

    def refuse(self, name: str, what: str) -> NoReturn:
        """Raise UnfitError: the value is not what is expected."""
        msg = f"{name} must be {what}, got {shown(self.values.get(name))}{self.section.place(name)}"
        raise UnfitError(msg)

    def boolean(self, name: str, default: bool) -> bool:
        """Return true or false."""
        value = self.values.get(name, default)
        if not isinstance(value, bool):
            self.refuse(name, "true or false")
        return value

    def integer(self, name: str, default: int, *, low: int, high: int | None = None) -> int:
        """Return a whole number in a range; the default need not lie in it."""
        if name not in self.values:
            return default
        value = self.values[name]
        if not is_integer(value) or value < low or (high is not None and value > high):
            numbers = f"a whole number {f'of {low} or more' if high is None else f'from {low} to {high}'}"
            self.refuse(name, numbers)
        return int(value)

    def number(self, name: str, default: float, *, words: bool = False) -> float:
        """Return a number; with `words` also one that is text to YAML, such as nan."""
        value = self.values.get(name, default)
        try:
            if is_number(value) or (words and isinstance(value, str)):
                return float(value)
        except (ValueError, OverflowError):
            pass
        return self.refuse(name, "a number")

    def positive(self, name: str, default: float) -> float:
        """Return a finite number above 0."""
        value = self.number(name, default)
        if name in self.values and not 0 < value < math.inf:
            self.refuse(name, "a number above 0")
        return value

    def choice(self, name: str, default: str, choices: Sequence[str]) -> str:
        """Return one of several words."""
        value = self.values.get(name, default)
        if value not in choices:
            self.refuse(name, f"{', '.join(choices[:-1])} or {choices[-1]}")
        return str(value)


def is_integer(value: Any) -> bool:
    """Whether a value is a whole number, and not true or false."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """Whether a value is a number, and not true or false."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def shown(value: Any) -> str:
    """Return a value as a message shows it: of a long or deep one, the beginning."""
    return "null" if value is None else _SHORT.repr(value)
