"""Checks of arguments whose messages name them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def texts_of(name: str, given: Any, what: str) -> tuple[str, ...]:
    """Return one text or several as a tuple.

    Parameters
    ----------
    name, what : str
        What messages call the argument, and what it must be.
    given
        The argument.

    Raises
    ------
    TypeError
        If it is neither.
    """
    if isinstance(given, str):
        return (given,)
    if isinstance(given, bytes) or not isinstance(given, Iterable):
        msg = f"{name} must be {what}, got {given!r}"
        raise TypeError(msg)
    texts = []
    for text in given:  # an image would have millions of voxels
        if not isinstance(text, str):
            msg = f"{name} must be {what}, got {type(given).__name__} of {type(text).__name__}"
            raise TypeError(msg)
        texts.append(text)
    return tuple(texts)


def path_of(name: str, given: Any) -> Path:
    """Return a path that was given as such or as text.

    Raises
    ------
    TypeError
        If it is neither; `name` is what the message calls it.
    """
    if not isinstance(given, (str, os.PathLike)):
        msg = f"{name} must be a path, got {type(given).__name__}"
        raise TypeError(msg)
    return Path(given)
