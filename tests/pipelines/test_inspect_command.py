"""``radsynth inspect``: what a folder holds, by headers alone, and nothing of who it was."""

from __future__ import annotations

import contextlib
import io
import os
import warnings
import zipfile
from functools import partial

import numpy as np
import pytest
from helpers.commands import radsynth
from helpers.dicom import write_series, write_slice
from helpers.regions import FRAME, two_masks, write_segmentation

from pipelines import inspection
from pipelines.images.dicom import headers
from pipelines.images.dicom.headers import contents_of, hashed

inspect = partial(radsynth, "inspect")


@pytest.fixture
def study(tmp_path, rng):
    """Return the folder of two patients: phases, a gap, a copy, a mask, a localizer, a broken file."""
    folder = tmp_path / "study"
    (folder / "a").mkdir(parents=True)
    for number, time in enumerate(("101010", "101110")):
        write_series(
            folder / "a" / str(number), rng, ContentTime=time, SeriesDescription="DCE", SeriesNumber=3
        )
    places = (0.0, 2.0, 6.0, 8.0)
    axial = {"orientation": (1, 0, 0, 0, 1, 0), "SeriesNumber": 1, "SeriesDescription": "T2"}
    (folder / "b").mkdir()
    for index, place in enumerate(places):
        write_slice(folder / "b" / str(index), np.zeros((6, 5)), (0, 0, place), series="2.2", **axial)
    (folder / "b" / "copy").write_bytes((folder / "b" / "3").read_bytes())
    write_slice(
        folder / "scout",
        np.zeros((6, 5)),
        (0, 0, 0),
        series="2.3",
        SeriesNumber=2,
        ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"],
        PatientID="somebody",
    )
    write_slice(folder / "seg", np.zeros((6, 5)), None, Modality="SEG", series="9")
    (folder / "empty.dcm").touch()
    (folder / "notes.txt").write_text("not DICOM")
    return folder


def test_everything_is_listed(study):
    result = inspect(study)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [
        f"patient {hashed('nobody')}",
        "  1 T2 (MR, 5 images)",
        "      5x6x4 voxels, 0.7x0.8x2 mm, axial",
        "      problem: uneven slices, 4.00 mm between slices 1 and 2 of 4 (1, 2) and 2.00 mm elsewhere",
        "      problem: copy is a copy of 3",
        "  2 DCE (MR, 8 images)",
        "      5x6x4 voxels, 0.7x0.8x2.5 mm, coronal oblique",
        "      phase 1: ContentTime +0 s, 4 slices",
        "      phase 2: ContentTime +60 s, 4 slices",
        f"patient {hashed('somebody')}",
        "  3 no description (MR, localizer, 1 image)",
        "      5x6x1 voxels, 0.7x0.8 mm, coronal oblique",
        "other objects: 1 SEG",
        f"problem: {study}/empty.dcm is empty (0 bytes); copy or export it again",
        "ignored: 1 text file",
    ]


def test_ids_are_shown_if_asked_for(study):
    assert "nobody" not in inspect(study).output
    assert "patient nobody" in inspect(study, "--keep-ids").output


def test_an_archive_is_named_by_its_own_name(study, tmp_path):
    with zipfile.ZipFile(tmp_path / "s.zip", "w") as archive:
        for file in study.rglob("*"):
            archive.write(file, file.relative_to(study))
    result = inspect(tmp_path / "s.zip")
    assert "problem: s.zip/empty.dcm is empty" in result.stdout
    assert "radsynth-" not in result.stdout


def test_images_of_other_formats(tmp_path):
    import SimpleITK

    image = SimpleITK.GetImageFromArray(np.zeros((3, 4, 5), np.int16))
    image.SetSpacing((0.5, 0.25, 3))
    (tmp_path / "sub").mkdir()
    SimpleITK.WriteImage(image, str(tmp_path / "sub" / "a.nii.gz"))
    SimpleITK.WriteImage(image, str(tmp_path / "detached.nhdr"))
    (tmp_path / "broken.nrrd").write_text("NRRD0004\n")
    lines = inspect(tmp_path).stdout.splitlines()
    assert "sub/a.nii.gz: 5x4x3 voxels of int16, 0.5x0.25x3 mm" in lines
    assert "detached.nhdr: 5x4x3 voxels of int16, 0.5x0.25x3 mm" in lines
    assert any(line.startswith("problem: ") and "broken.nrrd" in line for line in lines)
    assert inspect(tmp_path / "sub" / "a.nii.gz").stdout == "a.nii.gz: 5x4x3 voxels of int16, 0.5x0.25x3 mm\n"


def test_what_is_refused(tmp_path):
    absent = tmp_path / "absent"
    for path, message in ((absent, "absent does not exist"), (tmp_path, "holds no image: neither")):
        result = inspect(path)
        assert result.exit_code == 2
        assert message in result.stderr
        assert result.stderr.count("\n") == 1


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_named(tmp_path, rng):
    write_series(tmp_path / "series", rng)
    (tmp_path / "series" / "001-").chmod(0)
    assert "001- cannot be read (permission denied)" in inspect(tmp_path).stdout


def test_reading_is_told_to_be_denied(tmp_path, rng, monkeypatch):
    import pydicom

    write_series(tmp_path / "series", rng)

    def deny(path, **_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(pydicom, "dcmread", deny)
    assert "001- cannot be read (permission denied)" in inspect(tmp_path).stdout


def test_only_headers_are_read(tmp_path, rng, monkeypatch):
    write_series(tmp_path / "series", rng)
    import pydicom

    seen = []
    whole = pydicom.dcmread

    def noted(path, **options):
        seen.append(options["stop_before_pixels"])
        return whole(path, **options)

    monkeypatch.setattr(headers, "header_of", headers.header_of)
    monkeypatch.setattr(pydicom, "dcmread", noted)
    contents = contents_of(tmp_path)
    assert seen == [True] * 4
    assert "PixelData" not in contents.series[0].first


def test_real_folders(data_dir):
    lines = inspect(data_dir / "breast_ucsf" / "UCSF-BR-06_dicom_3phases_plus_SEG.zip").stdout.splitlines()
    assert lines[1:] == [
        "  1 Sagittal-IR_3DFGRE (MR, 180 images)",
        "      256x256x60 voxels, 0.703x0.703x2 mm, sagittal",
        "      phase 1: ContentTime +0 s, 60 slices",
        "      phase 2: ContentTime +407 s, 60 slices",
        "      phase 3: ContentTime +761 s, 60 slices",
        "other objects: 1 SEG",
        "  SEG 1-1.dcm: 1 Breast (of series 1)",
        "ignored: 1 text file",
    ]
    emri = inspect(data_dir / "other_mr" / "emri_small.dcm").stdout
    assert "emri_small.dcm has 10 frames and must give the position of each, got 0" in emri


@pytest.mark.parametrize("charset", [None, "ISO_IR 192", "GB18030", ["", "ISO 2022 IR 87"], "ISO_IR 999"])
@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_descriptions_that_the_terminal_cannot_show(tmp_path, rng, charset, encoding):
    text = {"ISO_IR 192": "Ödem ✓", "GB18030": "增强后"}.get(
        charset if isinstance(charset, str) else "", "T1"
    )
    text = "造影後" if isinstance(charset, list) else text
    about = {} if charset is None else {"SpecificCharacterSet": charset}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        write_series(tmp_path / "s", rng, SeriesDescription=text, **about)
        stdout = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
        with contextlib.redirect_stdout(stdout):
            inspection.command.callback(tmp_path, keep_ids=False)
    stdout.seek(0)
    shown = text.encode(encoding, "backslashreplace").decode(encoding)
    assert f"  1 {shown} (MR, 4 images)" in stdout.read()


def test_control_characters_are_not_printed(tmp_path, rng):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        write_series(tmp_path / "s", rng, SeriesDescription="T1\x1b[31m\nred")
        assert "  1 T1?[31m?red (MR, 4 images)" in inspect(tmp_path).stdout.splitlines()


def test_segmentations_name_their_segments_and_series(tmp_path, rng):
    about = {"FrameOfReferenceUID": FRAME, "SliceThickness": 2.5}
    blank = ("StudyDate", "StudyTime", "AccessionNumber", "StudyID", "ReferringPhysicianName", "PatientName")
    about |= dict.fromkeys((*blank, "PatientBirthDate", "PatientSex"), "")
    write_series(tmp_path / "s", rng, **about)
    write_segmentation(tmp_path / "seg.dcm", tmp_path / "s", two_masks())
    lines = inspect(tmp_path).stdout.splitlines()
    assert lines[-2:] == ["other objects: 1 SEG", "  SEG seg.dcm: 1 Tumour, 2 Liver (of series 1)"]
    alone = inspect(tmp_path / "seg.dcm").stdout.splitlines()
    assert alone[-1] == "  SEG seg.dcm: 1 Tumour, 2 Liver (of a series that is not here)"
