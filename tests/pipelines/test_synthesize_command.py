"""``radsynth synthesize``: one image, and a cohort with the models of a run."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from helpers.commands import assert_refused, radsynth

from glcm_cuda import GLCMSettings, feature_maps
from pipelines.synthesize import command

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

GLCM = GLCMSettings(levels=8)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Return a folder with two untrained models of different weights."""
    import keras

    from surrogate import NetworkSettings, build_model

    folder = tmp_path_factory.mktemp("models")
    for fold in range(2):
        keras.utils.set_random_seed(fold)
        build_model(GLCM, NetworkSettings(filters=(4, 4, 4, 4))).save(folder / f"fold{fold}.keras")
    return folder


@pytest.fixture
def run(models, tmp_path):
    """Return a run that holds p0 out of fold 1 and p1 out of fold 0."""
    folder = tmp_path / "run"
    folder.mkdir()
    for path in models.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "folds.csv").write_text("patient,group,fold\np0,benign,1\np1,benign,0\n")
    return folder


def write_image(path: Path, rng: np.random.Generator, shape=(2, 9, 12)) -> Path:
    image = sitk.GetImageFromArray(rng.integers(0, 100, shape).astype(np.int16))
    image.SetSpacing((0.5, 0.75, 3.0)[: len(shape)])
    image.SetOrigin((1.0, -2.0, 30.0)[: len(shape)])
    if len(shape) == 3:
        image.SetDirection((0, 1, 0, 1, 0, 0, 0, 0, -1))
    sitk.WriteImage(image, str(path))
    return path


@pytest.fixture
def cohort(tmp_path, rng):
    rows = ["patient,group,image,labels"]
    for name in ("p0", "p1", "new"):
        write_image(tmp_path / f"{name}.nii.gz", rng)
        rows.append(f"{name},benign,{name}.nii.gz,")
    (tmp_path / "cohort.csv").write_text("\n".join(rows) + "\n")
    return tmp_path / "cohort.csv"


@pytest.fixture(scope="module")
def two_features(tmp_path_factory):
    """Return an untrained model of two features."""
    import keras

    from surrogate import NetworkSettings, build_model

    keras.utils.set_random_seed(3)
    path = tmp_path_factory.mktemp("two") / "two.keras"
    network = NetworkSettings(architecture="equality", hidden=(4,))
    build_model(GLCM, network, ("contrast", "joint_entropy")).save(path)
    return path


synthesize = partial(radsynth, "synthesize")


POSSIBLE = {"joint_entropy": (0, 5.160964), "contrast": (0, 49)}
"""Values that windows of 5x5 voxels and 8 levels can have; untrained networks predict others too."""


def expected_map(image: Path, model: Path) -> np.ndarray:
    from surrogate import load_model
    from surrogate import synthesize as predict

    predicted = predict(sitk.GetArrayFromImage(sitk.ReadImage(str(image))), load_model(model))
    return np.clip(predicted, *POSSIBLE["joint_entropy"])


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
def test_one_image(models, tmp_path, rng, suffix):
    import keras

    source = write_image(tmp_path / "image.nrrd", rng)
    model = models / "fold0.keras"
    output = tmp_path / f"map{suffix}"
    preview = tmp_path / "map.png"
    result = synthesize(source, "-o", output, "--model", model, "--preview", preview)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[0] == str(output)
    assert "2x9x12 voxels, 8 levels" in result.stdout
    written, image = sitk.ReadImage(str(output)), sitk.ReadImage(str(source))
    np.testing.assert_allclose(sitk.GetArrayFromImage(written), expected_map(source, model), atol=1e-5)
    for voxel in np.ndindex(*image.GetSize()):
        here, there = (each.TransformIndexToPhysicalPoint(voxel) for each in (written, image))
        np.testing.assert_allclose(here, there, atol=1e-4)
    record = json.loads((tmp_path / f"map{suffix}.json").read_text())
    assert "synthetic" in record["kind"]
    assert record["model"] == "fold0.keras"
    assert record["model_sha256"] == hashlib.sha256(model.read_bytes()).hexdigest()
    assert GLCMSettings.from_dict(record["settings"]) == GLCM
    assert {"keras", keras.backend.backend()} <= record["software"].keys()
    assert record["software"]["keras"] == keras.__version__
    assert preview.read_bytes().startswith(b"\x89PNG")


def test_an_existing_map_needs_force(models, tmp_path, rng):
    source = write_image(tmp_path / "image.nii.gz", rng, shape=(9, 12))
    output = tmp_path / "map.nii.gz"
    output.write_bytes(b"precious")
    result = synthesize(source, "-o", output, "--model", models / "fold0.keras")
    assert result.exit_code == 2
    assert "exists; give --force" in result.stderr
    assert output.read_bytes() == b"precious"
    assert synthesize(source, "-o", output, "--model", models / "fold0.keras", "--force").exit_code == 0
    assert sitk.ReadImage(str(output)).GetSize() == (12, 9)


@pytest.mark.parametrize("options", [[], ["--force"]])
def test_the_input_is_never_the_output(models, tmp_path, rng, options):
    source = write_image(tmp_path / "image.nii.gz", rng)
    before = source.read_bytes()
    (tmp_path / "link.nii.gz").symlink_to(source)
    for output in (source, tmp_path / "link.nii.gz"):
        result = synthesize(source, "-o", output, "--model", models / "fold0.keras", *options)
        assert result.exit_code == 2
        assert re.search("is an input and must not be overwritten", result.stderr)
        assert result.stderr.count("\n") == 1
        assert source.read_bytes() == before


def test_a_cohort_never_replaces_its_own_files(cohort, run, tmp_path):
    own = tmp_path / "index.csv"
    own.write_text(cohort.read_text())
    (tmp_path / "p0_entropy_synthetic.nii.gz").write_bytes((tmp_path / "p0.nii.gz").read_bytes())
    other = tmp_path / "other.csv"
    other.write_text("patient,group,image,labels\np0,benign,p0_entropy_synthetic.nii.gz,\n")
    before = {path: path.read_bytes() for path in tmp_path.glob("*.*")}
    for listed in (own, other):
        result = synthesize(listed, "-o", tmp_path, "--model", run, "--force")
        assert result.exit_code == 2
        assert re.search("is an input and must not be overwritten", result.stderr)
    assert {path: path.read_bytes() for path in tmp_path.glob("*.*")} == before


def test_a_folder_of_something_else_needs_force(cohort, run, tmp_path):
    folder = tmp_path / "thesis"
    folder.mkdir()
    (folder / "chapter.txt").write_text("years of work")
    refused = synthesize(cohort, "-o", folder, "--model", run)
    assert refused.exit_code == 2
    assert re.search(r"thesis is not empty and holds no earlier run \(it has chapter.txt\)", refused.stderr)
    assert synthesize(cohort, "-o", folder, "--model", run, "--force").exit_code == 0
    assert (folder / "chapter.txt").exists()
    (tmp_path / "file").touch()
    assert (
        "-o must be a folder, got a file"
        in synthesize(cohort, "-o", tmp_path / "file", "--model", run).stderr
    )


def test_what_one_image_refuses(models, tmp_path, rng):
    source = write_image(tmp_path / "image.nii.gz", rng)
    small = write_image(tmp_path / "small.nii.gz", rng, shape=(4, 9))
    model = models / "fold0.keras"
    bad_model = tmp_path / "bad.keras"
    bad_model.write_bytes(model.read_bytes()[:1000])
    for arguments, message in [
        ((source, "--model", models), "a single image needs one model, a .keras file"),
        ((source, "--model", tmp_path / "absent.keras"), "there is no model file"),
        ((source, "--model", bad_model), "is not a .keras file, or is truncated"),
        ((tmp_path / "absent.nii", "--model", model), "does not exist"),
        ((small, "--model", model), "image must hold a whole 5x5 window, got slices of 4x9 voxels"),
        ((source, "--model", model, "--tile", 0), "--tile must be 1 or more, got 0"),
    ]:
        result = synthesize(*arguments, "-o", tmp_path / "map.nii.gz")
        assert result.exit_code == 2, message
        assert message in result.stderr
        assert result.stderr.count("\n") == 1
        assert not (tmp_path / "map.nii.gz").exists()


@pytest.mark.parametrize("read", ["image.nii.gz", "model.keras"])
def test_a_preview_never_replaces_an_input(models, tmp_path, rng, read):
    source = write_image(tmp_path / "image.nii.gz", rng)
    model = tmp_path / "model.keras"
    model.write_bytes((models / "fold0.keras").read_bytes())
    (tmp_path / "preview.png").hardlink_to(tmp_path / read)
    before = (tmp_path / read).read_bytes()
    result = synthesize(
        source, "-o", tmp_path / "map.nii", "--model", model, "--preview", tmp_path / "preview.png", "--force"
    )
    assert_refused(result, "preview.png is an input and must not be overwritten")
    assert (tmp_path / read).read_bytes() == before
    assert not (tmp_path / "map.nii").exists()


@pytest.mark.parametrize("option", ["--output", "--model", "--error-map", "--preview", "--mask", "INPUT"])
def test_an_empty_path_is_refused(option):
    given = {"INPUT": "i.nii", "--output": "m.nii", "--model": "m.keras"} | {option: ""}
    source = given.pop("INPUT")
    assert_refused(
        synthesize(source, *(part for pair in given.items() for part in pair)), "is empty; give a path"
    )


def test_the_default_tile_is_the_librarys():
    from surrogate.synthesis import TILE

    assert {option.name: option.default for option in command.params}["tile"] == TILE


def read_index(folder: Path) -> list[dict[str, str]]:
    with (folder / "index.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_cohort_is_mapped_by_the_fold_that_held_each_patient_out(cohort, run, tmp_path):
    folder = run / "synthetic"
    result = synthesize(cohort, "-o", folder, "--model", run)
    assert result.exit_code == 0, result.output
    assert result.stdout.strip() == str(folder / "index.csv")
    assert "not part of the training, mapped with fold 0: 1 patient (new)" in result.stderr
    rows = read_index(folder)
    assert list(rows[0]) == [
        *("patient", "group", "image", "labels", "series", "phase", "phantom", "tissues"),
        *("synthetic", "model", "fold"),
    ]
    assert [(row["patient"], row["fold"], row["model"]) for row in rows] == [
        ("p0", "1", "../fold1.keras"),
        ("p1", "0", "../fold0.keras"),
        ("new", "", "../fold0.keras"),
    ]
    for row in rows:
        assert Path(row["image"]).is_absolute()
        written = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / row["synthetic"])))
        assert row["synthetic"] == f"{row['patient']}_entropy_synthetic.nii.gz"
        np.testing.assert_allclose(
            written, expected_map(Path(row["image"]), folder / row["model"]), atol=1e-5
        )


def test_maps_of_the_same_image_and_model_are_kept_and_others_need_force(cohort, run):
    folder = run / "synthetic"
    assert synthesize(cohort, "-o", folder, "--model", run).exit_code == 0
    maps = sorted(folder.glob("*.nii.gz"))
    before = [path.stat().st_mtime_ns for path in maps]
    (folder / "index.csv").unlink()
    again = synthesize(cohort, "-o", folder, "--model", run)
    assert "3 of 3 patients are already mapped and are kept" in again.stderr
    assert [path.stat().st_mtime_ns for path in maps] == before
    assert len(read_index(folder)) == 3

    (run / "fold1.keras").write_bytes((run / "fold0.keras").read_bytes())
    other = synthesize(cohort, "-o", folder, "--model", run)
    assert other.exit_code == 2
    assert (
        "p0_entropy_synthetic.nii.gz exists, from another image, model or --fallback; give --force"
        in other.stderr
    )
    assert [path.stat().st_mtime_ns for path in maps] == before
    forced = synthesize(cohort, "-o", folder, "--model", run, "--force")
    assert forced.exit_code == 0
    assert [path.stat().st_mtime_ns != time for path, time in zip(maps, before, strict=True)] == [
        path.name.startswith("p0") for path in maps
    ]


def test_a_run_that_held_nobody_out(cohort, run):
    (run / "folds.csv").write_text("patient,group,fold\np0,benign,\np1,benign,\nnew,benign,\n")
    result = synthesize(cohort, "-o", run / "synthetic", "--model", run)
    assert "nobody was held out, the model was trained on: 3 patients (p0, p1, new)" in result.stderr
    assert [row["fold"] for row in read_index(run / "synthetic")] == ["0", "0", "0"]


def test_what_a_cohort_refuses(cohort, run, models, tmp_path, rng):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "folds.csv").write_text("a,b\n")
    (tmp_path / "unfinished").mkdir()
    (tmp_path / "unfinished" / "folds.csv").write_text("patient,group,fold\np0,benign,1\n")
    write_image(tmp_path / "small.nii.gz", rng, shape=(4, 9))
    (tmp_path / "small.csv").write_text("patient,group,image,labels\nq,benign,small.nii.gz,\n")
    for arguments, message in [
        ((cohort, "--model", models / "fold0.keras"), "a cohort needs the output folder of `radsynth train`"),
        ((cohort, "--model", tmp_path / "other"), "must have the columns patient and fold"),
        ((cohort, "--model", tmp_path / "unfinished"), "lacks fold0.keras: its training did not finish"),
        ((cohort, "--model", run, "--preview", "a.png"), "--preview applies to a single image"),
        ((cohort, "--model", run, "--mask", "m.nii"), "--mask applies to a single image"),
        (
            (cohort, "--model", run, "--phase", "1", "--allow-gaps"),
            "--phase and --allow-gaps: for a single image, got a cohort",
        ),
        ((tmp_path / "small.csv", "--model", run), "patient q: image must hold a whole 5x5 window"),
    ]:
        result = synthesize(*arguments, "-o", tmp_path / "synthetic")
        assert result.exit_code == (3 if message.startswith("patient q") else 2), message
        assert f"Error: {message}" in result.stderr or message in result.stderr
        assert {path.name for path in tmp_path.glob("synthetic/*")} <= {"failed.csv"}


# Honesty; the rules themselves: test_checks.py


def sidecar(path: Path) -> dict:
    return json.loads((path.parent / f"{path.name}.json").read_text())


def write_card(model: Path, rmse: float, factor: float | None = 2.0) -> Path:
    """Put a card beside a model whose figures are all `rmse`, and whose training saw every window."""
    from surrogate import load_model, model_features
    from surrogate.honesty import card

    loaded = load_model(model)
    figures = card.Agreement(100, 2, 0.5, rmse, rmse, 1.0, 1.0, rmse, rmse)
    band = card.ErrorBand((1.0, 2.0), (0.1, 0.2, 0.3), factor, None if factor is None else (0.97, 0.95))
    made = card.Card(
        basis=card.HELD_OUT,
        patients=("a", "b"),
        learned=("c",),
        groups={"g": 1},
        modalities={"unknown": 1},
        features={
            name: card.Measured(None, figures, {"0": figures}, band) for name in model_features(loaded)
        },
        training_range=dict.fromkeys(card.STATISTICS, (0.0, 99.0)),
        voxels_per_second=1.0,
        device="CPU",
        run={
            "glcm": GLCM.to_dict(),
            "network": {"architecture": "x"},
            "store_sha256": "0",
            "keras_backend": "x",
            "seconds": 1,
        },
    )
    card.write_card(made, model)
    return card.card_path(model)


def test_a_model_of_several_features_gives_a_map_of_each(two_features, tmp_path, rng):
    from surrogate import load_model, synthesize_features

    source = write_image(tmp_path / "image.nii.gz", rng)
    result = synthesize(source, "-o", tmp_path / "m.nii.gz", "--model", two_features)
    assert result.exit_code == 0, result.output
    outputs = {name: tmp_path / f"m_{name}.nii.gz" for name in ("contrast", "joint_entropy")}
    lines = result.stdout.splitlines()
    assert lines[:2] == [str(path) for path in outputs.values()]
    assert "8 levels, 2 features" in lines[2]
    assert [line.split(" of ")[0] for line in lines[3:5]] == ["contrast: check", "joint_entropy: check"]
    assert [line.split(";")[0] for line in lines[5:]] == [
        f"CHECK FAILED: {path}" for path in outputs.values()
    ]
    assert lines[4].endswith(" bits")
    assert not lines[3].endswith(" bits")
    assert not (tmp_path / "m.nii.gz").exists()
    expected = synthesize_features(
        sitk.GetArrayFromImage(sitk.ReadImage(str(source))), load_model(two_features)
    )
    for name, path in outputs.items():
        np.testing.assert_allclose(
            sitk.GetArrayFromImage(sitk.ReadImage(str(path))),
            np.clip(expected[name], *POSSIBLE[name]),
            atol=1e-4,
        )
        assert sidecar(path)["feature"]["name"] == name
        assert sidecar(path)["spot_check"]["voxels"] == 2 * 5 * 8
    assert sidecar(outputs["contrast"])["kind"] == "synthetic GLCM contrast map (network prediction)"
    assert (sidecar(outputs["contrast"])["unit"], sidecar(outputs["joint_entropy"])["unit"]) == (None, "bits")


@pytest.mark.slow
def test_features_of_other_families(tmp_path, rng):
    from surrogate import NetworkSettings, build_model

    names = ["glrlm_RunEntropy", "glszm_ZonePercentage"]
    path, image = tmp_path / "m.keras", write_image(tmp_path / "i.nrrd", rng)
    build_model(GLCM, NetworkSettings(filters=(4, 4, 4, 4)), names).save(path)
    result = synthesize(image, "-o", tmp_path / "s.nrrd", "--model", path, "--fallback", "exact")
    assert result.exit_code == 0, result.output
    exact = feature_maps(sitk.GetArrayFromImage(sitk.ReadImage(str(image))), names, GLCM, backend="cpu")
    for name, title, unit in zip(
        names, ("GLRLM RunEntropy", "GLSZM ZonePercentage"), ("bits", None), strict=True
    ):
        output = tmp_path / f"s_{name}.nrrd"
        np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(output))), exact[name])
        record = sidecar(output)
        assert record["kind"] == f"{title} map (exact, instead of a synthetic one)"
        assert (record["unit"], record["fallback"]) == (unit, "exact")


def test_impossible_values_are_clipped_counted_and_told(two_features, tmp_path, rng):
    from surrogate import load_model, synthesize_features

    source = write_image(tmp_path / "image.nii.gz", rng)
    image = sitk.GetArrayFromImage(sitk.ReadImage(str(source)))
    predicted = synthesize_features(image, load_model(two_features))
    result = synthesize(source, "-o", tmp_path / "m.nii.gz", "--model", two_features)
    for name, (low, high) in POSSIBLE.items():
        path = tmp_path / f"m_{name}.nii.gz"
        below, above = np.count_nonzero(predicted[name] < low), np.count_nonzero(predicted[name] > high)
        assert below > 0
        told = sidecar(path)["clipped"]
        assert told["possible"] == pytest.approx([low, high])
        assert (told["below"], told["above"]) == (pytest.approx(below, abs=2), above)
        assert f"{path}: clipped values: {told['below']} below the smallest possible, 0" in result.stderr
        assert sitk.GetArrayFromImage(sitk.ReadImage(str(path))).min() == 0


def test_all_maps_of_a_model_appear_or_none(two_features, tmp_path, rng):
    source = write_image(tmp_path / "image.nii.gz", rng)
    (tmp_path / "m_joint_entropy.nii.gz").write_bytes(b"precious")
    result = synthesize(source, "-o", tmp_path / "m.nii.gz", "--model", two_features)
    assert result.exit_code == 2
    assert "m_joint_entropy.nii.gz exists; give --force" in result.stderr
    assert not list(tmp_path.glob("m_contrast*"))


@pytest.fixture
def _lenient(monkeypatch):
    """Let maps pass that explain nothing, as those of untrained networks do."""
    from surrogate.honesty import checks

    monkeypatch.setattr(checks, "EXPLAINED", -np.inf)


@pytest.mark.usefixtures("_lenient")
def test_each_feature_is_replaced_and_has_its_error_map_by_itself(two_features, tmp_path, rng):
    from glcm_cuda import feature_maps

    model = tmp_path / "two.keras"
    model.write_bytes(two_features.read_bytes())
    card = write_card(model, rmse=1e6)
    promise = json.loads(card.read_text())
    promise["features"]["contrast"]["agreement"]["rmse"] = 1e-9
    card.write_text(json.dumps(promise))
    source = write_image(tmp_path / "image.nii.gz", rng)
    output, error = tmp_path / "m.nii.gz", tmp_path / "e.nii.gz"
    result = synthesize(
        source,
        "-o",
        output,
        "--model",
        model,
        "--fallback",
        "exact",
        "--error-map",
        error,
        "--preview",
        tmp_path / "p.png",
    )
    assert result.exit_code == 0, result.output
    assert "contrast: exact map written instead, check of 80 voxels" in result.stdout
    assert "joint_entropy: check of 80 voxels" in result.stdout
    contrast, entropy = (tmp_path / f"m_{name}.nii.gz" for name in ("contrast", "joint_entropy"))
    assert f"{contrast}: RMSE " in result.stderr
    assert f"{contrast}: the exact map takes its place" in result.stderr
    assert f"{entropy}: RMSE" not in result.stderr
    image = sitk.GetArrayFromImage(sitk.ReadImage(str(source)))
    exact = feature_maps(image, ["contrast"], GLCM, backend="cpu")["contrast"]
    np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(contrast))), exact)
    assert (sidecar(contrast)["fallback"], sidecar(entropy)["fallback"]) == ("exact", None)
    assert "(exact, instead of a synthetic one)" in sidecar(contrast)["kind"]
    none, some = (
        sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / f"e_{name}.nii.gz")))
        for name in ("contrast", "joint_entropy")
    )
    assert not none.any()
    predicted = sitk.GetArrayFromImage(sitk.ReadImage(str(entropy)))
    widths = 2 * np.array([0.1, 0.2, 0.3])[np.searchsorted([1.0, 2.0], predicted)]
    np.testing.assert_allclose(some, widths, rtol=1e-6)
    about = sidecar(tmp_path / "e_joint_entropy.nii.gz")
    assert about["coverage"] == {"mean": 0.97, "least": 0.95}
    assert (about["widened"], about["measured_on"]) == (2, "held-out patients")
    assert "coverage" not in result.stderr


@pytest.mark.parametrize("older", [False, True])
def test_an_error_map_of_unknown_coverage_says_so(models, tmp_path, rng, older):
    model = tmp_path / "m.keras"
    model.write_bytes((models / "fold0.keras").read_bytes())
    card = write_card(model, rmse=1e6, factor=None)
    if older:  # as before there was a factor: the coverage was that of the band as it stood
        promise = json.loads(card.read_text())
        band = promise["features"]["joint_entropy"]["error_band"]
        del band["factor"], promise["features"]["joint_entropy"]["textured"]
        band["coverage"] = 0.93
        card.write_text(json.dumps(promise))
    source, error = write_image(tmp_path / "image.nii.gz", rng), tmp_path / "e.nii.gz"
    result = synthesize(source, "-o", tmp_path / "o.nii.gz", "--model", model, "--error-map", error)
    assert result.exit_code == 0, result.output
    assert f"{error}: its coverage is not known: that takes a card of this version and two" in result.stderr
    assert sidecar(error)["coverage"] == "not known"
    values = sitk.GetArrayFromImage(sitk.ReadImage(str(error)))
    assert values.max() <= np.float32(0.3)  # not widened


@pytest.mark.usefixtures("_lenient")
def test_the_sidecar_names_the_card_and_what_was_flagged(models, tmp_path, rng):
    model = tmp_path / "m.keras"
    model.write_bytes((models / "fold0.keras").read_bytes())
    card = write_card(model, rmse=1e6)
    promise = json.loads(card.read_text())
    promise["training_range"]["mean_level"] = [90.0, 99.0]
    card.write_text(json.dumps(promise))
    source = write_image(tmp_path / "image.nii.gz", rng)
    result = synthesize(source, "-o", tmp_path / "o.nii.gz", "--model", model, "--fallback", "exact")
    assert result.exit_code == 0, result.output
    assert "100% of the image is outside the training range of the mean level" in result.stderr
    record = sidecar(tmp_path / "o.nii.gz")
    assert record["model_card"] == "m.card.json"
    assert record["model_card_sha256"] == hashlib.sha256(card.read_bytes()).hexdigest()
    assert record["outside_training_range"]["mean_level"] == 1
    assert record["runtime"] == "keras"
    # A flag is no failure: the sample says that the map is as good as the card.
    assert (record["spot_check"]["failed"], record["fallback"]) == (False, None)


def test_the_runtime_is_named(models, tmp_path, rng):
    for package in ("onnxruntime", "onnx", "tf2onnx"):
        pytest.importorskip(package)
    source = write_image(tmp_path / "image.nii.gz", rng)
    model = models / "fold0.keras"
    result = synthesize(source, "-o", tmp_path / "o.nii.gz", "--model", model, "--runtime", "onnxruntime")
    assert result.exit_code == 0, result.output
    assert " s on onnxruntime" in result.stdout
    record = sidecar(tmp_path / "o.nii.gz")
    assert (record["runtime"], record["backend"]) == ("onnxruntime", "onnxruntime")


def test_without_a_card_a_map_is_judged_by_what_it_explains(models, tmp_path, rng):
    source = write_image(tmp_path / "image.nii.gz", rng)
    model = models / "fold0.keras"  # untrained
    result = synthesize(source, "-o", tmp_path / "o.nii.gz", "--model", model, "--fallback", "exact")
    assert result.exit_code == 0
    assert "it explains less than 50% of the variance" in result.stderr
    assert result.stderr.count("has no model card, so the check has no reference") == 1
    record = sidecar(tmp_path / "o.nii.gz")
    assert (record["model_card"], record["outside_training_range"]) == (None, {})
    assert record["fallback"] == "exact"
    assert record["spot_check"]["voxels"] == 80
    assert record["spot_check"]["criteria"] == {"explained_at_least": 0.5}
    assert len(record["spot_check"]["warnings"]) == 1


def test_a_failed_check_is_told_last_and_drawn(models, tmp_path, rng):
    import matplotlib.image

    source, preview = write_image(tmp_path / "image.nii.gz", rng), tmp_path / "p.png"
    output, model = tmp_path / "o.nii.gz", models / "fold0.keras"
    arguments = (source, "-o", output, "--model", model, "--preview", preview)
    result = synthesize(*arguments)
    assert result.exit_code == 0, result.output
    line = f"CHECK FAILED: {output}; do not use it, or give --fallback exact for the exact map"
    assert result.stdout.splitlines()[-1] == line
    red = np.array([0xB0, 0x00, 0x20]) / 255

    def drawn():
        picture = matplotlib.image.imread(preview)[..., :3]
        return np.mean(np.all(np.abs(picture - red) < 0.12, axis=-1))

    assert drawn() > 0.02
    exact = synthesize(*arguments, "--fallback", "exact", "--force")
    assert "CHECK FAILED" not in exact.output
    assert drawn() == 0


@pytest.mark.slow
def test_a_cohort_names_whose_check_failed(cohort, run, tmp_path):
    line = "CHECK FAILED: the maps of 3 patients (p0, p1, new) of 3; do not use them"
    for _ in range(2):  # of maps that are kept, too
        assert line in synthesize(cohort, "-o", run / "synthetic", "--model", run).stderr.splitlines()[-1]
    again = synthesize(cohort, "-o", run / "synthetic", "--model", run, "--fallback", "exact", "--force")
    assert "CHECK FAILED" not in again.output


def test_the_mask_says_where_a_map_is_checked(models, tmp_path, rng):
    source = write_image(tmp_path / "image.nii.gz", rng)
    image = sitk.ReadImage(str(source))
    mask = np.zeros((2, 9, 12), np.uint8)
    mask[:, 4:6, 3:8], mask[1, 0] = 1, 2
    labels = sitk.GetImageFromArray(mask)
    labels.CopyInformation(image)
    sitk.WriteImage(labels, str(tmp_path / "mask.nrrd"))
    model = models / "fold0.keras"
    arguments = (source, "--model", model, "--mask", tmp_path / "mask.nrrd", "--mask-label", 1)
    result = synthesize(*arguments, "-o", tmp_path / "o.nii.gz")
    assert result.exit_code == 0, result.output
    assert "check of 20 voxels in the mask: r " in result.stdout
    record = sidecar(tmp_path / "o.nii.gz")
    assert (record["spot_check"]["where"], record["spot_check"]["voxels"]) == ("mask", 20)
    assert (record["mask"], record["mask_label"]) == ("mask.nrrd", 1)
    written = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "o.nii.gz")))
    np.testing.assert_allclose(written, expected_map(source, model), atol=1e-5)
    assert_refused(
        synthesize(source, "--model", model, "--mask-label", 1, "-o", tmp_path / "p.nii.gz"),
        "--mask-label needs --mask FILE",
    )
    existing = synthesize(*arguments, "-o", tmp_path / "mask.nrrd", "--force")
    assert_refused(existing, "mask.nrrd is an input and must not be overwritten")


def test_the_maps_of_a_cohort_are_checked_by_tissue(cohort, run, tmp_path):
    image = sitk.ReadImage(str(tmp_path / "p0.nii.gz"))
    labels = np.zeros((2, 9, 12), np.uint8)
    labels[0, 3:6, 3:6], labels[1, 3:6, 3:6] = 1, 3
    written = sitk.GetImageFromArray(labels)
    written.CopyInformation(image)
    sitk.WriteImage(written, str(tmp_path / "labels.nii.gz"))
    text = cohort.read_text().replace("labels", "labels,tissues")
    cohort.write_text(text.replace("p0.nii.gz,", "p0.nii.gz,labels.nii.gz,3=lesion"))
    assert synthesize(cohort, "-o", run / "synthetic", "--model", run).exit_code == 0
    check = sidecar(run / "synthetic" / "p0_entropy_synthetic.nii.gz")["spot_check"]
    assert {name: part["voxels"] for name, part in check["parts"].items()} == {"label 1": 9, "lesion": 9}
    assert [row["tissues"] for row in read_index(run / "synthetic")] == ["3=lesion", "", ""]
    other = sidecar(run / "synthetic" / "p1_entropy_synthetic.nii.gz")["spot_check"]
    assert (check["where"], other["where"]) == ("tissues", "image")


@pytest.mark.slow
def test_a_fallback_asked_for_later_replaces_what_failed(cohort, run):
    for fold in range(2):
        write_card(run / f"fold{fold}.keras", rmse=1e-9)
    folder = run / "synthetic"
    assert synthesize(cohort, "-o", folder, "--model", run).exit_code == 0
    later = synthesize(cohort, "-o", folder, "--model", run, "--fallback", "exact")
    assert later.exit_code == 2
    assert "exists, from another image, model or --fallback; give --force" in later.stderr
    forced = synthesize(cohort, "-o", folder, "--model", run, "--fallback", "exact", "--force")
    assert forced.exit_code == 0
    assert {sidecar(path)["fallback"] for path in folder.glob("*.nii.gz")} == {"exact"}
    assert (
        "3 of 3 patients are already mapped"
        in synthesize(cohort, "-o", folder, "--model", run, "--fallback", "exact").stderr
    )


def test_what_a_models_card_refuses(models, tmp_path, rng):
    model = tmp_path / "m.keras"
    model.write_bytes((models / "fold0.keras").read_bytes())
    card = write_card(model, rmse=1.0)
    text = card.read_text()
    source = write_image(tmp_path / "image.nii.gz", rng)
    output = tmp_path / "o.nii.gz"
    for old, new in [('"levels": 8', '"levels": 9'), ('"joint_entropy"', '"contrast"')]:
        card.write_text(text.replace(old, new))
        result = synthesize(source, "-o", output, "--model", model)
        assert result.exit_code == 2
        assert "m.card.json does not belong to the model m.keras" in result.stderr
    card.write_text(text)
    both = synthesize(source, "-o", output, "--model", model, "--error-map", output)
    assert "--error-map and -o must be different files" in both.stderr
    assert not output.exists()


@pytest.mark.slow
def test_a_cohort_is_mapped_and_evaluated_feature_by_feature(cohort, run, two_features, tmp_path):
    from surrogate import load_model, synthesize_features

    names = ["contrast", "joint_entropy"]
    (run / "run.json").write_text(json.dumps({"glcm": GLCM.to_dict(), "features": names}))
    for fold in range(2):
        (run / f"fold{fold}.keras").write_bytes(two_features.read_bytes())
    folder = run / "synthetic"
    assert synthesize(cohort, "-o", folder, "--model", run).exit_code == 0
    rows = read_index(folder)
    patients = ("p0", "p1", "new")
    assert [row["synthetic"] for row in rows] == [f"{name}_contrast_synthetic.nii.gz" for name in patients]
    assert rows[0]["synthetic_joint_entropy"] == "p0_entropy_synthetic.nii.gz"
    image = sitk.GetArrayFromImage(sitk.ReadImage(rows[1]["image"]))
    maps = synthesize_features(image, load_model(two_features))
    for name, column in (("contrast", "synthetic"), ("joint_entropy", "synthetic_joint_entropy")):
        written = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / rows[1][column])))
        np.testing.assert_allclose(written, np.clip(maps[name], *POSSIBLE[name]), atol=1e-5)
    (folder / rows[2]["synthetic_joint_entropy"]).unlink()
    again = synthesize(cohort, "-o", folder, "--model", run, "--force")
    assert "2 of 3 patients are already mapped and are kept" in again.stderr

    def evaluated(*options):
        return radsynth("evaluate", run, "-o", tmp_path / "out", "--force", *options)

    for options, name in (((), "contrast"), (("--feature", "JointEntropy"), "entropy")):
        result = evaluated(*options)
        assert result.exit_code == 0, result.output
        assert f"Exact against synthetic {name}" in (tmp_path / "out" / "report.html").read_text()
    image = sitk.GetArrayFromImage(sitk.ReadImage(rows[0]["image"]))
    exact = feature_maps(image, "contrast", GLCM, backend="cpu")["contrast"]
    assert evaluated("--feature", "Contrast").exit_code == 0
    with (tmp_path / "out" / "agreement_by_patient.csv").open(newline="") as file:
        row = next(csv.DictReader(file))
    synthetic = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / rows[0]["synthetic"])))
    bias = (synthetic - exact)[:, 2:-2, 2:-2].mean()
    assert float(row["bias"]) == pytest.approx(float(bias), rel=1e-4)
    refused = evaluated("--feature", "idm")
    assert refused.exit_code == 2
    assert "(contrast, joint_entropy), got idm" in refused.stderr


def test_models_of_a_run_must_have_the_same_settings(cohort, run, two_features):
    from surrogate import build_model

    build_model(GLCMSettings(levels=8, window=7)).save(run / "fold1.keras")
    result = synthesize(cohort, "-o", run / "synthetic", "--model", run)
    assert result.exit_code == 2
    assert "fold1.keras was made with other GLCM settings: window 7 (asked for 5)" in result.stderr
    (run / "run.json").write_text(json.dumps({"glcm": GLCMSettings(levels=16).to_dict()}))
    evaluated = synthesize(cohort, "-o", run / "synthetic", "--model", run)
    assert "fold0.keras was made with other GLCM settings: levels 8 (asked for 16)" in evaluated.stderr
    (run / "run.json").unlink()
    (run / "fold1.keras").write_bytes(two_features.read_bytes())
    several = synthesize(cohort, "-o", run / "synthetic", "--model", run)
    assert (
        "fold1.keras predicts contrast, joint_entropy, the run joint_entropy; train again" in several.stderr
    )
    assert not list(run.glob("synthetic/*"))


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("lambda", "foreign.keras cannot be loaded .*: it has a Lambda layer, whose code is never run"),
        ("custom", "foreign.keras cannot be loaded as a Keras model: "),
        ("plain", "foreign.keras: the model has no GLCM settings"),
        ("half", "foreign.keras is not a .keras file, or is truncated"),
        ("weights", "foreign.keras cannot be loaded as a Keras model: "),
    ],
)
def test_foreign_models_are_one_line_and_run_nothing(models, tmp_path, rng, kind, message):
    path = tmp_path / "foreign.keras"
    write_foreign(path, kind, models / "fold0.keras")
    result = synthesize(write_image(tmp_path / "i.nii.gz", rng), "-o", tmp_path / "o.nii.gz", "--model", path)
    assert result.exit_code == 2
    assert re.search(message, result.stderr)
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "o.nii.gz").exists()


def write_foreign(path: Path, kind: str, ours: Path) -> None:
    """Write a model of code, of unknown layers, without settings, or a damaged one of ours."""
    import keras

    class Stranger(keras.layers.Layer):
        def call(self, x):
            return x

    layers = {"lambda": [keras.layers.Lambda(lambda x: x * 2)], "custom": [Stranger()], "plain": []}
    if kind in layers:
        parts = [keras.Input((5, 5, 1)), *layers[kind], keras.layers.Flatten(), keras.layers.Dense(1)]
        keras.Sequential(parts).save(path)
    elif kind == "half":
        path.write_bytes(ours.read_bytes()[:-3000])
    else:
        with zipfile.ZipFile(ours) as whole, zipfile.ZipFile(path, "w") as damaged:
            for name in whole.namelist():
                content = whole.read(name)
                damaged.writestr(name, content[: len(content) // 2] if name.endswith(".h5") else content)
