"""What is computed: every parameter of a GLCM map, its meaning and its check."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

from .checks import check_choice, check_int

MAX_LEVELS = 256
MAX_WINDOW = 255

_PRESETS: dict[str, dict[str, Any]] = {"radsynth": {}}


@dataclass(frozen=True, kw_only=True)
class GLCMSettings:
    """Settings of a GLCM map; the defaults are the preset ``radsynth``.

    Parameters
    ----------
    levels : int
        Number of grey levels, 2 to 256.
    window : int or (int, int, int)
        Edge of the window around each voxel: an odd number of voxels, 3 to 255. With
        ``dimensions=3`` also three edges, along z, y and x, for slices that are thicker than wide.
    distance : int
        Chebyshev distance between the two voxels of a pair, less than the window's shortest edge.
    dimensions : int
        2: windows in the plane of a slice, four directions. 3: in the volume, thirteen directions.
    symmetric : bool
        Count every pair in both orders.
    aggregate : {"mean", "merge"}
        Mean of the entropies of the directions, or entropy of their pooled counts.
    log_base : {2, 10, "e"}
        Base of the logarithm: bits, hartleys or nats.
    intensity_range : (float, float) or None
        Intensities of the lowest and the highest edge of the bins, in the image's unit; what lies
        outside is clipped. None takes the range from `range_over`.
    range_over : {"image", "mask"}
        Where minimum and maximum are taken when `intensity_range` is None: over the whole image
        (every slice of a volume), or over the voxels of the mask.

    Raises
    ------
    TypeError, ValueError
        If a field is of the wrong kind or out of its range.

    Examples
    --------
    >>> GLCMSettings(levels=32).levels
    32
    >>> GLCMSettings.preset("radsynth") == GLCMSettings()
    True
    """

    levels: int = 64
    window: int | tuple[int, int, int] = 5
    distance: int = 1
    dimensions: int = 2
    symmetric: bool = True
    aggregate: Literal["mean", "merge"] = "mean"
    log_base: Literal[2, 10, "e"] = 2
    intensity_range: tuple[float, float] | None = None
    range_over: Literal["image", "mask"] = "image"

    def __post_init__(self) -> None:
        check_int("levels", self.levels, 2, MAX_LEVELS)
        check_int("dimensions", self.dimensions, 2, 3)
        self._check_window()
        check_int("distance", self.distance, 1, min(self.edges[-self.dimensions :]) - 1)
        if not isinstance(self.symmetric, bool):
            msg = f"symmetric must be True or False, got {self.symmetric!r}"
            raise TypeError(msg)
        check_choice("aggregate", self.aggregate, ("mean", "merge"))
        check_choice("log_base", self.log_base, (2, 10, "e"))
        check_choice("range_over", self.range_over, ("image", "mask"))
        if self.intensity_range is not None:
            object.__setattr__(self, "intensity_range", _checked_range(self.intensity_range))

    def _check_window(self) -> None:
        edges: tuple[int, ...]
        if isinstance(self.window, (tuple, list)):
            if self.dimensions != 3 or len(self.window) != 3:
                msg = f"window must be one edge, or three if dimensions is 3, got {self.window}"
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
        """Return the settings known by a name: ``"radsynth"``, the paper's."""
        check_choice("preset", name, tuple(_PRESETS))
        return cls(**_PRESETS[name])

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """Return the settings that `to_dict` described; an unknown field is refused."""
        known = [field.name for field in dataclasses.fields(cls)]
        unknown = sorted(set(fields) - set(known))
        if unknown:
            msg = f"unknown settings {unknown}, expected some of {known}"
            raise ValueError(msg)
        return cls(**fields)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return the settings that `to_json` wrote."""
        return cls.from_dict(json.loads(text))

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
    def radii(self) -> tuple[int, int, int]:
        """Voxels between the centre of the window and its edge in z, y and x."""
        z, y, x = (edge // 2 for edge in self.edges)
        return z, y, x

    @property
    def edge(self) -> int:
        """Edge of the window in the plane of a slice, for what needs it as high as it is wide."""
        _, height, width = self.edges
        if height != width:
            msg = f"the window must have one edge in the plane of a slice, got {height} and {width}"
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
        """One bit in the unit of the map: ``log_base(2)``."""
        return {2: 1.0, 10: math.log10(2.0), "e": math.log(2.0)}[self.log_base]


def _checked_range(value: object) -> tuple[float, float]:
    """Return the pair as floats, JSON lists included."""
    try:
        low, high = (float(edge) for edge in value)  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        msg = f"intensity_range must be a pair of numbers, got {value!r}"
        raise TypeError(msg) from None
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        msg = f"intensity_range must be finite and rising, got ({low}, {high})"
        raise ValueError(msg)
    return low, high
