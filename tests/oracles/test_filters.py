"""Every image type of pyradiomics: the derived images themselves, and files of parameters that name them.

LBP3D needs names that SciPy no longer has, which are put back here; the mask holds all voxels, since
others have no value in pyradiomics. Its kurtosis of a float32 image is rounded on the way, so that images
are float64.
"""

from __future__ import annotations

import json

import numpy as np
import pytest
import SimpleITK as sitk
from radiomics import imageoperations
from radiomics.featureextractor import RadiomicsFeatureExtractor
from voxel_mode import crop as crop_of

from glcm_cuda import feature_maps
from glcm_cuda.families.registry import features_named
from glcm_cuda.roi import roi_features
from pipelines.filters.contract import Scope
from pipelines.filters.specification import filter_of
from pipelines.images.preprocessing import preprocess_part
from pipelines.images.volume import image_of, volume_of
from pipelines.shell.parameter_file import read_parameter_file

RTOL = 1e-12
"""A few roundings of float64; filters of ITK give the same bits."""

CASES = {
    "log:sigma=1.5,2,4": ("LoG", {"sigma": [1.5, 2.0, 4.0]}),
    "wavelet": ("Wavelet", {}),
    "wavelet:name=db2,level=2,start_level=1": ("Wavelet", {"wavelet": "db2", "level": 2, "start_level": 1}),
    "wavelet:bior3.3": ("Wavelet", {"wavelet": "bior3.3"}),
    "square": ("Square", {}),
    "squareroot": ("SquareRoot", {}),
    "logarithm": ("Logarithm", {}),
    "exponential": ("Exponential", {}),
    "gradient": ("Gradient", {}),
    "gradient:use_spacing=no": ("Gradient", {"gradientUseSpacing": False}),
    "lbp-2d": ("LBP2D", {}),
    "lbp-2d:radius=2,samples=12,method=ror": (
        "LBP2D",
        {"lbp2DRadius": 2, "lbp2DSamples": 12, "lbp2DMethod": "ror"},
    ),
    "lbp-3d": ("LBP3D", {}),
    "lbp-3d:levels=4,radius=2,subdivision=2": (
        "LBP3D",
        {"lbp3DLevels": 4, "lbp3DIcosphereRadius": 2, "lbp3DIcosphereSubdivision": 2},
    ),
}
SCOPES = {
    "in space": ({}, Scope()),
    "in slices": ({"force2D": True}, Scope(flat=True)),
    "across y": ({"force2D": True, "force2Ddimension": 1}, Scope(flat=True, slice_axis=1)),
    "across x": ({"force2D": True, "force2Ddimension": 2}, Scope(flat=True, slice_axis=2)),
}


def crop(data_dir, dtype):
    """Return a part of a real image whose sides are odd and even."""
    image = sitk.ReadImage(str(data_dir / "pyradiomics" / "brain1_image.nrrd"))
    return sitk.Cast(image[100:140, 100:133, 3:20], dtype)


def phantom(_, dtype):
    """Return steps that add up, below and above 0, on a grid with three spacings."""
    steps = np.random.default_rng(3).integers(-9, 10, (14, 25, 22)).cumsum(axis=1).cumsum(axis=2)
    image = sitk.GetImageFromArray(steps.astype(np.float64))
    image.SetSpacing((0.7, 0.9, 2.5))
    return sitk.Cast(image, dtype)


@pytest.fixture(params=[crop, phantom], ids=["brain1", "phantom"])
def make(request):
    return lambda dtype: request.param(request.getfixturevalue("data_dir"), dtype)


@pytest.mark.usefixtures("_old_names")
@pytest.mark.parametrize("dtype", [sitk.sitkInt16, sitk.sitkFloat64], ids=["int16", "float64"])
@pytest.mark.parametrize("where", SCOPES)
@pytest.mark.parametrize("text", CASES)
def test_images_are_those_of_pyradiomics(compare, make, text, where, dtype):
    image_type, told = CASES[text]
    plane, scope = SCOPES[where]
    image = make(dtype)
    everywhere = sitk.GetImageFromArray(np.ones(image.GetSize()[::-1], np.uint8))
    theirs = getattr(imageoperations, f"get{image_type}Image")(image, everywhere, **told, **plane)
    expected = {name: sitk.GetArrayFromImage(one) for one, name, _ in theirs}
    one = filter_of(text)
    volume = volume_of(image_of(volume_of(image)))
    one.check(volume, scope)
    found = {derived.name: derived.volume.array for derived in one.images(volume, scope)}
    assert sorted(found) == sorted(one.names(3, scope)) == sorted(expected)
    # Samples of a sphere of radius 2 lie on the very border, where the last bit says whether they are inside.
    inner = (slice(2, -2),) * 3 if "subdivision" in text else (slice(None),) * 3
    for name, values in found.items():
        scale = np.abs(expected[name]).max()
        pair = values[inner], expected[name][inner]
        compare("pyradiomics", name, *pair, RTOL, RTOL * scale, row=f"image {image_type}")


CROPS = {
    "resampled": {"resampledPixelSpacing": [1.1, 1.2, 2], "interpolator": "sitkBSpline"},
    "linear, padded by 2": {
        "resampledPixelSpacing": [0.6, 0, 0],
        "interpolator": "sitkLinear",
        "padDistance": 2,
    },
    "normalised": {"normalize": True, "normalizeScale": 100, "resampledPixelSpacing": [1, 1, 1]},
    "cropped": {"preCrop": True, "padDistance": 3},
    "as it is": {},
}
"""Settings with which pyradiomics crops the image before the filters, but for the last."""


@pytest.mark.usefixtures("_old_names")
@pytest.mark.parametrize("dtype", [sitk.sitkInt16, sitk.sitkFloat64], ids=["int16", "float64"])
@pytest.mark.parametrize("setting", CROPS.values(), ids=CROPS)
def test_filters_work_on_the_box_of_pyradiomics(compare, tmp_path, dtype, setting):
    """The image and the mask that its filters get, to the bit, and what they make of them."""
    image = phantom(None, dtype)
    inside = np.zeros(image.GetSize()[::-1], np.uint8)
    inside[4:9, 7:15, 6:16] = 1
    mask = sitk.GetImageFromArray(inside)
    mask.CopyInformation(image)
    params = tmp_path / "p.yaml"
    params.write_text(json.dumps({"setting": {**setting, "minimumROIDimensions": 1}}))
    settings = RadiomicsFeatureExtractor(str(params)).settings
    theirs, their_mask = RadiomicsFeatureExtractor.loadImage(image, mask, None, **settings)
    file = read_parameter_file(params)
    part, moved = preprocess_part(volume_of(image), inside == 1, file.steps, file.crop)
    np.testing.assert_array_equal(part.volume.array, sitk.GetArrayFromImage(theirs))
    np.testing.assert_array_equal(moved, sitk.GetArrayFromImage(their_mask) == 1)
    np.testing.assert_array_equal(part.volume.spacing_mm, theirs.GetSpacing())
    np.testing.assert_allclose(part.volume.origin_mm, theirs.GetOrigin(), rtol=1e-14)
    assert [one.stop - one.start for one in part.box] == list(part.volume.array.shape)
    for text, (image_type, told) in CASES.items():
        if text.startswith("lbp-3d"):  # held above, to the rounding of its sums
            continue
        expected = getattr(imageoperations, f"get{image_type}Image")(theirs, their_mask, **told)
        found = filter_of(text).images(part.volume, Scope())
        for derived, (their_image, name, _) in zip(found, expected, strict=True):
            pair = derived.volume.array, sitk.GetArrayFromImage(their_image)
            compare("pyradiomics", name, *pair, 0, 0, row=f"crop {image_type}")


PARAMETERS = """
imageType:
  Original: {}
  LoG: {sigma: [1.5, 3], binWidth: 10}
  Wavelet: {wavelet: db2, binWidth: 8}
  Square: {}
  SquareRoot: {}
  Logarithm: {}
  Exponential: {}
  Gradient: {binWidth: 6}
  LBP2D: {binWidth: 1}
  LBP3D: {binWidth: 1}
featureClass: {firstorder: [Mean, Entropy], glcm: [Contrast, Idm], glrlm: [RunEntropy], ngtdm: [Complexity]}
setting: {binWidth: 20}
"""
MAPS_RTOL, MAPS_ATOL = 1.2e-7, 1e-9
"""Two halves of the last place of float32; what is left of sums that cancel."""


@pytest.fixture
def parameters(tmp_path):
    path = tmp_path / "Params.yaml"
    path.write_text(PARAMETERS)
    return path


@pytest.fixture
def region():
    """Return a phantom and a mask in its middle."""
    image = phantom(None, sitk.sitkInt16)
    inside = np.zeros(image.GetSize()[::-1], np.uint8)
    inside[3:10, 6:15, 5:16] = 1
    mask = sitk.GetImageFromArray(inside)
    mask.CopyInformation(image)
    return image, mask


def executed(path, region, *, voxels):
    found = RadiomicsFeatureExtractor(str(path), additionalInfo=False).execute(*region, voxelBased=voxels)
    return {name: value for name, value in found.items() if not name.startswith("diagnostics")}


@pytest.mark.usefixtures("_old_names")
@pytest.mark.parametrize("crop", ["", "resampledPixelSpacing: [1, 1, 2]", "preCrop: true, padDistance: 2"])
@pytest.mark.parametrize("voxels", [True, False], ids=["voxels", "segment"])
def test_parameter_files_with_image_types_give_every_key(compare, parameters, region, voxels, crop):
    parameters.write_text(PARAMETERS.replace("binWidth: 20}", f"binWidth: 20, {crop}}}"))
    expected = executed(parameters, region, voxels=voxels)
    file = read_parameter_file(parameters, region=not voxels)
    whole = volume_of(region[0]), sitk.GetArrayFromImage(region[1]) == 1
    part, inside = preprocess_part(*whole, file.steps, file.crop)
    volume, found = part.volume, {}
    for one in file.image_types:
        scope = Scope(flat=one.settings.dimensions == 2, slice_axis=one.settings.slice_axis, needed=inside)
        for derived in one.filter.images(volume, scope):
            function = feature_maps if voxels else roi_features
            values = function(derived.volume.array, file.features, one.settings, mask=inside)
            names = {feature.name: feature.full_name for feature in features_named(file.features)}
            found |= {f"{derived.name}_{names[name]}": value for name, value in values.items()}
    assert sorted(found) == sorted(expected)
    assert len(found) == 6 * (1 + 2 + 8 + 5 + 1 + 3)
    for name, value in expected.items():
        if voxels:
            pair = found[name][inside], sitk.GetArrayFromImage(value)[cropped(inside)]
        else:
            pair = np.array(found[name]), np.array(float(value))
        compare("pyradiomics", name, *pair, MAPS_RTOL, MAPS_ATOL, row=f"image types, voxels {voxels}")


def cropped(inside):
    """Return which voxels of the box that pyradiomics writes are in the mask."""
    return inside[crop_of(inside, 1)]
