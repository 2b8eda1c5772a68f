"""Four matrices at once on the CPU: the values of one after another, and LAPACK's."""

from __future__ import annotations

import numpy as np
import pytest

from glcm_cuda import GLCMSettings, feature_maps
from glcm_cuda.families.glcm.cpu import mcc_lanes, stages
from glcm_cuda.families.glcm.cpu.four import FOUR

CLOSE = 2**-26
"""Each value is within 2**-28 of the exact one."""


def matrices(rng, size):
    """Four symmetric matrices; the largest eigenvalue of all but the first has a close or equal neighbour."""
    for gap in (None, 0.0, 1e-9, 1e-5):
        root = rng.normal(size=(size, size))
        values, vectors = np.linalg.eigh(root + root.T)
        values /= np.abs(values).max()
        if gap is not None:
            values[-1], values[0] = 0.9, -0.9 + gap
        yield (vectors * values) @ vectors.T


def test_eigenvalues_of_four_matrices(rng):
    numbers = mcc_lanes.none_waiting(1).numbers
    for size in (*range(2, 20), 33, 64):
        four = np.stack([*matrices(rng, size)], axis=-1)
        at = mcc_lanes.places_of(0, size)
        numbers[: at.diagonal] = four.ravel()
        mcc_lanes.tridiagonalise(numbers, at, size)
        mcc_lanes.find_largest_sizes(numbers, at, size)
        expected = np.abs(np.linalg.eigvalsh(np.moveaxis(four, -1, 0))).max(axis=1)
        np.testing.assert_allclose(numbers[at.x : at.x + FOUR], expected, rtol=CLOSE)


def test_small_values_and_none(rng):
    """Lanes stop by themselves: at 0, at a value far below 1, at once where x is the root."""
    numbers, at = mcc_lanes.none_waiting(1).numbers, mcc_lanes.places_of(0, 3)
    four = np.zeros((3, 3, FOUR))
    four[0, 0] = 0.0, 1e-7, 1.0, 1e-14
    four[1, 2, 1] = four[2, 1, 1] = 3e-8
    numbers[: at.diagonal] = four.ravel()
    mcc_lanes.tridiagonalise(numbers, at, 3)
    mcc_lanes.find_largest_sizes(numbers, at, 3)
    np.testing.assert_allclose(numbers[at.x : at.x + FOUR], [0.0, 1e-7, 1.0, 0.0], rtol=CLOSE)


@pytest.mark.parametrize(
    "fields",
    [
        {"symmetric": True},
        {"symmetric": False},
        {"symmetric": False, "aggregate": "merge", "distance": 2},
        {"symmetric": True, "dimensions": 3},  # up to 125 levels in a window
    ],
    ids=str,
)
def test_maps_are_those_of_one_matrix_after_another(rng, monkeypatch, fields):
    image = rng.integers(0, 200, (2, 9, 24))
    image[0, :, :12] //= 16  # fewer levels than a window has voxels
    image[1, :, :8] //= 100
    mask = rng.random(image.shape) < 0.9
    chosen = GLCMSettings(levels=200, intensity_range=(0, 200), **fields)
    maps = []
    for count_rows in (mcc_lanes.count_in_lanes, mcc_lanes.count_one_by_one):
        monkeypatch.setattr(stages.MCCStage, "count_rows", staticmethod(count_rows))
        maps.append(feature_maps(image, "mcc", chosen, mask=mask, backend="cpu")["mcc"])
    assert len(np.unique(maps[0])) > 20
    np.testing.assert_allclose(*maps, rtol=2**-22)  # a float32 may be rounded the other way
