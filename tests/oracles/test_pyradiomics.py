"""pyradiomics' voxel mode, every feature of the GLCM, on a random walk and on a real image."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
from radiomics.featureextractor import RadiomicsFeatureExtractor
from voxel_mode import voxel_mode

from glcm_cuda import GLCMSettings, feature_maps
from glcm_cuda.families.registry import feature_named, features_named
from pipelines.images.preprocessing import preprocess_with_mask
from pipelines.images.volume import image_of, volume_of
from pipelines.shell.parameter_file import read_parameter_file

PLANE = {"dimensions": 2, "window": 5, "bin_width": 10.0}
# What pyradiomics is told, and the settings that stand for it.
CASES = {
    "3d": ({}, {}),
    "2d": ({"force2D": True, "kernelRadius": 2, "binWidth": 10}, PLANE),
    "unmasked": (
        {"force2D": True, "kernelRadius": 2, "binWidth": 10, "maskedKernel": False},
        {**PLANE, "masked_window": False, "range_over": "crop"},
    ),
    "unmasked 3d": ({"maskedKernel": False, "binCount": 16}, {
        "bin_width": None, "levels": 16, "masked_window": False, "range_over": "crop",
    }),
    "count": ({"binCount": 32}, {"bin_width": None, "levels": 32}),
    "distances": (
        {"force2D": True, "kernelRadius": 2, "binWidth": 10, "distances": [1, 2]},
        {**PLANE, "distance": (1, 2)},
    ),
    "one order": (
        {"force2D": True, "kernelRadius": 2, "binWidth": 10, "symmetricalGLCM": False},
        {**PLANE, "symmetric": False},
    ),
    "one order, merged": (
        {
            "force2D": True, "kernelRadius": 2, "binWidth": 10, "symmetricalGLCM": False,
            "weightingNorm": "no_weighting",
        },
        {**PLANE, "symmetric": False, "aggregate": "merge"},
    ),
    "across y": (
        {"force2D": True, "force2Ddimension": 1, "binWidth": 10},
        {**PLANE, "window": 3, "slice_axis": 1},
    ),
    "across x, merged": (
        {
            "force2D": True, "force2Ddimension": 2, "kernelRadius": 2, "binWidth": 10,
            "weightingNorm": "no_weighting",
        },
        {**PLANE, "slice_axis": 2, "aggregate": "merge"},
    ),
}  # fmt: skip


def random_walk():
    """Return a volume and a mask in two pieces that touches the border."""
    rng = np.random.default_rng(0)
    image = rng.integers(-9, 10, (5, 14, 15)).cumsum(axis=1).cumsum(axis=2).astype(np.int16)
    mask = np.zeros(image.shape, np.uint8)
    mask[:3, :7, :9] = 1
    mask[2:, 9:12, 8:] = 1
    return image, mask


def breast(data_dir):
    parts = ("image", "label")
    return tuple(
        sitk.GetArrayFromImage(sitk.ReadImage(str(data_dir / "pyradiomics" / f"breast1_{part}.nrrd")))
        for part in parts
    )


@pytest.mark.parametrize("source", ["random walk", "breast1"])
@pytest.mark.parametrize("case", CASES)
def test_maps_are_those_of_the_voxel_mode(request, compare, case, source):
    image, label = random_walk() if source == "random walk" else breast(request.getfixturevalue("data_dir"))
    told, fields = CASES[case]
    mask = label == 1
    # One voxel at a time: with more, one that lacks a direction spoils MCC for all of its batch.
    expected = voxel_mode(image, mask, "glcm", {"voxelBatch": 1, **told})
    chosen = replace(GLCMSettings.preset("pyradiomics"), **fields)
    maps = feature_maps(image, "glcm", chosen, mask=mask, backend="cpu")
    for feature in features_named("glcm"):
        compare("pyradiomics", feature.name, maps[feature.name][mask], expected[feature.pyradiomics])


STEPS = {
    "normalised": "normalize: true, normalizeScale: 100, removeOutliers: 3, binWidth: 20",
    "resampled": "resampledPixelSpacing: [1.5, 1.2, 2], binWidth: 10",
    "in the plane, linear": "resampledPixelSpacing: [1, 1, 0], interpolator: sitkLinear, force2D: true",
    "resegmented": "resegmentRange: [-1.5, 1.5], resegmentMode: sigma, binWidth: 10",
    "all": "normalize: true, normalizeScale: 100, resampledPixelSpacing: [2, 2, 2], binWidth: 20, "
    "resegmentRange: [-2, 2], resegmentMode: sigma",
}


@pytest.mark.parametrize("name", ["breast1", "brain1"])
@pytest.mark.parametrize("case", STEPS)
def test_steps_before_the_texture_are_those_of_the_parameter_file(data_dir, tmp_path, compare, case, name):
    params = tmp_path / "Params.yaml"
    params.write_text(
        f"imageType: {{Original: {{}}}}\nfeatureClass: {{glcm: [JointEntropy, Contrast, Idm]}}\n"
        f"setting: {{{STEPS[case]}, additionalInfo: false}}\n"
        "voxelSetting: {kernelRadius: 2, voxelBatch: 1}\n"
    )
    paths = [data_dir / "pyradiomics" / f"{name}_{part}.nrrd" for part in ("image", "label")]
    result = RadiomicsFeatureExtractor(str(params)).execute(*map(str, paths), voxelBased=True)
    file = read_parameter_file(params)
    volume, label = (volume_of(sitk.ReadImage(str(path))) for path in paths)
    image, mask = preprocess_with_mask(volume, label.array == 1, file.steps)
    mask = file.region(paths[1], mask, image.array)
    maps = feature_maps(image.array, file.features, file.settings, mask=mask, backend="cpu")
    for feature in file.features:
        theirs = result[f"original_glcm_{feature_named(feature).pyradiomics}"]
        offset = image_of(image).TransformPhysicalPointToIndex(theirs.GetOrigin())
        part = tuple(
            slice(low, low + edge) for low, edge in zip(offset[::-1], theirs.GetSize()[::-1], strict=True)
        )
        assert mask.sum() == mask[part].sum() > 20
        values = sitk.GetArrayFromImage(theirs)[mask[part]]
        compare("pyradiomics", f"{feature}, {case}", maps[feature][part][mask[part]], values)
