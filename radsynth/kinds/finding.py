"""The kind of an image, found by its type."""

from __future__ import annotations

from radsynth.kinds.kind import Kind
from radsynth.kinds.nibabel import NibabelKind
from radsynth.kinds.numpy import NumPyKind
from radsynth.kinds.paths import PathKind
from radsynth.kinds.sitk import SimpleITKKind
from radsynth.kinds.torch import TorchKind

KINDS: tuple[Kind, ...] = (PathKind(), SimpleITKKind(), NibabelKind(), TorchKind(), NumPyKind())


def kind_of(image: object, name: str) -> Kind:
    """Return the kind of an image.

    Parameters
    ----------
    image
        Any object.
    name : str
        Name of the argument, for messages.

    Raises
    ------
    TypeError
        If it is of no kind.
    """
    for kind in KINDS:
        if kind.owns(image):
            return kind
    *others, last = (kind.name for kind in KINDS)
    msg = f"{name} must be {', '.join(others)} or {last}, got {type(image).__module__}.{type(image).__name__}"
    raise TypeError(msg)
