"""The extractor without pyradiomics: its methods, refusals, and values that the commands give.

`tests/oracles/test_extractor.py` runs scripts with pyradiomics itself.
"""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import SimpleITK as sitk
from helpers.commands import radsynth as command

import radsynth
from radsynth.featureextractor import RadiomicsFeatureExtractor

needs_none = pytest.mark.skipif(importlib.util.find_spec("radiomics") is not None, reason="it is installed")


@pytest.fixture
def images(rng):
    """Return an image and labels, oblique and anisotropic."""
    labels = np.zeros((4, 8, 9), np.uint8)
    labels[:2, 1:6, 2:8] = 1
    labels[2:, 2:7, 1:6] = 2
    both = []
    for array in (rng.integers(0, 100, labels.shape).astype(np.int16), labels):
        image = sitk.GetImageFromArray(array)
        image.SetSpacing((0.9, 1.1, 3.0))
        image.SetOrigin((5.0, -3.0, 10.0))
        image.SetDirection(sitk.Euler3DTransform((0, 0, 0), 0.3, -0.2, 0.5).GetMatrix())
        both.append(image)
    return tuple(both)


def extractor(**settings) -> RadiomicsFeatureExtractor:
    """Return an extractor of three features."""
    made = RadiomicsFeatureExtractor(additionalInfo=False, binWidth=10, **settings)
    made.disableAllFeatures()
    made.enableFeaturesByName(glcm=["JointEntropy", "Contrast"], firstorder=["Mean"])
    return made


KEYS = ["original_glcm_JointEntropy", "original_glcm_Contrast", "original_firstorder_Mean"]


def test_defaults_are_those_of_pyradiomics():
    made = RadiomicsFeatureExtractor(None)
    assert made.enabledImagetypes == {"Original": {}}
    textures = ("firstorder", "glcm", "gldm", "glrlm", "glszm", "ngtdm")
    assert made.enabledFeatures == {name: [] for name in (*textures, "shape")}
    assert made.featureClassNames == [*textures, "shape", "shape2D"]
    assert (made.settings["label"], made.settings["additionalInfo"]) == (1, True)


def test_methods_change_the_attributes(caplog):
    made = RadiomicsFeatureExtractor(binWidth=5)
    made.disableAllFeatures()
    made.enableFeatureClassByName("glcm")
    made.enableFeaturesByName(firstorder=["Mean"], glrlm=None)
    made.enableFeatureClassByName("glrlm", enabled=False)
    assert made.enabledFeatures == {"glcm": [], "firstorder": ["Mean"]}
    made.enableImageTypeByName("LoG", customArgs={"sigma": [2]})
    made.enableImageTypeByName("Original", enabled=False)
    made.enableImageTypes(Square={})
    assert made.enabledImagetypes == {"LoG": {"sigma": [2]}, "Square": {}}
    made.disableAllImageTypes()
    made.enableAllImageTypes()
    assert len(made.enabledImagetypes) == 10
    made.enableAllFeatures()
    assert len(made.enabledFeatures) == 8
    made.addProvenance(False)
    assert made.settings["additionalInfo"] is False
    made.enableImageTypeByName("Log")
    made.enableFeatureClassByName("gclm")
    assert "Image type Log is not recognized" in caplog.text
    assert "Feature class gclm is not recognized" in caplog.text


def test_a_parameter_file_a_dict_and_json_say_the_same(tmp_path):
    path = tmp_path / "Params.yaml"
    path.write_text("setting: {binWidth: 7}\nvoxelSetting: {kernelRadius: 2}\nfeatureClass: {glcm: [Idm]}\n")
    content = {
        "setting": {"binWidth": 7},
        "voxelSetting": {"kernelRadius": 2},
        "featureClass": {"glcm": ["Idm"]},
    }
    by_json = RadiomicsFeatureExtractor()
    by_json.loadJSONParams(str(content).replace("'", '"'))
    for made in (RadiomicsFeatureExtractor(path), RadiomicsFeatureExtractor(str(path)), by_json):
        assert vars(made) == vars(RadiomicsFeatureExtractor(content))
    assert RadiomicsFeatureExtractor(content, binWidth=8).settings["binWidth"] == 8


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (("a.yaml", "b"), TypeError, "give one parameter file or dict, got 2 arguments"),
        ((3,), TypeError, "a parameter file or dict is expected, got int"),
        (("nothing.yaml",), FileNotFoundError, "nothing.yaml"),
        (({"settings": {}},), ValueError, r"no section 'settings' \(did you mean 'setting'"),
        (
            ({"radsynth": {"grid": "ibsi"}},),
            ValueError,
            "section radsynth is for radsynth.map, .*: remove it",
        ),
        (({"setting": {"binwidth": 5}},), ValueError, "setting: no 'binwidth'"),
        (({"imageType": {"Log": {}}},), ValueError, "imageType: no 'Log'"),
    ],
)
def test_unfit_parameters_are_refused(arguments, error, words):
    with pytest.raises(error, match=words):
        RadiomicsFeatureExtractor(*arguments)


def test_values_are_those_of_the_command(images, tmp_path):
    paths = [tmp_path / "image.nrrd", tmp_path / "label.nrrd"]
    for image, path in zip(images, paths, strict=True):
        sitk.WriteImage(image, str(path))
    params = tmp_path / "Params.yaml"
    params.write_text(
        "setting: {binWidth: 10, additionalInfo: false}\n"
        "featureClass: {glcm: [JointEntropy, Contrast], firstorder: [Mean]}\n"
    )
    options = ["--mask", paths[1], "--params", params, "--names", "pyradiomics", "-o", tmp_path / "f.csv"]
    command("roi", paths[0], *options)
    names, values = ((tmp_path / "f.csv").read_text().splitlines()[row].split(",") for row in (0, 1))
    written = dict(zip(names, values, strict=True))
    found = extractor().execute(str(paths[0]), paths[1])
    assert list(found) == KEYS
    for key, value in found.items():
        assert value.shape == ()
        assert repr(float(value)) == written[key]


def test_maps_are_those_of_the_command(images, tmp_path):
    paths = [tmp_path / "image.nrrd", tmp_path / "label.nrrd"]
    for image, path in zip(images, paths, strict=True):
        sitk.WriteImage(image, str(path))
    params = tmp_path / "Params.yaml"
    params.write_text(
        "setting: {binWidth: 10, label: 2}\nvoxelSetting: {kernelRadius: 1, initValue: -1}\n"
        "featureClass: {glcm: [JointEntropy]}\n"
    )
    command("map", paths[0], "--mask", paths[1], "--params", params, "--crop", "-o", tmp_path / "map.nrrd")
    written = sitk.ReadImage(str(tmp_path / "map.nrrd"))
    found = extractor(initValue=-1).execute(*images, label=2, voxelBased=True)
    assert list(found) == KEYS
    made = found["original_glcm_JointEntropy"]
    assert made.GetPixelID() == sitk.sitkFloat64
    np.testing.assert_array_equal(sitk.GetArrayFromImage(made), sitk.GetArrayFromImage(written))
    np.testing.assert_allclose(made.GetOrigin(), written.GetOrigin())
    np.testing.assert_allclose(made.GetDirection(), written.GetDirection())


def test_results_say_who_computed_them(images):
    made = extractor()
    made.addProvenance()
    found = made.execute(*images, label=2)
    assert found["diagnostics_Versions_PyRadiomics"].startswith("computed by RadSynth 0")
    assert found["diagnostics_Mask-original_VoxelNum"] == 50
    assert found["diagnostics_Mask-original_BoundingBox"] == (1, 2, 2, 5, 5, 2)
    assert found["diagnostics_Configuration_Settings"]["label"] == 2
    assert made.settings["label"] == 1


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"weightingNorm": "longest"}, "weightingNorm must be no_weighting, manhattan, .* got 'longest'"),
        ({"binCount": 1}, "binCount must be a whole number from 2 to 65536"),
        ({"distances": 2}, "distances must be a list of whole numbers, got 2"),
        ({"label": 9}, r"Label \(9\) not present in mask; labels present: \[1, 2\]"),
        ({"minimumROISize": 500}, "the extractor requires at least 501"),
    ],
)
def test_settings_that_are_not_reproduced_are_refused(images, settings, words):
    with pytest.raises(ValueError, match=words) as caught:
        extractor(**settings).execute(*images)
    assert "\n" not in str(caught.value)


def test_a_channel_of_a_mask_is_chosen(images, tmp_path):
    image, labels = images
    path = tmp_path / "layers.nrrd"
    channels = sitk.Compose(labels * 0, labels)
    sitk.WriteImage(channels, str(path))
    wanted = extractor().execute(image, labels, label=2)
    for mask in (channels, path, str(path)):
        assert extractor().execute(image, mask, label=2, label_channel=1) == wanted
    with pytest.raises(ValueError, match=r"Label \(2\) not present in mask; labels present: none"):
        extractor(label=2).execute(image, path)


def test_a_mask_on_another_grid_is_resampled_if_that_is_asked_for(images):
    image, labels = images
    finer = sitk.Expand(labels, [2, 2, 1], sitk.sitkNearestNeighbor)
    with pytest.raises(ValueError, match="mask must lie on the image's grid, got size"):
        extractor().execute(image, finer)
    assert extractor(correctMask=True).execute(image, finer) == extractor().execute(image, labels)
    finer.SetOrigin([place + 4 for place in finer.GetOrigin()])
    with pytest.raises(ValueError, match="mask reaches beyond the image"):
        extractor(correctMask=True).execute(image, finer)


def test_unfit_images_and_features_are_refused(images):
    image, labels = images
    moved = sitk.Image(labels)
    moved.SetOrigin((0, 0, 0))
    cases = [
        (
            (image, moved),
            ValueError,
            "mask must lie on the image's grid, got origin .* .correctMask, or a",
        ),
        (
            (sitk.GetArrayFromImage(image), labels),
            TypeError,
            "imageFilepath must be a path or an image with a pl",
        ),
        ((image, None), TypeError, "maskFilepath must be a path, "),
        (("nothing.nrrd", labels), FileNotFoundError, "image nothing.nrrd does not exist"),
        ((image, sitk.Compose(labels, labels), 1, 2), ValueError, "label_channel must be from 0 to 1"),
    ]
    for arguments, error, words in cases:
        with pytest.raises(error, match=words):
            extractor().execute(*arguments)
    for settings, words in (
        ({"label": "1"}, "label must be a whole number, got '1'"),
        ({"geometryTolerance": "1"}, "geometryTolerance must be a number, got '1'"),
    ):
        with pytest.raises(TypeError, match=words):
            extractor(**settings).execute(*images)
    assert extractor(label=np.uint8(2)).execute(*images)
    made = extractor()
    with pytest.raises(TypeError, match="customArgs must be a dict of settings, got 2"):
        made.enableImageTypeByName("LoG", customArgs=2)
    made.enableFeaturesByName(glcm="JointEntropy")
    with pytest.raises(TypeError, match="glcm must be a list of features, got 'JointEntropy'"):
        made.execute(*images)
    made.enableFeaturesByName(glcm=["JointEntropie"])
    with pytest.raises(LookupError, match=r"glcm_JointEntropie \(did you mean 'JointEntropy'"):
        made.execute(*images)


def test_what_pyradiomics_ignores_is_ignored_and_said(images, caplog):
    made = extractor(verbose=True)
    made.enableFeaturesByName(kernelRadius=[2])
    assert list(made.execute(*images)) == KEYS
    assert "setting 'verbose' is unknown to pyradiomics and changes nothing" in caplog.text
    assert "feature class 'kernelRadius' is unknown to pyradiomics" in caplog.text


@needs_none
def test_what_is_not_ours_is_refused_by_name(images):
    made = extractor()
    made.enableFeatureClassByName("shape")
    with pytest.raises(ImportError, match="shape is computed by pyradiomics, which is not installed"):
        made.execute(*images)
    assert list(made.execute(*images, voxelBased=True)) == KEYS
    made.enableFeaturesByName(shape=["VoxelVolume", "Flatness"])
    found = made.execute(*images)
    assert list(found) == ["original_shape_VoxelVolume", "original_shape_Flatness", *KEYS]
    assert found["original_shape_VoxelVolume"] == pytest.approx(60 * 0.9 * 1.1 * 3.0)


PARAMS = """\
imageType: {Original: {}, LoG: {sigma: [1.5], binWidth: 4}, Square: {binWidth: 20}}
featureClass: {firstorder: [Mean], glcm: [Contrast]}
setting: {binWidth: 9, label: 2, additionalInfo: false}
voxelSetting: {initValue: -3}
"""


def test_filtered_images_are_those_of_the_package(images, tmp_path):
    params = tmp_path / "Params.yaml"
    params.write_text(PARAMS)
    made = RadiomicsFeatureExtractor(params)
    (row,) = radsynth.features(*images, params=params).drop(columns="voxels").to_dict("records")
    assert {key: float(value) for key, value in made.execute(*images).items()} == row
    made.enableImageTypeByName("LoG", customArgs={"sigma": (1.5,), "binWidth": 4, "initValue": -9})
    found = made.execute(*images, voxelBased=True)
    maps = radsynth.map(images[0], mask=images[1], params=params)
    assert sorted(found) == sorted(maps)
    labels = images[1]
    for key, image in found.items():
        x, y, z = labels.TransformPhysicalPointToIndex(image.GetOrigin())
        box = tuple(slice(low, low + size) for low, size in zip((x, y, z), image.GetSize(), strict=True))
        inside = sitk.GetArrayFromImage(labels[box]) == 2
        values, wanted = sitk.GetArrayFromImage(image), sitk.GetArrayFromImage(maps[key][box])
        np.testing.assert_array_equal(values[inside], wanted[inside])
        assert (values[~inside] == (-9 if key.startswith("log") else -3)).all()


def test_the_log_without_sigma_makes_no_image_as_in_pyradiomics(images, caplog):
    made = extractor()
    made.enableImageTypes(LoG={}, Square={"binWdith": 3})
    keys = [key.replace("original", "square") for key in KEYS]
    assert list(made.execute(*images)) == [*KEYS, *keys]
    assert "imageType LoG makes no image: it has no sigma" in caplog.text
    assert "setting 'binWdith' is unknown to pyradiomics" in caplog.text
    assert list(extractor(sigma=[2.0]).execute(*images)) == KEYS


@pytest.mark.parametrize(
    ("types", "words"),
    [
        ({"LoG": 2}, "imageType LoG must be a mapping of names to values, got 2"),
        ({"Loog": {}}, r"imageType: no 'Loog' \(did you mean 'LoG'"),
        ({"LoG": {"sigma": "2"}}, "imageType LoG: sigma must be a list of widths in mm"),
        ({"Square": {"kernelRadius": 2}}, "imageType Square: kernelRadius must be given for all image types"),
        ({"Square": {"preCrop": True}}, "imageType Square: preCrop must be given for all image types"),
        ({"Square": {"normalize": True}}, "imageType Square: normalize must be given"),
        ({"LoG": {"sigma": [99.0]}}, "log with sigma 99 mm needs at least 111 voxels along x"),
    ],
)
def test_unfit_image_types_are_refused(images, types, words):
    made = extractor()
    made.enableImageTypes(**types)
    with pytest.raises(ValueError, match=words) as caught:
        made.execute(*images, voxelBased=True)
    assert "\n" not in str(caught.value)
