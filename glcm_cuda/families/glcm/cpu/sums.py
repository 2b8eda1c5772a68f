"""All features except joint entropy and MCC on the CPU: sums over the pairs of every window.

The pairs of one direction and a band of rows are laid out first (`pairs`). Powers and inverses of levels are
added up by boxes (`boxes`). Entropies, energy and maximum need the numbers of equal pairs, of each kind of
code: pair, sum of the levels, difference, ends. There are three ways to count them, and the window decides
(`plan`): by name (`named`), by histograms (`histograms`), by tallies (`sliding`). Then each feature adds its
values to a total over the directions (`formulas`). All sums are integers, so the order of summation does not
change the result. Everything is compiled in parts, so that a map compiles only what its features need.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from glcm_cuda.base.threads import run_in_parts
from glcm_cuda.families.glcm.cpu import boxes
from glcm_cuda.families.glcm.cpu.formulas import adder, finisher, writer
from glcm_cuda.families.glcm.cpu.pairs import Band, Box, Ends, Scratch, ends_in
from glcm_cuda.families.glcm.cpu.plan import FIELD, INVERSES, Matrix, Plan, plan_of
from glcm_cuda.families.stage import Chosen, Task

_BAND_VOXELS, _BAND = 8192, 16
"""Voxels of a band, about, whose sums fit into the second-level cache, and its least rows."""


def map_levels(
    levels: npt.NDArray[np.integer],
    out: npt.NDArray[np.float32],
    chosen: Chosen,
    task: Task,
    origin: tuple[int, int],
) -> None:
    """Write the chosen features around every voxel of a block.

    `out` is (F, N, M, X); see `stage.CPUStage.map`.
    """
    plan = plan_of([feature for _, feature in chosen], task.settings, task.bins.levels, levels.shape)
    adders = [adder(feature.name) for _, feature in chosen]
    rows = max(_BAND, _BAND_VOXELS // out.shape[3])
    bands = -(-out.shape[2] // rows)

    def map_some(start: int, stop: int) -> None:
        scratch = Scratch()
        for number in range(start, stop):
            z, top = number // bands, number % bands * rows
            maps = [out[plane, z, top : top + rows] for plane, _ in chosen]
            band = Band(levels, origin[0] + z, origin[1] + top, len(maps[0]), scratch)
            _map_band(maps, band, adders, plan)

    run_in_parts(map_some, out.shape[1] * bands)


def _map_band(
    maps: Sequence[npt.NDArray[np.float32]], band: Band, adders: Sequence[Callable[..., None]], plan: Plan
) -> None:
    """Write the features around the voxels of a band to their maps (rows, X)."""
    shape = maps[0].shape
    sums = band.scratch.array("sums", (shape[0], len(FIELD), shape[1]), np.int64)
    totals = band.scratch.array("totals", (len(maps), *shape), np.float64)
    terms = band.scratch.array("terms", shape, np.int32)
    totals.fill(0)
    terms.fill(0)
    for matrix in plan.matrices:
        _sum_matrix(sums, matrix, band, plan)
        finisher()(sums, terms, plan.terms, plan.logarithms)
        for total, add_values in zip(totals, adders, strict=True):
            add_values(total, sums, *plan.scale)
    for out, total in zip(maps, totals, strict=True):
        writer()(out, total, terms)


def _sum_matrix(sums: npt.NDArray[np.int64], matrix: Matrix, band: Band, plan: Plan) -> None:
    """Write the sums over the pairs that share a matrix, for the windows of a band."""
    for place, (offset, box) in enumerate(zip(matrix.offsets, matrix.boxes, strict=True)):
        ends = ends_in(band, offset, box, plan.radii)
        _sum_boxes(sums, ends, box, plan, add=place > 0)
    for count in matrix.counters:
        count(sums, ends, matrix.offsets, band)
    if plan.symmetric and "ends" in plan.needs:
        sums[:, FIELD["log_second"]] = sums[:, FIELD["log_first"]]


def _sum_boxes(sums: npt.NDArray[np.int64], ends: Ends, box: Box, plan: Plan, *, add: bool) -> None:
    """Write the sums of powers and inverses over the pairs of a direction, or add them."""
    groups = [boxes.COUNTS, boxes.DIFFERENCES, boxes.TOTALS]
    groups += [boxes.POWERS] if "powers" in plan.needs else []
    # In a symmetric matrix these are 0.
    groups += [] if plan.symmetric else [boxes.SIGNED]
    for group in groups:
        boxes.pair_of_sums(group)(sums, 2 * group, *ends, box.rows, box.columns, plan.symmetric, add)
    if plan.symmetric and not add:
        sums[:, FIELD["signed"] : FIELD["signed_total"] + 1] = 0
    if "inverse" in plan.needs:
        sum_tables = boxes.sums_by_difference()
        sum_tables(sums, INVERSES, *ends, box.rows, box.columns, plan.inverses, add)
