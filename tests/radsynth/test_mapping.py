"""`radsynth.map` and `radsynth.features`: names, settings, parameter files."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from helpers.commands import radsynth as command

import radsynth
from glcm_cuda import GLCMSettings, feature_maps
from glcm_cuda.families.registry import FAMILIES
from glcm_cuda.roi import roi_features


@pytest.fixture
def array(rng):
    return rng.integers(0, 100, (3, 8, 9)).astype(np.int16)


@pytest.fixture
def labels(array):
    labels = np.zeros(array.shape, np.uint8)
    labels[:2, 1:6, 2:8] = 1
    labels[2, 2:7, 1:6] = 2
    return labels


def test_one_name_gives_one_map_and_several_a_dict_keyed_as_asked(array):
    single = radsynth.map(array, "TU9B", levels=8)
    assert isinstance(single, np.ndarray)
    several = radsynth.map(array, ["JointEntropy", "contrast", "joint_entropy"], levels=8)
    assert list(several) == ["JointEntropy", "contrast", "joint_entropy"]
    np.testing.assert_array_equal(several["JointEntropy"], single)
    np.testing.assert_array_equal(several["joint_entropy"], single)
    assert list(radsynth.map(array, ["contrast"], levels=8)) == ["contrast"]
    ngtdm = next(family for family in FAMILIES if family.name == "ngtdm")
    assert list(radsynth.map(array, "ngtdm", levels=8)) == [feature.name for feature in ngtdm.features]


def test_keywords_replace_what_they_contradict(array):
    base = radsynth.Settings(bin_width=25.0, window=7, dimensions=2, slice_axis=1)
    made = radsynth.map(array, settings=base, levels=16, dimensions=3, window=3)
    wanted = GLCMSettings(levels=16, dimensions=3, window=3)
    np.testing.assert_array_equal(made, feature_maps(array, "joint_entropy", wanted)["joint_entropy"])


def test_outside_is_nan_or_what_is_given(array, labels):
    made = radsynth.map(array, mask=labels, label=2, levels=8)
    assert np.isnan(made[labels != 2]).all()
    filled = radsynth.map(array, mask=labels, label=2, levels=8, outside=-1)
    assert (filled[labels != 2] == -1).all()
    np.testing.assert_array_equal(filled[labels == 2], made[labels == 2])


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (
            {"level": 8},
            TypeError,
            r"map\(\) got an unexpected keyword argument 'level' \(did you mean 'levels'",
        ),
        ({"levels": 8, "bin_width": 5.0}, ValueError, "levels and bin_width are mutually exclusive"),
        ({"settings": {"levels": 8}}, TypeError, "settings must be radsynth.Settings, got dict"),
        ({"window": 4}, ValueError, "window must be odd, got 4"),
        ({"features": 3}, TypeError, "features must be a name or several, got 3"),
        ({"features": np.zeros(3)}, TypeError, "features must be a name or several, got ndarray of float64"),
        ({"features": b"contrast"}, TypeError, "features must be a name or several, got b'contrast'"),
        ({"features": "entropie"}, ValueError, "no feature 'entropie'"),
        ({"features": []}, ValueError, "features must name at least one"),
        ({"outside": 0}, ValueError, "outside needs a mask"),
        ({"params": "p.yaml"}, ValueError, "params needs a mask"),
        ({"range_over": "mask"}, ValueError, "mask"),
        ({"spacing": (1, 2)}, ValueError, "spacing must be 3 positive numbers in mm, along z, y and x"),
        ({"spacing": 1.0}, ValueError, "spacing must be 3 positive numbers"),
        ({"backend": "gpu"}, ValueError, "backend must be one of"),
    ],
)
def test_unfit_arguments_are_named(array, arguments, error, words):
    with pytest.raises(error, match=words) as caught:
        radsynth.map(array, **arguments)
    assert "\n" not in str(caught.value)


def test_unfit_arguments_beside_a_mask(array, labels, tmp_path):
    params = tmp_path / "Params.yaml"
    params.write_text("setting: {binWidth: 5}\n")
    cases = [
        ({"outside": "0"}, TypeError, "outside must be a number, got '0'"),
        ({"outside": 1e39}, ValueError, "outside must be a number that fits in float32"),
        ({"params": params, "settings": radsynth.Settings()}, ValueError, "settings and params are mutually"),
        ({"params": tmp_path / "none.yaml"}, FileNotFoundError, "none.yaml"),
        ({"params": {"setting": {}}}, TypeError, "params must be a path, got dict"),
    ]
    for arguments, error, words in cases:
        with pytest.raises(error, match=words):
            radsynth.map(array, mask=labels, **arguments)
    image = sitk.GetImageFromArray(array)
    with pytest.raises(TypeError, match="spacing is for NumPy arrays and tensors"):
        radsynth.map(image, spacing=(1, 1, 1))
    with pytest.raises(ValueError, match="dimensions=3 needs a volume, got an image of two dimensions"):
        radsynth.map(array[0], dimensions=3)


PARAMS = """\
imageType: {Original: {}}
featureClass: {glcm: [JointEntropy, Contrast], firstorder: [Mean]}
setting: {binWidth: 9, resampledPixelSpacing: [1.5, 1.2, 2], normalize: true, normalizeScale: 100, label: 2}
voxelSetting: {kernelRadius: 2, initValue: -3}
"""


@pytest.fixture
def case(array, labels, tmp_path):
    """Return the paths of an image, its mask and a parameter file."""
    paths = [tmp_path / "image.nrrd", tmp_path / "mask.nrrd"]
    for values, path in zip((array, labels), paths, strict=True):
        image = sitk.GetImageFromArray(values)
        image.SetSpacing((0.9, 1.0, 2.0))
        image.SetOrigin((5.0, -3.0, 10.0))
        sitk.WriteImage(image, str(path))
    params = tmp_path / "Params.yaml"
    params.write_text(PARAMS)
    return *paths, params


def test_a_parameter_file_gives_the_maps_of_the_command(case, tmp_path):
    image, mask, params = case
    made = radsynth.map(image, mask=mask, params=params)
    assert list(made) == ["joint_entropy", "contrast", "firstorder_Mean"]
    command("map", image, "--mask", mask, "--params", params, "-o", tmp_path / "map.nrrd")
    for name, values in made.items():
        written = sitk.ReadImage(str(tmp_path / f"map_{name}.nrrd"))
        np.testing.assert_array_equal(sitk.GetArrayFromImage(values), sitk.GetArrayFromImage(written))
        assert values.GetSize() == written.GetSize() != sitk.ReadImage(str(image)).GetSize()
        np.testing.assert_allclose(values.GetOrigin(), written.GetOrigin())


def test_a_parameter_file_resamples_images_of_nibabel(case, tmp_path):
    import nibabel

    image, mask, params = case
    in_itk = radsynth.map(image, "glcm_Contrast", mask=mask, params=params, levels=8)
    for path in (image, mask):
        radsynth.write(radsynth.read(path), path.with_suffix(".nii"))
    made = radsynth.map(
        nibabel.load(image.with_suffix(".nii")),
        "glcm_Contrast",
        mask=mask.with_suffix(".nii"),
        params=params,
        levels=8,
    )
    nibabel.save(made, tmp_path / "made.nii")
    again = radsynth.read(tmp_path / "made.nii")
    np.testing.assert_array_equal(sitk.GetArrayFromImage(again), sitk.GetArrayFromImage(in_itk))
    np.testing.assert_allclose(again.GetOrigin(), in_itk.GetOrigin(), atol=1e-5)
    np.testing.assert_allclose(again.GetSpacing(), in_itk.GetSpacing(), atol=1e-6)


def test_the_table_has_a_row_for_each_label(array, labels):
    names = ["JointEntropy", "firstorder_Mean", "gldzm_ZonePercentage"]
    table = radsynth.features(array, labels, names, levels=8)
    assert list(table.columns) == ["voxels", *names]
    assert (table.index.name, list(table.index)) == ("label", [1, 2])
    settings = GLCMSettings(levels=8, range_over="mask")
    for label, row in table.iterrows():
        inside = labels == label
        assert row["voxels"] == inside.sum()
        assert row[names].to_dict() == roi_features(array, names, settings, mask=inside)
    second = radsynth.features(array, labels, names, label=2, levels=8)
    assert second.equals(table.loc[[2]])


def test_the_table_has_the_values_of_the_command(case, tmp_path):
    import pandas as pd

    image, mask, params = case
    for arguments, options in (
        ({"params": params}, ["--params", params]),
        (
            {"features": "ngtdm", "aggregation": "3d-merge"},
            ["--feature", "ngtdm", "--aggregation", "3d-merge"],
        ),
    ):
        table = radsynth.features(image, mask, **arguments)
        command("roi", image, "--mask", mask, "-o", tmp_path / "f.csv", "--force", *options)
        written = pd.read_csv(tmp_path / "f.csv")
        assert list(written["label"]) == list(table.index)
        assert list(written["voxels"]) == list(table["voxels"])
        names = list(table.columns[1:])
        np.testing.assert_array_equal(written[names], table[names])


def test_unfit_arguments_of_the_table(array, labels):
    cases = [
        ({"features": []}, ValueError, "features must name at least one"),
        ({"window": 5}, TypeError, "window applies to maps; a region has no windows"),
        ({"range_over": "crop"}, ValueError, "range_over='crop' applies to maps"),
        ({"label": 7}, ValueError, "no voxel of label 7"),
        ({"aggregation": "4d"}, ValueError, "no aggregation '4d'"),
        ({"levles": 8}, TypeError, r"features\(\) got an unexpected keyword argument 'levles'"),
    ]
    for arguments, error, words in cases:
        with pytest.raises(error, match=words):
            radsynth.features(array, labels, **arguments)
    with pytest.raises(ValueError, match="dimensions=3 needs a volume, got an image of two dimensions"):
        radsynth.features(array[0], labels[0], aggregation="3d-mean")
    with pytest.raises(TypeError, match=r"mask must be a path, .*got builtins\.NoneType"):
        radsynth.features(array, None)


def test_distances_need_no_window_in_a_region(array, labels):
    table = radsynth.features(array, labels, "contrast", label=1, distance=4, directions="all", levels=8)
    assert table["contrast"].item() > 0


def test_files_are_written_whole_and_not_replaced(array, tmp_path):
    path = tmp_path / "image.nrrd"
    radsynth.write(array, path, spacing=(2.0, 0.9, 0.7))
    image = radsynth.read(path)
    assert image.GetSpacing() == (0.7, 0.9, 2.0)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), array)
    with pytest.raises(FileExistsError, match=r"image\.nrrd"):
        radsynth.write(array, path)
    radsynth.write(array + 1, path, force=True)
    assert sitk.GetArrayFromImage(radsynth.read(path)).min() == array.min() + 1
    with pytest.raises(ValueError, match="must end in"):
        radsynth.write(array, tmp_path / "image.png")
    for function, arguments in ((radsynth.write, (array, 3)), (radsynth.read, (None,))):
        with pytest.raises(TypeError, match="path must be a path, got"):
            function(*arguments)


def test_names_that_are_not_there():
    assert {"map", "features", "synthesize", "read", "write", "Settings"} <= set(dir(radsynth))
    with pytest.raises(AttributeError, match="'radsynth' has no attribute 'mapp'"):
        radsynth.mapp  # noqa: B018


def test_regions_of_a_parameter_file_have_labels_and_shape(rng, tmp_path):
    image, labels = rng.integers(0, 60, (4, 6, 7)), np.zeros((4, 6, 7), np.uint8)
    labels[1:3, 1:4, :5], labels[3, 4:, 5:] = 1, 4
    params = tmp_path / "Params.yaml"

    def table(text, **keywords):
        params.write_text(text)
        return radsynth.features(image, labels, params=params, spacing=(2.0, 1.0, 1.5), **keywords)

    of_all = table("featureClass: {shape: [VoxelVolume], firstorder: [Mean]}\nsetting: {label: all}")
    assert of_all.index.tolist() == [1, 4]
    assert of_all["shape_VoxelVolume"].tolist() == [30 * 3.0, 4 * 3.0]
    assert of_all["firstorder_Mean"].tolist() == [image[labels == one].mean() for one in (1, 4)]
    shape = table("featureClass: {shape: [Flatness]}\nsetting: {label: 4, minimumROIDimensions: 1}")
    assert shape.loc[4].to_dict() == {"voxels": 4, "shape_Flatness": 0}
    mean = table("featureClass: {shape: [Flatness]}\nsetting: {label: [4, 1]}", features=["firstorder_Mean"])
    assert mean.columns.tolist() == ["voxels", "firstorder_Mean"]
    params.write_text("setting: {label: [1, 4], correctMask: true}")
    maps = radsynth.map(image, "firstorder_Mean", mask=labels, params=params, outside=-1)
    assert ((maps >= 0) == (labels > 0)).all()
