"""``radsynth map`` and ``roi`` over studies: a cohort's CSV, several images, a folder."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from helpers.commands import assert_refused, radsynth
from helpers.volumes import straight

from pipelines.cohorts import runner
from pipelines.images.provenance import sidecar_path
from pipelines.images.reading import read_image
from pipelines.images.writing import write_volume
from pipelines.maps import study

CASES = ("P1", "P2", "P3")
MAP = "{}_original_glcm_JointEntropy.nii.gz"
OPTIONS = ("--backend", "cpu", "--levels", 8)


@pytest.fixture
def cohort(tmp_path, rng):
    folder = tmp_path / "images"
    folder.mkdir()
    lines = ["patient,group,image,labels"]
    for number, case in enumerate(CASES):
        image = straight(rng.integers(0, 50, (2, 9, 8 + number)).astype(np.int16))
        labels = np.zeros(image.array.shape, np.uint8)
        labels[:, 2:6, 1:4], labels[:, 2:6, 4:7] = 1, 2
        write_volume(image, folder / f"{case}.nii.gz")
        write_volume(replace(image, array=labels), folder / f"{case}_mask.nii.gz")
        lines.append(f"{case},g{number},{case}.nii.gz,{case}_mask.nii.gz")
    path = folder / "cohort.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def files(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def maps_in(folder):
    return {name: content for name, content in files(folder).items() if name.endswith(".nii.gz")}


def broken(cohort, case="P2"):
    path = cohort.with_name(f"{case}.nii.gz")
    whole = path.read_bytes()
    path.write_bytes(whole[:-40])
    return lambda: path.write_bytes(whole)


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_maps_of_a_cohort_are_those_of_one_image_each(cohort, tmp_path):
    result = radsynth("map", cohort, "-o", tmp_path / "out", *OPTIONS)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [str(tmp_path / "out"), "3 cases: 3 done"]
    assert [line for line in result.stderr.splitlines() if line.startswith("[")] == [
        f"[{number}/3] {case}, mask {case}_mask.nii.gz" for number, case in enumerate(CASES, start=1)
    ]
    for case in CASES:
        image, mask = cohort.with_name(f"{case}.nii.gz"), cohort.with_name(f"{case}_mask.nii.gz")
        alone = radsynth("map", image, "--mask", mask, "-o", tmp_path / f"{case}.nii.gz", *OPTIONS)
        assert alone.exit_code == 0, alone.output
        made = tmp_path / "out" / MAP.format(case)
        assert made.read_bytes() == (tmp_path / f"{case}.nii.gz").read_bytes()
        record, own = (
            json.loads(sidecar_path(path).read_text()) for path in (made, tmp_path / f"{case}.nii.gz")
        )
        assert {**record, **{name: own[name] for name in ("command", "created")}} == own


@pytest.mark.parametrize("several", [True, False])
def test_images_and_folders_need_no_csv(cohort, tmp_path, several):
    assert radsynth("map", cohort, "-o", tmp_path / "out", *OPTIONS).exit_code == 0
    sources = [cohort.with_name(f"{case}.nii.gz") for case in CASES] if several else [cohort.parent]
    result = radsynth("map", *sources, "-o", tmp_path / "other", *OPTIONS)
    assert result.exit_code == 0, result.output
    assert maps_in(tmp_path / "other") == maps_in(tmp_path / "out")


def test_filtered_maps_carry_the_name_of_the_image(cohort, tmp_path):
    features = ("--feature", "contrast,firstorder_Mean", "--filter", "square", "--filter", "original")
    assert radsynth("map", cohort, "-o", tmp_path / "out", *OPTIONS, *features).exit_code == 0
    names = {name.removeprefix("P1_") for name in maps_in(tmp_path / "out") if name.startswith("P1_")}
    assert names == {
        f"{image}_{feature}.nii.gz"
        for image in ("square", "original")
        for feature in ("glcm_Contrast", "firstorder_Mean")
    }


def test_a_killed_run_goes_on_where_it_stopped(cohort, tmp_path, monkeypatch):
    def killed_at_p2(inputs, settings, target):
        if "P2" in inputs.image.name:
            (target.output.parent / ".tmp-00000000-1-P2.nii.gz").write_bytes(b"")
            raise KeyboardInterrupt
        return write_maps(inputs, settings, target)

    write_maps = study.write_maps
    output = tmp_path / "out"
    assert radsynth("map", cohort, "-o", tmp_path / "whole", *OPTIONS).exit_code == 0
    with monkeypatch.context() as patch:
        patch.setattr(study, "write_maps", killed_at_p2)
        assert radsynth("map", cohort, "-o", output, *OPTIONS).exit_code == 130
    made = []
    monkeypatch.setattr(
        study,
        "write_maps",
        lambda inputs, *rest: made.append(inputs.image.name) or write_maps(inputs, *rest),
    )
    result = radsynth("map", cohort, "-o", output, *OPTIONS)
    assert result.stdout.splitlines()[1] == "3 cases: 3 done, 1 of them before"
    assert made == ["P2.nii.gz", "P3.nii.gz"]
    assert maps_in(output).items() >= maps_in(tmp_path / "whole").items()
    (output / MAP.format("P3")).unlink()
    write_volume(straight(np.eye(9, dtype=np.int16)[None]), cohort.with_name("P1.nii.gz"), force=True)
    cohort.with_name("P1_mask.nii.gz").unlink()
    cohort.write_text(cohort.read_text().replace("P1.nii.gz,P1_mask.nii.gz", "P1.nii.gz,"))
    made.clear()
    assert radsynth("map", cohort, "-o", output, *OPTIONS).exit_code == 0
    assert made == ["P1.nii.gz", "P3.nii.gz"], "a file that is gone, and an image that has changed"


def test_a_broken_case_fails_alone(cohort, tmp_path):
    output, mend = tmp_path / "out", broken(cohort)
    result = radsynth("map", cohort, "-o", output, *OPTIONS)
    assert result.exit_code == 3
    assert result.stdout.splitlines() == [str(output), "3 cases: 2 done; 1 failed"]
    assert result.stderr.splitlines()[-1].startswith("Error: patient P2: ")
    assert result.stderr.splitlines()[-1].endswith("; the other 2 are done and kept")
    [failure] = rows(output / "failed.csv")
    assert (failure["case"], failure["error"]) == ("P2", "ValueError")
    assert "truncated or damaged" in failure["message"]
    mend()
    assert radsynth("map", cohort, "-o", output, *OPTIONS).exit_code == 0
    assert not (output / "failed.csv").exists()


def test_a_fault_of_the_program_fails_its_case_alone(cohort, tmp_path, monkeypatch):
    def faulty(inputs, settings, target):
        if "P1" in inputs.image.name:
            return [][0]
        return write_maps(inputs, settings, target)

    write_maps = study.write_maps
    monkeypatch.setattr(study, "write_maps", faulty)
    result = radsynth("map", cohort, "-o", tmp_path / "out", *OPTIONS)
    assert (result.exit_code, len(maps_in(tmp_path / "out"))) == (3, 2)
    [failure] = rows(tmp_path / "out" / "failed.csv")
    assert failure["error"] == "IndexError"
    assert "a fault of the program: IndexError in test_study.py" in failure["message"]


def test_what_would_fail_every_case_ends_the_run(cohort, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(study, "write_maps", full)
    result = radsynth("map", cohort, "-o", tmp_path / "out", *OPTIONS)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "free some disk space" in result.stderr


def test_other_settings_are_refused_by_name(cohort, tmp_path):
    output = tmp_path / "out"
    assert radsynth("map", cohort, "-o", output, *OPTIONS).exit_code == 0
    before = files(output)
    other = ("map", cohort, "-o", output, "--backend", "cpu", "--levels", 16, "--window", 3)
    refused = radsynth(*other)
    assert_refused(refused, "made with other settings: settings.levels is 8 there, 16 here (and 1 more)")
    assert files(output) == before
    forced = radsynth(*other, "--force")
    assert forced.stdout.splitlines()[1] == "3 cases: 3 done"
    assert maps_in(output) != {name: before[name] for name in maps_in(output)}


def test_a_case_that_another_run_writes_is_not_lost(cohort, tmp_path, monkeypatch):
    """The other run ends while this one works on the cases that follow."""
    output = tmp_path / "out"
    assert radsynth("map", cohort, "-o", output, *OPTIONS).exit_code == 0
    record = (output / "cases" / "P1.json").read_bytes()
    (output / "cases" / "P1.json").unlink()

    def writing(inputs, settings, target):
        (output / "cases" / "P1.json").write_bytes(record)
        msg = f"{target.output} is being written by another run (process 1)"
        raise FileExistsError(msg)

    monkeypatch.setattr(study, "write_maps", writing)
    result = radsynth("map", cohort, "-o", output, *OPTIONS)
    assert (result.exit_code, result.stdout.splitlines()[1]) == (0, "3 cases: 3 done, 2 of them before")


def test_the_table_of_a_study_has_a_row_for_each_case_and_label(cohort, tmp_path):
    options = ("--feature", "contrast,joint_entropy", "--levels", 8)
    mend = broken(cohort, "P3")
    first = radsynth("roi", cohort, "-o", tmp_path / "t.csv", *options)
    assert (first.exit_code, first.stdout.splitlines()[1]) == (3, "3 cases: 2 done; 1 failed")
    assert rows(tmp_path / "t.csv.failed.csv")[0]["case"] == "P3"
    mend()
    result = radsynth("roi", cohort, "-o", tmp_path / "t.csv", *options)
    assert result.stdout.splitlines() == [str(tmp_path / "t.csv"), "3 cases: 3 done, 2 of them before"]
    found = rows(tmp_path / "t.csv")
    assert [(row["patient"], row["group"], row["label"]) for row in found] == [
        (case, f"g{number}", label) for number, case in enumerate(CASES) for label in ("1", "2")
    ]
    image, mask = cohort.with_name("P2.nii.gz"), cohort.with_name("P2_mask.nii.gz")
    assert radsynth("roi", image, "--mask", mask, "-o", tmp_path / "one.csv", *options).exit_code == 0
    own = [
        {name: cell for name, cell in row.items() if name not in ("patient", "group")} for row in found[2:4]
    ]
    assert own == rows(tmp_path / "one.csv")
    assert_refused(
        radsynth("roi", cohort, "-o", tmp_path / "t.csv", "--feature", "contrast"),
        'features is ["contrast", "joint_entropy"] there, ["contrast"] here',
    )


def test_a_mask_replaces_the_labels(cohort, tmp_path):
    mask = np.zeros((2, 9, 9), np.uint8)
    mask[:, :3, :3] = 1
    write_volume(straight(mask), cohort.with_name("region.nii.gz"))
    cohort.write_text("patient,group,image,labels,mask\nP2,g,P2.nii.gz,P2_mask.nii.gz,region.nii.gz\n")
    options = (*OPTIONS, "--outside", -1)
    assert radsynth("map", cohort, "-o", tmp_path / "out", *options).exit_code == 0
    found = read_image(tmp_path / "out" / MAP.format("P2")).array
    np.testing.assert_array_equal(found != -1, mask != 0)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--mask", "m.nii.gz"), "--mask applies to a single image, got a cohort"),
        (("--preview", "p.png"), "--preview applies to a single image"),
        (("--phase", 2), "--phase: for a single image, got a cohort"),
        (("--window", 4), "window must be"),
        (("--params", "none.yaml"), "none.yaml"),
    ],
)
def test_wrong_options_stop_everything(cohort, tmp_path, arguments, line):
    assert_refused(radsynth("map", cohort, "-o", tmp_path / "out", *arguments), line)
    assert not (tmp_path / "out").exists()


def test_bad_lists_of_cases_are_refused(cohort, tmp_path):
    def refused(*sources, line):
        assert_refused(radsynth("map", *sources, "-o", tmp_path / "out"), line)

    image = cohort.with_name("P1.nii.gz")
    refused(cohort, image, line="cohort.csv is one of 2 inputs; give one CSV alone")
    refused(image, image, line="must list each patient once, got P1 twice")
    refused(image, tmp_path / "none.nii.gz", line="none.nii.gz does not exist")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", line="no image in empty")
    bad = cohort.with_name("bad.csv")
    bad.write_text("patient,group,image\nP1,g,P1.nii.gz\n")
    refused(bad, line="lacks the columns labels")
    bad.write_text("patient,group,image,labels,mask\nP1,g,P1.nii.gz,,none.nii.gz\n")
    refused(bad, line="line 2: mask does not exist")
    assert not (tmp_path / "out").exists()
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "text").touch()
    assert_refused(radsynth("map", cohort, "-o", tmp_path / "foreign"), "holds no earlier run (it has text)")
    assert_refused(radsynth("roi", cohort, "-o", tmp_path / "out"), "-o must end in .csv")
    assert_refused(radsynth("roi", image, "-o", tmp_path / "t.csv"), "Missing option '--mask'")


def test_a_parameter_file_needs_a_mask_of_each_case(cohort, tmp_path):
    (tmp_path / "p.yaml").write_text("featureClass:\n  glcm: [Contrast]\n")
    cohort.write_text(cohort.read_text().replace("P1.nii.gz,P1_mask.nii.gz", "P1.nii.gz,"))
    result = radsynth("map", cohort, "-o", tmp_path / "out", "--params", tmp_path / "p.yaml")
    assert (result.exit_code, result.stdout.splitlines()[1]) == (3, "3 cases: 2 done; 1 failed")
    assert "--params needs a mask, got none; fill in the column mask or labels" in result.stderr


def test_a_record_that_cannot_be_read_is_made_again(cohort, tmp_path):
    assert radsynth("map", cohort, "-o", tmp_path / "out", *OPTIONS).exit_code == 0
    for case, content in zip(CASES, ("", "[]", '{"key": 1}'), strict=True):
        (tmp_path / "out" / "cases" / f"{case}.json").write_text(content)
    result = radsynth("map", cohort, "-o", tmp_path / "out", *OPTIONS)
    assert result.stdout.splitlines()[1] == "3 cases: 3 done"


def test_the_version_is_part_of_the_settings(cohort, tmp_path, monkeypatch):
    assert radsynth("map", cohort, "-o", tmp_path / "out", *OPTIONS).exit_code == 0
    monkeypatch.setattr(runner.glcm_cuda, "__version__", "99.0")
    assert_refused(radsynth("map", cohort, "-o", tmp_path / "out", *OPTIONS), '"99.0" here')
