"""`filters=` of `radsynth.map` and `radsynth.features`: keys, values and kinds of images."""

from __future__ import annotations

import weakref

import nibabel
import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk
from helpers.commands import radsynth as command

import radsynth
from pipelines.filters.wavelet import Wavelet

pytest.importorskip("pywt", reason="the extra `filters`")
pytest.importorskip("skimage", reason="the extra `filters`")

FILTERS = ["original", "log:sigma=2", "wavelet:haar", "gradient"]
IMAGES = ["original", "log-sigma-2-0-mm-3D", *(f"wavelet-{a}{b}" for b in "LH" for a in "LH"), "gradient"]
PARAMS = """\
imageType: {Original: {}, LoG: {sigma: [1.5], binWidth: 4}, Square: {binWidth: 20}}
featureClass: {glcm: [JointEntropy], firstorder: [Mean]}
setting: {binWidth: 9, label: 2, normalize: true, normalizeScale: 100}
voxelSetting: {kernelRadius: 1, initValue: -3}
"""


@pytest.fixture
def case(rng, tmp_path):
    """Return the paths of an anisotropic image, of labels and of a parameter file."""
    labels = np.zeros((5, 8, 9), np.uint8)
    labels[1:3, 1:6, 2:8] = 1
    labels[3, 2:7, 1:6] = 2
    for name, array in (("image", rng.integers(0, 100, labels.shape).astype(np.int16)), ("labels", labels)):
        image = sitk.GetImageFromArray(array)
        image.SetSpacing((0.9, 1.0, 2.5))
        image.SetOrigin((5.0, -3.0, 10.0))
        sitk.WriteImage(image, str(tmp_path / f"{name}.nii.gz"))
    (tmp_path / "Params.yaml").write_text(PARAMS)
    return tmp_path / "image.nii.gz", tmp_path / "labels.nii.gz", tmp_path / "Params.yaml"


def array_of(image):
    return sitk.GetArrayFromImage(image)


def test_maps_are_those_of_the_command_under_the_keys_of_pyradiomics(case, tmp_path):
    image, labels, _ = case
    made = radsynth.map(image, ["TU9B", "glrlm_RunEntropy"], mask=labels, filters=FILTERS, levels=8, window=3)
    features = ("glcm_JointEntropy", "glrlm_RunEntropy")
    assert sorted(made) == sorted(f"{name}_{feature}" for name in IMAGES for feature in features)
    filters = [part for text in FILTERS for part in ("--filter", text)]
    options = ["--mask", labels, "--feature", "TU9B,glrlm_RunEntropy", "--levels", "8", "--window", "3"]
    command("map", image, *options, *filters, "-o", tmp_path / "maps.nrrd")
    for key, values in made.items():
        written = sitk.ReadImage(str(tmp_path / f"maps_{key}.nrrd"))
        np.testing.assert_array_equal(array_of(values), array_of(written))
        np.testing.assert_allclose(values.GetOrigin(), written.GetOrigin())


def test_every_kind_of_image_gives_the_same(case):
    image = sitk.ReadImage(str(case[0]))
    keywords = {"filters": "log:sigma=2.5,4", "levels": 8, "window": 3}
    by_path = radsynth.map(case[0], "contrast", **keywords)
    keys = ["log-sigma-2-5-mm-3D_glcm_Contrast", "log-sigma-4-0-mm-3D_glcm_Contrast"]
    assert list(by_path) == keys
    for one in (image, nibabel.load(case[0])):
        made = radsynth.map(one, "contrast", **keywords)
        arrays = {key: array_of(v) if one is image else np.asanyarray(v.dataobj).T for key, v in made.items()}
        assert list(arrays) == keys
        for key, values in arrays.items():
            np.testing.assert_array_equal(values, array_of(by_path[key]))
    spacing = image.GetSpacing()[::-1]
    in_numpy = radsynth.map(array_of(image), "contrast", spacing=spacing, **keywords)
    for key in keys:
        np.testing.assert_array_equal(in_numpy[key], array_of(by_path[key]))
    other = radsynth.map(array_of(image), "contrast", **keywords)
    assert not np.array_equal(other[keys[0]], in_numpy[keys[0]])  # sigma is in mm


def test_a_parameter_file_names_the_filters_and_the_settings_of_each(case, tmp_path):
    image, labels, params = case
    made = radsynth.map(image, mask=labels, params=params)
    names = ("original", "log-sigma-1-5-mm-3D", "square")
    assert list(made) == [f"{n}_{f}" for n in names for f in ("glcm_JointEntropy", "firstorder_Mean")]
    command("map", image, "--mask", labels, "--params", params, "-o", tmp_path / "maps.nrrd")
    for key, values in made.items():
        written = sitk.ReadImage(str(tmp_path / f"maps_{key}.nrrd"))
        np.testing.assert_array_equal(array_of(values), array_of(written))
    # Filters that are named replace those of the file, with the settings for all image types.
    replaced = radsynth.map(image, "glcm_JointEntropy", mask=labels, params=params, filters="square")
    assert list(replaced) == ["square_glcm_JointEntropy"]
    assert not np.array_equal(
        array_of(next(iter(replaced.values()))), array_of(made["square_glcm_JointEntropy"])
    )


def test_the_table_has_the_values_of_the_command(case, tmp_path):
    image, labels, params = case
    filters = [part for text in FILTERS for part in ("--filter", text)]
    merged = {"features": "ngtdm", "filters": FILTERS, "aggregation": "3d-merge", "levels": 8}
    options = ["--feature", "ngtdm", "--aggregation", "3d-merge", "--levels", "8", *filters]
    for arguments, given, columns in (
        (merged, options, 7 * 5),
        ({"params": params}, ["--params", params], 3 * 2),
    ):
        table = radsynth.features(image, labels, **arguments)
        command("roi", image, "--mask", labels, "-o", tmp_path / "f.csv", "--force", *given)
        written = pd.read_csv(tmp_path / "f.csv")
        assert list(written["label"]) == list(table.index)
        names = list(table.columns[1:])
        assert len(names) == columns
        np.testing.assert_array_equal(written[names], table[names])


def test_each_image_is_derived_once_and_few_are_in_memory(case, monkeypatch):
    alive, most, derive = weakref.WeakSet(), [], Wavelet.images

    def counted(self, volume, scope):
        for derived in derive(self, volume, scope):
            alive.add(derived)
            most.append(len(alive))
            yield derived

    monkeypatch.setattr(Wavelet, "images", counted)
    radsynth.map(case[0], ["contrast", "glrlm_RunEntropy"], filters="wavelet:haar", levels=8, dimensions=3)
    radsynth.features(case[0], case[1], ["contrast", "ngtdm"], filters="wavelet:haar", levels=8)
    assert len(most) == 8 + 4
    assert max(most) <= 3  # the last, the next, and what `zip` keeps


@pytest.mark.parametrize(
    "setting", ["resampledPixelSpacing: [1.2, 0, 2], padDistance: 2", "preCrop: true, padDistance: 2"]
)
def test_filters_work_on_the_box_that_pyradiomics_crops(case, tmp_path, setting):
    image, labels, params = case
    params.write_text(PARAMS.replace("binWidth: 9", f"binWidth: 9, {setting}"))
    made = radsynth.map(image, "glcm_JointEntropy", mask=labels, params=params)
    options = ("--mask", labels, "--params", params)
    command("map", image, *options, "--feature", "glcm_JointEntropy", "-o", tmp_path / "maps.nrrd")
    for key, values in made.items():
        written = sitk.ReadImage(str(tmp_path / f"maps_{key}.nrrd"))
        np.testing.assert_array_equal(array_of(values), array_of(written))
        np.testing.assert_allclose(values.GetOrigin(), written.GetOrigin())
    table = radsynth.features(image, labels, params=params)
    command("roi", image, *options, "-o", tmp_path / "f.csv")
    names = list(table.columns[1:])
    np.testing.assert_array_equal(pd.read_csv(tmp_path / "f.csv")[names], table[names])
    with pytest.raises(ValueError, match=r"windows reach 3 voxels around the mask, filters work on"):
        radsynth.map(image, "glcm_JointEntropy", mask=labels, params=params, window=7)


def test_distances_of_zones_are_from_the_border_before_resegmentation(case, tmp_path):
    image, labels, params = case
    params.write_text("setting: {label: 1, resegmentRange: [10, 80]}\nradsynth: {resegmentSigma: 1.2}\n")
    table = radsynth.features(image, labels, "gldzm", params=params)
    options = ("--mask", labels, "--params", params, "--feature", "gldzm")
    command("roi", image, *options, "-o", tmp_path / "f.csv")
    names = list(table.columns[1:])
    np.testing.assert_array_equal(pd.read_csv(tmp_path / "f.csv")[names], table[names])


@pytest.mark.parametrize(
    ("filters", "error", "words"),
    [
        ("lgo", ValueError, r"filters lgo: no filter 'lgo' \(did you mean 'log'"),
        (["log"], ValueError, "filters log: sigma is missing"),
        ([], ValueError, "filters must name at least one filter, got none"),
        (2, TypeError, "filters must be specifications such as 'log:sigma=2,4', got 2"),
        ([("log", 2)], TypeError, "filters must be specifications .*, got list of tuple"),
        (["wavelet", "wavelet:db2"], ValueError, "two filters give an image the name wavelet-L"),
        ("log:sigma=40", ValueError, "log with sigma 40 mm needs at least"),
        (
            "lbp-2d",
            ValueError,
            r"lbp-2D has values from . to ., one level .* give one of 1 \(--bin-width, bin_",
        ),
    ],
)
def test_unfit_filters_are_refused(case, filters, error, words):
    for function in (radsynth.map, lambda image, **keywords: radsynth.features(image, case[1], **keywords)):
        with pytest.raises(error, match=words) as caught:
            function(case[0], features="contrast", filters=filters, bin_width=25.0)
        assert "\n" not in str(caught.value)
