"""evaluate on a run folder made by hand: no network, known differences."""

from __future__ import annotations

import csv
import html
import json
import re
from functools import partial

import numpy as np
import pytest
import SimpleITK
from helpers.commands import radsynth

from glcm_cuda import GLCMSettings, entropy_map
from pipelines.cohorts import runs
from pipelines.evaluation import comparison as subject
from pipelines.evaluation.agreement_figures import map_rows, representative
from pipelines.evaluation.agreement_tables import table1
from pipelines.images.provenance import sha256_of
from surrogate.agreement import summarize

SETTINGS = GLCMSettings(levels=16)
SHAPE = (2, 24, 26)
BIAS = 0.125
PATIENTS = [
    ("n-01", "normal", 0),
    ("b-01", "benign", 0),
    ("b-02", "benign", 1),
    ("m-01", "malignant", 0),
    ("m-02", "malignant", 1),
    ("m-03", "malignant", 1),
]


def write_image(array, path, spacing=(0.5, 0.75, 3.0)):
    image = SimpleITK.GetImageFromArray(array)
    image.SetSpacing(spacing)
    image.SetOrigin((1.0, -2.0, 30.5))
    SimpleITK.WriteImage(image, str(path))


def labels_of(group):
    labels = np.zeros(SHAPE, np.uint8)
    labels[:, :, 13:] = 1
    labels[:, 4:12, 3:11] = 2
    if group != "normal":
        labels[1, 13:20, 4:11] = 3
    return labels


TISSUES = "1=fatty;2=glandular;3=lesion"


def make_run(
    folder, patients=PATIENTS, *, prefix="", labels=True, folds=None, tissues=TISSUES, **description
):
    """Write images, synthetic maps that are exact plus a bias and noise, and what a training leaves."""
    rng = np.random.default_rng(5)
    run = folder / "run"
    (run / "synthetic").mkdir(parents=True)
    (folder / "images").mkdir()
    rows = []
    for patient, group, fold in patients:
        name = prefix + patient
        image = rng.integers(0, 400, SHAPE).astype(np.int16)
        image[:, :, :8] = 100
        exact = entropy_map(image, SETTINGS, backend="cpu")
        synthetic = exact + np.float32(BIAS) + rng.normal(0, 0.02, SHAPE).astype(np.float32)
        image_path, labels_path = folder / "images" / f"{name}.nii.gz", folder / "images" / f"{name}_l.nii.gz"
        write_image(image, image_path)
        write_image(labels_of(group), labels_path)
        write_image(synthetic, run / "synthetic" / f"{name}_entropy_synthetic.nii.gz")
        used = str(labels_path) if labels else ""
        synthetic_path = f"{name}_entropy_synthetic.nii.gz"
        rows.append([name, group, image_path, used, synthetic_path, f"../fold{fold}.keras", fold, tissues])
    columns = "patient,group,image,labels,synthetic,model,fold,tissues"
    write_rows(run / "synthetic" / "index.csv", columns, rows)
    known = [[row[0], row[1], row[6]] for row in rows] if folds is None else folds
    write_rows(run / "folds.csv", "patient,group,fold", known)
    (run / "run.json").write_text(json.dumps({"glcm": SETTINGS.to_dict(), "phantom": False, **description}))
    return run


def write_rows(path, header, rows):
    path.write_text("\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n")


def read_rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


evaluate = partial(radsynth, "evaluate")


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluated")
    run = make_run(folder, validation_rmse=[0.1, 0.2], keras_backend="none")
    result = evaluate(run, "-o", folder / "out")
    assert result.exit_code == 0, result.output
    return run, folder / "out", result


def test_every_output_is_there_and_the_report_is_named_last(evaluated):
    _, out, result = evaluated
    assert sorted(path.name for path in out.iterdir()) == [
        "agreement.csv",
        "agreement_by_patient.csv",
        "figure2.png",
        "figure3.png",
        "report.html",
        "table1.csv",
        "table1.md",
    ]
    assert result.stdout.splitlines()[-1] == str(out / "report.html")
    assert (out / "table1.md").read_text() in result.stdout


def test_table1_has_the_papers_rows_and_columns(evaluated):
    rows = read_rows(evaluated[1] / "table1.csv")
    assert list(rows[0]) == ["table", "group", "fatty", "glandular", "lesion", "all"]
    assert [row["group"] for row in rows] == ["normal", "benign", "malignant", "all"] * 3
    assert [row["table"][:8] for row in rows[::4]] == ["(a) Pear", "(b) Perc", "(c) RMSE"]
    assert rows[0]["lesion"] == rows[4]["lesion"] == ""
    assert re.fullmatch(r"0\.\d{4}", rows[0]["fatty"]), "one patient: no interval"
    assert re.fullmatch(r"[01]\.\d{4} \([01]\.\d{4} to [01]\.\d{4}\)", rows[2]["lesion"])
    assert re.fullmatch(r"\d+\.\d\d ± \d+\.\d\d", rows[6]["lesion"])


def test_numbers_are_those_of_the_voxels_of_a_tissue_away_from_the_border(evaluated):
    run, out, _ = evaluated
    entry = next(
        e for e in runs.read_index(run, runs.read_run(run), "joint_entropy") if e.case.patient == "m-02"
    )
    image = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(entry.case.image)))
    synthetic = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(entry.synthetic)))
    labels = labels_of("malignant")
    labels[:, :2], labels[:, -2:], labels[:, :, :2], labels[:, :, -2:] = 0, 0, 0, 0
    exact = entropy_map(image, SETTINGS, backend="cpu")
    rows = read_rows(out / "agreement_by_patient.csv")
    for tissue, label in (("fatty", 1), ("glandular", 2), ("lesion", 3), ("all", None)):
        inside = labels > 0 if label is None else labels == label
        expected = summarize(exact[inside], synthetic[inside])
        (row,) = (row for row in rows if (row["patient"], row["tissue"]) == ("m-02", tissue))
        assert int(row["voxels"]) == np.count_nonzero(inside)
        assert float(row["pearson"]) == pytest.approx(expected.pearson, rel=1e-5)
        assert float(row["rmse"]) == pytest.approx(expected.rmse, rel=1e-5)
        assert float(row["bias"]) == pytest.approx(expected.mean_difference, rel=1e-5)
        assert float(row["percent_mean"]) == pytest.approx(expected.percent[0], rel=1e-5)


def test_pooled_rows_find_the_bias_that_was_put_in(evaluated):
    rows = {(row["group"], row["tissue"]): row for row in read_rows(evaluated[1] / "agreement.csv")}
    assert len(rows) == 4 * 4 - 1
    every = rows["all", "all"]
    assert int(every["patients"]) == 6
    assert int(rows["all", "lesion"]["patients"]) == 5
    assert float(every["bias"]) == pytest.approx(BIAS, abs=0.002)
    assert float(every["rmse"]) == pytest.approx(np.hypot(BIAS, 0.02), abs=0.002)
    assert "(c) RMSE (bits)" in evaluated[2].stdout
    assert float(every["limit_high"]) == pytest.approx(BIAS + 1.96 * 0.02, abs=0.004)
    assert float(every["bias_p"]) < 1e-6
    assert float(every["pearson_low"]) < float(every["pearson"]) < float(every["pearson_high"])
    assert rows["normal", "all"]["bias_p"] == ""
    assert {row["held_out"] for row in rows.values()} == {"yes"}


def test_report_is_one_page_that_names_run_folds_and_settings(evaluated):
    page = (evaluated[1] / "report.html").read_text()
    assert page.count('src="data:image/png;base64,') == 2
    assert "://" not in page
    for text in (
        "evaluated0/run",
        "fold1.keras",
        "Held out:",
        "approximation",
        "&quot;levels&quot;: 16",
        "[0.1, 0.2]",
    ):
        assert text in page
    assert "hantom" not in page


def test_phantoms_are_named_in_every_file_and_title(tmp_path):
    run = make_run(tmp_path, PATIENTS[:4], prefix="phantom-")
    result = evaluate(run, "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert all(path.name.startswith("phantom_") for path in (tmp_path / "out").iterdir())
    assert result.stdout.count("PHANTOM") == 1
    assert f"# Table 1, phantom run {tmp_path.name}/run" in result.stdout
    page = (tmp_path / "out" / "phantom_report.html").read_text()
    assert "<title>Exact against synthetic entropy: phantom run " in page
    captions = re.findall(r"<(?:fig)?caption>(.*?)</(?:fig)?caption>", page)
    assert all("hantom" in caption for caption in captions if "Table 1" in caption or "Figure" in caption)


def test_a_patient_called_phantom_is_none_if_the_column_says_so(tmp_path):
    run = make_run(tmp_path, PATIENTS[:2], prefix="phantom_")
    index = run / "synthetic" / "index.csv"
    header, *rows = index.read_text().splitlines()
    index.write_text("\n".join([f"{header},phantom", *(f"{row},false" for row in rows), ""]))
    assert not subject.evaluate(run).is_phantom
    index.write_text("\n".join([f"{header},phantom", f"{rows[0]},true", f"{rows[1]},false", ""]))
    assert subject.evaluate(run).is_phantom


def test_a_model_trained_on_phantoms_is_named_so(tmp_path):
    run = make_run(tmp_path, PATIENTS[:2], folds=[["phantom-1", "benign", 0]], phantom=True)
    result = evaluate(run, "-o", tmp_path / "out")
    assert "MODEL TRAINED ON PHANTOMS" in result.stdout
    assert (tmp_path / "out" / "phantom_report.html").exists()


def test_tissues_are_called_what_the_cohort_calls_them(tmp_path):
    result = subject.evaluate(make_run(tmp_path, PATIENTS[:2], tissues="2=water;1=fat"))
    assert result.tissues == ["fat", "water", "label 3", "all"]
    with_index(tmp_path / "run", "2=water;1=fat", "")
    plain = subject.evaluate(tmp_path / "run")
    assert plain.tissues == ["label 1", "label 2", "label 3", "all"]
    assert plain.table["all", "label 1"] == result.table["all", "fat"]
    assert map_rows(plain)[1].lesion.sum() == 0
    with_index(tmp_path / "run", "fold0.keras,0,", "fold0.keras,0,3=Lesion")
    assert map_rows(subject.evaluate(tmp_path / "run"))[1].lesion.sum() == 7 * 7


def test_a_name_pools_labels_that_differ_between_patients(tmp_path):
    run = make_run(tmp_path, PATIENTS[1:3], tissues="1=fat")
    with_index(run, "fold1.keras,1,1=fat", "fold1.keras,1,2=fat")
    result = subject.evaluate(run)
    assert result.tissues == ["fat", "label 1", "label 2", "label 3", "all"]
    assert result.table["all", "fat"].patients == 2
    assert result.table["all", "label 1"].patients == 1


def test_groups_of_other_means_do_not_correlate_more_closely_together(tmp_path):
    """With the means of the groups far apart, as they are for entropies of smooth and rough breasts."""
    run = make_run(tmp_path, PATIENTS[:1] + PATIENTS[3:5])
    for name, entropy in (("n-01", 0.0), ("m-01", 9.0), ("m-02", 9.0)):
        path = run / "synthetic" / f"{name}_entropy_synthetic.nii.gz"
        noise = np.random.default_rng(1).normal(entropy, 1, SHAPE)
        write_image(noise.astype(np.float32), path)
    result = subject.evaluate(run)
    rows = {group: result.table[group, "glandular"] for group in ("normal", "malignant", "all")}
    assert min(rows["normal"].pearson, rows["malignant"].pearson) - 0.05 < rows["all"].pearson
    assert rows["all"].pearson < max(rows["normal"].pearson, rows["malignant"].pearson) + 0.05


def test_without_labels_the_whole_image_is_compared(tmp_path):
    result = subject.evaluate(make_run(tmp_path, PATIENTS[:2], labels=False))
    assert set(result.table) == {("normal", "all"), ("benign", "all"), ("all", "all")}
    assert result.table["normal", "all"].voxels == 2 * 20 * 22


def test_a_note_says_whose_whole_image_counts(tmp_path):
    run = make_run(tmp_path, PATIENTS[:3])
    with_index(run, "n-01_l.nii.gz", "")
    with_index(run, f"{tmp_path}/images/,", ",")
    note = (
        "Without tissue labels: 1 of 3 patients; their whole image, background included, counts in "
        '"all" and in no tissue.'
    )
    result = evaluate(run, "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "out" / "table1.md").read_text().endswith(f"\n\n{note}\n")
    assert html.escape(note) in (tmp_path / "out" / "report.html").read_text()


def test_no_note_where_everybody_has_labels(evaluated):
    assert "Without tissue labels" not in evaluated[2].stdout


@pytest.mark.parametrize("options", [[], ["--force"]])
def test_a_file_is_no_output_folder(evaluated, tmp_path, options):
    (tmp_path / "file").write_text("precious")
    result = evaluate(evaluated[0], "-o", tmp_path / "file", *options)
    assert result.exit_code == 2
    assert "Error: -o must be a folder, got a file: " in result.stderr
    assert "--force" not in result.stderr
    assert (tmp_path / "file").read_text() == "precious"


def test_labels_without_a_voxel_away_from_the_border_are_refused(tmp_path):
    run = make_run(tmp_path, PATIENTS[:1])
    labels = np.zeros(SHAPE, np.uint8)
    labels[:, 0] = 1
    write_image(labels, tmp_path / "images" / "n-01_l.nii.gz")
    with pytest.raises(ValueError, match="has no labels more than 2 voxels from the border"):
        subject.evaluate(run)


def test_patients_seen_in_training_are_left_out_of_the_pooled_rows(tmp_path):
    folds = [[p, g, 1 - f if p == "b-01" else f] for p, g, f in PATIENTS]
    result = subject.evaluate(make_run(tmp_path, folds=folds))
    assert "Not held out: 1 of 6 patients" in table1(result)
    assert result.table["benign", "all"].patients == 1
    assert result.table["all", "all"].patients == 5
    assert {p.entry.case.patient for p in result.patients if not p.entry.held_out} == {"b-01"}


def test_if_nobody_was_held_out_every_table_says_so(tmp_path):
    folds = [[p, g, 1 - f] for p, g, f in PATIENTS[:2]]
    result = subject.evaluate(make_run(tmp_path, PATIENTS[:2], folds=folds))
    assert not result.held_out
    assert table1(result).startswith(f"# Table 1, run {tmp_path.name}/run, NOT held out")
    assert result.table["all", "all"].patients == 2


def test_an_empty_fold_means_that_nobody_was_held_out(tmp_path):
    folds = [[p, g, ""] for p, g, _ in PATIENTS[:2]]
    run = make_run(tmp_path, PATIENTS[:2], folds=folds)
    with_index(run, r"fold(\d).keras,\d", r"fold0.keras,")
    assert not subject.evaluate(run).held_out


def test_the_model_of_another_fold_is_not_held_out(tmp_path):
    run = make_run(tmp_path, PATIENTS[:2])
    with_index(run, "fold0.keras", "fold1.keras")
    assert not subject.evaluate(run).held_out


@pytest.mark.parametrize(("key", "name"), [("source_sha256", "n-01.nii.gz"), ("model_sha256", "fold0.keras")])
def test_maps_of_another_image_or_model_are_refused(key, name, tmp_path):
    run = make_run(tmp_path, PATIENTS[:1])
    (run / "fold0.keras").write_bytes(b"weights")
    current = tmp_path / "images" / name if name.endswith("gz") else run / name
    sidecar = run / "synthetic" / "n-01_entropy_synthetic.nii.gz.json"
    sidecar.write_text(json.dumps({key: sha256_of(current)}))
    assert subject.evaluate(run).held_out
    sidecar.write_text(json.dumps({key: "0" * 64}))
    message = f"was not made from the present .*{name}; run `radsynth synthesize` again$"
    with pytest.raises(ValueError, match=message):
        subject.evaluate(run)


def test_patients_unknown_to_the_training_are_held_out(tmp_path):
    result = subject.evaluate(make_run(tmp_path, PATIENTS[:2], folds=[["other", "benign", 0]]))
    assert result.held_out
    assert "Held out:" in table1(result)


def test_the_median_patient_represents_a_group(tmp_path):
    result = subject.evaluate(make_run(tmp_path))
    malignant = [p for p in result.pooled if p.entry.case.group == "malignant"]
    middle = sorted(malignant, key=lambda p: p.moments["all"].pearson)[1]
    assert representative(result, "malignant") is middle


def test_the_same_run_gives_the_same_bytes(evaluated, tmp_path):
    run, out, _ = evaluated
    evaluate(run, "-o", tmp_path / "again")
    for path in out.iterdir():
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes(), path.name


def test_an_existing_output_needs_force(evaluated):
    run, out, _ = evaluated
    before = (out / "report.html").stat().st_mtime_ns
    result = evaluate(run, "-o", out)
    assert result.exit_code == 2
    assert "exists; give --force" in result.stderr
    assert (out / "report.html").stat().st_mtime_ns == before
    assert evaluate(run, "-o", out, "--force").exit_code == 0
    assert (out / "report.html").stat().st_mtime_ns > before


def test_force_never_replaces_a_folder_of_something_else(evaluated, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    result = evaluate(evaluated[0], "-o", tmp_path, "--force")
    assert result.exit_code == 2
    assert "not an earlier output" in result.stderr
    assert (tmp_path / "thesis.txt").exists()


def without(run, name):
    (run / name).unlink()


def with_run_json(run, text):
    (run / "run.json").write_text(text)


def with_index(run, pattern, replacement):
    path = run / "synthetic" / "index.csv"
    path.write_text(re.sub(pattern, replacement, path.read_text()))


def with_synthetic(run, array, **place):
    # Not NIfTI: its reader turns NaN into 0.
    write_image(array.astype(np.float32), run / "synthetic" / "other.mha", **place)
    with_index(run, "n-01_entropy_synthetic.nii.gz", "other.mha")


SPOILED = [
    (lambda run: without(run, "run.json"), "run.json does not exist; run `radsynth train` first"),
    (lambda run: with_run_json(run, "{"), "run.json must be JSON with the settings of the maps"),
    (
        lambda run: (run / "run.json").write_bytes(b"\x98" * 3000),
        "got UnicodeDecodeError: 'utf-8' codec can't decode byte 0x98 in position 0",
    ),
    (lambda run: with_run_json(run, "{}"), "run.json must be JSON with the settings of the maps"),
    (lambda run: with_run_json(run, '{"glcm": {"levels": 1}}'), "levels must be from 2 to 65536"),
    (lambda run: without(run, "folds.csv"), "folds.csv does not exist"),
    (lambda run: without(run, "synthetic/index.csv"), "index.csv does not exist; run `radsynth synthesize"),
    (lambda run: with_index(run, "synthetic,model", "a,b"), "index.csv lacks the columns synthetic, model"),
    (lambda run: with_index(run, "labels", "x"), "lacks the columns labels"),
    (lambda run: with_index(run, "b-01,", "n-01,"), "n-01 twice"),
    (lambda run: without(run, "synthetic/n-01_entropy_synthetic.nii.gz"), "run `radsynth synthesize` again"),
    (
        lambda run: with_synthetic(run, np.zeros((2, 24, 25))),
        r"must have the size of its image \(26, 24, 2\)",
    ),
    (
        lambda run: with_synthetic(run, np.zeros(SHAPE), spacing=(1, 1, 1)),
        "must have the spacing of its image",
    ),
    (lambda run: with_synthetic(run, np.full(SHAPE, np.nan)), "must hold finite values, got 880 NaN"),
    (lambda run: with_run_json(run, '{"glcm": {"window": 25}}'), "nothing to compare"),
]


@pytest.mark.parametrize(("spoil", "message"), SPOILED)
def test_bad_runs_give_one_line_and_no_output(spoil, message, tmp_path):
    run = make_run(tmp_path, PATIENTS[:2])
    spoil(run)
    result = evaluate(run, "-o", tmp_path / "out")
    assert result.exit_code == 2
    assert re.search(message, result.stderr)
    assert result.stderr.count("\n") == (3 if "2 of 2 patients failed" in result.stderr else 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images", "run"]
