"""Image types of pyradiomics' parameter files as filters."""

from __future__ import annotations

from collections.abc import Callable

from pipelines.filters.contract import ImageFilter
from pipelines.filters.gradient import Gradient
from pipelines.filters.intensity import Intensity, Original
from pipelines.filters.laplacian import Laplacian
from pipelines.filters.lbp2d import LocalBinaryPattern2D
from pipelines.filters.lbp3d import LocalBinaryPattern3D
from pipelines.filters.wavelet import Wavelet
from pipelines.shell.yaml_values import Values, is_number

FILTER_SETTINGS = (
    "gradientUseSpacing", "lbp2DMethod", "lbp2DRadius", "lbp2DSamples", "lbp3DIcosphereRadius",
    "lbp3DIcosphereSubdivision", "lbp3DLevels", "level", "sigma", "start_level", "wavelet",
)  # fmt: skip
"""Settings of image types; those of others have no effect on one."""


def _laplacian(values: Values) -> ImageFilter:
    sigma = values.values.get("sigma")
    if not isinstance(sigma, list) or not sigma or not all(map(is_number, sigma)):
        values.refuse("sigma", "a list of widths in mm")
    return Laplacian(sigma=tuple(sigma))  # 2 and 2.0 give maps other names


def _wavelet(values: Values) -> ImageFilter:
    name = values.values.get("wavelet", "coif1")
    level, start = values.integer("level", 1, low=1), values.integer("start_level", 0, low=0)
    return Wavelet(name=str(name), level=level, start_level=start)


def _gradient(values: Values) -> ImageFilter:
    return Gradient(use_spacing=values.boolean("gradientUseSpacing", True))


def _lbp2d(values: Values) -> ImageFilter:
    return LocalBinaryPattern2D(
        radius=values.number("lbp2DRadius", 1.0),
        samples=values.integer("lbp2DSamples", 8, low=1),
        method=values.values.get("lbp2DMethod", "uniform"),
    )


def _lbp3d(values: Values) -> ImageFilter:
    return LocalBinaryPattern3D(
        levels=values.integer("lbp3DLevels", 2, low=1),
        radius=values.number("lbp3DIcosphereRadius", 1.0),
        subdivision=values.integer("lbp3DIcosphereSubdivision", 1, low=0),
    )


IMAGE_TYPES: dict[str, Callable[[Values], ImageFilter]] = {
    "Original": lambda _: Original(),
    "Exponential": lambda _: Intensity("exponential"),
    "Gradient": _gradient,
    "LBP2D": _lbp2d,
    "LBP3D": _lbp3d,
    "LoG": _laplacian,
    "Logarithm": lambda _: Intensity("logarithm"),
    "Square": lambda _: Intensity("square"),
    "SquareRoot": lambda _: Intensity("squareroot"),
    "Wavelet": _wavelet,
}
"""The filter of each image type, from its settings."""
