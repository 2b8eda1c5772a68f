"""Attributes of DICOM headers, read in one way: an empty one counts as absent, a malformed one is refused."""

from __future__ import annotations

import math
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydicom import DataElement
from pydicom.errors import BytesLengthException, InvalidDicomError

DAMAGED = (
    *(ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, MemoryError),
    *(NotImplementedError, OSError, RecursionError, TypeError, ValueError, struct.error, zlib.error),
    *(BytesLengthException, InvalidDicomError),
)
"""What pydicom raises on damaged files and values."""


@contextmanager
def quiet() -> Iterator[None]:
    """Silence pydicom's warnings about odd values in attributes that are not used."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def value_of(path: Path, header: Any, keyword: str | int) -> Any:
    """Return the value of an attribute; None if it is absent or empty.

    Raises
    ------
    ValueError
        If the value cannot be read; the message names file and attribute.
    """
    try:
        with quiet():
            value = header.get(keyword)
            value = value.value if isinstance(value, DataElement) else value  # of a private attribute
            empty = value is None or (hasattr(value, "__len__") and len(value) == 0)
    except DAMAGED:
        raise malformed(path, keyword, "a readable value", "a malformed one") from None
    return None if empty else value


def text_of(header: Any, keyword: str | int) -> str:
    """Return an attribute as text without control characters; empty if absent, empty or unreadable."""
    try:
        value = value_of(Path(), header, keyword)
        with quiet():
            text = "" if value is None else str(value)
    except DAMAGED:
        return ""
    return "".join(character if character.isprintable() else "?" for character in text)


def number_of(path: Path, header: Any, keyword: str) -> float | None:
    """Return a number; None if it is absent or empty.

    Raises
    ------
    ValueError
        If it is not one finite number.
    """
    value = value_of(path, header, keyword)
    if value is None:
        return None
    try:
        number = float(value)
    except DAMAGED:
        number = math.nan
    if not math.isfinite(number):
        raise malformed(path, keyword, "a number", _shown(value))
    return number


def count_of(path: Path, header: Any, keyword: str, default: int = 0) -> int:
    """Return a whole number of at least 0, or `default` if it is absent or empty.

    Raises
    ------
    ValueError
        If it is anything else.
    """
    number = number_of(path, header, keyword)
    if number is None:
        return default
    if number < 0 or number != int(number):
        raise malformed(path, keyword, "a whole number", f"{number:g}")
    return int(number)


def numbers_of(path: Path, header: Any, keyword: str, count: int) -> tuple[float, ...] | None:
    """Return an attribute of several numbers; None if it is absent or empty.

    Raises
    ------
    ValueError
        If it is not `count` finite numbers.
    """
    value = value_of(path, header, keyword)
    if value is None:
        return None
    try:
        numbers = tuple(float(number) for number in value)
    except DAMAGED:
        numbers = ()
    if len(numbers) != count or not all(map(math.isfinite, numbers)):
        raise malformed(path, keyword, f"{count} numbers", _shown(value))
    return numbers


def items_of(path: Path, header: Any, keyword: str) -> list[Any]:
    """Return the items of a sequence; none if it is absent or empty.

    Raises
    ------
    ValueError
        If it is no sequence.
    """
    value = value_of(path, header, keyword)
    if value is None:
        return []
    try:
        items = list(value)
        if all(hasattr(item, "get") for item in items):
            return items
    except DAMAGED:
        pass
    raise malformed(path, keyword, "a sequence", _shown(value))


def malformed(path: Path, keyword: str | int, expected: str, got: str) -> ValueError:
    """Return the error about an attribute that cannot be used."""
    return ValueError(
        f"{path}: {keyword} must be {expected}, got {got}; correct the header or export the file again"
    )


def _shown(value: Any) -> str:
    text = (
        value
        if isinstance(value, str)
        else "\\".join(str(part) for part in value)
        if _several(value)
        else value
    )
    return f"{str(text)[:60]!r}"


def _several(value: Any) -> bool:
    return hasattr(value, "__iter__") and not isinstance(value, bytes)
