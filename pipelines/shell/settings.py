"""Options of the settings of maps, and the settings that they describe."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import click

from pipelines.shell.options import Decorated
from pipelines.shell.usage import SectionOption

if TYPE_CHECKING:
    from glcm_cuda import GLCMSettings


# Written out, so that the help text needs no import of the library.
PRESETS = (
    "radsynth", "haralick", "ibsi", "ibsi-merge", "ibsi-3d", "ibsi-3d-merge", "pyradiomics", "skimage",
    "mahotas", "itk",
)  # fmt: skip
_PAIRS = "Settings of windows and pairs"
_LEVELS = "Settings of grey levels"
_FAMILIES = "Settings of single families"


def _setting(*names: str, section: str, **kwargs: Any) -> Callable[[Decorated], Decorated]:
    return click.option(*names, cls=SectionOption, section=section, **kwargs)


_SETTINGS_OPTIONS = {
    "preset": _setting(
        "--preset",
        section=_PAIRS,
        metavar="NAME",
        help=f"Preset to start from: {', '.join(PRESETS)} (default: radsynth). The options below "
        "override it.",
    ),
    "window": _setting(
        "--window",
        section=_PAIRS,
        metavar="EDGE|Z,Y,X",
        help="Edge length of the window in voxels, odd, at least 3; with --dimensions 3 also three edges "
        "(radsynth: 5).",
    ),
    "dimensions": _setting(
        "--dimensions",
        section=_PAIRS,
        type=int,
        metavar="2|3",
        help="2: windows within a slice; 3: windows in the volume (radsynth: 2).",
    ),
    "slice_axis": _setting(
        "--slice-axis",
        section=_PAIRS,
        type=int,
        metavar="0|1|2",
        help="Axis perpendicular to the slices of 2D windows: 0 (z), 1 (y) or 2 (x) (radsynth: 0).",
    ),
    "distance": _setting(
        "--distance",
        section=_PAIRS,
        multiple=True,
        metavar="D[,D...]",
        help="Distance, or distances, between the two voxels of a pair, or of neighbours (radsynth: 1).",
    ),
    "directions": _setting(
        "--directions",
        section=_PAIRS,
        metavar="scaled|all",
        help="Offsets for distances above 1: unit offsets times the distance, or all offsets of that "
        "Chebyshev length (radsynth: scaled).",
    ),
    "symmetric": _setting(
        "--symmetric/--asymmetric",
        section=_PAIRS,
        default=None,
        help="Count each pair in both orders, or in one only (radsynth: symmetric).",
    ),
    "aggregate": _setting(
        "--aggregate",
        section=_PAIRS,
        metavar="mean|merge",
        help="Average the feature over directions, or pool their counts first (radsynth: mean).",
    ),
    "masked_window": _setting(
        "--masked-window/--unmasked-window",
        section=_PAIRS,
        default=None,
        help="Whether only voxels in the mask count in a window (radsynth: masked).",
    ),
    "log_base": _setting(
        "--log-base",
        section=_PAIRS,
        metavar="2|10|e",
        help="Base of the logarithm in entropies (radsynth: 2, bits).",
    ),
    "levels": _setting(
        "--levels", section=_LEVELS, type=int, help="Number of grey levels, 2 to 65536 (radsynth: 64)."
    ),
    "bin_width": _setting(
        "--bin-width",
        section=_LEVELS,
        type=float,
        metavar="WIDTH",
        help="Bin width in the image's unit, instead of --levels.",
    ),
    "bin_edges": _setting(
        "--bin-edges",
        section=_LEVELS,
        metavar="ibsi|pyradiomics",
        help="Where bins start: at the lowest intensity, or as in pyradiomics (radsynth: ibsi).",
    ),
    "range_over": _setting(
        "--range-over",
        section=_LEVELS,
        metavar="image|mask|crop",
        help="Voxels that set the intensity range: the image, the mask, or the box that windows around the "
        "mask reach (radsynth: image).",
    ),
    "intensity_range": _setting(
        "--range",
        "intensity_range",
        section=_LEVELS,
        type=float,
        nargs=2,
        metavar="LOW HIGH",
        help="Intensity range; values outside are clipped.",
    ),
    "percentiles": _setting(
        "--percentiles",
        section=_LEVELS,
        type=float,
        nargs=2,
        metavar="LOW HIGH",
        help="Clip the range to these percentiles (0 to 100).",
    ),
    "deviations": _setting(
        "--deviations",
        section=_LEVELS,
        type=float,
        metavar="K",
        help="Clip the range to the mean plus or minus K standard deviations.",
    ),
    "first_level": _setting(
        "--first-level",
        section=_LEVELS,
        type=int,
        metavar="0|1",
        help="Number of the lowest grey level; affects autocorrelation and averages (radsynth: 1).",
    ),
    "gldm_a": _setting(
        "--gldm-a",
        section=_FAMILIES,
        type=int,
        metavar="LEVELS",
        help="gldm: largest difference of two levels that depend on each other (radsynth: 0).",
    ),
    "ngtdm_isolated": _setting(
        "--ngtdm-isolated/--no-ngtdm-isolated",
        section=_FAMILIES,
        default=None,
        help="ngtdm: whether voxels without neighbours count, as in pyradiomics but not in IBSI (radsynth: "
        "they count).",
    ),
    "intensity_shift": _setting(
        "--intensity-shift",
        section=_FAMILIES,
        type=float,
        metavar="SHIFT",
        help="firstorder: added to all intensities in energy, total energy and root mean square; "
        "pyradiomics' voxelArrayShift (radsynth: 0).",
    ),
}
_RANGES = {"intensity_range": "--range", "percentiles": "--percentiles", "deviations": "--deviations"}


def settings_options(*, without: Collection[str] = ()) -> Callable[[Decorated], Decorated]:
    """Return a decorator that adds the options of the settings.

    `glcm_settings_from` reads them from the keywords of the command.

    Parameters
    ----------
    without : collection of str
        Settings that have no meaning for the command.
    """

    def decorate(function: Decorated) -> Decorated:
        for name, option in reversed(_SETTINGS_OPTIONS.items()):
            if name not in without:
                function = option(function)
        return function

    return decorate


def glcm_settings_from(options: Mapping[str, Any], base: GLCMSettings | None = None) -> GLCMSettings:
    """Return the settings that the options of `settings_options` describe.

    An option replaces whatever it contradicts in the base: a number of levels replaces a bin width, and one
    rule for the range replaces another.

    Parameters
    ----------
    options : mapping
        The keywords of the command; those that are not settings are ignored.
    base : GLCMSettings, optional
        Settings to start from, instead of a preset.

    Raises
    ------
    TypeError, ValueError
        If a setting is out of its range, or two options are mutually exclusive.
    """
    from glcm_cuda import GLCMSettings

    if base is not None and options.get("preset") is not None:
        msg = "--params and --preset are mutually exclusive; give one of them"
        raise ValueError(msg)
    given = _given(options)
    _refuse_exclusive(given)
    return changed_settings(base or GLCMSettings.preset(options.get("preset") or "radsynth"), given)


def changed_settings(base: GLCMSettings, given: Mapping[str, Any]) -> GLCMSettings:
    """Return settings with other values of some fields, which replace what they contradict.

    Parameters
    ----------
    base : GLCMSettings
        Settings to start from.
    given : mapping
        Fields of `GLCMSettings` and their new values.

    Raises
    ------
    TypeError, ValueError
        Those of `GLCMSettings`.
    """
    fields = base.to_dict()
    if "levels" in given:
        fields["bin_width"] = None
    if given.keys() & {*_RANGES, "range_over"}:
        fields |= dict.fromkeys(_replaced_ranges(given))
    if given.get("aggregate") == "mean":
        fields["weighting"] = None
    if given.get("dimensions") == 3:
        fields["slice_axis"] = 0
    return type(base).from_dict({**fields, **given})


def _given(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that were given, with the library's types."""
    given = {name: options[name] for name in _SETTINGS_OPTIONS if options.get(name) not in (None, ())}
    given.pop("preset", None)
    if "window" in given:
        given["window"] = _window(given["window"])
    if "distance" in given:
        given["distance"] = _distances(given["distance"])
    if "log_base" in given:
        given["log_base"] = _log_base(given["log_base"])
    return given


def _refuse_exclusive(given: Mapping[str, Any]) -> None:
    rules = [option for name, option in _RANGES.items() if name in given]
    pairs = [("--levels", "--bin-width")] if "levels" in given and "bin_width" in given else []
    pairs += [(rules[0], rules[1])] if len(rules) > 1 else []
    pairs += [("--range", "--range-over")] if {"intensity_range", "range_over"} <= given.keys() else []
    for one, other in pairs:
        msg = f"{one} and {other} are mutually exclusive; give one of them"
        raise ValueError(msg)


def _replaced_ranges(given: Mapping[str, Any]) -> list[str]:
    """Return the fields of the range that the given options replace."""
    if given.keys() & _RANGES.keys():
        return list(_RANGES)
    return ["intensity_range"]  # --range-over alone changes where the range is taken, not how it is clipped


def _window(text: str) -> int | tuple[int, ...]:
    try:
        edges = tuple(int(edge) for edge in text.split(","))
    except ValueError:
        msg = f"--window must be one odd number, or three separated by commas, got {text!r}"
        raise ValueError(msg) from None
    return edges if len(edges) > 1 else edges[0]


def _distances(texts: Iterable[str]) -> tuple[int, ...]:
    text = ",".join(texts)
    try:
        return tuple(int(distance) for distance in text.split(","))
    except ValueError:
        msg = f"--distance must be whole numbers separated by commas, got {text!r}"
        raise ValueError(msg) from None


def _log_base(text: str) -> int | str:
    return int(text) if text.isdecimal() else text
