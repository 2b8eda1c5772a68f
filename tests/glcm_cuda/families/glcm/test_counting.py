"""Three ways to count codes of pairs give the same sums: by name, by histograms, by tallies."""

from __future__ import annotations

import numpy as np
import pytest

from glcm_cuda import GLCMSettings
from glcm_cuda.families.glcm.cpu import boxes, histograms, named, sliding
from glcm_cuda.families.glcm.cpu.kinds import Counted
from glcm_cuda.families.glcm.cpu.pairs import Band, Scratch, box_of, ends_in
from glcm_cuda.families.glcm.cpu.plan import FIELD
from glcm_cuda.families.glcm.cpu.tally import DIFFERENCE, ENDS, FIRST, JOINT, SECOND, TOTAL
from glcm_cuda.families.glcm.scales import logs_of_ends, most_pairs, scale_of
from glcm_cuda.families.offsets import directions, radii_within

LEVELS = 12


def sums_by(way, counted, levels, settings, offset):
    """Return the sums of a band in one direction, and the field and the weights that were counted."""
    radii = radii_within(settings, levels.shape)
    scale, edges, box = scale_of(settings, most_pairs(settings)), tuple(radii.tolist()), box_of(offset, radii)
    logs = logs_of_ends(most_pairs(settings), scale)
    band = Band(levels, 1, 2, levels.shape[1] - 3, Scratch())
    sums = np.zeros((band.rows, len(FIELD), levels.shape[2]), np.int64)
    ends = ends_in(band, offset, box, edges)
    boxes.pair_of_sums(boxes.COUNTS)(sums, 0, *ends, box.rows, box.columns, settings.symmetric, False)
    if way == "named":
        count = named.counter(counted, box, [box], LEVELS, scale)
    elif way == "histograms":
        count = histograms.counter(counted, box, LEVELS, scale)
    else:
        count = sliding.counter(counted, edges, LEVELS, scale, logs)
    count(sums, ends, offset[np.newaxis], band)
    # A window without pairs has no sums.
    return np.where(sums[:, :1] > 0, sums, 0)


CASES = [
    ("named", Counted(JOINT, FIELD["log_joint"], weights=True), True),
    ("histograms", Counted(JOINT, FIELD["log_joint"], weights=True), True),
    ("histograms", Counted(ENDS, FIELD["log_first"]), True),
    ("named", Counted(TOTAL, FIELD["log_total"]), True),
    ("histograms", Counted(TOTAL, FIELD["log_total"]), True),
    ("histograms", Counted(DIFFERENCE, FIELD["log_difference"]), True),
    ("named", Counted(DIFFERENCE, FIELD["log_difference"]), False),
    ("histograms", Counted(JOINT, None, weights=True), False),
    ("named", Counted(JOINT, None, weights=True), False),
    ("histograms", Counted(FIRST, FIELD["log_first"]), False),
    ("named", Counted(SECOND, FIELD["log_second"]), False),
    ("histograms", Counted(SECOND, FIELD["log_second"]), False),
]
QUICK = 1


@pytest.mark.parametrize(
    ("way", "counted", "symmetric"),
    [pytest.param(*case, marks=[pytest.mark.slow] * (place >= QUICK)) for place, case in enumerate(CASES)],
)
def test_a_way_has_the_sums_of_the_tally(rng, way, counted, symmetric):
    settings = GLCMSettings(dimensions=3, window=3, levels=LEVELS, symmetric=symmetric)
    for shape in ((3, 7, 150), (2, 5, 1)):
        levels = rng.integers(0, LEVELS, shape).astype(np.int16)
        levels[..., 30:60] %= 2  # some windows of few levels
        levels[rng.random(shape) < 0.1] = -1
        for offset in directions(settings)[[0, 4, 12]]:
            found = sums_by(way, counted, levels, settings, offset)
            np.testing.assert_array_equal(found, sums_by("sliding", counted, levels, settings, offset))
            assert found.any() or shape[2] == 1


def test_what_fits():
    small, large = (
        box_of(np.array([0, 0, 1]), np.array([1, 1, 1])),
        box_of(np.array([0, 0, 1]), np.array([2] * 3)),
    )
    assert named.fits(small, JOINT, 255)
    assert not named.fits(small, JOINT, 256)  # no codes are left for non-pairs
    assert named.fits(small, TOTAL, 1000)
    assert not named.fits(small, ENDS, 8)  # twice as many ends as pairs
    assert not named.fits(large, JOINT, 8)
    assert histograms.fits(large, ENDS, 512, symmetric=True)
    assert not histograms.fits(large, TOTAL, 512, symmetric=True)
    assert histograms.fits(large, JOINT, 14, symmetric=True)
    assert not histograms.fits(large, JOINT, 14, symmetric=False)
    assert box_of(np.array([0, 0, 5]), np.array([2, 2, 2])) is None
