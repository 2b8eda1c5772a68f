"""B-values that scanners state in private attributes, where the standard one is absent."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, NamedTuple

from pipelines.images.dicom.attributes import value_of


class _Private(NamedTuple):
    creator: str
    group: int
    element: int


# From the DICOM conformance statements of Siemens, GE, Philips and United Imaging.
_B_VALUES = (
    _Private("SIEMENS MR HEADER", 0x0019, 0x0C),
    _Private("GEMS_PARM_01", 0x0043, 0x39),
    _Private("Philips Imaging DD 001", 0x2001, 0x03),
    _Private("Image Private Header", 0x0065, 0x09),
)
_BLOCKS = range(0x10, 0x18)
"""Blocks of a private group that are searched; scanners use the first free ones."""

_GE_OFFSET = 1_000_000
"""GE adds a large round number to b-values of some sequences, such as 1,000,000,800 for 800."""

PRIVATE_TAGS = tuple(
    tag
    for private in _B_VALUES
    for block in _BLOCKS
    for tag in (private.group << 16 | block, private.group << 16 | block << 8 | private.element)
)
"""Attributes that must be read from a file for `state_b_value`."""


def state_b_value(header: Any) -> None:
    """Give a header the attribute DiffusionBValue (s/mm2) if only a private one states it."""
    if value_of(Path(), header, "DiffusionBValue") is None:
        values = (_private_value(header, private) for private in _B_VALUES)
        b_value = next((value for value in values if value is not None), None)
        if b_value is not None:
            header.DiffusionBValue = b_value


def _private_value(header: Any, private: _Private) -> float | None:
    for block in _BLOCKS:
        creator = _element(header, private.group << 16 | block)
        if isinstance(creator, bytes):
            creator = creator.decode("ascii", "replace")
        if str(creator).strip(" \0") == private.creator:
            return _number(_element(header, private.group << 16 | block << 8 | private.element))
    return None


def _element(header: Any, tag: int) -> Any:
    try:
        return value_of(Path(), header, tag)
    except ValueError:  # a malformed private attribute states nothing
        return None


def _number(value: Any) -> float | None:
    """Return the first number of a value, which may be raw bytes if the file states no type."""
    try:
        if isinstance(value, bytes):
            value = _unpacked(value)
        elif not isinstance(value, str) and hasattr(value, "__iter__"):
            value = next(iter(value))
        number = float(value) % _GE_OFFSET
    except (LookupError, StopIteration, TypeError, ValueError):
        return None
    return number if number >= 0 else None


def _unpacked(value: bytes) -> float:
    """Return a number from text, or from a float of 4 or 8 bytes."""
    try:
        return float(value.decode("ascii").split("\\")[0].strip(" \0"))
    except ValueError:
        return float(struct.unpack({4: "<f", 8: "<d"}[len(value)], value)[0])
