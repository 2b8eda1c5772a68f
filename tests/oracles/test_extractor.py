"""Scripts for pyradiomics' extractor, run with pyradiomics and with `radsynth.featureextractor`.

Keys, their order, geometry, types and values are compared one by one.
"""

from __future__ import annotations

import logging

import numpy as np
import pytest
import SimpleITK as sitk
from radiomics import featureextractor as theirs

from radsynth import featureextractor as ours

logging.getLogger("radiomics").setLevel(logging.CRITICAL)

RTOL, ATOL = 1e-6, 1e-6
OWN = {"diagnostics_Versions_RadSynth"}
DIFFERENT = {"diagnostics_Versions_PyRadiomics", "diagnostics_Versions_PyWavelet"}
"""Who computed, and a version that PyWavelets itself states in two ways."""

ONE_LEVEL = {"lbp-2D_glcm_MCC", "lbp-3D-m1_glcm_MCC", "lbp-3D-m2_glcm_MCC", "lbp-3D-k_glcm_MCC"}
"""Of an image with one level, where pyradiomics returns the whole number 1."""

LARGEST_BUSYNESS = 1e9
"""Of windows of 125 voxels none has more."""

PARAMS = """\
imageType: {Original: {}}
featureClass:
  firstorder: [Mean, 90Percentile, Skewness]
  glcm: [JointEntropy, Idm, MCC]
  ngtdm:
setting: {binWidth: 10, label: 1, force2D: true, weightingNorm: no_weighting}
voxelSetting: {kernelRadius: 2, maskedKernel: false, initValue: nan, voxelBatch: 1}
"""


@pytest.fixture(scope="module", params=["breast1", "brain1"])
def case(request, tmp_path_factory):
    """Return the paths of a crop of a real image and of its mask."""
    data = request.getfixturevalue("data_dir") / "pyradiomics"
    folder = tmp_path_factory.mktemp(request.param)
    image, mask = (sitk.ReadImage(str(data / f"{request.param}_{part}.nrrd")) for part in ("image", "label"))
    z, y, x = (
        sorted({int(places.min()), int(places.max())}) for places in np.nonzero(sitk.GetArrayFromImage(mask))
    )
    low, high = ([axis[end] for axis in (x, y, z)] for end in (0, -1))
    start = [max(first - 4, 0) for first in low]
    stop = [
        min(last + 5, size, first + 15) for first, last, size in zip(low, high, image.GetSize(), strict=True)
    ]
    box = tuple(slice(*ends) for ends in zip(start, stop, strict=True))
    for one, name in ((image, "image.nrrd"), (mask, "label.nrrd")):
        sitk.WriteImage(one[box], str(folder / name))
    return str(folder / "image.nrrd"), str(folder / "label.nrrd")


def everything(module, image, mask):
    return module.RadiomicsFeatureExtractor().execute(image, mask)


def keywords(module, image, mask):
    settings = {
        "binWidth": 20, "resampledPixelSpacing": [1.5, 1.5, 2], "interpolator": sitk.sitkBSpline,
        "normalize": True, "normalizeScale": 100, "verbose": True,
    }  # fmt: skip
    extractor = module.RadiomicsFeatureExtractor(**settings)
    extractor.disableAllFeatures()
    for name in ("firstorder", "glcm", "glszm"):
        extractor.enableFeatureClassByName(name)
    return extractor.execute(image, mask, label=1)


def equal_spacing(module, image, mask):
    spacing = list(sitk.ReadImage(image).GetSpacing())
    extractor = module.RadiomicsFeatureExtractor(resampledPixelSpacing=spacing, padDistance=3)
    extractor.disableAllFeatures()
    extractor.enableFeaturesByName(firstorder=["Mean"], ngtdm=["Busyness"])
    return extractor.execute(image, mask)


def resegmented_images(module, image, mask):
    extractor = module.RadiomicsFeatureExtractor(
        {"setting": {"resegmentRange": [-2, 2], "resegmentMode": "sigma", "binCount": 16}}
    )
    extractor.enableFeaturesByName(
        firstorder=["StandardDeviation", "Mean"], glcm=["Homogeneity2", "Contrast"]
    )
    labels = sitk.ReadImage(mask) * 3
    return extractor.execute(sitk.ReadImage(image), labels, label=3)


def plane_of_json(module, image, mask):
    extractor = module.RadiomicsFeatureExtractor()
    extractor.loadJSONParams(
        '{"setting": {"force2D": true, "binWidth": 10}, "featureClass": {"glrlm": null}}'
    )
    extractor.addProvenance(False)
    return extractor.execute(image, mask)


def filtered(module, image, mask):
    extractor = module.RadiomicsFeatureExtractor(binWidth=5)
    extractor.disableAllFeatures()
    extractor.enableFeaturesByName(firstorder=["Mean"], shape=["Elongation"], glcm=["JointEntropy"])
    extractor.disableAllImageTypes()
    extractor.enableImageTypes(LoG={"sigma": [2.0]}, Original={}, Square={"binWidth": 40})
    return extractor.execute(image, mask)


def every_filter(module, image, mask):
    extractor = module.RadiomicsFeatureExtractor(sigma=[2.0, 3], lbp2DRadius=2, additionalInfo=False)
    extractor.disableAllFeatures()
    extractor.enableFeaturesByName(
        firstorder=["Mean", "Entropy"], glcm=["Correlation", "MCC"], glszm=[], ngtdm=["Coarseness"]
    )
    extractor.enableAllImageTypes()
    return extractor.execute(image, mask)


def maps_of_filters(module, image, mask):
    extractor = module.RadiomicsFeatureExtractor(binWidth=12, additionalInfo=False, initValue=-1)
    extractor.disableAllFeatures()
    extractor.enableFeaturesByName(firstorder=["Mean"], gldm=["DependenceEntropy"])
    extractor.disableAllImageTypes()
    extractor.enableImageTypeByName("Wavelet", customArgs={"wavelet": "haar", "binWidth": 6})
    extractor.enableImageTypeByName("LoG", customArgs={"sigma": [1.5, 2], "binCount": 16, "initValue": 7})
    extractor.enableImageTypeByName("LBP2D", customArgs={"binWidth": 1, "force2D": True})
    extractor.enableImageTypeByName("Gradient")
    return extractor.execute(image, mask, voxelBased=True)


def filters_of_a_crop(module, image, mask):
    extractor = module.RadiomicsFeatureExtractor(preCrop=True, padDistance=2, resegmentRange=[-1.5, 3])
    extractor.settings.update(resegmentMode="sigma", additionalInfo=False)
    extractor.disableAllFeatures()
    extractor.enableFeaturesByName(firstorder=["Mean", "Range"], glcm=["Contrast"])
    extractor.enableImageTypes(Square={}, Exponential={}, Logarithm={}, SquareRoot={}, Wavelet={})
    return extractor.execute(image, mask) | extractor.execute(image, mask, voxelBased=True)


def filters_after_resampling(module, image, mask):
    extractor = module.RadiomicsFeatureExtractor(
        resampledPixelSpacing=[1.7, 1.7, 0], padDistance=3, binWidth=15, maskedKernel=False
    )
    extractor.disableAllFeatures()
    extractor.enableFeaturesByName(firstorder=["Energy"], glcm=["Contrast"], glrlm=["RunEntropy"])
    extractor.enableImageTypes(Square={}, LoG={"sigma": [3.0]}, Wavelet={"level": 1, "wavelet": "db2"})
    values = extractor.execute(image, mask)
    return values | extractor.execute(image, mask, voxelBased=True)


def channel(module, image, mask):
    labels = sitk.ReadImage(mask)
    extractor = module.RadiomicsFeatureExtractor(binWidth=10)
    extractor.disableAllFeatures()
    extractor.enableFeatureClassByName("gldm")
    return extractor.execute(image, sitk.Compose(labels * 0, labels), label_channel=1)


def corrected(module, image, mask):
    labels = sitk.ReadImage(mask)
    finer = sitk.Expand(labels, [2, 2, 1], sitk.sitkNearestNeighbor)
    extractor = module.RadiomicsFeatureExtractor(correctMask=True)
    extractor.disableAllFeatures()
    extractor.enableFeaturesByName(firstorder=[], glcm=["Contrast"])
    return extractor.execute(image, finer)


def parameter_file(module, image, mask, path):
    extractor = module.RadiomicsFeatureExtractor(path, binWidth=15)
    return extractor.execute(image, mask, voxelBased=True)


def maps_of_classes(module, image, mask):
    extractor = module.RadiomicsFeatureExtractor(binWidth=15, voxelBatch=1)
    extractor.enableFeatureClassByName("shape", enabled=False)
    extractor.enableFeaturesByName(glcm=["JointEntropy", "Homogeneity1"], firstorder=["StandardDeviation"])
    return extractor.execute(image, mask, voxelBased=True)


def resampled_maps(module, image, mask):
    extractor = module.RadiomicsFeatureExtractor(additionalInfo=True)
    extractor.disableAllFeatures()
    extractor.enableFeaturesByName(glcm=["Contrast"], glrlm=["RunEntropy"])
    extractor.settings.update(resampledPixelSpacing=(2, 2, 2), binWidth=10, kernelRadius=2, preCrop=True)
    return extractor.execute(image, mask, voxelBased=True)


def features_of_a_crop(module, image, mask):
    extractor = module.RadiomicsFeatureExtractor()
    extractor.disableAllFeatures()
    extractor.enableFeaturesByName(glcm=["JointEntropy"], firstorder=["Energy"])
    images = sitk.ReadImage(image), sitk.ReadImage(mask)
    both = extractor.computeFeatures(*images, "square", binWidth=30)
    return both | extractor.computeFeatures(*images, "mine", binWidth=30, voxelBased=True)


SCRIPTS = (
    everything, keywords, equal_spacing, resegmented_images, plane_of_json, filtered, every_filter,
    maps_of_filters, filters_of_a_crop, filters_after_resampling, channel, corrected, maps_of_classes,
    resampled_maps, features_of_a_crop,
)  # fmt: skip


@pytest.mark.usefixtures("_old_names")
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.__name__)
def test_a_script_gives_the_same_with_both(compare, case, script):
    hold(compare, script(ours, *case), script(theirs, *case))


def test_a_parameter_file_gives_the_same_with_both(compare, case, tmp_path):
    path = tmp_path / "Params.yaml"
    path.write_text(PARAMS)
    hold(compare, parameter_file(ours, *case, str(path)), parameter_file(theirs, *case, str(path)))


def hold(compare, found, expected):
    """Hold a result to pyradiomics' key by key."""
    assert [key for key in found if key not in OWN] == list(expected)
    for key, value in expected.items():
        if key in DIFFERENT:
            assert type(found[key]) is type(value)
        elif key.startswith("diagnostics"):
            hold_diagnostic(key, found[key], value)
        elif isinstance(value, sitk.Image):
            hold_image(compare, key, found[key], value)
        else:
            dtype = np.float64 if key in ONE_LEVEL and value == 1 else value.dtype
            assert (found[key].shape, found[key].dtype) == (value.shape, dtype)
            compare("extractor", key, found[key], value, RTOL, ATOL, row=f"{key.split('_')[1]}, values")
    if "diagnostics_Versions_PyRadiomics" in found:
        assert found["diagnostics_Versions_PyRadiomics"].startswith("computed by RadSynth")


def hold_diagnostic(key, found, value):
    if isinstance(value, (str, dict)):
        assert found == value, key
    else:
        np.testing.assert_allclose(found, value, rtol=1e-9, err_msg=key)


def hold_image(compare, key, found, value):
    assert (found.GetSize(), found.GetPixelID()) == (value.GetSize(), value.GetPixelID())
    for get in ("GetSpacing", "GetOrigin", "GetDirection"):
        np.testing.assert_allclose(getattr(found, get)(), getattr(value, get)(), rtol=1e-9, atol=1e-9)
    arrays = sitk.GetArrayFromImage(found), sitk.GetArrayFromImage(value)
    if key.endswith("ngtdm_Busyness"):  # theirs is of rounding where its denominator is 0, ours is 0
        rounding = arrays[1] > LARGEST_BUSYNESS
        assert (arrays[0][rounding] == 0).all()
        arrays = arrays[0][~rounding], arrays[1][~rounding]
    compare("extractor", key, *arrays, RTOL, ATOL, row=f"{key.split('_')[1]}, maps")


def test_resampled_masks_that_reach_beyond_the_image_are_refused_by_both(case):
    image, mask = case
    labels = sitk.ReadImage(mask)
    labels.SetOrigin([place + 20 for place in labels.GetOrigin()])
    for module in (ours, theirs):
        extractor = module.RadiomicsFeatureExtractor(correctMask=True)
        with pytest.raises(ValueError, match="image"):
            extractor.execute(image, labels)


def test_a_geometry_tolerance_is_that_of_pyradiomics(case):
    image, mask = case
    labels = sitk.ReadImage(mask)
    labels.SetOrigin([place + 0.2 for place in labels.GetOrigin()])
    means = []
    for module in (ours, theirs):
        extractor = module.RadiomicsFeatureExtractor(geometryTolerance=1.0)
        extractor.disableAllFeatures()
        extractor.enableFeaturesByName(firstorder=["Mean"])
        means.append(extractor.execute(image, labels)["original_firstorder_Mean"])
        with pytest.raises(ValueError, match="geometry"):
            module.RadiomicsFeatureExtractor(geometryTolerance=1e-4).execute(image, labels)
    assert means[0] == pytest.approx(means[1])
