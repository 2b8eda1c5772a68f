"""Nothing in a folder of DICOM is passed over in silence; attributes that cannot be used are named."""

from __future__ import annotations

import contextlib
import gzip
import logging
import zipfile

import numpy as np
import pydicom
import pytest
from helpers.commands import radsynth
from helpers.dicom import normal, without_preamble, write_series, write_slice

from pipelines.images.dicom.series import Choice
from pipelines.images.masks import read_mask
from pipelines.images.reading import read_image


@pytest.fixture
def folder(tmp_path, rng):
    """Return a series of files s0.dcm to s4.dcm, in order of their places."""
    (tmp_path / "s").mkdir()
    for index in range(5):
        write_slice(tmp_path / "s" / f"s{index}.dcm", np.full((6, 5), index + 1), 2.0 * index * normal())
    return tmp_path / "s"


def first_voxels(path, **choice):
    return read_image(path, Choice(**choice)).array[:, 0, 0].tolist()


# Files that are DICOM in another form are read


@pytest.mark.parametrize("meta", [False, True])
@pytest.mark.parametrize("names", [("s3.dcm", "s4.dcm"), ("s0.dcm", "s1.dcm", "s2.dcm", "s3.dcm", "s4.dcm")])
def test_files_without_preamble_are_read(folder, names, meta):
    for name in names:
        without_preamble(folder / name, meta=meta)
    assert first_voxels(folder) == [1, 2, 3, 4, 5]
    assert first_voxels(folder / "s4.dcm") == [5]
    assert "(MR, 5 images)" in radsynth("inspect", folder).stdout


@pytest.mark.parametrize("implicit", [True, False])
def test_files_without_preamble_of_either_encoding(folder, implicit):
    for path in folder.iterdir():
        dataset = pydicom.dcmread(path)
        if implicit:
            dataset.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
        dataset.save_as(path, implicit_vr=implicit, little_endian=True)
        without_preamble(path, meta=False)
    assert first_voxels(folder) == [1, 2, 3, 4, 5]
    write_slice(folder.parent / "mask.dcm", np.ones((6, 5)), np.zeros(3), Modality="SEG")
    without_preamble(folder.parent / "mask.dcm", meta=False)
    assert read_mask(folder.parent / "mask.dcm", read_image(folder / "s0.dcm")).all()


# Files that cannot be read are named, and refused if they may be slices


def gzipped(path):
    path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()


def zeros(path):
    path.write_bytes(bytes(path.stat().st_size))


def empty(path):
    path.write_bytes(b"")


def cut(path):
    path.write_bytes(path.read_bytes()[:-1])


def cut_in_the_header(path):
    path.write_bytes(path.read_bytes()[:300])


def noise(path):
    path.write_bytes(np.random.default_rng(1).bytes(700))


def web_page(path):
    path.write_text("<html>403 Forbidden</html>")


def packed(path):
    with zipfile.ZipFile(path.with_name(path.name + ".zip"), "w") as archive:
        archive.write(path, path.name)
    path.unlink()


@pytest.mark.parametrize(
    ("spoil", "line"),
    [
        (gzipped, "s4.dcm.gz is DICOM packed by gzip; unpack it"),
        (zeros, "s4.dcm holds zeros alone; copy or export it again"),
        (empty, "s4.dcm is empty (0 bytes); copy or export it again"),
        (cut, "s4.dcm is truncated or damaged: its voxels need 60 bytes, got 59; copy or export it again"),
        (cut_in_the_header, "s4.dcm must be a complete DICOM image"),
        (noise, "s4.dcm is named like the slices of the series and is not DICOM; replace or move it"),
        (web_page, "s4.dcm is named like the slices of the series and is not DICOM; replace or move it"),
        (packed, "s4.dcm.zip is named like the slices of the series and is not DICOM; replace or move it"),
    ],
)
def test_a_lost_slice_is_refused_listed_or_left_out_when_asked(folder, caplog, spoil, line):
    spoil(folder / "s4.dcm")
    with pytest.raises(ValueError, match="or give --allow-gaps to go on without it") as caught:
        read_image(folder)
    assert line in str(caught.value)
    listed = radsynth("inspect", folder).stdout
    assert f"problem: {folder}/{line}" in listed
    assert "(MR, 4 images)" in listed
    with caplog.at_level(logging.WARNING):
        assert first_voxels(folder, allow_gaps=True) == [1, 2, 3, 4]
    assert line in caplog.text
    with zipfile.ZipFile(folder.parent / "s.zip", "w") as archive:
        for path in folder.iterdir():
            archive.write(path, path.name)
    with pytest.raises(ValueError, match="or give --allow-gaps to go on without it"):
        read_image(folder.parent / "s.zip")


def test_a_lost_slice_among_names_without_suffix(folder):
    for path in folder.iterdir():
        path.rename(path.with_name(f"IM{path.stem[1:]}"))
    noise(folder / "IM4")
    with pytest.raises(ValueError, match="IM4 is named like the slices of the series"):
        read_image(folder)


def test_other_files_are_counted_and_ignored(folder):
    (folder / "notes.txt").write_text("a study")
    (folder / "LICENSE").write_text("free")
    (folder / "empty.log").touch()
    (folder / "s1.png").write_bytes(b"\x89PNG\r\n\x1a\n\x00\x00")
    (folder / "table.xlsx").write_bytes(b"PK\x03\x04\x00\x00")
    (folder / ".s1.dcm").write_bytes(b"\x00\x01")
    assert first_voxels(folder) == [1, 2, 3, 4, 5]
    lines = radsynth("inspect", folder).stdout.splitlines()
    assert lines[-1] == "ignored: 1 hidden file, 1 other file, 1 picture, 3 text files"
    assert not any("problem" in line for line in lines)


def test_a_text_among_numbered_slices_is_said(folder, caplog):
    for path in folder.iterdir():
        path.rename(path.with_name(path.stem[1:]))
    (folder / "7").write_text("a licence")
    with caplog.at_level(logging.WARNING):
        assert first_voxels(folder) == [1, 2, 3, 4, 5]
    assert f"skipped: {folder}/7 is named like the slices of the series and is not DICOM" in caplog.text


def test_a_compressed_slice_whose_voxels_are_damaged(folder, caplog):
    path = folder / "s2.dcm"
    dataset = pydicom.dcmread(path)
    dataset.compress(pydicom.uid.RLELossless)
    dataset.save_as(path)
    path.write_bytes(path.read_bytes()[:-60])
    with pytest.raises(ValueError, match=r"s2\.dcm is truncated or damaged"):
        read_image(folder)
    with caplog.at_level(logging.WARNING):
        volume = read_image(folder, Choice(allow_gaps=True))
    assert volume.array[:, 0, 0].tolist() == [1, 2, 4, 5]
    assert volume.spacing_mm[2] == pytest.approx(2)
    assert "s2.dcm is truncated or damaged" in caplog.text
    assert "slices are missing; from slice 2 on" in caplog.text


@pytest.mark.parametrize("seed", range(3))
def test_files_damaged_anywhere_end_in_one_line(folder, seed):
    rng = np.random.default_rng(seed)
    whole = (folder / "s2.dcm").read_bytes()
    for _ in range(30):
        content = bytearray(whole)
        for place in rng.integers(0, len(content) - 60, 4):
            content[place] = rng.integers(256)
        (folder / "s2.dcm").write_bytes(content)
        for path in (folder, folder / "s2.dcm"):
            with contextlib.suppress(ValueError):
                read_image(path)


# Attributes that are there but empty or malformed


def spoiled(path, keyword, value):
    """Write bytes into an attribute that pydicom would not accept."""
    dataset = pydicom.dcmread(path)
    element = dataset[keyword]
    dataset[keyword] = pydicom.dataelem.RawDataElement(
        element.tag, element.VR, len(value), value, 0, is_implicit_VR=False, is_little_endian=True
    )
    dataset.save_as(path)


@pytest.mark.parametrize("keyword", ["RescaleSlope", "RescaleIntercept", "SpacingBetweenSlices", "EchoTime"])
def test_an_empty_attribute_counts_as_absent(tmp_path, rng, keyword):
    pixels = write_series(tmp_path / "s", rng, **{keyword: None})
    np.testing.assert_array_equal(read_image(tmp_path / "s").array, pixels)


@pytest.mark.parametrize(
    "keyword", ["InstanceNumber", "SeriesNumber", "SeriesInstanceUID", "AcquisitionTime", "ImageType"]
)
def test_an_empty_attribute_that_only_orders_counts_as_absent(tmp_path, rng, keyword):
    pixels = write_series(tmp_path / "s", rng, **({"series": ""} if "UID" in keyword else {keyword: None}))
    np.testing.assert_array_equal(read_image(tmp_path / "s").array, pixels)


@pytest.mark.parametrize(
    ("keyword", "value", "expected"),
    [
        ("PixelSpacing", rb"0,8\0,7 ", "2 numbers"),
        ("PixelSpacing", b"0.8 ", "2 numbers"),
        ("PixelSpacing", rb"0\0.7 ", "2 numbers above 0, got 0 and 0.7"),
        ("PixelSpacing", rb"-1\0.7", "2 numbers above 0"),
        ("ImagePositionPatient", rb"1\2\x ", "3 numbers"),
        ("ImagePositionPatient", rb"1\2\NaN ", "3 numbers"),
        ("ImagePositionPatient", rb"1\2 ", "3 numbers"),
        ("ImageOrientationPatient", rb"1\0\0 ", "6 numbers"),
        ("RescaleSlope", b"one ", "a number"),
        ("RescaleSlope", rb"1\2 ", "a number"),
        ("RescaleIntercept", b"inf ", "a number"),
        ("NumberOfFrames", b"many", "a number"),
        ("NumberOfFrames", b"1.5 ", "a number|a readable value|a whole number"),
        ("Rows", b"\x06", "a readable value"),
    ],
)
def test_a_malformed_attribute_is_named_with_its_file(tmp_path, rng, keyword, value, expected):
    about = {"RescaleSlope": "1", "RescaleIntercept": "0", "NumberOfFrames": 1}
    write_series(tmp_path / "s", rng, **about)
    spoiled(tmp_path / "s" / "002-", keyword, value)
    with pytest.raises(ValueError, match=rf"002-: {keyword} must be {expected}"):
        read_image(tmp_path / "s")
    assert f"002-: {keyword} must be " in radsynth("inspect", tmp_path).stdout


@pytest.mark.parametrize(("keyword", "value"), [("InstanceNumber", b"2.0 "), ("SeriesNumber", b"x ")])
def test_numbers_that_only_order_may_be_decimal_or_malformed(tmp_path, rng, keyword, value):
    pixels = write_series(tmp_path / "s", rng, InstanceNumber=1, SeriesNumber=1)
    spoiled(tmp_path / "s" / "002-", keyword, value)
    np.testing.assert_array_equal(read_image(tmp_path / "s").array, pixels)
