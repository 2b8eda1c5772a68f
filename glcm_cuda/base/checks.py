"""Checks of single values, each with a one-line message."""

from __future__ import annotations

import difflib
from collections.abc import Sequence


def check_int(name: str, value: object, low: int, high: int | None = None) -> None:
    """Raise TypeError if `value` is not an int, ValueError if it is below `low` or above `high`."""
    if isinstance(value, bool) or not isinstance(value, int):
        msg = f"{name} must be an integer, got {value!r}"
        raise TypeError(msg)
    if high is None and value < low:
        msg = f"{name} must be {low} or more, got {value}"
        raise ValueError(msg)
    if high is not None and not low <= value <= high:
        msg = f"{name} must be from {low} to {high}, got {value}"
        raise ValueError(msg)


def check_choice(name: str, value: object, choices: tuple[object, ...]) -> None:
    """Raise ValueError if `value` is not one of `choices`; True and False do not count as 1 and 0."""
    if isinstance(value, bool) or value not in choices:
        msg = f"{name} must be one of {choices}, got {value!r}"
        raise ValueError(msg)


def nearest(name: str, names: Sequence[str]) -> str:
    """Return ``" (did you mean 'x'?)"`` with the closest of `names`, or "" if none is close."""
    folded = {known.casefold(): known for known in names}
    close = difflib.get_close_matches(str(name).casefold(), folded, n=1)
    return f" (did you mean {folded[close[0]]!r}?)" if close else ""


def is_device_array(array: object) -> bool:
    """Return whether an array is on a CUDA device: of CuPy, PyTorch, JAX, Numba or Numba's simulator."""
    return hasattr(array, "__cuda_array_interface__") or hasattr(array, "__cuda_ndarray__")
