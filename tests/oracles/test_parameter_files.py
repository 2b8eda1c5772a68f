"""Parameter files, each run by pyradiomics and by the commands on crops of real images: every key compared.

The files are in the style of those that studies publish. What pyradiomics gives and the commands do not is
named in each case; all other keys must be there, and no more.
"""

from __future__ import annotations

import csv
import logging
import textwrap
from dataclasses import dataclass

import numpy as np
import pytest
import SimpleITK as sitk
from click.testing import CliRunner
from radiomics.featureextractor import RadiomicsFeatureExtractor

from glcm_cuda.families.registry import FAMILIES
from pipelines.__main__ import main
from pipelines.images.shape import NEED_A_MESH

logging.getLogger("radiomics").setLevel(logging.CRITICAL)

RTOL, ATOL = 1e-9, 1e-9
"""Of regions: sums of thousands of float64 numbers in another order."""

MAPS_RTOL, MAPS_ATOL = 1.2e-7, 1e-9
"""Of maps: two halves of the last place of float32, and what is left of sums that cancel."""

MESHES = {f"original_shape_{name}" for name in NEED_A_MESH["shape"]}
ABOUT_ITSELF = ("diagnostics_Versions", "diagnostics_Configuration")

REGIONS = {
    "MR, resampled and normalised": (
        "brain1",
        """
        imageType: {Original: {}}
        featureClass: {shape: , firstorder: [], glcm: [Autocorrelation, JointAverage, ClusterShade, Contrast,
          Correlation, Imc1, Imc2, MCC, Idmn], glrlm: , glszm: , gldm: , ngtdm: }
        setting:
          normalize: true
          normalizeScale: 100
          removeOutliers: 3
          resampledPixelSpacing: [2, 2, 2]
          interpolator: sitkBSpline
          binWidth: 5
          voxelArrayShift: 300
          label: 1
        """,
    ),
    "MR, filtered, in slices": (
        "breast1",
        """
        imageType:
          Original: {}
          LoG: {sigma: [1.5, 2.5], binWidth: 3}
          Wavelet: {wavelet: coif1, start_level: 0, level: 1, binWidth: 4}
        featureClass: {firstorder: , glcm: , glrlm: [RunEntropy, ShortRunEmphasis], ngtdm: [Coarseness]}
        setting: {binWidth: 10, force2D: true, force2Ddimension: 0, label: 1, minimumROISize: 10}
        """,
    ),
    "MR, resampled and filtered": (
        "brain1",
        """
        imageType:
          Original: {}
          LoG: {sigma: [2, 4]}
          Wavelet: {binWidth: 8}
        featureClass: {shape: [Elongation], firstorder: [Kurtosis], glcm: [Idn, Imc1], glszm: [ZoneVariance]}
        setting:
          normalize: true
          normalizeScale: 100
          resampledPixelSpacing: [2, 2, 2]
          binWidth: 5
          padDistance: 8
          weightingNorm: no_weighting
        """,
    ),
    "filters of a crop": (
        "lung1",
        "imageType: {SquareRoot: {}, Gradient: {binWidth: 10}}\n"
        "featureClass: {glrlm: [RunEntropy], firstorder: [Maximum], shape: [VoxelVolume]}\n"
        "setting: {preCrop: true, padDistance: 2, resegmentRange: [-500, 400]}",
    ),
    "CT, resegmented": (
        "lung1",
        """
        imageType: {Original: {}}
        featureClass: {shape: , firstorder: , glcm: , glrlm: , glszm: , gldm: , ngtdm: }
        setting:
          binWidth: 25
          interpolator: sitkBSpline
          resampledPixelSpacing: [1, 1, 1]
          weightingNorm:
          geometryTolerance: 0.0001
          resegmentRange: [-900, 200]
          padDistance: 10
          correctMask: true
          minimumROIDimensions: 3
        """,
    ),
    "resegmented by deviations, shape too": (
        "lung1",
        """
        featureClass: {shape: [Elongation, Flatness, VoxelVolume], firstorder: [Energy, TotalEnergy, Entropy]}
        setting: {binCount: 24, resegmentRange: [-2, 1.5], resegmentMode: sigma, resegmentShape: true}
        """,
    ),
    "a fraction of the maximum": (
        "brain1",
        "setting: {resegmentRange: [0.4], resegmentMode: relative, preCrop: true, additionalInfo: true}\n"
        "featureClass: {glszm: [ZoneEntropy], gldm: [DependenceEntropy]}",
    ),
    "weighted by Euclid": (
        "breast1",
        "setting: {weightingNorm: euclidean, distances: [1, 2], binWidth: 12, symmetricalGLCM: false}\n"
        "featureClass: {glcm: , glrlm: }",
    ),
    "weighted by city blocks, across y": (
        "breast1",
        "setting: {weightingNorm: manhattan, binCount: 12, force2D: true, force2Ddimension: 1}\n"
        "featureClass: {glcm: , glrlm: }",
    ),
    "weighted by the longest axis": (
        "brain1",
        "setting: {weightingNorm: infinity, binWidth: 20, additionalInfo: false}\n"
        "featureClass: {glcm: [JointEntropy, Idm, MCC], glrlm: [RunPercentage, RunVariance]}",
    ),
    "another label, dependences of similar levels": (
        "labels",
        "setting: {label: 3, gldm_a: 2, binWidth: 9, distances: [1, 3]}\n"
        "featureClass: {gldm: , ngtdm: , firstorder: [Mean]}",
    ),
    "a mask on a finer grid": (
        "finer",
        "setting: {correctMask: true, binWidth: 15}\n"
        "featureClass: {shape: [MajorAxisLength], glcm: [Contrast]}",
    ),
    "the second channel of a mask": (
        "channels",
        "setting: {label_channel: 1, binWidth: 15}\nfeatureClass: {glcm: [Contrast], glszm: }",
    ),
    "an interpolator by its number": (
        "lung1",
        "setting: {interpolator: 2, resampledPixelSpacing: [0, 0, 1.5], binWidth: 40, padDistance: 2}\n"
        "featureClass: {glcm: [Contrast], firstorder: [Median]}",
    ),
}

MAPS = {
    "filtered CT": (
        "lung1",
        """
        imageType:
          LoG: {sigma: [2.0], binWidth: 20}
          Wavelet: {wavelet: coif1, binWidth: 20}
          LBP2D: {lbp2DRadius: 1, lbp2DSamples: 9, lbp2DMethod: uniform, binWidth: 1, force2D: true}
        featureClass: {glcm: [JointEntropy, Contrast, Idn], glszm: [SmallAreaEmphasis], ngtdm: [Contrast],
          glrlm: [RunEntropy]}
        setting: {binWidth: 20}
        voxelSetting: {kernelRadius: 2, maskedKernel: true, initValue: 0, voxelBatch: 1000}
        """,
    ),
    "unmasked windows and NaN": (
        "brain1",
        """
        featureClass: {firstorder: , glcm: [Correlation, Imc2, MaximumProbability], gldm: , shape: }
        setting: {binCount: 16, gldm_a: 1, weightingNorm: no_weighting, normalize: true, normalizeScale: 100}
        voxelSetting: {kernelRadius: 1, maskedKernel: false, initValue: nan}
        """,
    ),
    "resampled, in slices": (
        "breast1",
        """
        featureClass: {glcm: [SumEntropy, DifferenceVariance], glrlm: , glszm: [ZonePercentage]}
        setting: {binWidth: 12, resampledPixelSpacing: [1, 1, 2], interpolator: sitkLinear, force2D: true}
        voxelSetting: {kernelRadius: 2, initValue: -1, voxelBatch: 1}
        """,
    ),
    "a norm, which statistics do not know": (
        "breast1",
        "setting: {weightingNorm: euclidean, resegmentRange: [-1, 1], resegmentMode: sigma, binWidth: 5}\n"
        "featureClass: {firstorder: [Median, Range], ngtdm: [Complexity]}",
    ),
}


@dataclass(frozen=True)
class Subject:
    """Paths of an image, its mask and a parameter file."""

    image: str
    mask: str
    params: str


@pytest.fixture
def subject(data_dir, tmp_path, request):
    """Return a crop of a real image, or one with a mask of another kind, and the parameter file."""
    name, text, most = request.param
    file = name if name in ("brain1", "lung1", "breast1") else "breast1"
    image, mask = (
        sitk.ReadImage(str(data_dir / "pyradiomics" / f"{file}_{part}.nrrd")) for part in ("image", "label")
    )
    image, mask = cropped(image, mask, most)
    if name == "labels":
        array = sitk.GetArrayFromImage(mask)
        array[:, :, array.shape[2] // 2 :] *= 3
        other = sitk.GetImageFromArray(array)
        other.CopyInformation(mask)
        mask = other
    elif name == "finer":
        mask = sitk.Expand(mask, [2, 2, 1], sitk.sitkNearestNeighbor)
    elif name == "channels":
        mask = sitk.Compose(mask * 0, mask)
    for one, part in ((image, "image.nrrd"), (mask, "mask.nrrd")):
        sitk.WriteImage(one, str(tmp_path / part))
    (tmp_path / "Params.yaml").write_text(textwrap.dedent(text))
    return Subject(*(str(tmp_path / part) for part in ("image.nrrd", "mask.nrrd", "Params.yaml")))


def cropped(image, mask, most):
    """Return the box of a mask and eight voxels around it, at most so many along each axis."""
    places = np.argwhere(sitk.GetArrayFromImage(mask))[:, ::-1]
    low, high, middle = places.min(axis=0), places.max(axis=0), np.median(places, axis=0).astype(int)
    first = np.maximum(np.maximum(low - 8, middle - most), 0)
    last = np.minimum(np.minimum(high + 9, middle + most), image.GetSize())
    box = tuple(slice(int(start), int(stop)) for start, stop in zip(first, last, strict=True))
    return image[box], mask[box]


def cases(files, most):
    return [pytest.param((name, text, most), id=title) for title, (name, text) in files.items()]


def radsynth(*arguments):
    return CliRunner().invoke(main, list(map(str, arguments)))


def run(command, subject, *arguments):
    result = radsynth(command, subject.image, "--mask", subject.mask, "--params", subject.params, *arguments)
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("subject", cases(REGIONS, 12), indirect=True)
def test_regions_have_every_key(compare, subject, tmp_path):
    expected = RadiomicsFeatureExtractor(subject.params).execute(subject.image, subject.mask)
    run("roi", subject, "--names", "pyradiomics", "-o", tmp_path / "f.csv")
    with (tmp_path / "f.csv").open(newline="") as file:
        (found,) = csv.DictReader(file)
    left_out = {key for key in expected if key in MESHES or key.startswith(ABOUT_ITSELF)}
    keys = [key for key in expected if key not in left_out]
    assert set(keys) <= set(found)
    own = {"image", "mask", "label", "aggregation", "aggregation_ibsi", "voxels"}
    assert {key for key in found if not key.endswith(("levels", "range_low", "range_high"))} - own == set(
        keys
    )
    for key in keys:
        if key.startswith("diagnostics"):
            hold_diagnostic(key, found[key], expected[key])
        else:
            pair = np.array(float(found[key])), np.array(float(expected[key]))
            compare("pyradiomics", key, *pair, RTOL, ATOL, row=f"files, {key.split('_')[1]}")


def hold_diagnostic(key, found, value):
    if isinstance(value, str):
        assert found == value, key
    else:
        numbers = np.array(found.strip("()").split(","), float)
        np.testing.assert_allclose(numbers, np.ravel(value), rtol=1e-9, atol=1e-9, err_msg=key)


@pytest.mark.parametrize("subject", cases(MAPS, 4), indirect=True)
def test_maps_have_every_key(compare, subject, tmp_path):
    expected = RadiomicsFeatureExtractor(subject.params).execute(subject.image, subject.mask, voxelBased=True)
    run("map", subject, "-o", tmp_path / "m.nrrd", "--crop", "--backend", "cpu")
    maps = {key: value for key, value in expected.items() if isinstance(value, sitk.Image)}
    names = {f"original_{one.full_name}": one.name for family in FAMILIES for one in family.features}
    filtered = not all(key.startswith("original_") for key in maps)
    files = {key: tmp_path / f"m_{key if filtered else names[key]}.nrrd" for key in maps}
    assert sorted(files.values()) == sorted(tmp_path.glob("m_*.nrrd"))
    for key, theirs in maps.items():
        ours = sitk.ReadImage(str(files[key]))
        assert ours.GetSize() == theirs.GetSize()
        np.testing.assert_allclose(ours.GetOrigin(), theirs.GetOrigin(), rtol=1e-9, atol=1e-9)
        pair = sitk.GetArrayFromImage(ours).astype(float), sitk.GetArrayFromImage(theirs)
        compare("pyradiomics", key, *pair, MAPS_RTOL, MAPS_ATOL, row=f"files, maps of {key.split('_')[1]}")


REFUSED = {
    "setting: {binWidth: true}": "binWidth",
    "setting: {binwidth: 25}": "binwidth",
    "setting: {label: 1.0}": "label",
    "setting: {force2D: yes}": "force2D",
    "setting: {distances: [0]}": "distances",
    "setting: {gldm_a: 1.0}": "gldm_a",
    "setting: {weightingNorm: city}": "city",
    "setting: {interpolator: sitkBSpline3}": "sitkBSpline3",
    "setting: {wavelet: coif99}\nimageType: {Wavelet: {}}": "coif99",
    "setting: {resegmentMode: mean}": "resegmentMode",
    "setting: {minimumROIDimensions: 4}": "minimumROIDimensions",
    "setting: {removeOutliers: 0}": "removeOutliers",
    "voxelSetting: {kernelRadius: 0}": "kernelRadius",
    "voxelSetting: {binWidth: 2}": "binWidth",
    "imageType: {Laplacian: {}}": "Laplacian",
    "imageType: {Original: }": "Original",
    "featureClass: {glcm: all}": "glcm",
    "featureClass: {glcm: [Entropy]}": "Entropy",
    "featureClass: {texture: }": "texture",
    "featureClasses: {glcm: }": "featureClasses",
    "setting:": "setting",
    "voxelSetting:": "voxelSetting",
    "featureClass: ": "featureClass",
    "": "null",
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_pyradiomics_refuses_is_refused_by_name(data_dir, tmp_path, text):
    params = tmp_path / "Params.yaml"
    params.write_text(text)
    with pytest.raises(Exception, match=r"."):  # pykwalify's errors, and Python's
        RadiomicsFeatureExtractor(str(params))
    paths = [str(data_dir / "pyradiomics" / f"breast1_{part}.nrrd") for part in ("image", "label")]
    result = radsynth("map", paths[0], "--mask", paths[1], "--params", params, "-o", tmp_path / "m.nrrd")
    assert result.exit_code == 2
    assert REFUSED[text] in result.stderr
    assert "line" in result.stderr or text == ""
