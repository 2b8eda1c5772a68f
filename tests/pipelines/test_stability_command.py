"""``radsynth stability``: what it writes, that it continues, and every refusal in one line."""

from __future__ import annotations

import csv
import json
import shlex
from dataclasses import replace

import numpy as np
import pytest
from helpers.commands import assert_refused, radsynth
from helpers.volumes import straight

from pipelines.images.reading import read_image
from pipelines.images.writing import write_volume
from pipelines.reliability import analysis, measuring, study

FEATURES = "joint_entropy,firstorder_Mean,firstorder_Variance"


def texture(shape=(3, 24, 30), seed=0):
    """Smooth bumps under noise: what a scanner sees."""
    rng = np.random.default_rng(seed)
    z, y, x = np.indices(shape)
    return (500 + 200 * np.sin(x / 3) * np.cos(y / 4 + z) + rng.normal(0, 10, shape)).astype(np.float32)


def saved(folder, image, mask):
    write_volume(straight(image), folder / "image.nrrd")
    write_volume(straight(mask.astype(np.uint8)), folder / "mask.nrrd")
    return folder / "image.nrrd"


def ellipse(shape=(3, 24, 30)):
    _, y, x = np.indices(shape)
    return (y - 12) ** 2 / 90 + (x - 15) ** 2 / 150 < 1


def run(image, *arguments, output="out"):
    given = ["stability", image, "--mask", image.with_name("mask.nrrd"), "-o", image.with_name(output)]
    return radsynth(*given, "--backend", "cpu", *arguments)


def rows_of(folder, name):
    with (folder / "report" / name).open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stability")
    image = saved(folder, texture(), ellipse())
    write_volume(straight(texture(seed=1)), folder / "second.nrrd")
    result = run(image, "--feature", FEATURES, "--retest", folder / "second.nrrd")
    assert result.exit_code == 0, result.output
    return image, result


def test_what_it_prints_and_writes(case):
    image, result = case
    page, summary = result.stdout.splitlines()
    assert page == str(image.with_name("out") / "report" / "report.html")
    assert summary.startswith(f"3 maps, {int(ellipse().sum())} voxels, 12 perturbations: ")
    assert "13 runs of 3 maps" in result.stderr
    found = {path.name for path in (image.with_name("out") / "report").iterdir()}
    assert found == {
        "report.html", "stability.csv", "verdict.csv", "correlation.csv", "curve.csv", "stability.json",
        "survivors.yaml", "heat_map.png", "dendrogram.png", "maps.png", "curve.png",
    }  # fmt: skip


def test_a_row_for_every_map_and_perturbation(case):
    rows = rows_of(case[0].with_name("out"), "stability.csv")
    names = [row["perturbation"] for row in rows[:12]]
    assert names == [
        "noise", "shift", "resample", "mask grown", "mask shrunk", "32 levels", "128 levels", "window 3",
        "window 7", "range over the mask", "range of percentiles 1 to 99", "retest",
    ]  # fmt: skip
    assert len(rows) == 3 * 12
    by_key = {(row["feature"], row["perturbation"]): row for row in rows}
    # The mean does not read grey levels: other levels change nothing.
    assert float(by_key["firstorder_Mean", "32 levels"]["icc"]) == 1
    for row in rows:
        assert float(row["icc_low"]) <= float(row["icc"]) <= float(row["icc_high"])


def test_variance_is_found_to_be_local_standard_deviation(case):
    rows = {row["feature"]: row for row in rows_of(case[0].with_name("out"), "verdict.csv")}
    assert float(rows["firstorder_Variance"]["local_sd_r"]) > 0.999
    assert "local standard deviation" in rows["firstorder_Variance"]["reasons"]
    assert rows["firstorder_Mean"]["verdict"] == "keep"


def test_the_record_has_seeds_and_levels_of_what_was_changed(case):
    record = json.loads((case[0].with_name("out") / "report" / "stability.json").read_text())
    changes = {one["name"]: one for one in record["perturbations"]}
    assert changes["noise"]["standard_deviation"] == pytest.approx(10, rel=0.25)
    assert changes["noise"]["seed"] == record["seed"] == 0
    assert changes["retest"]["image"] == "second.nrrd"
    assert record["thresholds"]["keep"] == 0.75


def test_a_second_run_computes_no_map_again_and_gives_the_same_table(case, monkeypatch):
    image, _ = case
    before = (image.with_name("out") / "report" / "stability.csv").read_text()
    assert_refused(run(image, "--feature", FEATURES), "report exists; give --force")
    monkeypatch.setattr(analysis, "curve", lambda *_: [])  # which has maps of its own
    monkeypatch.setattr(study, "seconds_per_voxel", lambda *_: 0.0)
    monkeypatch.setattr(measuring, "feature_maps", lambda *_, **__: pytest.fail("a map was computed"))
    result = run(image, "--feature", FEATURES, "--retest", image.with_name("second.nrrd"), "--force")
    assert result.exit_code == 0, result.output
    assert result.stderr.count("kept from an earlier run") == 12
    assert (image.with_name("out") / "report" / "stability.csv").read_text() == before


def test_map_takes_the_file_of_survivors_and_gives_the_maps_that_were_judged(case):
    image, _ = case
    folder = image.with_name("out") / "report"
    head = " ".join(
        line[2:] for line in (folder / "survivors.yaml").read_text().splitlines() if line[0] == "#"
    )
    options = shlex.split(head.partition("--params survivors.yaml ")[2].partition(" (")[0])
    output = image.with_name("kept.nrrd")
    mask = image.with_name("mask.nrrd")
    given = ("map", image, "--mask", mask, "-o", output, "--params", folder / "survivors.yaml", *options)
    result = radsynth(*given)
    assert result.exit_code == 0, result.output
    path = result.stdout.splitlines()[0]
    values = read_image(path).array[ellipse()]
    kept = [np.load(file) for file in (image.with_name("out") / "maps").glob("*.npy")]
    assert any(np.array_equal(values, row, equal_nan=True) for maps in kept for row in maps)


def test_a_constant_region_has_a_reason_in_its_row(tmp_path):
    image = saved(tmp_path, np.full((1, 20, 20), 7.0, np.float32), np.ones((1, 20, 20)))
    result = run(image, "--feature", "joint_entropy", "--perturb", "noise,shift")
    assert result.exit_code == 0, result.output
    rows = {row["perturbation"]: row for row in rows_of(tmp_path / "out", "stability.csv")}
    assert (rows["noise"]["icc"], rows["shift"]["icc"]) == ("", "")
    assert rows["noise"]["reason"] == "the level of the noise is estimated as 0"
    assert rows["shift"]["reason"].startswith("constant: both maps")
    assert rows_of(tmp_path / "out", "verdict.csv")[0]["verdict"] == "drop"
    assert not (tmp_path / "out" / "report" / "survivors.yaml").exists()


@pytest.mark.slow
def test_windows_in_a_volume_of_uneven_voxels_have_the_figures_of_slices_beside(tmp_path):
    image = saved(tmp_path, texture((4, 12, 12)), np.ones((4, 12, 12)))
    for name in ("image.nrrd", "mask.nrrd"):
        write_volume(
            replace(read_image(tmp_path / name), spacing_mm=(1.0, 1.0, 2.5)), tmp_path / name, force=True
        )
    given = ("--feature", "joint_entropy", "--perturb", "mask", "--dimensions", 3, "--window", 3)
    result = run(image, *given)
    assert result.exit_code == 0, result.output
    assert "spacings that differ 2.5-fold" in result.stderr
    row = rows_of(tmp_path / "out", "verdict.csv")[0]
    assert row["verdict_2d"] in ("keep", "doubtful", "drop")
    assert row["lowest_icc_low_2d"] != row["lowest_icc_low"]
    assert {row["dimensions"] for row in rows_of(tmp_path / "out", "stability.csv")} == {"2", "3"}


def test_a_feature_that_settings_exclude_has_a_row_that_says_why(tmp_path):
    image = saved(tmp_path, texture((1, 12, 12)), np.ones((1, 12, 12)))
    result = run(
        image, "--feature", "cluster_prominence,firstorder_Mean", "--perturb", "shift", "--levels", 60000
    )
    assert result.exit_code == 0, result.output
    rows = {row["feature"]: row for row in rows_of(tmp_path / "out", "verdict.csv")}
    assert rows["cluster_prominence"]["verdict"] == "drop"
    assert "allows at most" in rows["cluster_prominence"]["reasons"]
    assert rows["firstorder_Mean"]["lowest_icc_low"] != ""


def test_a_cohort_has_a_report_for_each_case_and_a_table(tmp_path):
    saved(tmp_path, texture((1, 12, 12)), np.ones((1, 12, 12)))
    rows = "patient,group,image,mask,labels\nA,x,image.nrrd,mask.nrrd,\nB,x,image.nrrd,,\n"
    (tmp_path / "cohort.csv").write_text(rows)
    given = ("--feature", "firstorder_Mean", "--perturb", "shift", "--backend", "cpu")
    result = radsynth("stability", tmp_path / "cohort.csv", "-o", tmp_path / "out", *given)
    assert result.exit_code == 3, result.output
    assert "stability needs a mask" in (tmp_path / "out" / "failed.csv").read_text()
    assert (tmp_path / "out" / "A" / "report" / "report.html").is_file()
    table = (tmp_path / "out" / "verdicts.csv").read_text().splitlines()
    assert table[0] == "feature,cases,keep,doubtful,drop"
    assert len(table) == 2
    refused = radsynth("stability", tmp_path / "cohort.csv", "--retest", "x", "-o", tmp_path / "other")
    assert_refused(refused, "--retest applies to a single image")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--perturb", "wobble"), "--perturb must be of noise, shift, "),
        (("--keep", "2"), "threshold keep must be from 0 to 1, got 2"),
        (("--mask2", "mask.nrrd"), "--mask2 needs --retest IMAGE"),
        (("--feature", "shape"), "no feature 'shape'"),
        (("--retest", "other_grid.nrrd"), "must lie on the image's grid, got origin"),
        (("--retest", "other_size.nrrd"), "must lie on the image's grid, got size"),
        (("--retest", "missing.nrrd"), "missing.nrrd"),
        (
            ("--retest", "image.nrrd", "--mask2", "far.nrrd"),
            "0 voxels in common, stability needs at least 30",
        ),
        (("--mask", "few.nrrd"), "has 29 voxels, stability needs at least 30"),
    ],
)
def test_bad_input_is_told_in_a_line(tmp_path, monkeypatch, arguments, line):
    monkeypatch.chdir(tmp_path)
    mask = np.zeros((2, 12, 12))
    mask[0] = 1
    image = saved(tmp_path, texture((2, 12, 12)), mask)
    volume = straight(texture((2, 12, 12)))
    write_volume(replace(volume, origin_mm=(1.0, 0.0, 0.0)), tmp_path / "other_grid.nrrd")
    write_volume(straight(texture((2, 12, 13))), tmp_path / "other_size.nrrd")
    write_volume(straight((1 - mask).astype(np.uint8)), tmp_path / "far.nrrd")
    few = np.zeros(mask.size)
    few[:29] = 1
    write_volume(straight(few.reshape(mask.shape).astype(np.uint8)), tmp_path / "few.nrrd")
    given = ["--mask", "mask.nrrd"] if "--mask" not in arguments else []
    assert_refused(radsynth("stability", image, *given, "-o", "out", "--backend", "cpu", *arguments), line)
    assert not (tmp_path / "out").exists()


def test_a_folder_of_something_else_is_not_written_into(tmp_path):
    image = saved(tmp_path, texture((1, 12, 12)), np.ones((1, 12, 12)))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    assert_refused(run(image), "is not empty and holds no earlier run")
