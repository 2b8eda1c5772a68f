"""The plan of a patch store: which settings suit one, and how many samples of each case it gets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from glcm_cuda.engines.choice import Backend
    from glcm_cuda.settings import GLCMSettings

SAMPLES_PER_CASE = 20_000
MAX_LEVELS = 256


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is done with every case: everything but the case that its result depends on.

    Parameters
    ----------
    settings : GLCMSettings
        Settings of the maps: 2D windows, a fixed number of levels, a range that needs no mask.
    seed, samples_per_case : int
        Choose the samples.
    backend : {"auto", "cpu", "cuda"}
        What computes the maps; it does not change the result.

    Raises
    ------
    ValueError
        If the settings do not suit a patch store, or a number is out of range.
    """

    settings: GLCMSettings
    seed: int = 0
    samples_per_case: int = SAMPLES_PER_CASE
    backend: Backend = "auto"

    def __post_init__(self) -> None:
        self._check_settings()
        if self.seed < 0:
            msg = f"seed must not be negative, got {self.seed}"
            raise ValueError(msg)
        if self.samples_per_case < 1:
            msg = f"samples per case must be at least 1, got {self.samples_per_case}"
            raise ValueError(msg)

    def _check_settings(self) -> None:
        """Refuse settings that a network given patches of levels, and no mask, cannot learn."""
        settings = self.settings
        if settings.dimensions != 2:
            msg = f"a patch store holds 2D windows: dimensions must be 2, got {settings.dimensions}"
            raise ValueError(msg)
        if settings.range_over != "image":
            msg = (
                f'range_over must be "image" in a patch store, got "{settings.range_over}": a network '
                "gets no mask; give a fixed range or --range-over cohort instead"
            )
            raise ValueError(msg)
        if settings.bin_width is not None:
            msg = (
                "a patch store needs the same number of levels for all cases, got "
                f"bin_width={settings.bin_width:g}; give levels instead"
            )
            raise ValueError(msg)
        if settings.levels > MAX_LEVELS:
            msg = f"a patch store holds at most {MAX_LEVELS} levels, got {settings.levels}"
            raise ValueError(msg)
        if settings.slice_axis != 0:
            msg = f"a patch store holds windows across z: slice_axis must be 0, got {settings.slice_axis}"
            raise ValueError(msg)
