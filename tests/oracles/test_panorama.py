"""The channels of examples/panorama beside pyradiomics, on a small made CT: every map of both files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from radiomics.featureextractor import RadiomicsFeatureExtractor
from scipy.ndimage import gaussian_filter

from pipelines.cohorts.cohort import read_cohort
from pipelines.images.preprocessing import Preprocessing
from pipelines.maps.channels import ChannelSettings, channels_of, write_channels
from pipelines.maps.inputs import Inputs
from pipelines.maps.study import Study
from pipelines.shell.parameter_file import read_parameter_file

RECIPE = Path(__file__).parents[2] / "examples" / "panorama"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("panorama"), np.random.default_rng(7)
    ct = 40 + 60 * gaussian_filter(rng.normal(0, 6, (14, 90, 90)), (0.5, 1.5, 1.5))
    labels = np.zeros(ct.shape, np.uint8)
    labels[6:8, 43:48, 42:49] = 1
    for name, array in (("ct", ct.round().astype(np.int16)), ("labels", labels)):
        image = sitk.GetImageFromArray(array)
        image.SetSpacing((0.8, 0.8, 2.5))
        sitk.WriteImage(image, str(folder / f"{name}.nii.gz"))
    (folder / "cohort.csv").write_text("patient,group,image,labels\nP1,g,ct.nii.gz,labels.nii.gz\n")
    files = [read_parameter_file(RECIPE / name) for name in ("log_wavelet.yaml", "lbp.yaml")]
    steps = Preprocessing(spacing_mm=(1.0, 1.0, 2.5), clip=(-160.0, 240.0))
    study = Study(
        cases=read_cohort(folder / "cohort.csv"), common=Inputs(image=folder / "cohort.csv", steps=steps)
    )
    settings = ChannelSettings(channels=channels_of(files), backend="cpu")
    write_channels(study, settings, folder / "Dataset101_Made", force=False).finish()
    return folder / "Dataset101_Made"


@pytest.mark.parametrize("name", ["log_wavelet.yaml", "lbp.yaml"])
def test_every_map_is_that_of_pyradiomics(dataset, name, compare):
    names = json.loads((dataset / "dataset.json").read_text())["channel_names"]
    image, mask = (
        sitk.ReadImage(str(dataset / path)) for path in ("imagesTr/P1_0000.nii.gz", "labelsTr/P1.nii.gz")
    )
    inside = sitk.GetArrayFromImage(mask) == 1
    theirs = RadiomicsFeatureExtractor(str(RECIPE / name), additionalInfo=False).execute(
        image, mask, voxelBased=True
    )
    maps = {key: value for key, value in theirs.items() if isinstance(value, sitk.Image)}
    numbers = {channel: int(number) for number, channel in names.items()}
    assert maps.keys() <= numbers.keys()
    for key, value in maps.items():
        ours = sitk.GetArrayFromImage(sitk.ReadImage(str(dataset / f"imagesTr/P1_{numbers[key]:04d}.nii.gz")))
        expected = sitk.GetArrayFromImage(
            sitk.Resample(value, mask, sitk.Transform(), sitk.sitkNearestNeighbor)
        )
        compare("pyradiomics", key, ours[inside], expected[inside], row=name)
