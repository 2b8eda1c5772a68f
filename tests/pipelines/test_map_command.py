"""``radsynth map``: wiring, one real run per kind of input, and every bad input in one line."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import time
import weakref
import zipfile
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from helpers.commands import assert_refused, radsynth

from glcm_cuda import GLCMSettings, entropy_map, feature_maps
from glcm_cuda.engines import choice
from pipelines.images.provenance import sha256_of
from pipelines.images.reading import read_image
from pipelines.images.volume import Volume
from pipelines.images.writing import write_volume
from pipelines.maps import exact

DIRECTION = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0, -1.0, 0.0, 0.0)


@pytest.fixture
def volume(rng):
    array = rng.integers(0, 200, (3, 12, 10)).astype(np.int16)
    return Volume(array, (0.7, 0.8, 3.0), (5.0, -6.0, 7.5), DIRECTION)


@pytest.fixture
def image(tmp_path, volume):
    path = tmp_path / "image.nii.gz"
    write_volume(volume, path)
    return path


run = partial(radsynth, "map")


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
def test_a_map_lies_on_the_grid_of_its_image(tmp_path, image, volume, suffix):
    output = tmp_path / "made" / f"map{suffix}"
    result = run(image, "-o", output, "--backend", "cpu")
    assert result.exit_code == 0, result.output
    path, summary = result.stdout.splitlines()
    assert path == str(output)
    low, high = volume.array.min(), volume.array.max()
    assert summary.startswith(f"3x12x10 voxels, range {low} to {high}, 64 levels, ")
    assert summary.endswith(" s on cpu")
    found = read_image(output)
    np.testing.assert_array_equal(found.array, entropy_map(volume.array, backend="cpu"))
    for field in ("spacing_mm", "origin_mm", "direction"):
        np.testing.assert_allclose(getattr(found, field), getattr(volume, field), atol=1e-6)


def test_settings_mask_and_preview(tmp_path, image, volume):
    labels = np.zeros(volume.array.shape, np.uint8)
    labels[:, 2:9, 3:9] = 2
    labels[0, 0, 0] = 1
    write_volume(replace(volume, array=labels), tmp_path / "mask.nrrd")
    result = run(
        image, "-o", tmp_path / "map.mha", "--mask", tmp_path / "mask.nrrd", "--mask-label", 2,
        "--levels", 16, "--window", 3, "--aggregate", "merge", "--log-base", "e", "--range-over", "mask",
        "--backend", "cpu", "--preview", tmp_path / "preview.png",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    settings = GLCMSettings(levels=16, window=3, aggregate="merge", log_base="e", range_over="mask")
    expected = entropy_map(volume.array, settings, mask=labels == 2, backend="cpu")
    np.testing.assert_array_equal(read_image(tmp_path / "map.mha").array, expected)
    assert np.isnan(expected[0, 0, 0])
    assert (tmp_path / "preview.png").read_bytes().startswith(b"\x89PNG")
    record = json.loads((tmp_path / "map.mha.json").read_text())
    inside = volume.array[labels == 2]
    assert record["source_sha256"] == sha256_of(image)
    assert GLCMSettings.from_dict(record["settings"]) == settings
    assert record["intensity_range"] == [inside.min(), inside.max()]
    assert (record["unit"], record["backend"]) == ("nats", "cpu")
    assert (record["mask"], record["mask_label"]) == ("mask.nrrd", 2)
    assert record["mask_sha256"] == sha256_of(tmp_path / "mask.nrrd")


def test_auto_says_in_the_log_what_it_took(tmp_path, image):
    result = run(image, "-o", tmp_path / "map.nii")
    assert result.exit_code == 0, result.output
    assert "backend auto chose c" in result.stderr
    record = json.loads((tmp_path / "map.nii.json").read_text())
    assert f"backend auto chose {record['backend']}" in result.stderr


def test_2d_images(tmp_path, rng):
    flat = Volume(rng.random((20, 30)), (0.5, 0.5), (0.0, 0.0), (1.0, 0.0, 0.0, 1.0))
    write_volume(flat, tmp_path / "flat.nrrd")
    result = run(tmp_path / "flat.nrrd", "-o", tmp_path / "map.nii", "--backend", "cpu")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[1].startswith("20x30 voxels")
    np.testing.assert_array_equal(
        read_image(tmp_path / "map.nii").array, entropy_map(flat.array, backend="cpu")
    )


@pytest.mark.parametrize("kept", ["map.nii", "map.nii.json", "preview.png"])
def test_existing_outputs_are_refused_before_anything_is_read(tmp_path, kept):
    (tmp_path / kept).write_text("old")
    arguments = ("missing.nii", "-o", tmp_path / "map.nii", "--preview", tmp_path / "preview.png")
    assert_refused(run(*arguments), f"{kept} exists; give --force")
    assert (tmp_path / kept).read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == [kept]


def test_force_replaces(tmp_path, image):
    for name in ("map.nii", "map.nii.json", "preview.png"):
        (tmp_path / name).write_text("old")
    result = run(image, "-o", tmp_path / "map.nii", "--preview", tmp_path / "preview.png", "--force")
    assert result.exit_code == 0, result.output
    assert read_image(tmp_path / "map.nii").array.shape == (3, 12, 10)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--levels", 1), "levels must be from 2 to 65536, got 1"),
        (("--window", 4), "window must be odd, got 4"),
        (("--distance", 5), "distance must be from 1 to 4, got 5"),
        (("--mask", "missing.nii"), "mask missing.nii does not exist"),
        (("--mask-label", 2), "--mask-label needs --mask FILE"),
        (("--mask", "m.nii", "--mask-label", 0), "--mask-label must be 1 or more, got 0"),
        (("--range-over", "mask"), "--range-over mask needs --mask FILE"),
        (("--preset", "ibsi"), "--range-over mask needs --mask FILE"),
        (("--range-over", "crop"), "--range-over crop needs --mask FILE"),
        (("--crop",), "--crop needs --mask FILE"),
        (("--unmasked-window",), "--unmasked-window needs --mask FILE"),
        (("--params", "missing.yaml"), "--params needs --mask FILE, as in pyradiomics"),
        (("--params", "missing.yaml", "--mask", "m.nii"), "parameter file missing.yaml does not exist"),
        (
            ("--feature", "contrsat"),
            "no feature 'contrsat' (did you mean 'contrast'?); give all, or a name",
        ),
        (("--feature", "entropy"), "feature 'entropy' is ambiguous; give firstorder_Entropy or glcm_Joint"),
        (("--feature", "glrml"), "no feature 'glrml'"),
        (("--feature", "gldzm"), "gldzm has no map, only a value of a whole region (radsynth roi)"),
        (
            ("--feature", "ngtdm", "--dimensions", 3, "--window", 255, "--levels", 65536),
            "ngtdm_Busyness in windows of 16581375 voxels allows at most 129 levels, got 65536",
        ),
        (("--gldm-a", 65536), "gldm_a must be from 0 to 65535, got 65536"),
        (("--intensity-shift", "nan"), "intensity_shift must be finite, got nan"),
        (("--feature", "cluster_prominence", "--levels", 65536), "cluster_prominence in windows of 20 pairs"),
        (("--preview", "a.jpg"), "a preview's name must end in .png, got a.jpg"),
        (
            ("-o", "map.tif"),
            "a map's name must end in one of .nii, .nii.gz, .nrrd, .mha (.dcm from DICOM), got map.tif",
        ),
    ],
)
def test_bad_options(tmp_path, image, arguments, line):
    output = tmp_path / "map.nii"
    given = () if "-o" in arguments else ("-o", output)
    assert_refused(run(image, *given, *arguments), line)
    assert not output.exists()


# Features


def test_maps_of_several_features(tmp_path, image, volume):
    arguments = ("--feature", "f2", "--feature", "JointEntropy,imc1", "--levels", 16, "--log-base", "e")
    result = run(image, "-o", tmp_path / "maps.nii.gz", *arguments, "--backend", "cpu")
    assert result.exit_code == 0, result.output
    names = ["contrast", "joint_entropy", "imc1"]
    *paths, summary = result.stdout.splitlines()
    assert paths == [str(tmp_path / f"maps_{name}.nii.gz") for name in names]
    assert " 16 levels, 3 features, " in summary
    expected = feature_maps(volume.array, names, GLCMSettings(levels=16, log_base="e"), backend="cpu")
    for path, name, unit in zip(paths, names, (None, "nats", None), strict=True):
        np.testing.assert_array_equal(read_image(path).array, expected[name])
        record = json.loads((tmp_path / f"maps_{name}.nii.gz.json").read_text())
        assert (record["feature"]["name"], record["unit"]) == (name, unit)
    assert record["feature"] == {
        "name": "imc1", "family": "glcm", "pyradiomics": "Imc1",
        "ibsi": ["information correlation 1 (R8DG)"]
    }  # fmt: skip
    low, high = volume.array.min(), volume.array.max()
    assert record["bins"] == {"levels": 16, "low": low, "high": high}
    assert len(list(tmp_path.iterdir())) == 7


def test_maps_are_the_same_one_by_one(tmp_path, image, monkeypatch):
    arguments = (image, "--feature", "contrast", "--feature", "idm", "--backend", "cpu", "-o")
    assert run(*arguments, tmp_path / "a.nrrd").exit_code == 0
    monkeypatch.setattr(exact, "_MOST_BYTES", 1)
    assert run(*arguments, tmp_path / "b.nrrd").exit_code == 0
    for name in ("contrast", "idm"):
        one, two = (read_image(tmp_path / f"{which}_{name}.nrrd").array for which in "ab")
        np.testing.assert_array_equal(one, two)


def test_maps_of_several_families(tmp_path, image, volume):
    arguments = ("--feature", "glrlm_RunEntropy,TU9B", "--feature", "original_glszm_ZonePercentage")
    preview = ("--preview", tmp_path / "m.png")
    result = run(image, "-o", tmp_path / "m.nrrd", *arguments, *preview, "--window", 3, "--backend", "cpu")
    assert result.exit_code == 0, result.output
    names = ["glrlm_RunEntropy", "joint_entropy", "glszm_ZonePercentage"]
    assert result.stdout.splitlines()[:-1] == [str(tmp_path / f"m_{name}.nrrd") for name in names]
    expected = feature_maps(volume.array, names, GLCMSettings(window=3), backend="cpu")
    records = {}
    for name in names:
        np.testing.assert_array_equal(read_image(tmp_path / f"m_{name}.nrrd").array, expected[name])
        record = json.loads((tmp_path / f"m_{name}.nrrd.json").read_text())
        records[name] = (record["kind"], record["unit"])
    assert records == {
        "glrlm_RunEntropy": ("GLRLM feature map", "bits"),
        "joint_entropy": ("GLCM entropy map", "bits"),
        "glszm_ZonePercentage": ("GLSZM feature map", None),
    }
    assert record["feature"] == {
        "name": "glszm_ZonePercentage", "family": "glszm", "pyradiomics": "ZonePercentage",
        "ibsi": ["zone percentage (P30P)"],
    }  # fmt: skip


@pytest.mark.parametrize("preview", [(), ("--preview", "m.png")])
def test_a_family_is_mapped_together_as_far_as_it_fits(tmp_path, image, volume, preview, monkeypatch):
    monkeypatch.chdir(tmp_path)
    groups, made = [], []

    def recorded(array, features, *arguments, **named):
        assert all(maps() is None for maps in made), "maps that are written stay in memory"
        groups.append(features)
        maps = feature_maps(array, features, *arguments, **named)
        made.append(weakref.ref(next(iter(maps.values())).base))
        return maps

    monkeypatch.setattr(exact, "feature_maps", recorded)
    monkeypatch.setattr(exact, "_MOST_BYTES", 4 * volume.array.size * 3)
    names = "TU9B,RunEntropy,Contrast,RunVariance,Idm,RunPercentage,Id,Idn"
    names = names.replace("Contrast", "glcm_Contrast")
    result = run(image, "-o", "m.nrrd", "--feature", names, *preview, "--backend", "cpu")
    assert result.exit_code == 0, result.output
    assert groups == [
        ["joint_entropy"],
        ["glrlm_RunEntropy", "glrlm_RunVariance", "glrlm_RunPercentage"],
        ["contrast", "idm", "id"],
        ["idn"],
    ]


def test_intensities_have_no_unit_and_energy_knows_the_voxel(tmp_path, image, volume):
    names = ("firstorder_Energy", "firstorder_TotalEnergy", "firstorder_90Percentile")
    arguments = ("--feature", ",".join(names), "--window", 3, "--intensity-shift", -100, "--backend", "cpu")
    result = run(image, "-o", tmp_path / "m.nrrd", *arguments)
    assert result.exit_code == 0, result.output
    settings = GLCMSettings(window=3, intensity_shift=-100)
    expected = feature_maps(volume.array, names, settings, spacing=(3.0, 0.8, 0.7), backend="cpu")
    found = {name: read_image(tmp_path / f"m_{name}.nrrd").array for name in names}
    for name in names:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-6)  # NIfTI's spacing is float32
        record = json.loads((tmp_path / f"m_{name}.nrrd.json").read_text())
        assert (record["kind"], record["unit"]) == ("first-order feature map", None)
    energy = np.sum((volume.array[1, 3:6, 4:7].astype(float) - 100) ** 2)
    assert found["firstorder_Energy"][1, 4, 5] == pytest.approx(energy)
    assert found["firstorder_TotalEnergy"][1, 4, 5] == pytest.approx(0.7 * 0.8 * 3 * energy)


def test_windows_without_a_run(tmp_path):
    """A mask of single voxels holds no line of two, which has no matrix of runs."""
    mask = np.zeros((1, 9, 9), np.uint8)
    mask[0, ::4, ::4] = 1
    grid = Volume(mask, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), (1.0, 0, 0, 0, 1, 0, 0, 0, 1))
    write_volume(grid, tmp_path / "mask.nrrd")
    write_volume(replace(grid, array=np.arange(81, dtype=np.int16).reshape(1, 9, 9)), tmp_path / "i.nrrd")
    arguments = ("--mask", tmp_path / "mask.nrrd", "--feature", "RunVariance", "--backend", "cpu")
    result = run(tmp_path / "i.nrrd", "-o", tmp_path / "m.nrrd", *arguments, "--window", 3)
    assert result.exit_code == 0, result.output
    assert "no line of two voxels in the window of 9 voxels inside the mask: the map is NaN" in result.stderr


def test_one_feature_has_the_output_s_own_name(tmp_path, image):
    result = run(image, "-o", tmp_path / "m.mha", "--feature", "idmn", "--preview", tmp_path / "m.png")
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "image.nii.gz", "m.mha", "m.mha.json", "m.png"
    ]  # fmt: skip


@pytest.mark.parametrize("kept", ["m_idm.nii", "m_contrast.nii.json"])
def test_existing_maps_of_features_are_refused_before_anything_is_read(tmp_path, kept):
    (tmp_path / kept).write_text("old")
    result = run("missing.nii", "-o", tmp_path / "m.nii", "--feature", "idm", "--feature", "contrast")
    assert_refused(result, f"{kept} exists; give --force")


def test_maps_of_features_are_all_written_or_none(tmp_path, image, monkeypatch):
    from pipelines.images import writing

    write = writing._write_whole

    def fail(image, temporary, path):
        if "contrast" in path.name:
            raise OSError(errno.ENOSPC, "No space left on device", str(temporary))
        write(image, temporary, path)

    monkeypatch.setattr(writing, "_write_whole", fail)
    arguments = ("--feature", "idm", "--feature", "contrast", "--preview", tmp_path / "m.png")
    result = run(image, "-o", tmp_path / "m.nii", *arguments, "--backend", "cpu")
    assert_refused(result, f"No space left on device: {tmp_path / 'm_contrast.nii'}; free some disk space")
    assert [path.name for path in tmp_path.iterdir()] == ["image.nii.gz"]


def test_a_width_of_bins_gives_the_number_of_levels(tmp_path, image, volume):
    result = run(image, "-o", tmp_path / "m.nii", "--bin-width", 25, "--preview", tmp_path / "m.png")
    assert result.exit_code == 0, result.output
    levels = int(volume.array.max() - volume.array.min()) // 25 + 1
    assert f" {levels} levels, " in result.stdout
    assert json.loads((tmp_path / "m.nii.json").read_text())["bins"]["levels"] == levels


def test_slices_across_another_axis(tmp_path, image, volume):
    arguments = ("--slice-axis", 2, "--window", 3, "--backend", "cpu", "--preview", tmp_path / "m.png")
    result = run(image, "-o", tmp_path / "m.nii", *arguments)
    assert result.exit_code == 0, result.output
    expected = entropy_map(volume.array, GLCMSettings(slice_axis=2, window=3), backend="cpu")
    np.testing.assert_array_equal(read_image(tmp_path / "m.nii").array, expected)


# Masks


MASKS = {
    "at the border": lambda mask: mask[0, :4, :3].fill(1),
    "in two parts": lambda mask: (mask[0, :4, :3].fill(1), mask[2, 8:, 6:].fill(1)),
    "everything": lambda mask: mask.fill(1),
    "a column": lambda mask: mask[:, 5, 5].fill(1),
}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"percentiles": (5.0, 95.0)},
        {"range_over": "mask"},
        {"range_over": "crop", "masked_window": False},
        {"bin_width": 7.0, "bin_edges": "pyradiomics", "dimensions": 3, "window": 3},
    ],
)
@pytest.mark.parametrize("where", MASKS)
def test_a_part_of_the_image_gives_the_values_of_the_whole(tmp_path, image, volume, where, options):
    mask = np.zeros(volume.array.shape, np.uint8)
    MASKS[where](mask)
    write_volume(replace(volume, array=mask), tmp_path / "mask.nrrd")
    arguments = {
        "percentiles": ("--percentiles", 5, 95),
        "range_over": ("--range-over", options.get("range_over")),
        "masked_window": ("--unmasked-window",),
        "bin_width": ("--bin-width", 7),
        "bin_edges": ("--bin-edges", "pyradiomics"),
        "dimensions": ("--dimensions", 3),
        "window": ("--window", 3),
    }
    given = [word for name in options for word in arguments[name]]
    names = ("joint_entropy", "contrast")
    given += ["--mask", tmp_path / "mask.nrrd", "--backend", "cpu"]
    given += [word for name in names for word in ("--feature", name)]
    result = run(image, "-o", tmp_path / "m.nrrd", *given)
    assert result.exit_code == 0, result.output
    expected = feature_maps(volume.array, names, GLCMSettings(**options), mask=mask, backend="cpu")
    for name in names:
        found = read_image(tmp_path / f"m_{name}.nrrd").array
        np.testing.assert_array_equal(found, expected[name])
        assert np.isnan(found[mask == 0]).all()


def test_a_mask_of_everything_changes_nothing(tmp_path, image, mask, volume):
    result = run(image, "-o", tmp_path / "m.nrrd", "--mask", mask, "--backend", "cpu")
    assert result.exit_code == 0, result.output
    np.testing.assert_array_equal(
        read_image(tmp_path / "m.nrrd").array, entropy_map(volume.array, backend="cpu")
    )


@pytest.mark.parametrize("outside", ["-1", "0", "nan"])
@pytest.mark.parametrize("crop", [(), ("--crop",)])
def test_the_value_outside_the_mask(tmp_path, image, volume, outside, crop):
    output, mask = tmp_path / "map.nii.gz", tmp_path / "mask.nrrd"
    inside = np.zeros(volume.array.shape, np.uint8)
    inside[1, 3:9, 2:8] = 1
    write_volume(replace(volume, array=inside), mask)
    result = run(image, "-o", output, "--mask", mask, "--outside", outside, "--backend", "cpu", *crop)
    assert result.exit_code == 0, result.output
    assert ("NaN outside the mask is read as 0 from NIfTI by some tools" in result.stderr) == (
        outside == "nan"
    )
    plain = tmp_path / "plain.nrrd"
    assert "NaN outside" not in run(image, "-o", plain, "--mask", mask, "--backend", "cpu", *crop).stderr
    expected, found = read_image(plain).array, read_image(output).array
    assert np.isnan(expected).any()
    np.testing.assert_array_equal(found, np.where(np.isnan(expected), np.float32(outside), expected))
    record = json.loads((tmp_path / "map.nii.gz.json").read_text())
    assert record["outside"] == ("NaN" if outside == "nan" else float(outside))


@pytest.mark.parametrize("value", ["inf", "-inf", "1e39"])
def test_a_value_outside_the_mask_that_a_map_cannot_hold(tmp_path, image, mask, value):
    result = run(image, "-o", tmp_path / "map.nii", "--mask", mask, "--outside", value)
    assert_refused(result, "--outside must be a number that fits in float32, or nan, got")


def test_a_value_outside_needs_a_mask(tmp_path, image):
    assert_refused(run(image, "-o", tmp_path / "map.nii", "--outside", "0"), "--outside needs --mask FILE")


def test_a_mask_of_one_voxel_is_nan_there(tmp_path, image, volume):
    mask = np.zeros(volume.array.shape, np.uint8)
    mask[1, 4, 4] = 1
    write_volume(replace(volume, array=mask), tmp_path / "mask.nrrd")
    result = run(image, "-o", tmp_path / "m.nrrd", "--mask", tmp_path / "mask.nrrd", "--backend", "cpu")
    assert result.exit_code == 0, result.output
    assert result.stderr == "no pair in the window of 1 voxel inside the mask: the map is NaN there\n"
    assert np.isnan(read_image(tmp_path / "m.nrrd").array).all()


def test_a_constant_image_in_a_mask(tmp_path, volume):
    write_volume(replace(volume, array=np.full(volume.array.shape, 7, np.int16)), tmp_path / "image.nrrd")
    mask = np.zeros(volume.array.shape, np.uint8)
    mask[1, 2:6, 3:9] = 1
    write_volume(replace(volume, array=mask), tmp_path / "mask.nrrd")
    result = run(tmp_path / "image.nrrd", "-o", tmp_path / "m.nrrd", "--mask", tmp_path / "mask.nrrd")
    assert result.exit_code == 0, result.output
    found = read_image(tmp_path / "m.nrrd").array
    assert (found[mask == 1] == 0).all()
    assert np.isnan(found[mask == 0]).all()


def test_a_label_that_is_not_there_lists_those_that_are(tmp_path, image, volume):
    labels = np.zeros(volume.array.shape, np.uint8)
    labels[1, 2:6, 3:9], labels[0, 0, 0] = 2, 7
    write_volume(replace(volume, array=labels), tmp_path / "mask.nrrd")
    result = run(image, "-o", tmp_path / "m.nii", "--mask", tmp_path / "mask.nrrd", "--mask-label", 3)
    assert_refused(result, "mask.nrrd has no voxel of label 3; labels present: 2, 7")


def test_a_crop_lies_where_it_lay(tmp_path, image, volume):
    mask = np.zeros(volume.array.shape, np.uint8)
    mask[1, 4:6, 0:3] = 1
    write_volume(replace(volume, array=mask), tmp_path / "mask.nrrd")
    given = ("--mask", tmp_path / "mask.nrrd", "--crop", "--backend", "cpu", "--preview", tmp_path / "m.png")
    result = run(image, "-o", tmp_path / "m.nrrd", *given)
    assert result.exit_code == 0, result.output
    found = read_image(tmp_path / "m.nrrd")
    whole = entropy_map(volume.array, mask=mask, backend="cpu")
    np.testing.assert_array_equal(found.array, whole[:, 2:8, :5])
    assert json.loads((tmp_path / "m.nrrd.json").read_text())["crop"] == [[0, 3], [2, 8], [0, 5]]
    cosines, step = np.reshape(DIRECTION, (3, 3)), np.multiply((0, 2, 0), volume.spacing_mm)
    np.testing.assert_allclose(found.origin_mm, volume.origin_mm + cosines @ step, atol=1e-6)


def test_a_missing_image(tmp_path):
    assert_refused(run(tmp_path / "no.nii", "-o", tmp_path / "map.nii"), "no.nii does not exist")


def test_a_truncated_image(tmp_path, image):
    image.write_bytes(image.read_bytes()[:-30])
    assert_refused(run(image, "-o", tmp_path / "map.nii"), "image.nii.gz is truncated or damaged")
    assert [path.name for path in tmp_path.iterdir()] == ["image.nii.gz"]


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"array": np.zeros((3, 12, 10), np.uint8)}, "must have non-zero voxels, got none"),
        ({"spacing_mm": (0.7, 0.8, 4.0)}, "must lie on the image's grid, got spacing (0.7, 0.8, 4.0)"),
        ({"array": np.ones((3, 12, 11), np.uint8)}, "got size (11, 12, 3) where the image has (10, 12, 3)"),
    ],
)
def test_unfit_masks(tmp_path, image, volume, change, line):
    mask = replace(volume, array=np.ones(volume.array.shape, np.uint8))
    write_volume(replace(mask, **change), tmp_path / "mask.nii")
    result = run(image, "-o", tmp_path / "map.nii", "--mask", tmp_path / "mask.nii")
    assert_refused(result, line)


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_and_infinity_are_refused_inside_the_mask_only(tmp_path, volume, value, suffix):
    array = volume.array.astype(np.float32)
    array[1, 5, 5] = value
    path = tmp_path / f"image{suffix}"
    write_volume(replace(volume, array=array), path)
    line = f"{path}: the image must hold finite intensities, got 1 NaN or infinite voxel;"
    assert_refused(run(path, "-o", tmp_path / "map.nii"), line)
    mask = np.ones(array.shape, np.uint8)
    mask[1, 5, 5] = 0
    write_volume(replace(volume, array=mask), tmp_path / "mask.nii")
    result = run(path, "-o", tmp_path / "map.nii", "--mask", tmp_path / "mask.nii", "--backend", "cpu")
    assert result.exit_code == 0, result.output


@pytest.fixture
def mask(tmp_path, volume):
    path = tmp_path / "mask.nrrd"
    write_volume(replace(volume, array=np.ones(volume.array.shape, np.uint8)), path)
    return path


def test_inputs_are_never_overwritten(tmp_path, image, mask):
    contents = {path: path.read_bytes() for path in (image, mask)}
    for path in contents:
        result = run(image, "-o", path, "--mask", mask, "--force")
        assert_refused(result, f"{path} is an input and must not be overwritten")
    result = run(image, "-o", tmp_path / "map.nii", "--preview", image, "--force")
    assert_refused(result, f"{image} is an input and must not be overwritten")
    sidecar = tmp_path / "map.nii.json"
    sidecar.hardlink_to(mask)
    result = run(image, "-o", tmp_path / "map.nii", "--mask", mask, "--force")
    assert_refused(result, f"{sidecar} is an input and must not be overwritten")
    assert {path: path.read_bytes() for path in contents} == contents


def test_cubes_need_a_volume(tmp_path):
    flat = Volume(np.zeros((20, 30)), (0.5, 0.5), (0.0, 0.0), (1.0, 0.0, 0.0, 1.0))
    write_volume(flat, tmp_path / "flat.nrrd")
    result = run(tmp_path / "flat.nrrd", "-o", tmp_path / "map.nii", "--dimensions", 3)
    assert_refused(result, f"--dimensions 3 needs a volume, got the 2D image {tmp_path / 'flat.nrrd'}; give")
    result = run(tmp_path / "flat.nrrd", "-o", tmp_path / "map.nii", "--slice-axis", 1)
    assert_refused(result, f"--slice-axis needs a volume, got the 2D image {tmp_path / 'flat.nrrd'}")


def test_a_preview_that_cannot_be_written_is_refused_before_anything_is_read(tmp_path):
    (tmp_path / "file").write_text("x")
    result = run("missing.nii", "-o", tmp_path / "map.nii", "--preview", tmp_path / "file" / "a.png")
    assert_refused(result, f"cannot write into {tmp_path / 'file'}: it is a file; choose another folder")


@pytest.mark.parametrize("failing", ["savefig", "WriteImage"])
def test_a_failure_of_map_or_preview_leaves_neither(tmp_path, image, monkeypatch, failing):
    import matplotlib.figure
    import SimpleITK

    def fail(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(*{
        "savefig": (matplotlib.figure.Figure, "savefig", fail),
        "WriteImage": (SimpleITK, "WriteImage", fail),
    }[failing])  # fmt: skip
    result = run(image, "-o", tmp_path / "map.nii", "--backend", "cpu", "--preview", tmp_path / "a.png")
    shown = {"savefig": "a.png", "WriteImage": "map.nii"}[failing]
    assert_refused(result, f"No space left on device: {tmp_path / shown}; free some disk space")
    assert [path.name for path in tmp_path.iterdir()] == ["image.nii.gz"]


def test_a_backend_that_is_not_there(tmp_path, image, monkeypatch):
    monkeypatch.setattr(choice, "why_no_cuda", lambda: "no CUDA device or driver was found")
    result = run(image, "-o", tmp_path / "map.nii", "--backend", "cuda")
    assert_refused(result, "backend 'cuda' cannot be used: no CUDA device or driver was found")


FULL_DISK = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1500, 1500))
sys.argv = ["radsynth", "map", {image!r}, "-o", {output!r}, "--force", "--backend", "cpu"]
from pipelines.__main__ import main
main()
"""


def test_a_full_disk(tmp_path, image):
    entropy_map(read_image(image).array, backend="cpu")  # what Numba compiles goes into files, too
    (tmp_path / "map.nii").write_text("old")
    script = FULL_DISK.format(image=str(image), output=str(tmp_path / "map.nii"))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("Error: could not write ")
    assert "map.nii completely (" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["image.nii.gz", "map.nii"]
    assert (tmp_path / "map.nii").read_text() == "old"


def assert_real(data_dir, source, output, shape):
    result = run(source, "-o", output, "--backend", "cpu", "--preview", output.with_suffix(".png"))
    assert result.exit_code == 0, result.output
    volume, entropy = read_image(source), read_image(output)
    assert entropy.array.shape == shape
    assert np.isfinite(entropy.array).all()
    assert entropy.array.min() >= 0
    assert entropy.array.max() < 5.162  # the largest value of these settings
    middle = shape[0] // 2
    low, high = float(volume.array.min()), float(volume.array.max())
    settings = GLCMSettings(intensity_range=(low, high))
    np.testing.assert_array_equal(
        entropy.array[middle], entropy_map(volume.array[middle], settings, backend="cpu")
    )
    for field in ("spacing_mm", "origin_mm", "direction"):
        np.testing.assert_allclose(getattr(entropy, field), getattr(volume, field), atol=1e-4)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("breast_ucsf/UCSF-BR-06_post1.nii.gz", (60, 256, 256)),
        ("pyradiomics/brain1_image.nrrd", (25, 256, 256)),
    ],
)
def test_real_files(data_dir, tmp_path, name, shape):
    assert_real(data_dir, data_dir / name, tmp_path / "map.nrrd", shape)


@pytest.mark.parametrize(
    ("archive", "folder", "shape"),
    [
        ("CMB-CRC_SCAN_001_T2_12slices_dicom.zip", "crc", (12, 512, 584)),
        ("datalad_T1_oblique_24slices_dicom.zip", "dl", (24, 384, 274)),
    ],
)
def test_real_dicom_series(data_dir, tmp_path, archive, folder, shape):
    with zipfile.ZipFile(data_dir / "other_mr" / archive) as file:
        file.extractall(tmp_path)
    assert_real(data_dir, tmp_path / folder, tmp_path / "map.mha", shape)


def test_labels_that_are_taken_together_are_named_in_one_line(tmp_path, image, volume):
    labels = np.zeros(volume.array.shape, np.uint8)
    labels[:, 2:6, 3:9], labels[:, 6:9, 3:9] = 1, 4
    mask = tmp_path / "mask.nrrd"
    write_volume(replace(volume, array=labels), mask)
    result = run(image, "-o", tmp_path / "map.nrrd", "--mask", mask, "--backend", "cpu")
    assert result.exit_code == 0, result.output
    assert result.stderr == f"mask {mask}: labels 1, 4 are taken together; --mask-label chooses one\n"
    one = run(image, "-o", tmp_path / "one.nrrd", "--mask", mask, "--mask-label", 4, "--backend", "cpu")
    assert one.stderr == ""
    write_volume(replace(volume, array=np.arange(360, dtype=np.int16).reshape(3, 12, 10)), mask, force=True)
    result = run(image, "-o", tmp_path / "map.nrrd", "--mask", mask, "--backend", "cpu", "--force")
    assert (
        "labels 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20 and 339 more"
        in result.stderr
    )


def in_mask(path):
    return json.loads(path.with_name(f"{path.name}.json").read_text())["in_mask"]


def test_a_mask_of_few_levels_is_told_with_its_figures(tmp_path, rng):
    """Levels 0 to 9 of 64 inside, by an image whose range reaches far beyond them."""
    array = rng.integers(0, 10, (2, 20, 20)).astype(np.int16)
    array[0, 0, 0] = 63
    mask = np.zeros(array.shape, np.uint8)
    mask[:, 4:16, 4:16] = 1
    volume = Volume(array, (1.0, 1.0, 2.0), (0.0, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0))
    write_volume(volume, tmp_path / "i.nrrd")
    write_volume(replace(volume, array=mask), tmp_path / "mask.nrrd")
    output = tmp_path / "map.nrrd"
    given = ("-o", output, "--mask", tmp_path / "mask.nrrd", "--backend", "cpu", "--force")
    result = run(tmp_path / "i.nrrd", *given)
    values = read_image(output).array[mask == 1]
    low, high = np.percentile(values, (5, 95))
    assert result.stderr == (
        f"in the mask: 10 of 64 levels, the map {low:.3g} to {high:.3g} bits (5th to 95th percentile), "
        f"{100 * np.mean(values >= 0.95 * 5.160964):.0f} % of the voxels within 5 % of the ceiling of "
        "5.16 bits\n"
    )
    assert in_mask(output)["levels_spanned"] == 10
    np.testing.assert_allclose(in_mask(output)["percentiles_5_95"], (low, high), atol=1e-5)
    contrast = run(tmp_path / "i.nrrd", *given, "--feature", "contrast")
    assert contrast.stderr.startswith("in the mask: 10 of 64 levels, the map ")
    assert "ceiling" not in contrast.stderr
    assert set(in_mask(output)) == {"levels_spanned", "percentiles_5_95"}
    enough = run(tmp_path / "i.nrrd", *given, "--range-over", "mask", "--levels", 10)
    assert enough.stderr == ""
    assert in_mask(output)["levels_spanned"] == 10


def test_a_map_at_its_ceiling_is_told_with_what_fewer_levels_give(tmp_path, image, volume):
    """200 intensities in 12x10 voxels: nearly all pairs of a window differ."""
    mask = tmp_path / "mask.nrrd"
    write_volume(replace(volume, array=np.ones(volume.array.shape, np.uint8)), mask)
    output = tmp_path / "map.nrrd"
    given = (image, "-o", output, "--mask", mask, "--backend", "cpu", "--levels", 200, "--force")
    result = run(*given)
    assert result.exit_code == 0, result.output
    (line,) = result.stderr.splitlines()
    share = in_mask(output)["at_ceiling"]
    assert share > 0.25
    assert f"{100 * share:.0f} % of the voxels within 5 % of the ceiling of 5.16 bits; fewer levels," in line
    assert run(*given[:-2], 50, "--force").exit_code == 0
    low, high = in_mask(output)["percentiles_5_95"]
    assert f"would help: with 50 levels the map {low:.3g} to {high:.3g} bits (5th to 95th percentile)" in line
    assert f", {100 * in_mask(output)['at_ceiling']:.0f} % of the voxels within 5 % of the ceiling" in line
    wide = run(*given[:-3], "--bin-width", 1, "--force")
    assert "would help: with 50 levels the map " in wide.stderr


def test_no_advice_without_its_figures(tmp_path, image, volume, monkeypatch):
    mask = tmp_path / "mask.nrrd"
    write_volume(replace(volume, array=np.ones(volume.array.shape, np.uint8)), mask)
    monkeypatch.setattr(exact, "_MOST_TRIED", 100)
    result = run(image, "-o", tmp_path / "map.nrrd", "--mask", mask, "--levels", 200, "--backend", "cpu")
    assert result.stderr.startswith("in the mask: ")
    assert "would help" not in result.stderr


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd"])
def test_outputs_whose_name_is_not_utf8(tmp_path, image, suffix):
    output = tmp_path / os.fsdecode(b"caf\xe9" + suffix.encode())
    done = subprocess.run(
        [sys.executable, "-m", "pipelines", "map", image, "-o", output, "--backend", "cpu"],
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == os.fsencode(output)
    names = {output.name, f"{output.name}.json", "image.nii.gz"}
    assert {path.name for path in tmp_path.iterdir()} == names


def test_inputs_whose_name_is_not_utf8_are_refused(tmp_path, image, volume):
    """ITK would end the process."""
    renamed = tmp_path / os.fsdecode(b"caf\xe9.nii.gz")
    image.rename(renamed)
    assert_refused(
        run(renamed, "-o", tmp_path / "m.nii"), "caf\\xe9.nii.gz is not a name in UTF-8, which ITK needs"
    )
    renamed.rename(image)
    mask = tmp_path / os.fsdecode(b"m\xe9.nrrd")
    write_volume(replace(volume, array=np.ones(volume.array.shape, np.uint8)), mask)
    assert_refused(run(image, "--mask", mask, "-o", tmp_path / "m.nii"), "m\\xe9.nrrd is not a name in UTF-8")


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".mha"])
def test_outputs_with_the_longest_name(tmp_path, image, suffix):
    """255 bytes, of which the JSON beside the map takes five."""
    output = tmp_path / f"{'n' * (250 - len(suffix))}{suffix}"
    assert run(image, "-o", output, "--backend", "cpu").exit_code == 0
    assert {path.name for path in tmp_path.iterdir()} == {"image.nii.gz", output.name, f"{output.name}.json"}
    longer = run(image, "-o", output.with_name(f"n{output.name}"), "--backend", "cpu")
    assert_refused(longer, "File name too long: ")


@pytest.mark.slow
def test_a_process_that_is_asked_to_end_leaves_nothing(tmp_path, rng):
    volume = Volume(
        rng.integers(0, 999, (40, 128, 128)).astype(np.int16),
        (1.0,) * 3,
        (0.0,) * 3,
        (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0),
    )
    write_volume(volume, tmp_path / "i.nrrd")
    (tmp_path / "m.nrrd").write_text("old")
    command = [
        sys.executable,
        "-m",
        "pipelines",
        "map",
        "i.nrrd",
        "-o",
        "m.nrrd",
        "--force",
        "--backend",
        "cpu",
    ]
    settings = ["--dimensions", "3", "--window", "21", "--feature", "joint_entropy,contrast"]
    process = subprocess.Popen(
        [*command, *settings, "--preview", "p.png"], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    time.sleep(6)
    process.terminate()
    _, log = process.communicate(timeout=100)
    assert process.returncode == 143
    assert log.splitlines()[-1] == "Terminated: finished outputs are complete, unfinished ones were removed"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["i.nrrd", "m.nrrd"]
    assert (tmp_path / "m.nrrd").read_text() == "old"
