"""Settings of a texture map: every parameter, its meaning and its check."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

from glcm_cuda.base.checks import check_choice, check_int, nearest

MAX_LEVELS = 1 << 16
MAX_WINDOW = 255

_AS_THEY_ARE = {"levels": 256, "intensity_range": (0.0, 256.0), "first_level": 0}
"""Fields that leave the levels of an 8-bit image unchanged."""

_IBSI: dict[str, Any] = {"range_over": "mask", "ngtdm_isolated": False}

_PRESETS: dict[str, dict[str, Any]] = {
    "radsynth": {},
    "haralick": {"log_base": "e"},
    "ibsi": {**_IBSI},
    "ibsi-merge": {**_IBSI, "aggregate": "merge"},
    "ibsi-3d": {**_IBSI, "dimensions": 3},
    "ibsi-3d-merge": {**_IBSI, "dimensions": 3, "aggregate": "merge"},
    "pyradiomics": {
        "bin_width": 25.0,
        "bin_edges": "pyradiomics",
        "range_over": "mask",
        "window": 3,
        "dimensions": 3,
        "directions": "all",
    },
    "skimage": {**_AS_THEY_ARE, "symmetric": False, "log_base": "e"},
    "mahotas": _AS_THEY_ARE,
    "itk": {**_AS_THEY_ARE, "symmetric": False, "aggregate": "merge"},
}

NORMS = ("manhattan", "euclidean", "infinity")
"""How the length of an offset may be measured, in mm, where directions are weighted by it."""

PRESETS = tuple(_PRESETS)
"""Names of the presets; docs/conventions.md says which tool or paper each one reproduces."""


@dataclass(frozen=True, kw_only=True)
class GLCMSettings:
    """Settings of a texture map, of any family. The defaults are the preset ``radsynth``.

    Parameters
    ----------
    levels : int
        Number of grey levels, 2 to 65,536: equal bins over the range of intensities.
    window : int or (int, int, int)
        Edge of the window around each voxel, in voxels: an odd number from 3 to 255. With ``dimensions=3``
        also three edges, along z, y and x, for voxels that are not cubes.
    distance : int or tuple of int
        Chebyshev distance between the two voxels of a pair, in voxels; less than the window's shortest edge.
        With several distances, the directions of all of them are used.
    directions : {"scaled", "all"}
        Offsets of that distance: the unit offsets times the distance (IBSI), or every offset of that
        Chebyshev length (pyradiomics). For distance 1 the two are the same.
    dimensions : int
        2: windows in the plane of a slice, four directions. 3: windows in the volume, thirteen directions.
    slice_axis : int
        Axis of the volume along which slices are taken for 2D windows: 0 (z), 1 (y) or 2 (x).
    symmetric : bool
        Count every pair in both orders.
    aggregate : {"mean", "merge"}
        Mean of the feature over the directions, or the feature of their pooled counts.
    weighting : {None, "manhattan", "euclidean", "infinity"}
        With ``aggregate="merge"``, for regions: weight the counts of each direction by the length of its
        offset in mm, in this norm (pyradiomics' weightingNorm; docs/definition.md, section 7).
    log_base : {2, 10, "e"}
        Base of the logarithm in all entropies: bits, hartleys or nats.
    bin_width : float or None
        Width of a bin in the image's unit. The number of levels then follows from the range of intensities,
        and `levels` is ignored.
    bin_edges : {"ibsi", "pyradiomics"}
        Where bins begin (docs/definition.md, section 1): at the lowest intensity (IBSI), or as in pyradiomics
        at a multiple of the width, or at the rounded edges of equal bins.
    intensity_range : (float, float) or None
        Lowest and highest edge of the bins, in the image's unit; intensities outside are clipped. With None
        the range comes from `range_over`.
    range_over : {"image", "mask", "crop"}
        Voxels whose minimum and maximum make the range when `intensity_range` is None: the whole image
        (every slice of a volume), the voxels inside the mask, or the box that the mask's windows reach
        (its bounding box, grown by the window's radius on every side).
    percentiles : (float, float) or None
        Use these percentiles of those voxels, from 0 to 100, instead of minimum and maximum.
    deviations : float or None
        Clip the range to the mean of those voxels plus or minus this many standard deviations.
    masked_window : bool
        Whether a pair counts only if both its voxels are inside the mask. If not, the mask only decides
        where the map has values.
    first_level : {0, 1}
        Number of the lowest level: 1 as in IBSI and pyradiomics, 0 as in scikit-image. It changes
        autocorrelation, joint average and sum average. Families other than the GLCM always count from 1.
    gldm_a : int
        Largest difference of two levels that depend on each other (family ``gldm``), 0 to 65,535.
    ngtdm_isolated : bool
        Whether the family ``ngtdm`` counts voxels without neighbours, as pyradiomics does and IBSI does not.
    intensity_shift : float
        Added to every intensity in energy, total energy and root mean square: pyradiomics' voxelArrayShift.

    Raises
    ------
    TypeError, ValueError
        If a field has the wrong type or is out of range, or two fields contradict each other.

    Examples
    --------
    >>> GLCMSettings(levels=32).levels
    32
    >>> GLCMSettings.preset("radsynth") == GLCMSettings()
    True
    """

    levels: int = 64
    window: int | tuple[int, int, int] = 5
    distance: int | tuple[int, ...] = 1
    directions: Literal["scaled", "all"] = "scaled"
    dimensions: int = 2
    slice_axis: int = 0
    symmetric: bool = True
    aggregate: Literal["mean", "merge"] = "mean"
    weighting: Literal["manhattan", "euclidean", "infinity"] | None = None
    log_base: Literal[2, 10, "e"] = 2
    bin_width: float | None = None
    bin_edges: Literal["ibsi", "pyradiomics"] = "ibsi"
    intensity_range: tuple[float, float] | None = None
    range_over: Literal["image", "mask", "crop"] = "image"
    percentiles: tuple[float, float] | None = None
    deviations: float | None = None
    masked_window: bool = True
    first_level: Literal[0, 1] = 1
    gldm_a: int = 0
    ngtdm_isolated: bool = True
    intensity_shift: float = 0.0

    def __post_init__(self) -> None:
        check_int("levels", self.levels, 2, MAX_LEVELS)
        check_int("dimensions", self.dimensions, 2, 3)
        check_int("gldm_a", self.gldm_a, 0, MAX_LEVELS - 1)
        self._check_window()
        self._check_distance()
        for name, choices in _CHOICES.items():
            check_choice(name, getattr(self, name), choices)
        for name in ("symmetric", "masked_window", "ngtdm_isolated"):
            if not isinstance(getattr(self, name), bool):
                msg = f"{name} must be True or False, got {getattr(self, name)!r}"
                raise TypeError(msg)
        if self.dimensions == 3 and self.slice_axis != 0:
            msg = f"slice_axis={self.slice_axis} requires dimensions=2, got dimensions=3"
            raise ValueError(msg)
        if self.weighting is not None and self.aggregate != "merge":
            msg = f"weighting={self.weighting!r} requires aggregate='merge', got {self.aggregate!r}"
            raise ValueError(msg)
        object.__setattr__(self, "intensity_shift", _checked_finite("intensity_shift", self.intensity_shift))
        self._check_bins()

    def _check_bins(self) -> None:
        """Check the fields about bins and store their numbers as floats."""
        for name in ("bin_width", "deviations"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, _checked_positive(name, getattr(self, name)))
        for name in ("intensity_range", "percentiles"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, _checked_range(name, getattr(self, name)))
        if self.percentiles is not None and not 0 <= self.percentiles[0] < self.percentiles[1] <= 100:
            msg = f"percentiles must be from 0 to 100, got {self.percentiles}"
            raise ValueError(msg)
        given = [name for name in _RANGES if getattr(self, name) is not None]
        if len(given) > 1:
            msg = f"{given[0]} and {given[1]} are mutually exclusive"
            raise ValueError(msg)

    def _check_distance(self) -> None:
        """Check the distance and store several as a tuple, one as an int."""
        distances = tuple(self.distance) if isinstance(self.distance, (tuple, list)) else (self.distance,)
        for distance in distances:
            check_int("distance", distance, 1, min(self.edges[-self.dimensions :]) - 1)
        if not distances or len(set(distances)) < len(distances):
            msg = f"distance must be an int or several different ints, got {self.distance}"
            raise ValueError(msg)
        if isinstance(self.distance, (tuple, list)):
            object.__setattr__(self, "distance", distances if len(distances) > 1 else distances[0])

    def _check_window(self) -> None:
        """Check the window and store several edges as a tuple."""
        edges: tuple[int, ...]
        if isinstance(self.window, (tuple, list)):
            if self.dimensions != 3 or len(self.window) != 3:
                msg = f"window must be one edge length, or three with dimensions=3, got {self.window}"
                raise ValueError(msg)
            object.__setattr__(self, "window", tuple(self.window))
            edges = self.window
        else:
            edges = (self.window,)
        for edge in edges:
            check_int("window", edge, 3, MAX_WINDOW)
            if edge % 2 == 0:
                msg = f"window must be odd, got {edge}"
                raise ValueError(msg)

    @classmethod
    def preset(cls, name: str) -> Self:
        """Return the settings of a preset, by its name in `PRESETS`; see docs/conventions.md."""
        if name not in _PRESETS:
            msg = f"no preset {name!r}{nearest(name, PRESETS)}; the presets are {', '.join(PRESETS)}"
            raise ValueError(msg)
        return cls(**_PRESETS[name])

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """Return the settings that `to_dict` described; raise ValueError for an unknown field."""
        known = [field.name for field in dataclasses.fields(cls)]
        unknown = sorted(set(fields) - set(known))
        if unknown:
            msg = f"unknown settings {unknown}; the settings are {known}"
            raise ValueError(msg)
        return cls(**fields)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return the settings that `to_json` wrote."""
        try:
            fields = json.loads(text)
        except (ValueError, RecursionError):
            fields = None
        if not isinstance(fields, dict):
            msg = f"settings must be a JSON object of names and values, got {text[:60]!r}"
            raise ValueError(msg)
        return cls.from_dict(fields)

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain numbers and strings."""
        return dataclasses.asdict(self)

    def to_json(self) -> str:
        """Return the settings as one line of JSON."""
        return json.dumps(self.to_dict())

    @property
    def edges(self) -> tuple[int, int, int]:
        """Voxels along the window's edges in z, y and x."""
        if isinstance(self.window, tuple):
            return self.window
        return (self.window if self.dimensions == 3 else 1, self.window, self.window)

    @property
    def distances(self) -> tuple[int, ...]:
        """Every distance, as a tuple."""
        return self.distance if isinstance(self.distance, tuple) else (self.distance,)

    @property
    def radii(self) -> tuple[int, int, int]:
        """Voxels between the centre of the window and its edge in z, y and x."""
        z, y, x = (edge // 2 for edge in self.edges)
        return z, y, x

    @property
    def edge(self) -> int:
        """Edge of the window in the plane of a slice; raises ValueError if height and width differ."""
        _, height, width = self.edges
        if height != width:
            msg = f"window must have equal edges in the slice plane, got {height} and {width}"
            raise ValueError(msg)
        return width

    @property
    def radius(self) -> int:
        """Voxels between the centre of the window and its `edge`."""
        return self.edge // 2

    @property
    def unit(self) -> str:
        """Name of the map's unit."""
        return {2: "bits", 10: "hartleys", "e": "nats"}[self.log_base]

    @property
    def log_unit(self) -> float:
        """One bit in the unit of the map: the logarithm of 2."""
        return {2: 1.0, 10: math.log10(2.0), "e": math.log(2.0)}[self.log_base]


_CHOICES: dict[str, tuple[object, ...]] = {
    "directions": ("scaled", "all"),
    "slice_axis": (0, 1, 2),
    "aggregate": ("mean", "merge"),
    "weighting": (None, *NORMS),
    "log_base": (2, 10, "e"),
    "bin_edges": ("ibsi", "pyradiomics"),
    "range_over": ("image", "mask", "crop"),
    "first_level": (0, 1),
}

_RANGES = ("intensity_range", "percentiles", "deviations")
"""Fields of which at most one may be given."""


def _checked_positive(name: str, value: object) -> float:
    """Return a positive number as a float."""
    number = _checked_finite(name, value, "finite and positive")
    if number <= 0:
        msg = f"{name} must be finite and positive, got {number:g}"
        raise ValueError(msg)
    return number


def _checked_finite(name: str, value: object, wanted: str = "finite") -> float:
    """Return a finite number as a float."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        msg = f"{name} must be a number, got {value!r}"
        raise TypeError(msg)
    if not abs(value) <= sys.float_info.max:  # compared, because an int may be too large to become a float
        msg = f"{name} must be {wanted}, got {str(value)[:60]}"
        raise ValueError(msg)
    return float(value)


def _checked_range(name: str, value: object) -> tuple[float, float]:
    """Return a pair of numbers as floats; lists, as JSON has them, are accepted."""
    try:
        low, high = (float(edge) for edge in value)  # type: ignore[attr-defined]
    except (TypeError, ValueError, OverflowError):
        msg = f"{name} must be a pair of numbers, got {value!r}"
        raise TypeError(msg) from None
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        msg = f"{name} must be finite and increasing, got ({low}, {high})"
        raise ValueError(msg)
    return low, high
