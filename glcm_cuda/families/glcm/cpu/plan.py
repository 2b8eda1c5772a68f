"""What a map of features from sums over pairs needs: directions, ways to count, tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from glcm_cuda.families.feature import Feature
from glcm_cuda.families.glcm.cpu import histograms, named, sliding
from glcm_cuda.families.glcm.cpu.kinds import Counted
from glcm_cuda.families.glcm.cpu.pairs import Box, box_of
from glcm_cuda.families.glcm.cpu.tally import DIFFERENCE, ENDS, FIRST, JOINT, SECOND, TOTAL
from glcm_cuda.families.glcm.definition import Scale, Sums
from glcm_cuda.families.glcm.scales import inverse_table, logs_of_ends, most_pairs, scale_of
from glcm_cuda.families.offsets import directions, radii_within
from glcm_cuda.settings import GLCMSettings

FIELD = {name: place for place, name in enumerate(Sums._fields)}
"""Index of every field of `Sums`."""

INVERSES = np.arange(FIELD["inverse"], FIELD["inverse_variance"] + 1)
"""Fields that tables give, in the order of `scales.inverse_table`."""

Counter = Callable[..., None]
"""Function ``(sums, ends, offsets, band)`` that writes what codes of one kind give; see `named.counter`."""


class Matrix(NamedTuple):
    """Directions whose pairs share a matrix: each with its box, and how codes are counted in all of them."""

    offsets: npt.NDArray[np.int32]  # (K, 3)
    boxes: tuple[Box, ...]
    counters: tuple[Counter, ...]


class Plan(NamedTuple):
    """What is counted, over which windows, and the tables for it."""

    matrices: tuple[Matrix, ...]
    radii: tuple[int, int, int]
    needs: frozenset[str]
    scale: Scale
    terms: npt.NDArray[np.int64]  # n log2 n of every count n
    inverses: npt.NDArray[np.int64]  # of every difference, and 0 for non-pairs; (5, G + 1)

    @property
    def symmetric(self) -> bool:
        """Whether a pair is counted in both orders."""
        return bool(self.scale.orders == 2)

    @property
    def logarithms(self) -> bool:
        """Whether any logarithmic sum is needed."""
        return bool(self.needs & {"joint", "total", "difference", "ends"})


def plan_of(
    features: Sequence[Feature], settings: GLCMSettings, number_of_levels: int, shape: tuple[int, ...]
) -> Plan:
    """Return the plan for features in a block of this shape, halo included."""
    needs = frozenset(need for feature in features for need in feature.needs)
    # The scale is that of the whole window, so that a part of an image gives the same bits.
    scale, radii = scale_of(settings, most_pairs(settings)), radii_within(settings, shape)
    logs = logs_of_ends(most_pairs(settings, radii), scale)
    found = [(offset, box_of(offset, radii)) for offset in directions(settings)]
    held = [(offset, box) for offset, box in found if box is not None]
    offsets, boxes = np.array([offset for offset, _ in held]).reshape(-1, 3), tuple(box for _, box in held)
    edges: tuple[int, int, int] = tuple(radii.tolist())

    def counter(counted: Counted, box: Box) -> Counter:
        """Return the way to count codes of a kind in one direction."""
        fitting = [one for one in dict.fromkeys(boxes) if named.fits(one, counted.kind, number_of_levels)]
        if box in fitting:
            return named.counter(counted, box, fitting, number_of_levels, scale)
        if histograms.fits(box, counted.kind, number_of_levels, symmetric=settings.symmetric):
            return histograms.counter(counted, box, number_of_levels, scale)
        return sliding.counter(counted, edges, number_of_levels, scale, logs)

    wanted = _counted(needs, symmetric=settings.symmetric)
    if settings.aggregate == "merge":
        ways = tuple(sliding.counter(counted, edges, number_of_levels, scale, logs) for counted in wanted)
        matrices: tuple[Matrix, ...] = (Matrix(offsets, boxes, ways),)
    else:
        matrices = tuple(
            Matrix(offset[np.newaxis], (box,), tuple(counter(counted, box) for counted in wanted))
            for offset, box in held
        )
    return Plan(
        matrices=matrices,
        radii=edges,
        needs=needs,
        scale=scale,
        terms=np.arange(len(logs)) * logs,
        inverses=np.pad(inverse_table(number_of_levels, scale), ((0, 0), (0, 1))),
    )


def _counted(needs: frozenset[str], *, symmetric: bool) -> tuple[Counted, ...]:
    """Return the kinds of codes that are counted, and what is wanted of their counts."""
    weights = bool(needs & {"energy", "largest"})
    found = [Counted(JOINT, FIELD["log_joint"] if "joint" in needs else None, weights)]
    found = found if weights or "joint" in needs else []
    found += [Counted(TOTAL, FIELD["log_total"])] if "total" in needs else []
    found += [Counted(DIFFERENCE, FIELD["log_difference"])] if "difference" in needs else []
    if "ends" in needs and symmetric:
        found.append(Counted(ENDS, FIELD["log_first"]))
    elif "ends" in needs:
        found += [Counted(FIRST, FIELD["log_first"]), Counted(SECOND, FIELD["log_second"])]
    return tuple(found)
