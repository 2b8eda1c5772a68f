"""Resampling as IBSI has it: the centred grid, splines, masks with a threshold of 0.5, whole numbers."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from helpers.commands import assert_refused, radsynth
from scipy import ndimage

from pipelines.images.preprocessing import Preprocessing, preprocess, preprocess_with_mask
from pipelines.images.reading import read_image
from pipelines.images.resampling import LINEAR, CornerGrid, labels_on_grid
from pipelines.images.volume import Volume
from pipelines.images.writing import write_volume

IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
SPLINE = "sitkBSpline"


def volume_of(array, spacing):
    return Volume(np.asarray(array), spacing, (10.0, -20.0, 30.0), IDENTITY)


def test_a_row_worked_by_hand():
    """Four voxels of 3 mm become six of 2 mm, whose centres lie at -0.5, 1.5, ... 9.5 mm (IBSI, QCY4)."""
    volume = volume_of([[[0, 30, 60, 90]]], (3.0, 1.0, 1.0))
    mask = np.array([[[False, True, True, False]]])
    steps = Preprocessing(spacing_mm=(2, 0, 0), mask_interpolator=LINEAR)
    image, moved = preprocess_with_mask(volume, mask, steps)
    np.testing.assert_allclose(image.array[0, 0], [0, 15, 35, 55, 75, 90], rtol=1e-6)
    assert (image.spacing_mm, image.origin_mm) == ((2.0, 1.0, 1.0), (9.5, -20.0, 30.0))
    np.testing.assert_array_equal(moved[0, 0], [False, True, True, True, True, False])  # both ends: 0.5


@pytest.mark.parametrize(("interpolator", "order", "mode"), [(LINEAR, 1, "nearest"), (SPLINE, 3, "mirror")])
@pytest.mark.parametrize("spacing_mm", [(2.0, 2.0, 2.0), (0.5, 2.0, 0)])
def test_intensities_are_those_of_scipy(rng, interpolator, order, mode, spacing_mm):
    old = (0.9, 1.1, 2.7)
    array = rng.normal(0, 300, (7, 11, 12))
    steps = Preprocessing(spacing_mm=spacing_mm, interpolator=interpolator)
    found = preprocess(volume_of(array, old), steps).array
    expected = ndimage.map_coordinates(array, places(array.shape, old, spacing_mm), order=order, mode=mode)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=1e-9 * 300)
    rounded = preprocess(volume_of(array, old), replace(steps, rounded=True)).array
    np.testing.assert_array_equal(rounded, np.round(expected))


def places(shape, old, new):
    """Return where the centres of IBSI's grid lie, in voxels of the old grid."""
    axes = []
    for size, step, wanted in zip(shape, old[::-1], new[::-1], strict=True):
        ratio = (wanted or step) / step
        count = int(np.ceil(size / ratio - 1e-9))
        axes.append((size - 1 - ratio * (count - 1)) / 2 + ratio * np.arange(count))
    return np.meshgrid(*axes, indexing="ij")


def test_a_box_has_the_voxels_that_geometry_gives_it():
    """Each voxel is divided into 27. A face keeps its place, edges (4/9 inside) and corners (8/27) do not."""
    inside = np.zeros((7, 8, 9), bool)
    inside[1:5, 2:6, 3:7] = True
    volume = volume_of(inside.astype(np.float32), (3.0, 3.0, 3.0))
    steps = Preprocessing(spacing_mm=(1, 1, 1), mask_interpolator=LINEAR)
    _, moved = preprocess_with_mask(volume, inside, steps)
    assert moved.sum() == 12**3 - 12 * (12 - 2) - 8
    _, nearest = preprocess_with_mask(volume, inside, replace(steps, mask_interpolator=None))
    assert nearest.sum() == 12**3


def test_a_ball_keeps_its_volume():
    z, y, x = np.indices((20, 60, 60), dtype=float)
    ball = ((z - 9.5) * 3) ** 2 + ((y - 29) * 0.9) ** 2 + ((x - 30) * 0.9) ** 2 < 20**2
    volume = volume_of(ball.astype(np.uint8), (0.9, 0.9, 3.0))
    steps = Preprocessing(spacing_mm=(2, 2, 2), mask_interpolator=LINEAR)
    _, moved = preprocess_with_mask(volume, ball, steps)
    assert 8 * moved.sum() == pytest.approx(4 / 3 * np.pi * 20**3, rel=0.02)


def test_each_label_is_interpolated_by_itself():
    labels = np.array([[[0, 1, 1, 2, 2, 2, 0]]], np.uint8)
    before = volume_of(labels, (2.0, 1.0, 1.0))
    after = volume_of(np.zeros((1, 1, 14)), (1.0, 1.0, 1.0))
    after = replace(after, origin_mm=(9.5, -20.0, 30.0))
    moved = labels_on_grid(labels, before, after, LINEAR)
    np.testing.assert_array_equal(moved[0, 0], [0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 0, 0])
    halves = replace(after, array=np.zeros((1, 1, 2)), origin_mm=(15.0, -20.0, 30.0))
    assert labels_on_grid(labels, before, halves, LINEAR)[0, 0, 0] == 1  # of 1 and 2, the lower


def test_a_mask_of_which_no_voxel_is_left_is_refused():
    mask = np.zeros((1, 1, 9), bool)
    mask[0, 0, 4] = True
    steps = Preprocessing(spacing_mm=(6, 0, 0), mask_interpolator=LINEAR)
    with pytest.raises(ValueError, match="no voxel of the resampled grid lies in the mask by half or more"):
        preprocess_with_mask(volume_of(mask.astype(float), (1.0, 1.0, 1.0)), mask, steps)


def test_interpolators_replace_those_of_a_parameter_file():
    corner = Preprocessing(grid=CornerGrid(spacing_mm=(1, 1, 1)))
    found = Preprocessing(interpolator=LINEAR, mask_interpolator=LINEAR).over(corner)
    assert found.grid == CornerGrid(spacing_mm=(1, 1, 1), interpolator=LINEAR, mask_interpolator=LINEAR)
    assert (found.interpolator, found.mask_interpolator) == (None, None)
    centred = Preprocessing(spacing_mm=(1, 1, 1), interpolator=SPLINE, rounded=True)
    assert Preprocessing(interpolator=LINEAR).over(centred) == replace(centred, interpolator=LINEAR)


def test_options_of_resampling(rng, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    volume = volume_of(rng.normal(0, 50, (4, 9, 9)).astype(np.float32), (1.0, 1.0, 2.0))
    inside = np.zeros(volume.array.shape, np.uint8)
    inside[1:3, 2:7, 3:6] = 1
    write_volume(volume, tmp_path / "i.nii")
    write_volume(replace(volume, array=inside), tmp_path / "m.nii")
    options = ("--interpolator", "spline", "--mask-interpolator", "linear", "--round")
    given = ("map", "i.nii", "--mask", "m.nii", "-o", "f.nrrd", *options)
    assert_refused(radsynth(*given), "--interpolator needs --resample X,Y,Z, got none")
    result = radsynth(*given, "--resample", "0.7", "--backend", "cpu", "--feature", "firstorder_Maximum")
    assert result.exit_code == 0, result.output
    steps = Preprocessing(spacing_mm=(0.7,) * 3, interpolator=SPLINE, mask_interpolator=LINEAR, rounded=True)
    image, mask = preprocess_with_mask(volume, inside == 1, steps)
    found = read_image(tmp_path / "f.nrrd").array
    np.testing.assert_array_equal(np.isnan(found), ~mask)
    assert np.nanmax(found) == image.array[mask].max()
    record = json.loads((tmp_path / "f.nrrd.json").read_text())
    assert record["preprocessing"] == {
        "resample": {"spacing_mm": [0.7] * 3, "interpolation": "spline", "mask_interpolation": "linear"},
        "round": True,
    }


def test_labels_of_cohorts_are_interpolated_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    labels = np.zeros((3, 6, 6), np.uint8)
    labels[1, 1:3, 2:4], labels[1, 3:5, 2:4] = 1, 2
    write_volume(volume_of(np.arange(108.0).reshape(3, 6, 6), (1.0, 1.0, 2.0)), tmp_path / "i.nii.gz")
    write_volume(volume_of(labels, (1.0, 1.0, 2.0)), tmp_path / "l.nii.gz")
    (tmp_path / "c.csv").write_text("patient,group,image,labels,tissues\np,a,i.nii.gz,l.nii.gz,\n")
    options = ("--interpolator", "spline", "--mask-interpolator", "linear")
    given = ("cohort", "preprocess", "c.csv", "-o", "out", *options)
    assert_refused(radsynth(*given), "--interpolator needs --resample")
    result = radsynth(*given, "--resample", "0.5,0.5,0")
    assert result.exit_code == 0, result.output
    found = read_image(tmp_path / "out" / "p_labels.nii.gz")
    before = volume_of(labels, (1.0, 1.0, 2.0))
    np.testing.assert_array_equal(found.array, labels_on_grid(labels, before, found, LINEAR))
    assert (found.array == 1).sum() == (found.array == 2).sum() == 16  # corners hold 9/16
