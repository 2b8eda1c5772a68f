"""Filters written as text, such as ``log:sigma=2,4`` or ``wavelet:name=db2,level=2``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from glcm_cuda.base.checks import nearest
from pipelines.filters.contract import ImageFilter
from pipelines.filters.gradient import Gradient
from pipelines.filters.ibsi.filters import LaplacianOfGaussian, Laws, Mean, SeparableWavelet
from pipelines.filters.intensity import Intensity, Original
from pipelines.filters.laplacian import Laplacian
from pipelines.filters.lbp2d import LocalBinaryPattern2D
from pipelines.filters.lbp3d import LocalBinaryPattern3D
from pipelines.filters.wavelet import Wavelet

Reader = Callable[[str], Any]


def _integer(text: str) -> int:
    return int(text)


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(float(part) for part in text.split(","))


def _truth(text: str) -> bool:
    return {"yes": True, "true": True, "no": False, "false": False}[text.casefold()]


_KINDS: dict[Reader, str] = {
    _integer: "a whole number",
    float: "a number",
    _numbers: "numbers separated by commas",
    _truth: "yes or no",
    str: "a word",
}


@dataclass(frozen=True, kw_only=True)
class _Kind:
    """A filter that specifications can name.

    `main` is the setting that a value without a name is for; those of `required` have no default.
    """

    make: Callable[..., ImageFilter]
    settings: dict[str, Reader] = field(default_factory=dict)
    main: str | None = None
    required: tuple[str, ...] = ()


_BOUNDARY: dict[str, Reader] = {"boundary": str}
_POOLING: dict[str, Reader] = {"pooling": str, **_BOUNDARY}

FILTERS: dict[str, _Kind] = {
    "original": _Kind(make=Original),
    "log": _Kind(make=Laplacian, settings={"sigma": _numbers}, main="sigma", required=("sigma",)),
    "wavelet": _Kind(
        make=Wavelet, settings={"name": str, "level": _integer, "start_level": _integer}, main="name"
    ),
    **{
        name: _Kind(make=partial(Intensity, name))
        for name in ("square", "squareroot", "logarithm", "exponential")
    },
    "gradient": _Kind(make=Gradient, settings={"use_spacing": _truth}),
    "lbp-2d": _Kind(
        make=LocalBinaryPattern2D, settings={"radius": float, "samples": _integer, "method": str}
    ),
    "lbp-3d": _Kind(
        make=LocalBinaryPattern3D, settings={"levels": _integer, "radius": float, "subdivision": _integer}
    ),
    "ibsi-mean": _Kind(make=Mean, settings={"size": _integer, **_BOUNDARY}, main="size", required=("size",)),
    "ibsi-log": _Kind(
        make=LaplacianOfGaussian,
        settings={"sigma": _numbers, "cutoff": float, **_BOUNDARY},
        main="sigma",
        required=("sigma",),
    ),
    "ibsi-laws": _Kind(
        make=Laws,
        settings={"kernels": str, "energy": _integer, **_POOLING},
        main="kernels",
        required=("kernels",),
    ),
    "ibsi-wavelet": _Kind(
        make=SeparableWavelet,
        settings={"name": str, "band": str, "level": _integer, **_POOLING},
        main="name",
    ),
}
"""The filters, by the names of specifications."""


def filter_of(text: str, argument: str = "--filter") -> ImageFilter:
    """Return the filter that a specification describes.

    Parameters
    ----------
    text : str
        ``NAME``, or ``NAME:SETTING=VALUE,...``. A value may hold commas; the main setting's name may be left
        out.
    argument : str
        What messages call the argument.

    Raises
    ------
    ValueError
        If there is no such filter or setting, or a value is unfit; the message begins with the argument.
    ModuleNotFoundError
        If the filter needs a library that is not installed.

    Examples
    --------
    >>> filter_of("log:sigma=2,4")
    Laplacian(sigma=(2.0, 4.0))
    >>> filter_of("gradient:use_spacing=no")
    Gradient(use_spacing=False)
    """
    name, _, rest = text.partition(":")
    try:
        kind = _kind(name.strip())
        settings = {key: _read(kind, key, value) for key, value in _parts(kind, rest)}
        for missing in (key for key in kind.required if key not in settings):
            msg = f"{missing} is missing; it must be {_KINDS[kind.settings[missing]]}"
            raise ValueError(msg)
        return kind.make(**settings)
    except (ValueError, TypeError) as error:
        msg = f"{argument} {text}: {error}"
        raise ValueError(msg) from None


def _kind(name: str) -> _Kind:
    folded = name.casefold()
    if folded not in FILTERS:
        msg = f"no filter {name!r}{nearest(name, list(FILTERS))}; the filters are {', '.join(FILTERS)}"
        raise ValueError(msg)
    return FILTERS[folded]


def _parts(kind: _Kind, text: str) -> list[tuple[str, str]]:
    """Return the settings of a specification, in order; a part without ``=`` belongs to the value before."""
    found: dict[str, str] = {}
    last = kind.main
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = part.rpartition("=")
        if equals and name in found:
            msg = f"{name} is given twice; give it once"
            raise ValueError(msg)
        last = name if equals else last
        if last is None:
            msg = f"expected SETTING=VALUE, got {part!r}{_known(kind)}"
            raise ValueError(msg)
        found[last] = f"{found[last]},{value}" if last in found else value
    return list(found.items())


def _known(kind: _Kind) -> str:
    return f"; its settings are {', '.join(kind.settings)}" if kind.settings else "; it has no settings"


def _read(kind: _Kind, name: str, text: str) -> Any:
    if name not in kind.settings:
        msg = f"no setting {name!r}{nearest(name, list(kind.settings))}{_known(kind)}"
        raise ValueError(msg)
    reader = kind.settings[name]
    try:
        return reader(text)
    except (ValueError, KeyError):
        msg = f"{name} must be {_KINDS[reader]}, got {text!r}"
        raise ValueError(msg) from None


def refuse_same_names(names: Iterable[str]) -> None:
    """Raise ValueError if filters give two images one name, so that maps of one would replace the other's."""
    name, times = Counter(names).most_common(1)[0]
    if times > 1:
        msg = f"two filters give an image the name {name}; run them one after another"
        raise ValueError(msg)
