"""``radsynth roi``: published values by the command, the table it writes, and every refusal in one line."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from helpers import ibsi_values, pyradiomics_values
from helpers.commands import assert_refused, radsynth
from helpers.ibsi import PHANTOM

from glcm_cuda import GLCMSettings
from glcm_cuda.families.registry import REGION_FEATURES, feature_named, features_named
from glcm_cuda.roi import roi_features
from pipelines.images.provenance import sha256_of
from pipelines.images.reading import read_image
from pipelines.images.volume import Volume
from pipelines.images.writing import write_volume
from pipelines.maps.aggregations import AGGREGATIONS
from pipelines.maps.inputs import Inputs
from pipelines.maps.region import RegionSettings, TableTarget, column_name, write_table

NAMES = [feature.name for feature in REGION_FEATURES]
GLCM = features_named("glcm")

# Its consensus values of joint entropy and contrast.
PUBLISHED = {
    "BTW3": (2.05, 5.28), "SUJT": (2.24, 5.19), "JJUI": (2.48, 5.39), "ZW7Z": (2.61, 5.29),
    "ITBB": (2.40, 5.32), "IAZD": (2.57, 5.12),
}  # fmt: skip


def saved(tmp_path, image, mask):
    place = ((0.7, 0.8, 3.0), (5.0, -6.0, 7.5), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0))
    if image.ndim == 2:
        place = ((0.7, 0.8), (5.0, -6.0), (1.0, 0.0, 0.0, 1.0))
    volume = Volume(image, *place)
    write_volume(volume, tmp_path / "image.nrrd")
    write_volume(replace(volume, array=mask.astype(np.uint8)), tmp_path / "mask.nrrd")
    return tmp_path / "image.nrrd"


@pytest.fixture
def phantom(tmp_path):
    return saved(tmp_path, np.maximum(PHANTOM, 1), PHANTOM > 0)


def run(image, *arguments, output="f.csv"):
    given = ["roi", image, "--mask", image.with_name("mask.nrrd"), "-o", image.with_name(output), *arguments]
    return radsynth(*given)


def rows_of(image):
    with image.with_name("f.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_ibsi_digital_phantom(phantom):
    arguments = ("--bin-width", 1, "--aggregation", "all", "--names", "ibsi")
    result = run(phantom, *arguments, "--feature", "TU9B", "--feature", "contrast")
    assert result.exit_code == 0, result.output
    path, summary = result.stdout.splitlines()
    assert path == str(phantom.with_name("f.csv"))
    assert summary == f"2 features of 74 voxels, range 1 to 6, 6 levels; {', '.join(AGGREGATIONS)}"
    rows = rows_of(phantom)
    found = {
        row["aggregation_ibsi"]: tuple(
            round(float(row[name]), 2) for name in ("joint entropy (TU9B)", "contrast (ACUI)")
        )
        for row in rows
    }
    assert found == PUBLISHED
    assert [row["aggregation"] for row in rows] == list(AGGREGATIONS)
    common = ("image", "mask", "label", "voxels", "levels", "range_low", "range_high")
    for row in rows:
        assert [row[name] for name in common] == ["image.nrrd", "mask.nrrd", "", "74", "6", "1.0", "6.0"]


def test_values_have_all_their_digits_and_the_table_tells_how_it_was_made(phantom):
    assert run(phantom, "--levels", 6, "--mask-label", 1).exit_code == 0
    (row,) = rows_of(phantom)
    settings = GLCMSettings(levels=6, range_over="mask")
    spacing = (3.0, 0.8, 0.7)
    expected = roi_features(np.maximum(PHANTOM, 1), "all", settings, mask=PHANTOM > 0, spacing=spacing)
    assert {name: float(row[name]) for name in NAMES} == expected
    assert (row["aggregation"], row["label"]) == ("2d-mean", "1")
    record = json.loads(phantom.with_name("f.csv.json").read_text())
    assert GLCMSettings.from_dict(record["settings"]) == settings
    assert record["source_sha256"] == sha256_of(phantom)
    assert record["mask_sha256"] == sha256_of(phantom.with_name("mask.nrrd"))
    assert (record["mask_label"], record["voxels"]) == (1, 74)
    assert record["bins"] == {"levels": 6, "low": 1.0, "high": 6.0}
    assert record["features"][18] == {
        "name": "autocorrelation", "family": "glcm", "pyradiomics": "Autocorrelation",
        "ibsi": ["autocorrelation (QWB0)"],
    }  # fmt: skip
    assert list(record["aggregations"]) == ["2d-mean"]
    assert record["aggregations"]["2d-mean"]["ibsi"] == {
        "firstorder": "DHQ4", "glcm": "BTW3", "glrlm": "BTW3", "glszm": "8QNN", "gldm": "8QNN",
        "ngtdm": "8QNN", "stat": "DHQ4", "ih": "DHQ4", "gldzm": "8QNN", "ngldm": "8QNN",
    }  # fmt: skip
    assert row["aggregation_ibsi"] == "DHQ4 BTW3 8QNN"


@pytest.mark.parametrize(
    ("names", "columns"),
    [
        ("radsynth", ["joint_entropy", "mcc", "glrlm_RunEntropy", "ih_Mode"]),
        (
            "pyradiomics",
            [
                *("original_glcm_JointEntropy", "original_glcm_MCC"),
                *("original_glrlm_RunEntropy", "ih_Mode"),
            ],
        ),
        (
            "ibsi",
            ["joint entropy (TU9B)", "mcc", "run entropy (HJ9O)", "intensity histogram mode (AMMC)"],
        ),
    ],
)
def test_names_of_columns(phantom, names, columns):
    result = run(phantom, "--names", names, "--feature", "f9,mcc", "--feature", "RunEntropy,AMMC")
    assert result.exit_code == 0, result.output
    assert list(rows_of(phantom)[0])[-4:] == columns


@pytest.mark.parametrize(
    ("arguments", "aggregation", "range_over", "distances"),
    [
        ((), "2d-mean", "mask", (1,)),
        (("--preset", "ibsi-3d-merge"), "3d-merge", "mask", (1,)),
        (("--preset", "pyradiomics"), "3d-mean", "mask", (1,)),
        (("--range-over", "image"), "2d-mean", "image", (1,)),
        (("--distance", "1,3"), "2d-mean", "mask", (1, 3)),
        (("--preset", "pyradiomics", "--distance", "3"), "3d-mean", "mask", (3,)),
        (("--aggregation", "IAZD"), "3d-merge", "mask", (1,)),
        (("--aggregation", "kobo"), "3d-mean", "mask", (1,)),
        (("--slice-axis", 1, "--aggregation", "3d-mean"), "3d-mean", "mask", (1,)),
    ],
)
def test_defaults_and_options(phantom, arguments, aggregation, range_over, distances):
    result = run(phantom, *arguments, "--feature", "contrast")
    assert result.exit_code == 0, result.output
    (row,) = rows_of(phantom)
    assert row["aggregation"] == aggregation
    record = json.loads(phantom.with_name("f.csv.json").read_text())
    found = GLCMSettings.from_dict(record["aggregations"][aggregation]["settings"])
    assert (found.range_over, found.distances) == (range_over, distances)
    expected = roi_features(np.maximum(PHANTOM, 1), "contrast", found, mask=PHANTOM > 0)
    assert float(row["contrast"]) == expected["contrast"]


def test_masks_in_two_parts_at_the_border(tmp_path, rng):
    image, mask = rng.integers(0, 99, (4, 9, 8)).astype(np.int16), np.zeros((4, 9, 8), bool)
    mask[0, :3, :3] = mask[3, 6:, 5:] = True
    path = saved(tmp_path, image, mask)
    assert run(path, "--range-over", "image", "--aggregation", "2.5d-mean").exit_code == 0
    (row,) = rows_of(path)
    expected = roi_features(
        image, "all", GLCMSettings(), mask=mask, pool_slices=True, spacing=(3.0, 0.8, 0.7)
    )
    assert {name: float(row[name]) for name in NAMES} == expected


def test_2d_images(tmp_path, rng):
    path = saved(tmp_path, rng.integers(0, 99, (9, 8)).astype(np.int16), np.ones((9, 8)))
    assert run(path, "--aggregation", "2d-merge").exit_code == 0
    line = f"aggregation 3d-mean needs a volume, got the 2D image {path}; give 2d-mean or 2d-merge"
    assert_refused(run(path, "--aggregation", "all", "--force"), line)
    assert_refused(run(path, "--slice-axis", 1, "--force"), "--slice-axis needs a volume, got the 2D image")


# Regions without pairs


def test_a_region_of_one_voxel(tmp_path, rng):
    """Its textures without direction and its statistics have values."""
    mask = np.zeros((4, 9, 8))
    mask[2, 3, 4] = 1
    path = saved(tmp_path, rng.integers(0, 99, mask.shape), mask)
    refusal = f"mask {tmp_path / 'mask.nrrd'} has one voxel and so no pair of voxels"
    assert_refused(run(path, "--feature", "glcm,glrlm"), refusal)
    result = run(path)
    assert result.exit_code == 0, result.output
    assert result.stderr == "no value of 40 of 137 features (glcm, glrlm) for 2d-mean in the region: NaN\n"
    (row,) = rows_of(path)
    assert (row["contrast"], row["glszm_ZonePercentage"], row["ih_Mode"]) == ("nan", "1.0", "1.0")


def test_a_region_without_pairs_in_its_slices(tmp_path, rng):
    mask = np.zeros((4, 9, 8))
    mask[:, 3, 4] = 1
    path = saved(tmp_path, rng.integers(0, 99, mask.shape), mask)
    no_pair = "mask.nrrd has no pair of voxels at distance 1 for 2d-mean; no feature is def"
    assert_refused(run(path, "--feature", "glcm"), no_pair)
    result = run(path, "--feature", "glcm", "--aggregation", "2d-mean", "--aggregation", "3d-mean")
    assert result.exit_code == 0, result.output
    assert result.stderr == "no value of 24 of 24 features (glcm) for 2d-mean in the region: NaN\n"
    flat, deep = rows_of(path)
    assert flat["contrast"] == "nan"
    assert float(deep["contrast"]) > 0


# Refusals


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ("--aggregation", "3d-maen"),
            "no aggregation '3d-maen' (did you mean '3d-mean'?); the aggregations are 2d-mean,",
        ),
        (("--feature", "x"), "no feature 'x'"),
        (
            ("--feature", "gldzn"),
            "no feature 'gldzn' (did you mean 'gldzm'?); give all, or a name of the fam",
        ),
        (("--range-over", "crop"), "--range-over crop applies to maps, whose windows reach beyond the mask"),
        (("--mask-label", 0), "--mask-label must be 1 or more, got 0"),
        (("--mask-label", 4), "mask.nrrd has no voxel of label 4; labels present: 1"),
        (("--mask-label", "1,4"), "mask.nrrd has no voxel of label 4; labels present: 1"),
        (
            ("--mask-label", "one"),
            "--mask-label must be a label, several separated by commas, or all, got 'one'",
        ),
        (("--distance", "x"), "--distance must be whole numbers separated by commas, got 'x'"),
        (("--distance", "0"), "distance must be from 1 to"),
        (("--names", "x"), "'x' is not one of 'radsynth', 'pyradiomics', 'ibsi'"),
        (("--window", "5"), "No such option '--window'"),
        (("--params", "p.yaml", "--preset", "ibsi"), "parameter file p.yaml does not exist"),
    ],
)
def test_bad_options(phantom, arguments, line):
    assert_refused(run(phantom, *arguments), line)
    assert not phantom.with_name("f.csv").exists()


def test_params_and_preset_exclude_each_other(phantom):
    params = phantom.with_name("p.yaml")
    params.write_text("setting: {binWidth: 1}")
    result = run(phantom, "--params", params, "--preset", "ibsi")
    assert result.exit_code == 2
    assert "Error: --params and --preset are mutually exclusive; give one of them" in result.stderr


def test_outputs_are_not_written_over(phantom):
    assert_refused(run(phantom, output="f.txt"), "-o must end in .csv, got f.txt")
    for kept in ("f.csv", "f.csv.json"):
        phantom.with_name(kept).write_text("old")
        assert_refused(run(phantom), f"{kept} exists; give --force")
        assert phantom.with_name(kept).read_text() == "old"
        phantom.with_name(kept).unlink()
    phantom.with_name("f.csv").write_text("old")
    assert run(phantom, "--force").exit_code == 0
    assert len(rows_of(phantom)) == 1
    phantom.with_name("g.csv").hardlink_to(phantom)
    assert_refused(run(phantom, "--force", output="g.csv"), "is an input and must not be overwritten")


def test_a_failure_leaves_nothing(phantom, monkeypatch):
    def fail(*_, **__):
        raise OSError("cannot be written")

    monkeypatch.setattr(csv, "writer", fail)
    assert_refused(run(phantom), "cannot be written")
    assert sorted(path.name for path in phantom.parent.iterdir()) == ["image.nrrd", "mask.nrrd"]


def test_nan_inside_the_mask_is_refused(tmp_path):
    image = np.ones((3, 5, 6), np.float32)
    image[1, 2, 3] = np.nan
    path = saved(tmp_path, image, np.ones(image.shape))
    assert_refused(run(path), f"{path}: the image must hold finite intensities inside the mask, got 1 NaN")


# Published values, by the command


def test_published_values_of_the_digital_phantom(data_dir, phantom):
    """Every feature of the IBSI in every aggregation, under its identifier."""
    result = run(phantom, "--preset", "ibsi", "--bin-width", 1, "--aggregation", "all", "--names", "ibsi")
    assert result.exit_code == 0, result.output
    rows = {row["aggregation"]: row for row in rows_of(phantom)}
    known = ibsi_values.published(data_dir / "ibsi" / "ibsi1_digital_phantom_reference_values.csv")
    for family in ibsi_values.FAMILIES:
        for tag, identifier, aggregation in ibsi_values.tags(family):
            column = column_name(feature_named(identifier, region=True), "ibsi")
            assert ibsi_values.same_digits(float(rows[aggregation][column]), known[tag]), tag


@pytest.mark.parametrize(
    "name", ["breast1", *(pytest.param(name, marks=pytest.mark.slow) for name in ("brain1", "lung1"))]
)
@pytest.mark.parametrize("variant", ["", "_2d", "_FBN", "_normalization", "_resampling", "_resegmentation"])
def test_pyradiomics_baseline(data_dir, tmp_path, name, variant):
    folder = data_dir / "pyradiomics"
    published = pyradiomics_values.published(data_dir, name + variant)
    settings = pyradiomics_values.configuration(data_dir, name + variant)
    params = tmp_path / "p.yaml"
    classes: dict[str, list[str]] = {}
    for _, family, feature in (key.split("_") for key in published):
        classes.setdefault(family, []).append(feature)
    params.write_text(json.dumps({"setting": settings, "featureClass": classes}))
    inputs = [folder / f"{name}_image.nrrd", "--mask", folder / f"{name}_label.nrrd", "--params", params]
    result = radsynth("roi", *inputs, "-o", tmp_path / "f.csv", "--names", "pyradiomics")
    assert result.exit_code == 0, result.output
    (row,) = rows_of(tmp_path / "x")
    assert row["aggregation"] == ("2.5d-mean" if settings["force2D"] else "3d-mean")
    assert [key for key in row if key.startswith("original_")] == list(published)
    for key, value in published.items():
        # Roundings of sums over a matrix; the coefficients of correlation are near 0.
        assert float(row[key]) == pytest.approx(value, rel=1e-9, abs=1e-10), key


def test_a_region_needs_a_mask(phantom):
    settings = RegionSettings(glcm=GLCMSettings(), features=GLCM)
    with pytest.raises(ValueError, match=r"a region needs a mask, got none for .*image\.nrrd"):
        write_table(Inputs(image=phantom), settings, TableTarget(output=phantom.with_name("f.csv")))


@pytest.fixture
def labelled(tmp_path, rng):
    """An image, and a mask of labels 1 and 7; label 3 is a single voxel."""
    labels = np.zeros((4, 9, 10))
    labels[:, 1:5, 1:6], labels[1:3, 6:, 2:8], labels[0, 8, 9] = 1, 7, 3
    path = saved(tmp_path, rng.integers(0, 50, labels.shape).astype(np.int16), labels)
    return path, labels


def test_each_label_of_a_mask_has_a_row(labelled):
    """The row that `--mask-label` gives; the log names labels without a pair."""
    path, labels = labelled
    result = run(path, "--aggregation", "2d-mean", "--aggregation", "3d-merge")
    assert result.exit_code == 0, result.output
    rows, record = rows_of(path), json.loads(path.with_name("f.csv.json").read_text())
    assert [row["label"] for row in rows] == ["1", "1", "3", "3", "7", "7"]
    assert result.stderr == (
        "no value of 40 of 137 features (glcm, glrlm) for 2d-mean in label 3: NaN\n"
        "no value of 40 of 137 features (glcm, glrlm) for 3d-merge in label 3: NaN\n"
    )
    assert result.stdout.splitlines()[1] == (
        f"137 features of 3 labels (1, 3, 7), {np.count_nonzero(labels)} voxels; 2d-mean, 3d-merge"
    )
    assert record["labels"]["7"]["voxels"] == np.count_nonzero(labels == 7)
    for label in (1, 7):
        one = run(path, "--mask-label", label, "--aggregation", "2d-mean,3d-merge", "--force")
        if one.exit_code:  # several names with commas between are taken as well
            raise AssertionError(one.output)
        assert rows_of(path) == [row for row in rows if row["label"] == str(label)]


PARAMS = """
featureClass: {{shape: [VoxelVolume], firstorder: [Mean], gldm: [DependenceEntropy]}}
setting: {{binWidth: 5, label: {label}, {setting}}}
{types}
"""


@pytest.mark.parametrize(
    ("setting", "types"),
    [
        ("minimumROISize: 2", ""),
        ("resampledPixelSpacing: [1.4, 0, 0], interpolator: sitkLinear", ""),
        ("minimumROIDimensions: 2", "imageType: {Original: {}, Square: {binWidth: 3}}"),
    ],
    ids=["together", "resampled", "filtered"],
)
def test_each_label_has_the_row_that_pyradiomics_would_give_it(labelled, setting, types):
    """Each label is resampled, filtered and checked alone; what is too small is left out and told."""
    path, _ = labelled

    def rows(label, *arguments):
        text = PARAMS.format(label=label, setting=setting, types=types)
        path.with_name("p.yaml").write_text(text)
        given = ("--params", path.with_name("p.yaml"), "--names", "pyradiomics", "--force", *arguments)
        result = run(path, *given)
        assert result.exit_code == 0, result.output
        return rows_of(path), result

    every, told = rows("all")
    assert [row["label"] for row in every] == ["1", "7"]
    assert "label 3 is left out" in told.stderr
    assert "2 labels (1, 7)" in told.stdout
    assert (
        rows(1, "--mask-label", "all")[0] == rows("[7, 1]")[0] == rows(3, "--mask-label", "1,7")[0] == every
    )
    for row in every:
        assert rows(row["label"])[0] == [row]
    voxels = 0.7 * 0.8 * 3.0 * 80
    if "resampled" not in setting:
        assert float(every[0]["original_shape_VoxelVolume"]) == pytest.approx(voxels)
    record = json.loads(path.with_name("f.csv.json").read_text())
    assert record["mask_label"] == 7


def test_labels_beside_a_parameter_file(labelled):
    path, _ = labelled
    path.with_name("p.yaml").write_text("featureClass: {firstorder: [Mean]}\nsetting: {minimumROISize: 2}")
    result = run(path, "--params", path.with_name("p.yaml"), "--mask-label", "all")
    assert result.exit_code == 0, result.output
    labels = json.loads(path.with_name("f.csv.json").read_text())["labels"]
    assert [labels[label]["diagnostics"]["diagnostics_Mask-original_VoxelNum"] for label in "17"] == [80, 36]
    assert not any(key.startswith("diagnostics") for key in rows_of(path)[0])
    path.with_name("p.yaml").write_text("featureClass: {firstorder: [Mean]}\nsetting: {minimumROISize: 99}")
    result = run(path, "--params", path.with_name("p.yaml"), "--mask-label", "all", "--force")
    assert result.exit_code == 2
    assert "mask.nrrd: no label is left of 1, 3, 7" in result.stderr


@pytest.mark.parametrize(("names", "column"), [("radsynth", "shape_Flatness"), ("ibsi", "flatness (N17B)")])
def test_shape_without_textures(labelled, names, column):
    path, _ = labelled
    path.with_name("p.yaml").write_text("featureClass: {shape: }\nsetting: {label: 7}")
    result = run(path, "--params", path.with_name("p.yaml"), "--names", names)
    assert result.exit_code == 0, result.output
    assert "featureClass shape: MeshVolume, SurfaceArea, " in result.stderr
    assert result.stdout.splitlines()[1].startswith("6 features of 36 voxels")
    (row,) = rows_of(path)
    # 3 voxels along y, 2 along z: n of them have the variance (n**2 - 1) / 12 times the spacing squared.
    assert float(row[column]) == pytest.approx(np.sqrt((8 * 0.8**2) / (3 * 3.0**2)), rel=1e-9)


def test_directions_weighted_by_their_length(labelled):
    """Norms are of regions; their aggregations are none of IBSI's."""
    path, _ = labelled
    path.with_name("p.yaml").write_text(
        "featureClass: {glcm: [Contrast]}\nsetting: {weightingNorm: euclidean}"
    )
    given = ("--params", path.with_name("p.yaml"))
    result = run(path, *given)
    assert result.exit_code == 0, result.output
    (row,) = rows_of(path)
    assert (row["aggregation"], row["aggregation_ibsi"]) == ("3d-merge", "")
    assert run(path, *given, "--aggregation", "3d-mean,3d-merge", "--force").exit_code == 0
    assert [row["aggregation_ibsi"] for row in rows_of(path)] == ["ITBB", ""]
    result = radsynth(
        "map", path, "--mask", path.with_name("mask.nrrd"), *given, "-o", path.with_name("m.nrrd")
    )
    assert_refused(
        result, "weighting='euclidean' (weightingNorm) applies to regions; maps of glcm count whole"
    )


def test_labels_without_pairs_are_told_in_one_line(tmp_path, rng):
    labels = np.ones((2, 9, 10))
    labels[0, ::2, ::2] = np.arange(25).reshape(5, 5) + 2
    path = saved(tmp_path, rng.integers(1, 50, labels.shape).astype(np.int16), labels)
    result = run(path, "--aggregation", "2d-mean")
    assert result.exit_code == 0, result.output
    assert result.stderr.startswith("no value of 40 of 137 features (glcm, glrlm) for 2d-mean in labels 2, 3")
    assert result.stderr.endswith(" more: NaN\n")
    assert result.stderr.count("\n") == 1


def test_labels_are_kept_apart_on_a_resampled_grid(labelled):
    path, _ = labelled
    result = run(path, "--resample", "1.4,1.6,0", "--feature", "contrast")
    assert result.exit_code == 0, result.output
    together = rows_of(path)
    assert [row["label"] for row in together] in (["1", "7"], ["1", "3", "7"])
    if len(together) == 2:
        assert "mask.nrrd: no voxel of label 3 is left on the resampled grid" in result.stderr
    assert (
        run(path, "--resample", "1.4,1.6,0", "--feature", "contrast", "--mask-label", 7, "--force").exit_code
        == 0
    )
    assert rows_of(path) == together[-1:]


def test_fractions_are_no_labels(tmp_path, rng):
    path = saved(tmp_path, rng.integers(0, 50, (3, 6, 7)).astype(np.int16), np.ones((3, 6, 7)))
    fractions = read_image(path)
    fractions = replace(fractions, array=rng.choice([0.25, 0.5, 1.0], (3, 6, 7)).astype(np.float32))
    write_volume(fractions, tmp_path / "mask.nrrd", force=True)
    assert run(path, "--feature", "contrast").exit_code == 0
    (row,) = rows_of(path)
    assert (row["label"], row["voxels"]) == ("", "126")


def test_an_image_given_as_the_mask_is_refused(tmp_path, rng):
    path = saved(tmp_path, rng.integers(0, 50, (3, 60, 70)).astype(np.int16), np.ones((3, 60, 70)))
    values = np.arange(3 * 60 * 70, dtype=np.int32).reshape(3, 60, 70)
    write_volume(replace(read_image(path), array=values), tmp_path / "mask.nrrd", force=True)
    assert_refused(run(path), "mask.nrrd must have at most 4096 labels, got 12599; is it a mask?")
