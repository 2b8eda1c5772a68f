"""``radsynth cohort scan``: folders of DICOM or NIfTI become the CSV that the other commands read."""

from __future__ import annotations

import csv
from functools import partial

import numpy as np
import pytest
import SimpleITK
from helpers.commands import radsynth
from helpers.dicom import write_series, write_slice

from pipelines.cohorts.cohort import read_cohort
from pipelines.images.dicom.headers import hashed
from pipelines.images.reading import read_image

scan = partial(radsynth, "cohort", "scan")


def rows_in(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def write_image(path, value=1):
    path.parent.mkdir(parents=True, exist_ok=True)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(np.full((3, 6, 5), value, np.int16)), str(path))


@pytest.fixture
def studies(tmp_path, rng):
    """Return two patients: one with phases and another series in one folder, one with a single series."""
    folder = tmp_path / "studies"
    (folder / "ann" / "all").mkdir(parents=True)
    for number, time in enumerate(("101010", "101110")):
        write_series(
            folder / "ann" / "all" / str(number),
            rng,
            ContentTime=time,
            SeriesDescription="DCE",
            PatientID="ann",
        )
    write_series(folder / "ann" / "all", rng, series="2.1", SeriesDescription="T2", PatientID="ann")
    (folder / "bob").mkdir()
    write_series(folder / "bob" / "x", rng, series="3.1", SeriesDescription="dce early", PatientID="bob")
    localizer = {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"], "PatientID": "bob"}
    write_series(folder / "bob" / "scout", rng, series="3.2", **localizer)
    return folder


def test_every_volume_is_a_row_that_reads_as_itself(studies, tmp_path):
    result = scan(studies, "-o", tmp_path / "c.csv", "--keep-ids")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [str(tmp_path / "c.csv"), "4 volumes of 2 patients"]
    assert "1 patient with several volumes (ann): select one per patient with --series" in result.stderr
    rows = rows_in(tmp_path / "c.csv")
    assert [(r["patient"], r["image"], r["series"], r["phase"], r["description"]) for r in rows] == [
        ("ann", "studies/ann/all", "1", "1", "DCE"),
        ("ann", "studies/ann/all", "1", "2", "DCE"),
        ("ann", "studies/ann/all", "2", "", "T2"),
        ("bob", "studies/bob/x", "", "", "dce early"),
    ]
    assert {(row["group"], row["modality"], row["slices"]) for row in rows} == {("unknown", "MR", "4")}
    with pytest.raises(ValueError, match="must list each patient once, got ann twice"):
        read_cohort(tmp_path / "c.csv")


def test_one_volume_of_each_patient_is_chosen(studies, tmp_path):
    assert scan(studies, "-o", tmp_path / "c.csv", "--series", "DCE", "--phase", "2").exit_code == 0
    cases = read_cohort(tmp_path / "c.csv")
    assert [case.patient for case in cases] == [hashed("ann"), hashed("bob")]
    expected = [studies / "ann" / "all" / "1", studies / "bob" / "x"]
    for case, folder in zip(cases, expected, strict=True):
        np.testing.assert_array_equal(read_image(case.image, case.choice).array, read_image(folder).array)


def test_ids_are_hashed_unless_they_are_to_be_kept(studies, tmp_path):
    assert scan(studies, "-o", tmp_path / "c.csv").exit_code == 0
    assert {row["patient"] for row in rows_in(tmp_path / "c.csv")} == {hashed("ann"), hashed("bob")}


def test_what_is_irregular_is_left_out_and_told(studies, tmp_path, rng):
    (studies / "cid").mkdir()
    write_series(studies / "cid" / "gap", rng, series="4.1", places=(0, 2, 6, 8), SeriesDescription="GAP")
    write_slice(studies / "cid" / "lone", np.zeros((6, 5)), (0, 0, 0), series="4.2")
    (studies / "cid" / "empty").touch()
    result = scan(studies, "-o", tmp_path / "c.csv")
    assert "skipped: " in result.stderr
    assert "GAP (MR, 4 images), 4.00 mm between slices 1 and 2 of 4" in result.stderr
    assert "empty is empty (0 bytes)" in result.stderr
    assert len(rows_in(tmp_path / "c.csv")) == 4


def test_bids_like_folders(tmp_path):
    folder = tmp_path / "bids"
    for subject, session in (("01", "a"), ("01", "b"), ("02", "a")):
        name = f"sub-{subject}_ses-{session}"
        write_image(folder / f"sub-{subject}" / f"ses-{session}" / "anat" / f"{name}_T1w.nii.gz")
    write_image(folder / "derivatives" / "sub-02" / "sub-02_ses-a_T1w_desc-lesion_mask.nii.gz")
    write_image(folder / "derivatives" / "sub-02" / "sub-02_ses-a_dseg.nii.gz")
    (folder / "participants.tsv").write_text("participant_id\tage\tgroup\nsub-01\t40\tbenign\nsub-02\t50\t\n")
    assert scan(folder, "-o", tmp_path / "c.csv", "--keep-ids").exit_code == 0
    rows = rows_in(tmp_path / "c.csv")
    assert [(r["patient"], r["session"], r["group"], r["description"]) for r in rows] == [
        ("sub-01", "a", "benign", "T1w"), ("sub-01", "b", "benign", "T1w"), ("sub-02", "a", "unknown", "T1w"),
    ]  # fmt: skip
    assert [row["labels"] for row in rows] == ["", "", "bids/derivatives/sub-02/sub-02_ses-a_dseg.nii.gz"]


def test_labels_beside_images(tmp_path):
    folder = tmp_path / "flat"
    for name in ("p1_image.nrrd", "p1_label.nrrd", "p2.nii", "p2-mask.nii", "p3.nii", "p30_seg.nii"):
        write_image(folder / name)
    assert scan(folder, "-o", tmp_path / "c.csv", "--keep-ids").exit_code == 0
    cases = read_cohort(tmp_path / "c.csv")
    found = [(case.patient, None if case.labels is None else case.labels.name) for case in cases]
    assert found == [("p1", "p1_label.nrrd"), ("p2", "p2-mask.nii"), ("p3", None)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "holds no image; `radsynth inspect` shows what it holds"),
        (("--series", "DCE"), "holds no image that matches --series and --phase"),
    ],
)
def test_an_empty_folder_is_refused(tmp_path, options, message):
    (tmp_path / "f").mkdir()
    result = scan(tmp_path / "f", "-o", tmp_path / "c.csv", *options)
    assert result.exit_code == 2
    assert message in result.stderr
    assert not (tmp_path / "c.csv").exists()


def test_an_existing_cohort_needs_force(studies, tmp_path):
    (tmp_path / "c.csv").write_text("precious")
    assert scan(studies, "-o", tmp_path / "c.csv").exit_code == 2
    assert (tmp_path / "c.csv").read_text() == "precious"
    assert scan(studies, "-o", tmp_path / "c.csv", "--force").exit_code == 0
    assert scan(studies / "absent", "-o", tmp_path / "d.csv").exit_code == 2


def test_real_folder(data_dir, tmp_path):
    assert scan(data_dir / "pyradiomics", "-o", tmp_path / "c.csv", "--keep-ids").exit_code == 0
    cases = read_cohort(tmp_path / "c.csv")
    assert [case.patient for case in cases] == ["brain1", "breast1", "lung1", "prostate_phantom_subvolume"]
    assert all(case.labels is not None for case in cases)
