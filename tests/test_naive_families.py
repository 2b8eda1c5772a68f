"""The oracle of the other families against values that IBSI and pyradiomics publish."""

from __future__ import annotations

import csv

import naive
import naive_families as oracle
import numpy as np
import pytest
import SimpleITK as sitk

# IBSI's words for what `naive_families.of_matrix` returns, by the reference values' prefix
PARTS = {
    "rlm": (
        "sre",
        "lre",
        "lgre",
        "hgre",
        "srlge",
        "srhge",
        "lrlge",
        "lrhge",
        "rlnu",
        "r_perc",
        "rl_var",
        "rl_entr",
    ),
    "szm": (
        "sze",
        "lze",
        "lgze",
        "hgze",
        "szlge",
        "szhge",
        "lzlge",
        "lzhge",
        "zsnu",
        "z_perc",
        "zs_var",
        "zs_entr",
    ),
    "dzm": (
        "sde",
        "lde",
        "lgze",
        "hgze",
        "sdlge",
        "sdhge",
        "ldlge",
        "ldhge",
        "zdnu",
        "z_perc",
        "zd_var",
        "zd_entr",
    ),
    "ngl": (
        "lde",
        "hde",
        "lgce",
        "hgce",
        "ldlge",
        "ldhge",
        "hdlge",
        "hdhge",
        "dcnu",
        "dc_perc",
        "dc_var",
        "dc_entr",
    ),
}
KEYS = (
    *("short", "long", "low", "high", "short_low", "short_high", "long_low", "long_high"),
    *("numbers", "percentage", "number_variance", "entropy"),
)
FAMILIES = {"rlm": "glrlm", "szm": "glszm", "dzm": "gldzm", "ngl": "gldm", "ngt": "ngtdm"}
SPACES = {
    "2D": {"dimensions": 2},
    "2_5D": {"dimensions": 2, "pool_slices": True},
    "3D": {"dimensions": 3},
}
STATISTICS = {
    "mean": "Mean",
    "var": "Variance",
    "skew": "Skewness",
    "median": "Median",
    "min": "Minimum",
    "p10": "10Percentile",
    "p90": "90Percentile",
    "max": "Maximum",
    "iqr": "InterquartileRange",
    "range": "Range",
    "mad": "MeanAbsoluteDeviation",
    "rmad": "RobustMeanAbsoluteDeviation",
    "energy": "Energy",
    "rms": "RootMeanSquared",
}
# Not among pyradiomics' features
ELSEWHERE = {"medad", "cov", "qcod", "dc_energy"}


def words_of(prefix):
    """Return what IBSI calls a family's features, by pyradiomics' names."""
    family = FAMILIES[prefix]
    if family == "ngtdm":
        return {name.lower(): name for name in oracle.DIFFERENCE}
    size = PARTS[prefix][8]
    words = {
        **dict(zip(PARTS[prefix], KEYS, strict=True)),
        **{"glnu": "levels", "glnu_norm": "levels_normalized", "gl_var": "level_variance"},
        f"{size}_norm": "numbers_normalized",
    }
    names = oracle.names_of(family)
    return {word: names[key] for word, key in words.items() if key in names}


@pytest.fixture(scope="module")
def phantom(data_dir):
    """Return the levels of the digital phantom, which are its intensities, and its region."""
    paths = [data_dir / "ibsi" / f"digital_phantom_{part}.nii.gz" for part in ("image", "mask")]
    image, mask = (sitk.GetArrayFromImage(sitk.ReadImage(path)) for path in paths)
    return image.astype(int), mask > 0


@pytest.fixture(scope="module")
def published(data_dir):
    path = data_dir / "ibsi" / "ibsi1_digital_phantom_reference_values.csv"
    with path.open(encoding="utf-8") as file:
        return {row["tag"]: float(row["reference_value"]) for row in csv.DictReader(file)}


def assert_published(value, reference):
    assert float(f"{value:.3g}") == reference  # three significant digits are published


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("prefix", ["szm", "dzm", "ngl", "ngt"])
def test_ibsi_phantom(phantom, published, prefix, space):
    image, mask = phantom
    options = {"isolated": False} if prefix == "ngt" else {}
    found = oracle.region(FAMILIES[prefix], image, image, mask, **SPACES[space], **options)
    for word, name in words_of(prefix).items():
        assert_published(found[name], published[f"{prefix}_{word}_{space}"])


@pytest.mark.parametrize("merge", [False, True], ids=["avg", "comb"])
@pytest.mark.parametrize("space", SPACES)
def test_ibsi_phantom_runs(phantom, published, space, merge):
    image, mask = phantom
    found = oracle.region("glrlm", image, image, mask, merge=merge, **SPACES[space])
    for word, name in words_of("rlm").items():
        assert_published(found[name], published[f"rlm_{word}_{space}_{'comb' if merge else 'avg'}"])


def test_ibsi_phantom_statistics(phantom, published):
    image, mask = phantom
    found = oracle.region("firstorder", image, image, mask)
    for word, name in STATISTICS.items():
        assert_published(found[name], published[f"stat_{word}"])
    assert_published(found["Kurtosis"] - 3, published["stat_kurt"])
    assert_published(found["Entropy"], published["ih_entropy"])
    assert_published(found["Uniformity"], published["ih_uniformity"])


def test_every_published_value_is_compared(published):
    """Those of the families, but for statistics and histograms that pyradiomics does not have."""
    suffixes = {"rlm": [f"{space}_{end}" for space in SPACES for end in ("avg", "comb")]}
    compared = {
        f"{prefix}_{word}_{suffix}"
        for prefix in FAMILIES
        for word in words_of(prefix)
        for suffix in suffixes.get(prefix, SPACES)
    } | {f"stat_{word}" for word in (*STATISTICS, "kurt")}
    left = {tag for tag in published if not tag.startswith(("cm_", "ih_", "ivh_"))} - compared
    assert {
        tag.split("_", 1)[1].removesuffix("_2D").removesuffix("_2_5D").removesuffix("_3D") for tag in left
    } == {
        *("medad", "cov", "qcod"),
        *("glnu_norm", "dc_perc", "dc_energy"),
    }


# pyradiomics' published regions


BASELINE = {
    "": ({"bin_width": 25}, {}),
    "_2d": ({"bin_width": 25}, {"dimensions": 2, "pool_slices": True}),
    "_FBN": ({"bin_count": 64}, {}),
}


CONFIGURATIONS = [("firstorder", "")] + [
    (family, processing) for family in ("glrlm", "glszm", "gldm", "ngtdm") for processing in BASELINE
]
LARGE = [pytest.param(case, marks=pytest.mark.slow) for case in ("brain1", "lung1")]


@pytest.mark.parametrize(("family", "processing"), CONFIGURATIONS)
@pytest.mark.parametrize("case", ["breast1", *LARGE])
def test_pyradiomics_baseline(data_dir, case, family, processing):
    """To 1e-9; an entropy of -3e-16 there is 0 here: its epsilon."""
    with (data_dir / "pyradiomics" / f"baseline_{family}.csv").open(encoding="utf-8") as file:
        rows = {row["featureName"]: row[case + processing] for row in csv.DictReader(file)}
    image, label = (
        sitk.ReadImage(data_dir / "pyradiomics" / f"{case}_{part}.nrrd") for part in ("image", "label")
    )
    array, mask = sitk.GetArrayFromImage(image), sitk.GetArrayFromImage(label) == 1
    binning, options = BASELINE[processing]
    levels = naive.quantize_pyradiomics(array, array[mask], **binning) + 1
    if family == "firstorder":
        options = {"shift": 2000, "voxel_volume": float(np.prod(image.GetSpacing()))}
    found = oracle.region(family, array, levels, mask, **options)
    for name, value in found.items():
        assert value == pytest.approx(float(rows[f"original_{family}_{name}"]), rel=1e-9, abs=1e-15), name


# Maps


@pytest.mark.parametrize("family", ["firstorder", *FAMILIES.values()])
def test_a_window_over_all_of_a_region_has_its_features(rng, family):
    levels = rng.integers(1, 5, (3, 4, 5))
    mask = rng.random(levels.shape) < 0.7
    mask[1, 2, 2] = True
    maps = oracle.maps(family, levels, levels, window=9, dimensions=3, mask=mask)
    region = oracle.region(family, levels, levels, mask)
    assert {name: values[1, 2, 2] for name, values in maps.items()} == region
    assert all(np.isnan(values[~mask]).all() for values in maps.values())


@pytest.mark.parametrize(
    ("family", "expected"),
    [
        ("glrlm", dict.fromkeys(oracle.names_of("glrlm").values(), np.nan)),
        ("glszm", {"ZonePercentage": 1, "LargeAreaHighGrayLevelEmphasis": 9, "ZoneEntropy": 0}),
        ("gldm", {"LargeDependenceEmphasis": 1, "DependenceEntropy": 0, "HighGrayLevelEmphasis": 9}),
        ("ngtdm", {"Coarseness": 1e6, "Contrast": 0, "Busyness": 0, "Complexity": 0, "Strength": 0}),
        ("firstorder", {"Mean": 7.5, "Variance": 0, "Skewness": 0, "Entropy": 0, "Uniformity": 1}),
    ],
)
def test_a_single_voxel(family, expected):
    found = oracle.region(family, np.full((1, 1, 1), 7.5), np.full((1, 1, 1), 3), np.ones((1, 1, 1)))
    for name, value in expected.items():
        np.testing.assert_equal(found[name], value)


def test_two_values_leave_none_between_the_deciles():
    values = np.array([[[1.0, 2.0]]])
    found = oracle.region("firstorder", values, values.astype(int), np.ones(values.shape))
    assert np.isnan(found["RobustMeanAbsoluteDeviation"])
