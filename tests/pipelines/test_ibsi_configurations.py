"""The files of examples/ibsi: their settings, and regions by them beside another way to the same values."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from helpers.commands import radsynth
from helpers.ibsi import PHANTOM
from scipy import ndimage

from glcm_cuda import GLCMSettings
from glcm_cuda.roi import roi_features
from pipelines.images.preprocessing import Preprocessing
from pipelines.images.volume import Volume
from pipelines.images.writing import write_volume
from pipelines.shell.parameter_file import read_parameter_file

EXAMPLES = Path(__file__).parents[2] / "examples" / "ibsi"
IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)

# Of the manual's table: dimensions, spacing, order of the spline, range, sigma, bins, start of the bins.
CONFIGURATIONS = {
    "A": (2, None, None, (-500, 400), None, {"bin_width": 25.0, "intensity_range": (-500, 400)}),
    "B": (2, (2, 2, 0), 1, (-500, 400), None, {"levels": 32}),
    "C": (3, (2, 2, 2), 1, (-1000, 400), None, {"bin_width": 25.0, "intensity_range": (-1000, 400)}),
    "D": (3, (2, 2, 2), 1, None, 3, {"levels": 32}),
    "E": (3, (2, 2, 2), 3, (-1000, 400), 3, {"levels": 32}),
}
NAMES = ["joint_entropy", "idn", "ngtdm_Busyness", "ih_Mean", "stat_ExcessKurtosis", "gldzm"]


def settings_of(name):
    dimensions, *_, bins = CONFIGURATIONS[name]
    preset = "ibsi" if dimensions == 2 else "ibsi-3d"
    return GLCMSettings.from_dict({**GLCMSettings.preset(preset).to_dict(), **bins})


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_settings_are_those_of_the_manual(name):
    _, spacing, order, edges, sigma, _ = CONFIGURATIONS[name]
    file = read_parameter_file(EXAMPLES / f"{name}.yaml", region=True)
    assert {**file.settings.to_dict(), "window": 5, "directions": "scaled"} == settings_of(name).to_dict()
    assert (file.resegment, file.resegment_mode) == (edges or (), "absolute")
    assert file.resegment_sigma == sigma
    interpolator = {1: "sitkLinear", 3: "sitkBSpline"}.get(order)
    resampled = {"interpolator": interpolator, "mask_interpolator": "sitkLinear", "rounded": True}
    assert file.steps == (
        Preprocessing() if spacing is None else Preprocessing(spacing_mm=spacing, **resampled)
    )


@pytest.fixture
def ct(rng):
    """Return a made CT whose intensities leave every range, and a mask."""
    smooth = ndimage.gaussian_filter(rng.normal(0, 1, (9, 20, 21)), 1.2)
    array = np.round(np.clip(-250 + 1400 * smooth, -1100, 900)).astype(np.int16)
    array[4, 10, 10], array[5, 8, 8] = 3000, -3000
    z, y, x = np.indices(array.shape)
    mask = ((z - 4) / 3.2) ** 2 + ((y - 9) / 7.5) ** 2 + ((x - 10) / 8) ** 2 < 1
    return Volume(array, (1.17, 1.13, 3.07), (0.0, 0.0, 0.0), IDENTITY), mask


def by_scipy(volume, mask, name):
    """Return image, morphological and intensity mask of a configuration, without the code that is tested."""
    _, spacing, order, edges, sigma, _ = CONFIGURATIONS[name]
    array, shape = volume.array.astype(np.float64), mask.copy()
    if spacing is not None:
        axes = []
        for size, old, new in zip(array.shape, volume.spacing_mm[::-1], spacing[::-1], strict=True):
            ratio = (new or old) / old
            count = int(np.ceil(size / ratio - 1e-9))
            axes.append((size - 1 - ratio * (count - 1)) / 2 + ratio * np.arange(count))
        places, mode = np.meshgrid(*axes, indexing="ij"), "nearest" if order == 1 else "mirror"
        array = np.round(ndimage.map_coordinates(array, places, order=order, mode=mode))
        shape = ndimage.map_coordinates(mask.astype(float), places, order=1, mode="nearest") >= 0.5 - 1e-6
    inside = shape.copy()
    if edges is not None:
        inside &= (array >= edges[0]) & (array <= edges[1])
    if sigma is not None:
        inside &= np.abs(array - array[shape].mean()) <= sigma * array[shape].std()
    return array, shape, inside


def values_of(path):
    (row,) = csv.DictReader(path.read_text().splitlines())
    return row


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_regions_are_those_of_another_way_there(ct, tmp_path, name):
    volume, mask = ct
    write_volume(volume, tmp_path / "i.nrrd")
    write_volume(Volume(mask.astype(np.uint8), *vars_of(volume)), tmp_path / "m.nrrd")
    aggregation = "2d-mean" if name in "AB" else "3d-mean"
    given = (
        "--params",
        EXAMPLES / f"{name}.yaml",
        "--aggregation",
        aggregation,
        "--feature",
        ",".join(NAMES),
    )
    result = radsynth(
        "roi", tmp_path / "i.nrrd", "--mask", tmp_path / "m.nrrd", "-o", tmp_path / "f.csv", *given
    )
    assert result.exit_code == 0, result.output
    array, shape, inside = by_scipy(volume, mask, name)
    assert 0 < inside.sum() < shape.sum()
    row = values_of(tmp_path / "f.csv")
    record = json.loads((tmp_path / "f.csv.json").read_text())
    assert (record["voxels"], record["voxels_before_resegmentation"]) == (inside.sum(), shape.sum())
    expected = roi_features(array, NAMES, settings_of(name), mask=inside, morphological_mask=shape)
    for feature, value in expected.items():
        assert float(row[feature]) == pytest.approx(value, rel=1e-12), feature
    (entropy,) = (expected[one] for one in ("gldzm_ZoneDistanceEntropy",))
    alone = roi_features(array, ["gldzm_ZoneDistanceEntropy"], settings_of(name), mask=inside)
    assert entropy != alone["gldzm_ZoneDistanceEntropy"]


def vars_of(volume):
    return volume.spacing_mm, volume.origin_mm, volume.direction


@pytest.mark.parametrize(("name", "entropy"), [("A", "2.05"), ("B", "2.05"), ("C", "2.40"), ("E", "2.40")])
def test_the_digital_phantom_by_these_files(tmp_path, name, entropy):
    """It has voxels of 2 mm, and levels that bins of width 1 leave as they are."""
    place = (2.0, 2.0, 2.0), (0.0, 0.0, 0.0), IDENTITY
    write_volume(Volume(np.maximum(PHANTOM, 1), *place), tmp_path / "i.nrrd")
    write_volume(Volume((PHANTOM > 0).astype(np.uint8), *place), tmp_path / "m.nrrd")
    content = yaml.safe_load((EXAMPLES / f"{name}.yaml").read_text())
    setting = content["setting"]
    setting |= {"binCount": 6} if "binCount" in setting else {"binWidth": 1, "resegmentRange": [1, 400]}
    (tmp_path / "p.yaml").write_text(yaml.safe_dump(content))
    aggregation = "2d-mean" if name in "AB" else "3d-mean"
    given = ("--params", tmp_path / "p.yaml", "--aggregation", aggregation, "--feature", "TU9B,0GBI")
    result = radsynth(
        "roi", tmp_path / "i.nrrd", "--mask", tmp_path / "m.nrrd", "-o", tmp_path / "f.csv", *given
    )
    assert result.exit_code == 0, result.output
    row = values_of(tmp_path / "f.csv")
    assert row["voxels"] == "74"
    assert f"{float(row['joint_entropy']):.2f}" == entropy
    short = "0.946" if name in "AB" else "1"
    assert f"{float(row['gldzm_SmallDistanceEmphasis']):.3g}" == short
