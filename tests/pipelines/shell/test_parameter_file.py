"""Parameter files of pyradiomics: what they mean here, what is refused, and maps equal to its own."""

from __future__ import annotations

import json
import logging
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK
from click.testing import CliRunner

from glcm_cuda import GLCMSettings
from glcm_cuda.families.registry import FAMILIES, NAMES, features_named
from pipelines.__main__ import main
from pipelines.images.masks import read_mask_labels
from pipelines.images.preprocessing import Preprocessing, preprocess_with_mask
from pipelines.images.reading import read_image
from pipelines.images.volume import Volume, image_of
from pipelines.images.writing import write_volume
from pipelines.shell.parameter_file import read_parameter_file


def written(tmp_path, text):
    path = tmp_path / "Params.yaml"
    path.write_text(text)
    return path


def settings_of(tmp_path, text, **options):
    return read_parameter_file(written(tmp_path, text), **options).settings


# What files mean


def test_without_settings_they_are_pyradiomics_defaults(tmp_path):
    found = read_parameter_file(written(tmp_path, "setting: {}"))
    assert found.settings == GLCMSettings.preset("pyradiomics")
    assert (found.features, found.mask_choice.label, found.outside) == (NAMES, 1, 0.0)
    assert (found.diagnostics, found.resegment_shape) == (True, False)
    assert (found.minimum_dimensions, found.minimum_voxels) == (2, 1)


def test_every_setting_has_its_meaning(tmp_path):
    text = """
    imageType: {Original: {}}
    featureClass: {glcm: [JointEntropy, MCC, JointEntropy]}
    setting:
      binCount: 32
      distances: [1, 2]
      force2D: true
      force2Ddimension: 2
      symmetricalGLCM: false
      weightingNorm: no_weighting
      label: 3
      minimumROIDimensions: 1
      minimumROISize: 9
      gldm_a: 2
      voxelArrayShift: -1000
    voxelSetting: {kernelRadius: 2, maskedKernel: false, initValue: nan, voxelBatch: 100}
    """
    found = read_parameter_file(written(tmp_path, text))
    assert found.settings == GLCMSettings(
        levels=32, window=5, distance=(1, 2), directions="all", dimensions=2, slice_axis=2, symmetric=False,
        aggregate="merge", bin_edges="pyradiomics", range_over="crop", masked_window=False,
        gldm_a=2, ngtdm_isolated=True, intensity_shift=-1000,
    )  # fmt: skip
    assert (found.features, found.mask_choice.label) == (("joint_entropy", "mcc"), 3)
    assert np.isnan(found.outside)
    assert (found.minimum_dimensions, found.minimum_voxels) == (1, 10)


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("setting: {binWidth: 2.5}", {"bin_width": 2.5}),
        ("setting: {binWidth: 1e-1}", {"bin_width": 0.1}),  # text in YAML 1.1
        ("setting: {binWidth: 5, binCount: null}", {"bin_width": 5.0}),
        ("setting: {binWidth: 5, binCount: 8}", {"bin_width": None, "levels": 8}),
        ("setting: {force2Ddimension: 1}", {"dimensions": 3, "slice_axis": 0}),
        ("imageType: {Original: {binWidth: 3}}\nsetting: {binWidth: 5}", {"bin_width": 3.0}),
        ("setting: {weightingNorm: null}", {"aggregate": "mean"}),
        ('{"setting": {"binWidth": 7}}', {"bin_width": 7.0}),
        ("setting: {binCount: 010}", {"levels": 10}),  # eight in YAML 1.1
        ("setting: {weightingNorm: infinity}", {"aggregate": "merge", "weighting": "infinity"}),
    ],
)
def test_single_settings(tmp_path, text, fields):
    found = settings_of(tmp_path, text)
    assert {name: getattr(found, name) for name in fields} == fields


def test_a_region_has_no_window(tmp_path):
    text = "setting: {distances: [1, 4]}\nvoxelSetting: {kernelRadius: 1, maskedKernel: false}"
    found = settings_of(tmp_path, text, region=True)
    assert (found.distances, found.range_over, found.masked_window) == ((1, 4), "mask", True)
    with pytest.raises(ValueError, match=r"Params\.yaml: distances must be from 1 to 2, which the window"):
        settings_of(tmp_path, text)


def test_what_has_no_effect_is_accepted(tmp_path):
    values = {"preCrop": "true", "enableCExtensions": "true", "sigma": "[1, 2]", "padDistance": "5"}
    lines = "\n".join(f"  {name}: {value}" for name, value in values.items())
    assert settings_of(tmp_path, f"setting:\n{lines}\n") == GLCMSettings.preset("pyradiomics")


def test_resampling_without_an_interpolator_is_off(tmp_path):
    text = "setting: {interpolator: null, resampledPixelSpacing: [1, 1, 1]}"
    assert read_parameter_file(written(tmp_path, text)).steps.is_off


def test_an_image_is_resampled_from_its_corner(tmp_path):
    """Voxels of 1 mm, of which two and a half become one: new centres lie at 0.75, 3.25 and 5.75."""
    text = "setting: {resampledPixelSpacing: [2.5, 0, 1], interpolator: sitkLinear, minimumROIDimensions: 1}"
    file = read_parameter_file(written(tmp_path, text))
    array = np.tile(np.arange(7, dtype=np.float32) * 10, (1, 2, 1))
    volume = Volume(array, (1.0, 1.0, 1.0), (5.0, 6.0, 7.0), (1.0, 0, 0, 0, 1, 0, 0, 0, 1))
    mask = np.zeros(array.shape, bool)
    mask[:, :, 3:5] = True
    image, moved = preprocess_with_mask(volume, mask, file.steps)
    np.testing.assert_allclose(image.array, np.tile([7.5, 32.5, 57.5], (1, 2, 1)), rtol=1e-6)
    assert (image.spacing_mm, image.origin_mm) == ((2.5, 1.0, 1.0), (5.75, 6.0, 7.0))
    np.testing.assert_array_equal(moved, np.tile([False, True, False], (1, 2, 1)))
    assert file.steps.to_dict()["preprocessing"]["resample"] == {
        "spacing_mm": [2.5, 0, 1], "interpolation": "sitkLinear", "grid": "corner",
    }  # fmt: skip
    given = Preprocessing(spacing_mm=(0.5, 0, 0)).over(file.steps)
    assert preprocess_with_mask(volume, mask, given)[0].array.shape == (1, 2, 14)
    text = "setting: {resampledPixelSpacing: [1, 0, 3]}"  # the mask has one slice
    same, _ = preprocess_with_mask(volume, mask, read_parameter_file(written(tmp_path, text)).steps)
    np.testing.assert_array_equal(same.array, volume.array)
    flat = Volume(array[0], (1.0, 1.0), (0.0, 0.0), (1.0, 0, 0, 1))
    with pytest.raises(ValueError, match=r"resampledPixelSpacing needs a 3D image, got a 2D one"):
        preprocess_with_mask(flat, mask[0], file.steps)


def test_no_feature_class_is_said_in_the_log(tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        assert read_parameter_file(written(tmp_path, "setting: {}")).features == NAMES
    assert "no featureClass: pyradiomics would compute every class; shape is left out of" in caplog.text


@pytest.mark.parametrize("names", ["", "[]", "null"])
@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_no_list_is_every_feature_of_a_class(tmp_path, family, names, caplog):
    text = f"featureClass:\n  {family.name}: {names}\n"
    every = tuple(feature.name for feature in family.features)
    assert read_parameter_file(written(tmp_path, text)).features == every
    assert not caplog.text


def test_classes_in_the_order_of_the_file(tmp_path):
    text = "featureClass: {ngtdm: [Contrast], glcm: [Contrast], firstorder: [Range, Mean, Range]}"
    assert read_parameter_file(written(tmp_path, text)).features == (
        "ngtdm_Contrast", "contrast", "firstorder_Range", "firstorder_Mean"
    )  # fmt: skip


def test_shapes_of_regions(tmp_path, caplog):
    def shapes(text):
        return read_parameter_file(written(tmp_path, f"featureClass: {text}"), region=True).shapes

    assert shapes("{shape: [Flatness, VoxelVolume, Flatness]}") == ("shape_Flatness", "shape_VoxelVolume")
    assert shapes("{shape2D: [PixelSurface], glcm: }") == ("shape2D_PixelSurface",)
    assert not caplog.text
    assert len(shapes("{shape: , shape2D: []}")) == 10
    assert "featureClass shape2D: MeshSurface, Perimeter, " in caplog.text
    assert len(shapes("{}")) == 6
    with pytest.raises(ValueError, match=r"shape: Sphericity needs a mesh of the surface, .* \(line 1\)"):
        shapes("{shape: [Flatness, Sphericity]}")
    with pytest.raises(ValueError, match=r"shape: no feature 'Flatnes' \(did you mean 'Flatness'\?\)"):
        shapes("{shape: [Flatnes]}")


@pytest.mark.parametrize("shape", ["shape: [Sphericity]", "shape2D: "])
def test_shapes_are_left_out_of_maps_and_the_log_says_so(tmp_path, shape, caplog):
    text = f"featureClass:\n  {shape}\n  glcm: [Contrast]\n"
    assert read_parameter_file(written(tmp_path, text)).features == ("contrast",)
    assert f"featureClass {shape.split(':')[0]} is left out" in caplog.text


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "glcm: [Dissimilarity, Contrast]",
            "glcm: Dissimilarity, which pyradiomics has deprecated, is left out",
        ),
        ("glcm: [Contrast, SumVariance]", "it is ClusterTendency"),
        ("firstorder: [StandardDeviation], glcm: [Contrast]", "it is the root of Variance"),
        ("gldm: [DependencePercentage], glcm: [Contrast]", "it is always 1"),
    ],
)
def test_deprecated_features_are_left_out_and_the_log_says_so(tmp_path, text, line, caplog):
    text = f"featureClass: {{{text}}}"
    assert read_parameter_file(written(tmp_path, text)).features == ("contrast",)
    assert line in caplog.text


def test_an_image_is_normalised_as_the_file_says(tmp_path):
    def steps(text):
        return read_parameter_file(written(tmp_path, f"setting: {{{text}}}")).steps

    assert steps("normalize: false, normalizeScale: 100, removeOutliers: 3").is_off
    assert steps("normalize: true") == Preprocessing(normalize="zscore")
    assert steps("normalize: true, normalizeScale: 100, removeOutliers: null") == Preprocessing(
        normalize="zscore", scale=100
    )
    found = steps("normalize: true, normalizeScale: 100, removeOutliers: 3")
    assert found == Preprocessing(normalize="zscore", outliers=3, scale=100)
    assert Preprocessing(n4=True, outliers=2.0).over(found) == Preprocessing(
        n4=True, normalize="zscore", outliers=2, scale=100
    )


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("resegmentRange: null, resegmentMode: sigma", [2, 4, 4, 6]),
        ("resegmentRange: [4]", [4, 4, 6]),
        ("resegmentRange: [5, 2.5]", [4, 4]),
        ("resegmentRange: [0.5, 0.7], resegmentMode: relative", [4, 4]),  # 3 to 4.2
        ("resegmentRange: [-1, 1], resegmentMode: sigma", [4, 4]),  # 4 minus and plus the root of 2
        ("resegmentRange: [-1.5], resegmentMode: sigma", [2, 4, 4, 6]),
    ],
)
def test_intensities_that_count_inside_the_mask(tmp_path, text, left):
    file = read_parameter_file(written(tmp_path, f"setting: {{{text}, minimumROIDimensions: 1}}"))
    array = np.array([[2, 4, 4, 6, 4]])
    inside = np.array([[True, True, True, True, False]])
    assert array[file.region("m", inside, array)].tolist() == left


def test_a_mask_of_which_too_little_is_left_is_refused(tmp_path):
    file = read_parameter_file(written(tmp_path, "setting: {resegmentRange: [6], minimumROIDimensions: 1}"))
    with pytest.raises(ValueError, match="mask m extends along 0 dimensions"):
        file.region("m", np.ones((1, 3), bool), np.array([[2, 4, 6]]))


def test_voxels_count_in_every_range(tmp_path):
    """Each range is found over the whole mask, as IBSI says."""
    text = "setting: {resegmentRange: [-50, 50], minimumROIDimensions: 1}\nradsynth: {resegmentSigma: 1}"
    file = read_parameter_file(written(tmp_path, text))
    array = np.array([[-60, -20, 0, 10, 40, 90]])
    mean, deviation = array.mean(), array.std()
    assert (round(mean, 1), round(deviation, 1)) == (10.0, 46.9)
    assert array[file.region("m", np.ones(array.shape, bool), array)].tolist() == [-20, 0, 10, 40]
    alone = "setting: {minimumROIDimensions: 1}\nradsynth: {resegmentSigma: 1}"
    file = read_parameter_file(written(tmp_path, alone))
    assert array[file.region("m", np.ones(array.shape, bool), array)].tolist() == [-20, 0, 10, 40]
    wide = read_parameter_file(written(tmp_path, alone.replace("Sigma: 1", "Sigma: 1.5")))
    assert array[wide.region("m", np.ones(array.shape, bool), array)].tolist() == [-60, -20, 0, 10, 40]


def test_the_section_of_our_own(tmp_path):
    text = """
    setting: {resampledPixelSpacing: [1, 1, 0], resegmentRange: [400, -500], binWidth: 25}
    radsynth: {grid: ibsi, maskInterpolator: sitkLinear, roundIntensities: true, binEdges: ibsi,
        ngtdmIsolated: false}
    """
    found = read_parameter_file(written(tmp_path, text))
    assert found.steps == Preprocessing(
        spacing_mm=(1, 1, 0), interpolator="sitkBSpline", mask_interpolator="sitkLinear", rounded=True
    )
    expected = {"bin_edges": "ibsi", "ngtdm_isolated": False, "intensity_range": (-500, 400)}
    assert {name: getattr(found.settings, name) for name in expected} == expected
    assert read_parameter_file(written(tmp_path, "radsynth: {}")).settings == GLCMSettings.preset(
        "pyradiomics"
    )
    rounded = "setting: {resampledPixelSpacing: [1, 1, 1]}\nradsynth: {roundIntensities: true}"
    steps = read_parameter_file(written(tmp_path, rounded)).steps
    assert (steps.rounded, steps.spacing_mm, steps.grid.interpolator) == (True, None, "sitkBSpline")
    wide = "setting: {resampledPixelSpacing: [1, 1, 1], correctMask: true}\nvoxelSetting: {kernelRadius: 6}\n"
    found = read_parameter_file(written(tmp_path, f"{wide}radsynth: {{grid: ibsi}}"))
    assert found.filter_pad is None  # on IBSI's grid nothing is cropped, and masks lie on the image's
    assert found.mask_choice.resample


@pytest.mark.parametrize(
    ("setting", "edges"),
    [
        ("resegmentRange: [-5, 5]", (-5, 5)),
        ("resegmentRange: [-5, 5], binCount: 8", None),
        ("resegmentRange: [-5, 5], resegmentMode: sigma", None),
        ("binWidth: 5", None),
    ],
)
def test_ibsi_bins_of_a_width_begin_where_the_range_does(tmp_path, setting, edges):
    text = (
        f"imageType: {{Original: {{}}, Square: {{}}}}\nsetting: {{{setting}}}\nradsynth: {{binEdges: ibsi}}"
    )
    original, filtered = read_parameter_file(written(tmp_path, text)).image_types
    assert original.settings.intensity_range == edges
    assert filtered.settings.intensity_range is None  # its intensities are others


# What is refused


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("setting: {normalize: 1}", "normalize must be true or false, got 1"),
        ("setting: {normalize: true, removeOutliers: 0}", "removeOutliers must be a number above 0, got 0"),
        ("setting: {normalize: true, normalizeScale: x}", "normalizeScale must be a number, got 'x'"),
        ("setting: {correctMask: 1}", "correctMask must be true or false, got 1"),
        ("setting: {label_channel: -1}", "label_channel must be a whole number of 0 or more, got -1"),
        ("setting: {geometryTolerance: 0}", "geometryTolerance must be a number above 0, got 0"),
        (
            "setting: {label: [1, 0]}",
            r"label must be a whole number .* a list of them, or all, got \[",
        ),
        (
            "setting: {label: every}",
            "label must be .* a list of them, or all, got 'every",
        ),
        ("setting: {interpolator: 11}", "interpolator must be one of .*, or a number from 1 to 10, got 11"),
        ("setting: {force2D: yes}", "force2D must be true or false, got 'yes'"),  # text in YAML 1.2
        ("setting: {binWidth: '25'}", "binWidth must be a number, got '25'"),
        (
            "setting:",
            "setting must be a mapping of names to values, got null; remove .* .line 1",
        ),
        ("imageType: {LoG: }", "imageType LoG must be a mapping of names to values, got null"),
        ("featureClass: {glcm: all}", "glcm must be a list of features, got 'all'; leave it empty for all"),
        ("", "a parameter file must be a mapping of names to values, got null"),
        ("# our study\nsetting:\n  label: 1\n  binwidth: 5", r"no 'binwidth' \(did .*\) \(line 4\)$"),
        ("setting:\n  label: 1\n  binWidth: -5", r"binWidth must be a number above 0, got -5 \(line 3\)$"),
        ("featureClass:\n  glcm:\n  - Idm\n  - Idmm", r"no feature 'Idmm' \(did .*\) \(line 4\)$"),
        (
            "imageType:\n  LBP2D:\n    lbp2DMethod: x",
            r"LBP2D: method must be one of .* \(line 2\)$",
        ),
        ("imageType:\n  LoG:\n    sigma: 2", r"imageType LoG: sigma must be a list .* 2 \(line 3\)$"),
        ("setting: {resampledPixelSpacing: [1, 1]}", "resampledPixelSpacing must be a list of three"),
        ("setting: {resampledPixelSpacing: [1, 1, -1]}", "resampledPixelSpacing must be a list of three"),
        (
            "setting: {resampledPixelSpacing: [1, 1, 1], interpolator: sitkCubic}",
            "interpolator must be one of sitkNearestNeighbor, .* got 'sitkCubic'",
        ),
        (
            "setting: {resampledPixelSpacing: [1, 1, 1], padDistance: 1}\nvoxelSetting: {kernelRadius: 2}",
            "padDistance must be at least kernelRadius if the image is cropped or resampled, got 1",
        ),
        ("setting: {preCrop: true, padDistance: 0}", "padDistance must be at least kernelRadius"),
        ("setting: {resegmentRange: 3}", "resegmentRange must be a list of one or two numbers, got 3"),
        ("setting: {resegmentRange: [1, 2, 3]}", "resegmentRange must be a list of one or two numbers"),
        ("radsynth: {Grid: ibsi}", r"radsynth: no 'Grid' \(did you mean 'grid'\?\)"),
        ("radsynth: {grid: corner}", "grid must be pyradiomics or ibsi, got 'corner'"),
        ("radsynth: {maskInterpolator: sitkBSpline}", "must be sitkNearestNeighbor or sitkLinear, got"),
        ("radsynth: {roundIntensities: 1}", "roundIntensities must be true or false, got 1"),
        ("radsynth: {resegmentSigma: 0}", "resegmentSigma must be a number above 0, got 0"),
        ("radsynth: {binEdges: mine}", "binEdges must be pyradiomics or ibsi, got 'mine'"),
        ("setting: {grid: ibsi}", "grid belongs in radsynth, got it in setting"),
        (
            "setting: {resegmentRange: [1]}\nradsynth: {binEdges: ibsi}",
            r"resegmentRange must be two numbers if binEdges is ibsi and there is a binWidth, got \[1\]",
        ),
        ("setting: {resegmentRange: [1], resegmentMode: x}", "resegmentMode must be absolute, relative or"),
        ("imageType: {Original: {resampledPixelSpacing: [1, 1, 1]}}", "Spacing must be given in setting"),
        ("imageType: {Original: {resegmentRange: [1]}}", "resegmentRange must be given in setting"),
        ("imageType: {Original: {normalize: true}}", "normalize must be given in setting"),
        ("setting: {weightingNorm: x}", "weightingNorm must be no_weighting, manhattan, .* got 'x'"),
        ("featureClass: {shape: }", "featureClass: none of these features is computed here; name others"),
        ("setting: {gldm_a: 1.0}", "gldm_a must be a whole number from 0 to 65535, got 1.0"),
        ("setting: {gldm_a: 65536}", "gldm_a must be a whole number from 0 to 65535, got 65536"),
        ("setting: {gldm_a: null}", "gldm_a must have a value, got null"),
        ("setting: {voxelArrayShift: 0.5}", "voxelArrayShift must be a whole number, got 0.5"),
        ("featureClass: {gldm: [RunEntropy]}", "featureClass gldm: no feature 'RunEntropy'"),
        ("featureClass: {glrlm: [[RunEntropy]]}", "featureClass glrlm: no feature"),
        ("featureClass: {glrlm: {}}", "featureClass glrlm must be a list of features, got {}"),
        ("featureClass: {glcmm: }", r"featureClass: no 'glcmm' \(did you mean 'glcm'\?\)"),
        (
            "featureClass: {glcm: [JointEntrpy]}",
            r"no feature 'JointEntrpy' \(did you mean 'JointEntropy'\?\)",
        ),
        ("featureClass: {glcm: [zzz]}", "no feature 'zzz'; the features are Autocorrelation, JointAverage"),
        ("featureClass: {glcm: JointEntropy}", "featureClass glcm must be a list of features, got 'JointE"),
        ("featureClass: {glcm: [Homogeneity1]}", "none of these features is computed here"),
        ("imageType: {LoG: {}}", "imageType LoG: sigma must be a list of widths in mm, got null"),
        ("imageType: {LoG: {sigma: 2}}", "imageType LoG: sigma must be a list of widths in mm, got 2"),
        ("imageType: {LoG: {sigma: [-1]}}", "imageType LoG: sigma must be a width in mm above 0, got -1"),
        ("imageType: {LoG: {sigma: [1], binwidth: 2}}", "imageType LoG: no 'binwidth'"),
        ("imageType: {LoG: {sigma: [1], binWidth: 0}}", "imageType LoG: binWidth must be a number above 0"),
        ("imageType: {LoG: {sigma: [1], correctMask: true}}", "LoG: correctMask must be given in setting"),
        ("imageType: {Wavelet: {wavelet: cof1}}", "imageType Wavelet: no wavelet 'cof1' .did you mean 'coi"),
        ("imageType: {Wavelet: {level: 0}}", "imageType Wavelet: level must be a whole number of 1 or more"),
        ("imageType: {LBP2D: {lbp2DMethod: x}}", "imageType LBP2D: method must be one of"),
        ("imageType: {LBP3D: {lbp3DLevels: x}}", "imageType LBP3D: lbp3DLevels must be a whole number"),
        ("imageType: {Gradient: {gradientUseSpacing: 1}}", "Gradient: gradientUseSpacing must be true or"),
        ("imageType: {Orignal: {}}", r"imageType: no 'Orignal' \(did you mean 'Original'\?\)"),
        ("imageType: {Original: {label: 2}}", "imageType Original: label must be given in setting"),
        ("imageType: {Original: {kernelRadius: 2}}", "imageType Original: no 'kernelRadius'"),
        ("setting: {binwidth: 5}", r"setting: no 'binwidth' \(did you mean 'binWidth'\?\)"),
        ("setting: {kernelRadius: 2}", "kernelRadius belongs in voxelSetting, got it in setting"),
        ("voxelSetting: {binWidth: 2}", "binWidth belongs in setting, got it in voxelSetting"),
        ("voxelSetting: {zzz: 2}", "voxelSetting: no 'zzz'; expected kernelRadius, maskedKernel"),
        ("settings: {binWidth: 5}", r"no section 'settings' \(did you mean 'setting'\?\)"),
        ("setting: {binWidth: 0}", "binWidth must be a number above 0, got 0"),
        ("setting: {binWidth: wide}", "binWidth must be a number, got 'wide'"),
        ("setting: {binWidth: true}", "binWidth must be a number, got True"),
        ("setting: {binWidth: null}", "binWidth must have a value, got null"),
        ("setting: {symmetricalGLCM: null}", "symmetricalGLCM must have a value, got null"),
        ("setting: {binCount: 2.5}", "binCount must be a whole number from 2 to 65536, got 2.5"),
        ("setting: {force2D: 1}", "force2D must be true or false, got 1"),
        ("setting: {force2Ddimension: 3}", "force2Ddimension must be a whole number from 0 to 2, got 3"),
        ("setting: {distances: 1}", "distances must be a list of whole numbers, got 1"),
        ("setting: {distances: []}", r"distances must be a list of whole numbers, got \[\]"),
        ("setting: {distances: [3]}", r"distances must be from 1 to 2, which the window reaches, got \[3\]"),
        ("setting: {label: 0}", "label must be a whole number of 1 or more, a list of them, or all, got 0"),
        ("voxelSetting: {kernelRadius: 0}", "kernelRadius must be a whole number from 1 to 127, got 0"),
        ("voxelSetting: {kernelRadius: 128}", "kernelRadius must be a whole number from 1 to 127, got 128"),
        ("setting: [binWidth]", r"setting must be a mapping of names to values, got \['binWidth'\]"),
        ("just text", "a parameter file must be a mapping of names to values, got 'just text'"),
        ("setting: {binWidth: 5", "is not valid YAML in line 1: "),
        ("setting:\n  binWidth: 5\n  binWidth: 6", "binWidth is given twice, again in line 3; keep one"),
    ],
)
def test_refused_in_one_line(tmp_path, text, line):
    with pytest.raises(ValueError, match=line) as error:
        read_parameter_file(written(tmp_path, text))
    assert str(error.value).startswith(f"{tmp_path / 'Params.yaml'}: ")
    assert "\n" not in str(error.value)


def test_image_types_have_settings_of_their_own(tmp_path):
    pytest.importorskip("pywt", reason="the extra `filters`")
    text = """
        setting: {binWidth: 20, wavelet: db2, force2D: false}
        imageType:
            Original: {}
            LoG: {sigma: [2, 3.5], binWidth: 5}
            Wavelet: {level: 2}
            LBP2D: {binWidth: 1, force2D: true, lbp2DSamples: 12}
    """
    found = read_parameter_file(written(tmp_path, text))
    original = found.image_types[0]
    assert [one.filter.to_dict() for one in found.image_types] == [
        {"type": "original"},
        {"type": "log", "sigma_mm": [2, 3.5]},
        {"type": "wavelet", "name": "db2", "level": 2, "start_level": 0},
        {"type": "lbp-2D", "radius": 1.0, "samples": 12, "method": "uniform"},
    ]
    assert [one.settings.bin_width for one in found.image_types] == [20, 5, 20, 1]
    assert [one.settings.dimensions for one in found.image_types] == [3, 3, 3, 2]
    assert found.settings == original.settings


def test_the_original_image_alone_is_no_filter(tmp_path):
    found = read_parameter_file(written(tmp_path, "imageType: {Original: {binWidth: 3}}"))
    assert found.image_types == ()
    assert found.settings.bin_width == 3
    assert read_parameter_file(written(tmp_path, "imageType: {Square: {}}")).settings.bin_width == 25


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"parameter file .*no\.yaml does not exist"):
        read_parameter_file(tmp_path / "no.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(ValueError, match="must be a YAML file in UTF-8, got another encoding"):
        read_parameter_file(tmp_path / "binary.yaml")


def test_masks_that_pyradiomics_would_refuse(tmp_path):
    found = read_parameter_file(written(tmp_path, "setting: {minimumROISize: 3}"))
    mask = np.zeros((4, 5, 6), bool)
    mask[1, 2, 1:5] = True
    with pytest.raises(
        ValueError, match=r"mask m\.nii extends along 1 dimensions, Params\.yaml requires at least 2"
    ):
        found.region("m.nii", mask, mask)
    mask[1, 2, 4], mask[1, 3, 4] = False, True
    found.region("m.nii", mask, mask)
    mask[1, 3, 4] = False
    with pytest.raises(ValueError, match=r"mask m\.nii has 3 voxels, Params\.yaml requires at least 4"):
        found.region("m.nii", mask, mask)


# Maps and features equal to pyradiomics' own: of pyradiomics 3.1.4 (a fork by bhklab of 3.1.0), run on the
# image and mask below.


def example():
    z, y, x = np.indices((5, 8, 9))
    image = ((7 * z + 5 * y + 3 * x) ** 2 % 97).astype(np.int16)
    mask = np.zeros(image.shape, np.uint8)
    mask[1:4, 2:6, 0:5] = 2
    mask[2, 3, 2] = 0
    mask[3, 5, 4] = 1
    place = ((0.5, 0.75, 2.0), (10.0, -20.0, 30.0), (0.0, 1.0, 0.0, -1.0, 0.0, 0.0, 0.0, 0.0, 1.0))
    return Volume(image, *place), Volume(mask, *place)


ORIGIN = (10.75, -20.0, 30.0)
CASES = {
    "setting: {binWidth: 10, label: 2}": (
        (5, 6, 6),
        ORIGIN,
        {
            "joint_entropy": (3.282897852, 3.233088974, 0.0, 5.0668510609),
            "contrast": (13.110922411, 18.087620713, 0.0, 16.9189989721),
            "cluster_shade": (10.662032672, -19.701399259, 0.0, -13.3461733368),
            "imc1": (-0.70680393, -0.613540657, 0.0, -0.4270048705),
            "correlation": (0.111299872, -0.192755707, 0.0, -0.0372161469),
        },
    ),
    "setting: {binCount: 8, label: 2, force2D: true, force2Ddimension: 1, weightingNorm: no_weighting}\n"
    "voxelSetting: {kernelRadius: 2, initValue: nan}": (
        (5, 8, 7),
        (10.0, -20.0, 30.0),
        {
            "joint_entropy": (3.806810531, 3.173557262, np.nan, 5.5075588349),
            "contrast": (13.586206897, 19.133333333, np.nan, 13.0212765957),
            "cluster_shade": (27.471729058, 6.976, np.nan, -2.4606301109),
            "imc1": (-0.058557144, -0.161448249, np.nan, -0.0650107728),
            "correlation": (0.102717135, -0.444388525, np.nan, 0.0050960408),
        },
    ),
    "setting: {binWidth: 12.5, label: 2, distances: [1, 2], symmetricalGLCM: false}\n"
    "voxelSetting: {maskedKernel: false, initValue: -1}": (
        (5, 6, 6),
        ORIGIN,
        {
            "joint_entropy": (2.07172574, 2.032898833, -1.0, 3.6030637602),
            "contrast": (11.001792115, 12.77374552, -1.0, 12.1059328006),
            "cluster_shade": (2.118489583, -2.650024095, -1.0, -7.9810370789),
            "imc1": (-0.673427397, -0.633617983, -1.0, -0.5774125068),
            "correlation": (-0.058059831, 0.116899869, -1.0, -0.0229806736),
        },
    ),
    "setting: {binWidth: 10, label: 2, gldm_a: 1, voxelArrayShift: -50}": (
        (5, 6, 6),
        ORIGIN,
        {
            "firstorder_RootMeanSquared": (28.94619756, 31.28427532, 0.0, 29.7443126989),
            "firstorder_TotalEnergy": (10683.0, 12478.5, 0.0, 38485.5),
            "firstorder_Entropy": (2.851018723, 2.536608254, 0.0, 3.23461930688),
            "glrlm_RunVariance": (0.03593215812, 0.07260416667, 0.0, 0.0568212576398),
            "glszm_ZoneEntropy": (3.121928095, 2.75, 0.0, 4.08505510276),
            "gldm_DependenceVariance": (1.619377163, 5.501730104, 0.0, 4.57550535077),
            "ngtdm_Busyness": (0.1347050046, 0.1642647388, 0.0, 0.335313077316),
        },
    ),
    "setting: {binCount: 8, label: 2, force2D: true, force2Ddimension: 1, weightingNorm: no_weighting,"
    " distances: [1, 2]}\nvoxelSetting: {kernelRadius: 2, maskedKernel: false, initValue: nan}": (
        (5, 8, 7),
        (10.0, -20.0, 30.0),
        {
            "firstorder_RootMeanSquared": (63.22677439, 62.28515072, np.nan, 64.07350305),
            "glrlm_RunVariance": (0.1114622235, 0.2543209877, np.nan, 0.109413916992),
            "glszm_ZoneEntropy": (3.084962501, 2.851018723, np.nan, 3.70451694338),
            "gldm_DependenceVariance": (1.5625, 3.5744, np.nan, 1.26872770511),
            "ngtdm_Busyness": (0.1863396769, 0.3128977157, np.nan, 0.627262375495),
        },
    ),
}


def feature_classes(names):
    """Return the section of a parameter file that asks for features."""
    classes = {}
    for feature in features_named(names):
        classes.setdefault(feature.family, []).append(feature.pyradiomics)
    return f"featureClass: {json.dumps(classes)}\n"


@pytest.mark.parametrize("text", CASES)
def test_maps_and_features_are_pyradiomics(tmp_path, text):
    shape, origin, expected = CASES[text]
    image, mask = example()
    write_volume(image, tmp_path / "image.nrrd")
    write_volume(mask, tmp_path / "mask.nrrd")
    params = written(tmp_path, feature_classes(expected) + text)
    inputs = [str(tmp_path / "image.nrrd"), "--mask", str(tmp_path / "mask.nrrd"), "--params", str(params)]
    output = ["-o", str(tmp_path / "m.nrrd"), "--crop", "--backend", "cpu"]
    result = CliRunner().invoke(main, ["map", *inputs, *output])
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[:-1] == [str(tmp_path / f"m_{name}.nrrd") for name in expected]
    for name, values in expected.items():
        found = read_image(tmp_path / f"m_{name}.nrrd")
        assert found.array.shape == shape
        np.testing.assert_allclose(found.origin_mm, origin, atol=1e-12)
        assert (found.spacing_mm, found.direction) == (image.spacing_mm, image.direction)
        places = [found.array[place] for place in ((1, 2, 1), (2, 3, 4), (0, 0, 0))]
        np.testing.assert_allclose(places, values[:3], rtol=2e-7, err_msg=name)  # the map is float32
        record = json.loads((tmp_path / f"m_{name}.nrrd.json").read_text())
        assert (record["parameter_file"], record["mask_label"]) == ("Params.yaml", 2)
    output = ["-o", str(tmp_path / "f.csv"), "--names", "pyradiomics"]
    result = CliRunner().invoke(main, ["roi", *inputs, *output])
    assert result.exit_code == 0, result.output
    header, row = (line.split(",") for line in (tmp_path / "f.csv").read_text().splitlines())
    columns = [f"original_{feature.full_name}" for feature in features_named(expected)]
    assert header[-len(columns) :] == columns
    region = [values[3] for values in expected.values()]
    np.testing.assert_allclose([float(cell) for cell in row[-len(region) :]], region, rtol=1e-11, atol=1e-9)


def mean_of(tmp_path, image, mask, setting):
    """Return the mean of a region, or what is said instead."""
    write_volume(image, tmp_path / "image.nrrd", force=True)
    write_volume(mask, tmp_path / "mask.nrrd", force=True)
    params = written(tmp_path, f"featureClass: {{firstorder: [Mean]}}\nsetting: {{label: 2, {setting}}}")
    inputs = [tmp_path / "image.nrrd", "--mask", tmp_path / "mask.nrrd", "--params", params]
    result = CliRunner().invoke(main, ["roi", *map(str, inputs), "-o", str(tmp_path / "f.csv"), "--force"])
    if result.exit_code:
        return result.stderr
    header, row = (line.split(",") for line in (tmp_path / "f.csv").read_text().splitlines())
    return float(row[header.index("firstorder_Mean")])


def test_masks_on_another_grid(tmp_path):
    image, mask = example()
    mean = mean_of(tmp_path, image, mask, "additionalInfo: false")
    x, y, z = mask.spacing_mm
    fine = replace(mask, array=mask.array.repeat(2, axis=0), spacing_mm=(x, y, z / 2))
    fine = replace(fine, origin_mm=(mask.origin_mm[0], mask.origin_mm[1], mask.origin_mm[2] - z / 4))
    assert "must lie on the image's grid" in mean_of(tmp_path, image, fine, "correctMask: false")
    assert mean_of(tmp_path, image, fine, "correctMask: true") == mean
    beyond = replace(fine, origin_mm=(mask.origin_mm[0] + 40, *fine.origin_mm[1:]))
    assert "reaches beyond the image" in mean_of(tmp_path, image, beyond, "correctMask: true")
    both = (
        "correctMask: true, resampledPixelSpacing: [1, 1, 1]"  # pyradiomics starts at the mask's corner then
    )
    assert "but not beside resampledPixelSpacing" in mean_of(tmp_path, image, fine, both)


def test_a_tolerance_of_places_replaces_ours(tmp_path):
    image, mask = example()
    moved = replace(mask, origin_mm=tuple(place + 0.2 for place in mask.origin_mm))  # 0.4 of a voxel
    assert "must lie on the image's grid" in mean_of(tmp_path, image, moved, "binWidth: 25")
    assert mean_of(tmp_path, image, moved, "geometryTolerance: 0.5") > 0
    moved = replace(mask, origin_mm=tuple(place + 0.002 for place in mask.origin_mm))
    assert mean_of(tmp_path, image, moved, "binWidth: 25") > 0
    assert "must lie on the image's grid" in mean_of(tmp_path, image, moved, "geometryTolerance: 0.001")


def test_a_channel_of_a_mask(tmp_path, caplog):
    image, mask = example()
    mean = mean_of(tmp_path, image, mask, "binWidth: 25")
    labels = image_of(mask)
    SimpleITK.WriteImage(SimpleITK.Compose(labels * 0, labels), str(tmp_path / "mask.nrrd"))
    choice = read_parameter_file(written(tmp_path, "setting: {label: 2, label_channel: 1}")).mask_choice
    with caplog.at_level(logging.INFO):
        inside = read_mask_labels(tmp_path / "mask.nrrd", image, choice)
    assert image.array[inside].mean() == pytest.approx(mean)
    assert "has several layers: layer 1 is taken (label_channel)" in caplog.text
    with pytest.raises(ValueError, match="has no voxel of label 2; labels present: none"):
        read_mask_labels(tmp_path / "mask.nrrd", image, replace(choice, channel=0))
    with pytest.raises(ValueError, match=r"has 2 layers, .* layer 2"):
        read_mask_labels(tmp_path / "mask.nrrd", image, replace(choice, channel=2))


def test_options_change_what_the_file_says(tmp_path):
    image, mask = example()
    write_volume(image, tmp_path / "image.nrrd")
    write_volume(mask, tmp_path / "mask.nrrd")
    params = written(tmp_path, "setting: {binWidth: 10}\nvoxelSetting: {maskedKernel: false}")
    arguments = [
        "map", tmp_path / "image.nrrd", "--mask", tmp_path / "mask.nrrd", "--params", params,
        "-o", tmp_path / "m.nii", "--feature", "contrast", "--mask-label", 2, "--levels", 12,
        "--dimensions", 2, "--masked-window", "--range-over", "mask", "--backend", "cpu",
    ]  # fmt: skip
    result = CliRunner().invoke(main, list(map(str, arguments)))
    assert result.exit_code == 0, result.output
    record = json.loads((tmp_path / "m.nii.json").read_text())
    assert GLCMSettings.from_dict(record["settings"]) == GLCMSettings(
        levels=12, window=3, directions="all", bin_edges="pyradiomics", range_over="mask"
    )
    assert (record["mask_label"], record["feature"]["name"], record["outside"]) == (2, "contrast", 0.0)
    values = read_image(tmp_path / "m.nii").array
    assert values.shape == image.array.shape
    assert (values[mask.array != 2] == 0).all()


def test_an_image_of_one_slice_has_windows_in_it(tmp_path, rng):
    flat = Volume(rng.integers(0, 99, (9, 8)), (0.5, 0.6), (1.0, 2.0), (1.0, 0.0, 0.0, 1.0))
    write_volume(flat, tmp_path / "image.nrrd")
    mask = np.zeros((9, 8), np.uint8)
    mask[2:6, 1:7] = 1
    write_volume(Volume(mask, flat.spacing_mm, flat.origin_mm, flat.direction), tmp_path / "mask.nrrd")
    inputs = [str(tmp_path / "image.nrrd"), "--mask", str(tmp_path / "mask.nrrd")]
    inputs += ["--params", str(written(tmp_path, "featureClass: {glcm: [JointEntropy]}"))]
    result = CliRunner().invoke(main, ["map", *inputs, "-o", str(tmp_path / "m.nrrd"), "--crop"])
    assert result.exit_code == 0, result.output
    assert read_image(tmp_path / "m.nrrd").array.shape == (6, 8)
    assert json.loads((tmp_path / "m.nrrd.json").read_text())["settings"]["dimensions"] == 2
    result = CliRunner().invoke(main, ["roi", *inputs, "-o", str(tmp_path / "f.csv")])
    assert result.exit_code == 0, result.output
    assert "; 2.5d-mean" in result.stdout
    inputs[-1] = str(written(tmp_path, "featureClass: {shape: [Flatness], shape2D: [PixelSurface]}"))
    result = CliRunner().invoke(main, ["roi", *inputs, "-o", str(tmp_path / "s.csv")])
    assert result.exit_code == 0, result.output
    assert "no value of shape_Flatness: the image has 2 dimensions" in result.stderr
    header, row = (line.split(",") for line in (tmp_path / "s.csv").read_text().splitlines())
    assert float(row[header.index("shape2D_PixelSurface")]) == pytest.approx(24 * 0.5 * 0.6)


@pytest.mark.parametrize("text", ["[" * 3000 + "]" * 3000, '{"setting": ' * 3000 + "1" + "}" * 3000])
def test_files_that_are_nested_deeply_are_refused(tmp_path, text):
    (tmp_path / "p.yaml").write_text(text)
    with pytest.raises(ValueError, match="must be a parameter file, got one that is nested too deeply"):
        read_parameter_file(tmp_path / "p.yaml")


def test_messages_are_short_however_large_a_value_is(tmp_path):
    """Nine lists of nine references each to the one before make 350 million numbers."""
    lists = ["a0: &a0 [1, 2, 3, 4, 5, 6, 7, 8, 9]"]
    lists += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]
    (tmp_path / "p.yaml").write_text(f"setting:\n  binWidth: {{{', '.join(lists)}}}\n")
    with pytest.raises(ValueError, match="binWidth must be a") as caught:
        read_parameter_file(tmp_path / "p.yaml")
    assert len(str(caught.value)) < 3000
