"""YAML files read strictly: no key twice, no unknown name, every value of its kind."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from reprlib import Repr
from typing import Any

import yaml

from glcm_cuda.base.checks import nearest

_SHORT = Repr()  # Python 3.12 takes these as arguments
"""Shows the beginning of a value: a file of a few lines may hold one of any size, by references."""
_SHORT.maxlevel, _SHORT.maxlist, _SHORT.maxdict = 2, 8, 8
_SHORT.maxstring, _SHORT.maxlong, _SHORT.maxother = 120, 80, 120


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the mapping in a YAML or JSON file; an empty file holds an empty one.

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
    """A loader that refuses a key that is there twice; YAML's own keeps the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                msg = f"{key.value} is given twice, again in line {key.start_mark.line + 1}; keep one"
                raise ValueError(msg)
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


def _not_yaml(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    where = "" if mark is None else f" in line {mark.line + 1}"
    return f"is not valid YAML{where}: {getattr(error, 'problem', None) or error}"


def mapping(name: str, value: Any) -> dict[str, Any]:
    """Return a value that must be a mapping or null; `name` is what messages call it."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        msg = f"{name} must be a mapping of names to values, got {_shown(value)}"
        raise ValueError(msg)
    return {str(key): content for key, content in value.items()}


def refuse_unknown(
    section: str, names: Collection[str], known: Sequence[str], elsewhere: Mapping[str, str] | None = None
) -> None:
    """Refuse names that a section does not have.

    Parameters
    ----------
    section : str
        What messages call it.
    names : collection of str
        Those in the file.
    known : sequence of str
        Those that the section may have.
    elsewhere : mapping of str to str, optional
        The section of names that belong to another.

    Raises
    ------
    ValueError
        If a name is not among them; the message gives the nearest.
    """
    for name in names:
        if name in (elsewhere or {}):
            msg = f"{name} belongs in {(elsewhere or {})[name]}, got it in {section}"
            raise ValueError(msg)
        if name not in known:
            hint = nearest(name, known) or f"; expected {', '.join(known)}"
            where = f"no {section}" if section == "section" else f"{section}: no"
            msg = f"{where} {name!r}{hint}"
            raise ValueError(msg)


class Values:
    """Values by name, checked when they are asked for; null counts as missing.

    Parameters
    ----------
    values : mapping
        As they stand in the file.
    may_be_null : collection of str
        Names whose value may be null.
    """

    def __init__(self, values: Mapping[str, Any], may_be_null: Collection[str]) -> None:
        self.values = {name: value for name, value in values.items() if value is not None}
        self.nulls = values.keys() - self.values.keys()
        for name in sorted(self.nulls - set(may_be_null)):
            msg = f"{name} must have a value, got null; set it or remove it"
            raise ValueError(msg)

    def boolean(self, name: str, default: bool) -> bool:
        """Return true or false."""
        value = self.values.get(name, default)
        if not isinstance(value, bool):
            raise ValueError(expected(name, "true or false", value))
        return value

    def integer(self, name: str, default: int, *, low: int, high: int | None = None) -> int:
        """Return a whole number in a range; the default need not lie in it."""
        if name not in self.values:
            return default
        value = self.values[name]
        if not is_integer(value) or value < low or (high is not None and value > high):
            numbers = f"a whole number {f'of {low} or more' if high is None else f'from {low} to {high}'}"
            raise ValueError(expected(name, numbers, value))
        return int(value)

    def number(self, name: str, default: float) -> float:
        """Return a number; YAML 1.1 takes some for text (nan, 1e-3), which are numbers all the same."""
        value = self.values.get(name, default)
        try:
            return float("none" if isinstance(value, bool) else value)
        except (TypeError, ValueError):
            raise ValueError(expected(name, "a number", value)) from None


def is_integer(value: Any) -> bool:
    """Whether a value is a whole number, and not true or false."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """Whether a value is a number, and not true or false."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def expected(name: str, what: str, value: Any) -> str:
    """Return what an error says of a value that is none of those that are expected."""
    return f"{name} must be {what}, got {_shown(value)}"


def _shown(value: Any) -> str:
    """Return a value as a message shows it: of a long or deep one, the beginning."""
    return _SHORT.repr(value)
