"""Preprocessing: off by default, each step against its formula, recorded in the order it was taken."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK
from helpers.commands import radsynth
from scipy import ndimage

from pipelines.cohorts.cohort import read_cohort
from pipelines.images.intensity_standard import (
    PERCENTILES,
    learn_standard,
    read_standard,
    write_standard,
)
from pipelines.images.masks import read_labels
from pipelines.images.preprocessing import Preprocessing, preprocess, preprocess_with_mask
from pipelines.images.reading import read_image
from pipelines.images.resampling import CornerGrid
from pipelines.images.volume import Volume
from pipelines.images.writing import write_volume

IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


def volume_of(array, spacing=(1.0, 1.0, 2.0), origin=(10.0, 20.0, 30.0)) -> Volume:
    return Volume(np.asarray(array), spacing, origin, IDENTITY)


@pytest.fixture
def volume(rng):
    return volume_of(rng.gamma(3, 40, (4, 12, 10)).astype(np.int16))


def test_nothing_is_done_by_default(volume):
    assert preprocess(volume, Preprocessing()) is volume
    assert Preprocessing().to_dict() == {}


def test_z_score_and_clipping(volume):
    values = volume.array.astype(float)
    mean, deviation = values.mean(), values.std(ddof=1)
    found = preprocess(volume, Preprocessing(normalize="zscore")).array
    np.testing.assert_allclose(found, (values - mean) / deviation, atol=1e-5)
    itk = SimpleITK.Normalize(SimpleITK.GetImageFromArray(values))  # what pyradiomics calls
    np.testing.assert_allclose(found, SimpleITK.GetArrayFromImage(itk), atol=1e-5)
    clipped = preprocess(volume, Preprocessing(outliers=1.5)).array
    np.testing.assert_allclose(
        clipped, np.clip(values, mean - 1.5 * deviation, mean + 1.5 * deviation), rtol=1e-5
    )
    both = preprocess(volume, Preprocessing(normalize="zscore", outliers=1.5)).array
    np.testing.assert_allclose(both, np.clip((values - mean) / deviation, -1.5, 1.5), atol=1e-5)


def test_a_phase_is_subtracted(volume, tmp_path):
    other = volume_of(volume.array // 3)
    write_volume(other, tmp_path / "pre.nii.gz")
    found = preprocess(volume, Preprocessing(subtract=tmp_path / "pre.nii.gz"))
    np.testing.assert_array_equal(found.array, volume.array - volume.array // 3)
    shifted = volume_of(volume.array, origin=(11.0, 20.0, 30.0))
    write_volume(shifted, tmp_path / "far.nii.gz")
    with pytest.raises(ValueError, match=r"far\.nii\.gz must lie on the image's grid, got origin"):
        preprocess(volume, Preprocessing(subtract=tmp_path / "far.nii.gz"))


def test_resampling_keeps_places_and_the_centre():
    z, y, x = np.indices((5, 8, 9), dtype=float)
    volume = volume_of(10 + x + 10 * y + 100 * 2 * z)  # linear in mm, since slices are 2 mm apart
    found = preprocess(volume, Preprocessing(spacing_mm=(0.5, 0, 1.0)))
    assert found.array.shape == (10, 8, 18)
    assert found.spacing_mm == (0.5, 1.0, 1.0)
    assert found.origin_mm == (9.75, 20.0, 29.5)
    z, y, x = np.indices(found.array.shape, dtype=float)
    expected = 10 + (x / 2 - 0.25) + 10 * y + 100 * (z - 0.5)
    np.testing.assert_allclose(found.array[1:-1, :, 1:-1], expected[1:-1, :, 1:-1], rtol=1e-5)
    centres = [
        np.array(v.origin_mm) + (np.array(v.array.shape[::-1]) - 1) / 2 * v.spacing_mm
        for v in (volume, found)
    ]
    np.testing.assert_allclose(*centres)


def test_a_mask_goes_along_by_the_nearest_voxel():
    volume = volume_of(np.arange(4 * 6 * 6, dtype=float).reshape(4, 6, 6))
    mask = np.zeros((4, 6, 6), bool)
    mask[1, 2:4, 1:3] = True
    _, moved = preprocess_with_mask(volume, mask, Preprocessing(spacing_mm=(0.5, 0.5, 0)))
    np.testing.assert_array_equal(moved, np.kron(mask, np.ones((1, 2, 2), bool)))
    _, same = preprocess_with_mask(volume, mask, Preprocessing(normalize="zscore"))
    np.testing.assert_array_equal(same, mask)


def test_a_grid_around_a_mask_needs_one(volume):
    with pytest.raises(ValueError, match="needs a mask, got none"):
        preprocess(volume, Preprocessing(grid=CornerGrid(spacing_mm=(1, 1, 1))))


def test_n4_flattens_a_smooth_bias(rng):
    _, y, x = np.indices((6, 64, 64), dtype=float)
    tissue = np.where((x - 32) ** 2 + (y - 32) ** 2 < 100, 200.0, 100.0)
    tissue[(x - 32) ** 2 + (y - 32) ** 2 > 28**2] = 0
    bias = np.exp(0.4 * np.sin(x / 40) - 0.3 * np.cos(y / 50))
    noisy = ndimage.gaussian_filter(rng.normal(0, 2, tissue.shape), 1) * (tissue > 0)
    volume = volume_of((tissue * bias + noisy).clip(0))
    found = preprocess(volume, Preprocessing(n4=True)).array
    for value in (100, 200):
        inside = tissue == value
        before, after = (array[inside].std() / array[inside].mean() for array in (volume.array, found))
        assert after < 0.4 * before
    again = preprocess(volume, Preprocessing(n4=True)).array
    np.testing.assert_allclose(found, again, rtol=1e-4)


def test_a_standard_maps_landmarks_to_their_means(rng, tmp_path):
    one, two = (volume_of(rng.gamma(3, scale, (6, 30, 30))) for scale in (40, 55))
    standard = learn_standard([one, two])
    write_standard(standard, tmp_path / "s.json")
    landmarks = read_standard(tmp_path / "s.json")
    assert (landmarks[0], landmarks[-1]) == pytest.approx((0, 100))

    def percentiles(array):
        return np.percentile(array[array > array.mean()], PERCENTILES)

    own = [percentiles(v.array) for v in (one, two)]
    scaled = [100 * (p - p[0]) / (p[-1] - p[0]) for p in own]
    np.testing.assert_allclose(landmarks, np.mean(scaled, axis=0))
    mapped = preprocess(one, Preprocessing(standardize=tmp_path / "s.json")).array
    for value, expected in zip(own[0], landmarks, strict=True):
        nearest = np.abs(one.array - value).argmin()
        slope = 100 / (own[0][-1] - own[0][0])
        assert mapped.flat[nearest] == pytest.approx(
            expected, abs=3 * slope * abs(one.array.flat[nearest] - value) + 1e-4
        )
    order = np.argsort(one.array, axis=None)
    assert (np.diff(mapped.flat[order]) >= 0).all(), "what is beyond the landmarks goes on rising"
    assert mapped.max() > 100
    assert mapped.min() < 0


def test_steps_are_recorded_in_their_order(tmp_path, volume):
    write_volume(volume, tmp_path / "pre.nii")
    write_standard(
        learn_standard([volume_of(np.random.default_rng(1).gamma(3, 40, (6, 30, 30)))]), tmp_path / "s.json"
    )
    steps = Preprocessing(
        outliers=3, normalize="zscore", standardize=tmp_path / "s.json", spacing_mm=(1, 1, 0), n4=True,
        subtract=tmp_path / "pre.nii",
    )  # fmt: skip
    record = steps.to_dict()["preprocessing"]
    assert list(record) == ["subtract", "n4", "resample", "standardize", "normalize", "clip_outliers"]
    assert record["subtract"]["image"] == "pre.nii"
    assert len(record["standardize"]["standard_sha256"]) == 64
    assert record["resample"] == {"spacing_mm": [1, 1, 0], "interpolation": "linear"}


@pytest.mark.parametrize(
    ("array", "steps", "message"),
    [
        (
            np.full((3, 8, 8), 5.0),
            {"normalize": "zscore"},
            "--normalize zscore needs more than one intensity, got only 5",
        ),
        (np.full((3, 8, 8), 5.0), {"outliers": 2.0}, "--clip-outliers needs more than one intensity"),
        (
            np.arange(-5, 187.0).reshape(3, 8, 8),
            {"n4": True},
            "--n4 needs intensities of 0 or more, .* got -5",
        ),
        (np.ones((3, 8, 8)), {"spacing_mm": (1, 1, 50)}, "is larger than the image, which is"),
        (
            np.ones((3, 8, 8)),
            {"spacing_mm": (1e-4, 1e-4, 0)},
            r"makes 80000x80000x3 voxels of this image; give a",
        ),
    ],
)
def test_images_that_a_step_cannot_take(array, steps, message):
    with pytest.raises(ValueError, match=message):
        preprocess(volume_of(array), Preprocessing(**steps))


@pytest.mark.parametrize(
    ("dtype", "kept"), [(np.int16, np.float32), (np.float32, np.float32), (np.float64, np.float64)]
)
def test_digits_of_an_image_are_kept(volume, dtype, kept):
    array = volume.array.astype(dtype)
    for steps in (Preprocessing(outliers=3.0), Preprocessing(n4=True), Preprocessing(spacing_mm=(2, 2, 0))):
        assert preprocess(replace(volume, array=array), steps).array.dtype == kept
    assert (
        preprocess(replace(volume, array=array), Preprocessing(normalize="zscore")).array.dtype == np.float64
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--resample", "1,2"), "--resample must be one spacing in mm, or three separated by commas"),
        (("--resample", "-1"), "--resample must be spacings in mm of 0"),
        (("--normalize", "minmax"), "--normalize must be one of"),
        (("--clip-outliers", "0"), "--clip-outliers must be above 0, got 0"),
        (("--standardize", "i.nii"), "must be an intensity standard from `radsynth cohort standard`"),
    ],
)
def test_bad_options_are_one_line(volume, tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    write_volume(volume, tmp_path / "i.nii")
    result = radsynth("map", "i.nii", "-o", "m.nii", *options)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "m.nii").exists()


def test_a_map_is_of_the_preprocessed_image_and_says_so(volume, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_volume(volume, tmp_path / "i.nii")
    mask = SimpleITK.GetImageFromArray((volume.array > 100).astype(np.uint8))
    mask.SetSpacing(volume.spacing_mm)
    mask.SetOrigin(volume.origin_mm)
    SimpleITK.WriteImage(mask, "mask.nii")
    steps = ("--resample", "0.5,0.5,0", "--normalize", "zscore")
    assert radsynth("map", "i.nii", "-o", "m.nii", *steps).exit_code == 0
    after = preprocess(volume, Preprocessing(spacing_mm=(0.5, 0.5, 0), normalize="zscore"))
    write_volume(after, tmp_path / "after.nii")
    assert radsynth("map", "after.nii", "-o", "expected.nii").exit_code == 0
    np.testing.assert_array_equal(read_image("m.nii").array, read_image("expected.nii").array)
    record = json.loads((tmp_path / "m.nii.json").read_text())
    assert list(record["preprocessing"]) == ["resample", "normalize"]
    assert radsynth("roi", "i.nii", "--mask", "mask.nii", "-o", "f.csv", *steps).exit_code == 0


def test_an_image_that_is_subtracted_is_not_overwritten(volume, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("post.nii", "pre.nii"):
        write_volume(volume, tmp_path / name)
    result = radsynth("map", "post.nii", "-o", "pre.nii", "--subtract", "pre.nii", "--force")
    assert result.exit_code == 2
    assert "pre.nii is an input and must not be overwritten" in result.stderr


def test_a_standard_of_a_cohort(rng, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = ["patient,group,image,labels,tissues"]
    volumes = [volume_of(rng.gamma(3, scale, (6, 30, 30))) for scale in (40, 55)]
    for number, volume in enumerate(volumes):
        write_volume(volume, tmp_path / f"{number}.nii.gz")
        rows.append(f"p{number},a,{number}.nii.gz,")
    (tmp_path / "c.csv").write_text("\n".join(rows) + "\n")
    assert radsynth("cohort", "standard", "c.csv", "-o", "s.json").exit_code == 0
    np.testing.assert_allclose(read_standard(tmp_path / "s.json"), learn_standard(volumes)["landmarks"])
    assert radsynth("cohort", "standard", "c.csv", "-o", "s.json").exit_code == 2
    assert radsynth("map", "0.nii.gz", "-o", "m.nii", "--standardize", "s.json").exit_code == 0


def test_a_cohort_is_preprocessed_and_continues(rng, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = ["patient,group,image,labels,tissues"]
    volumes = [volume_of(rng.gamma(3, 40, (4, 20, 20))) for _ in range(3)]
    for number, volume in enumerate(volumes):
        write_volume(volume, tmp_path / f"{number}.nii.gz")
        labels = replace(volume, array=np.digitize(volume.array, (60, 150)).astype(np.uint8))
        write_volume(labels, tmp_path / f"{number}_l.nii.gz")
        rows.append(f"p{number},a,{number}.nii.gz,{number}_l.nii.gz,1=fat")
    (tmp_path / "c.csv").write_text("\n".join(rows) + "\n")
    whole = (tmp_path / "1.nii.gz").read_bytes()
    (tmp_path / "1.nii.gz").write_bytes(whole[:-50])
    steps = ("--resample", "0.5,0.5,0", "--normalize", "zscore")
    failed = radsynth("cohort", "preprocess", "c.csv", "-o", "out", *steps)
    assert failed.exit_code == 3
    assert "patient p1: " in failed.stderr
    assert "the other 2 are done and kept" in failed.stderr
    before = (tmp_path / "out" / "p0.nii.gz").stat().st_mtime_ns
    (tmp_path / "1.nii.gz").write_bytes(whole)
    result = radsynth("cohort", "preprocess", "c.csv", "-o", "out", *steps)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "out" / "p0.nii.gz").stat().st_mtime_ns == before
    cases = read_cohort(tmp_path / "out" / "cohort.csv")
    assert [(case.patient, case.group) for case in cases] == [("p0", "a"), ("p1", "a"), ("p2", "a")]
    assert [case.tissues for case in cases] == [{1: "fat"}] * 3
    for case, volume in zip(cases, volumes, strict=True):
        found = read_image(case.image)
        expected = preprocess(volume, Preprocessing(spacing_mm=(0.5, 0.5, 0), normalize="zscore"))
        np.testing.assert_allclose(found.array, expected.array, atol=1e-4)
        labels = np.kron(np.digitize(volume.array, (60, 150)), np.ones((1, 2, 2)))
        np.testing.assert_array_equal(read_labels(case.labels, found), labels)
    record = json.loads((tmp_path / "out" / "p0.nii.gz.json").read_text())
    assert list(record["preprocessing"]) == ["resample", "normalize"]
    for options, message in (
        ((), "give at least one step"),
        (("--subtract", "0.nii.gz"), "works on a single image"),
    ):
        refused = radsynth("cohort", "preprocess", "c.csv", "-o", "out", *options)
        assert refused.exit_code == 2
        assert message in refused.stderr


def test_real_phases_are_subtracted(data_dir):
    folder = data_dir / "breast_ucsf"
    post, pre = (read_image(folder / f"UCSF-BR-06_{name}.nii.gz") for name in ("post1", "pre"))
    found = preprocess(post, Preprocessing(subtract=folder / "UCSF-BR-06_pre.nii.gz"))
    np.testing.assert_array_equal(found.array, post.array.astype(float) - pre.array)
    assert found.origin_mm == post.origin_mm


def test_a_standard_that_is_nested_deeply_is_refused(tmp_path):
    (tmp_path / "s.json").write_text("[" * 100_000)
    with pytest.raises(ValueError, match=r"s\.json must be an intensity standard"):
        read_standard(tmp_path / "s.json")
