"""Every slice is read by its own header, in a type that holds all slices."""

from __future__ import annotations

import logging

import numpy as np
import pydicom
import pytest
from helpers.dicom import write_series, write_slice
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from pipelines.images.reading import read_image

SIGNED = {"PixelRepresentation": 1}
TWELVE = {"BitsStored": 12, "HighBit": 11}
BYTE = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}
WIDE = {"BitsAllocated": 32, "BitsStored": 32, "HighBit": 31}


def write_two(folder, one, two, first, second):
    """Write two slices of one series with these intensities and attributes."""
    folder.mkdir(exist_ok=True)
    for number, (value, attributes) in enumerate(((one, first), (two, second))):
        about = {"orientation": (1, 0, 0, 0, 1, 0), "InstanceNumber": number + 1, **attributes}
        write_slice(folder / f"s{number}.dcm", np.full((6, 5), value), (0, 0, 2 * number), **about)
    return folder


@pytest.mark.parametrize(
    ("first", "second", "values", "expected"),
    [
        (SIGNED, {}, (-7, 40_000), (-7, 40_000)),
        ({}, SIGNED, (40_000, -7), (40_000, -7)),
        (TWELVE, {}, (4095, 65_535), (4095, 65_535)),
        ({**TWELVE, **SIGNED}, {}, (-2048, 65_535), (-2048, 65_535)),
        (BYTE, {}, (255, 65_535), (255, 65_535)),
        ({}, BYTE, (65_535, 255), (65_535, 255)),
        ({}, {**WIDE, **SIGNED}, (65_535, -2_000_000_000), (65_535, -2_000_000_000)),
        ({}, WIDE, (65_535, 4_000_000_000), (65_535, 4_000_000_000)),
        (
            {**TWELVE, "RescaleSlope": "1", "RescaleIntercept": "-1024"},
            {"RescaleSlope": "1", "RescaleIntercept": "-1024"},
            (0, 65_535),
            (-1024, 64_511),
        ),
        ({"RescaleSlope": "2", "RescaleIntercept": "-9"}, {}, (65_535, 3), (131_061, 3)),
        ({}, {"RescaleSlope": "0.5", "RescaleIntercept": "1"}, (8, 7), (8, 4.5)),
        (SIGNED, {"RescaleSlope": "-3"}, (-5, 20_000), (-5, -60_000)),
    ],
)
def test_slices_of_other_types_keep_their_values(tmp_path, first, second, values, expected):
    array = read_image(write_two(tmp_path / "s", *values, first, second)).array
    assert array[:, 0, 0].tolist() == list(expected)
    assert (array == array[:, :1, :1]).all()


def test_bits_beside_the_stored_ones_do_not_count(tmp_path):
    """Old scanners keep overlays there."""
    write_slice(tmp_path / "s.dcm", np.full((6, 5), 0x5000 | 4000), (0, 0, 0), **TWELVE)
    assert (read_image(tmp_path).array == 4000).all()


@pytest.mark.parametrize("value", [4000 << 4, 4000])
def test_stored_bits_that_are_not_the_lowest_are_refused(tmp_path, value):
    write_slice(tmp_path / "s.dcm", np.full((6, 5), value), (0, 0, 0), BitsStored=12, HighBit=15)
    with pytest.raises(ValueError, match=r"s\.dcm: HighBit must be BitsStored - 1 = 11, got 15"):
        read_image(tmp_path)


@pytest.mark.parametrize(
    ("attributes", "dtype"),
    [
        ({}, np.uint16),
        (SIGNED, np.int16),
        ({**TWELVE, "RescaleSlope": "1", "RescaleIntercept": "-1024"}, np.int16),
        ({"RescaleSlope": "1", "RescaleIntercept": "-1024"}, np.int32),
        ({"RescaleSlope": "0.1"}, np.float64),
    ],
)
def test_the_type_is_the_smallest_that_holds_what_the_header_allows(tmp_path, rng, attributes, dtype):
    write_series(tmp_path / "s", rng, **attributes)
    assert read_image(tmp_path / "s").array.dtype == dtype


def test_signed_values_with_overlay_bits_above_them(tmp_path):
    stored = np.full((6, 5), 0xA801)  # -2047 in 12 bits, with an overlay in the four bits above
    write_slice(tmp_path / "s.dcm", stored.astype(np.uint16).view(np.int16), (0, 0, 0), **TWELVE, **SIGNED)
    assert (read_image(tmp_path / "s.dcm").array == -2047).all()


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]
)
def test_other_transfer_syntaxes_hold_the_same(tmp_path, rng, syntax):
    pixels = write_series(tmp_path / "s", rng)
    for path in (tmp_path / "s").iterdir():
        dataset, other = pydicom.dcmread(path), pydicom.Dataset()
        for element in dataset:
            other.add(element)
        if syntax == ExplicitVRBigEndian:
            other.PixelData = dataset.pixel_array.byteswap().tobytes()
        other.file_meta = dataset.file_meta
        other.file_meta.TransferSyntaxUID = syntax
        encoding = {"implicit_vr": syntax.is_implicit_VR, "little_endian": syntax.is_little_endian}
        pydicom.dcmwrite(path, other, enforce_file_format=True, **encoding)
    np.testing.assert_array_equal(read_image(tmp_path / "s").array, pixels)


def test_intensities_that_grow_darker_are_not_turned_around(tmp_path, rng):
    pixels = write_series(tmp_path / "s", rng, PhotometricInterpretation="MONOCHROME1")
    np.testing.assert_array_equal(read_image(tmp_path / "s").array, pixels)


def test_one_slice_that_grows_darker_is_refused(tmp_path):
    write_two(tmp_path / "s", 1, 2, {}, {"PhotometricInterpretation": "MONOCHROME1"})
    line = r"one PhotometricInterpretation, got MONOCHROME2 in s0\.dcm and MONOCHROME1 in s1\.dcm"
    with pytest.raises(ValueError, match=line):
        read_image(tmp_path / "s")


@pytest.mark.parametrize(
    ("attributes", "line"),
    [
        ({"PhotometricInterpretation": "PALETTE COLOR"}, r"s1\.dcm must hold one number per voxel, got 3"),
        ({"RescaleSlope": "0"}, r"s1\.dcm: RescaleSlope must be a number other than 0, got 0"),
        ({"ModalityLUTSequence": [pydicom.Dataset()]}, r"s1\.dcm has its intensities in a table"),
    ],
)
def test_what_one_slice_has_alone_is_refused(tmp_path, attributes, line):
    scale = {"PhotometricInterpretation": attributes.get("PhotometricInterpretation", "MONOCHROME2")}
    write_two(tmp_path / "s", 1, 2, scale, attributes)
    with pytest.raises(ValueError, match=line.replace("s1", "s[01]")):
        read_image(tmp_path / "s")


@pytest.mark.parametrize(("padding", "said"), [(-976, True), (64_560, True), (1000, False), (None, False)])
def test_padding_beyond_the_intensities_is_said(tmp_path, caplog, padding, said):
    """CT whose padding is -2000: stored -976, in some files as the unsigned number of the same bits."""
    pixels = np.full((6, 5), 1000)
    pixels[0], pixels[1] = -976, 1100
    about = {"RescaleSlope": "1", "RescaleIntercept": "-1024", **SIGNED}
    if padding is not None:
        about["PixelPaddingValue"] = padding if padding < 32_768 else padding - 65_536
    write_slice(tmp_path / "s.dcm", pixels, (0, 0, 0), **about)
    with caplog.at_level(logging.WARNING):
        array = read_image(tmp_path / "s.dcm").array
    assert sorted(set(array.ravel().tolist())) == [-2000, -24, 76]
    text = "5 voxels (16.7 %) are padding (PixelPaddingValue) and widen the range of intensities to -2000 to"
    assert (f"{text} 76; all others are in -24 to 76: give --range -24 76" in caplog.text) == said


def test_a_range_of_padding_values_and_one_per_slice(tmp_path, caplog):
    one = {"PixelPaddingValue": 0, "PixelPaddingRangeLimit": 10}
    write_two(tmp_path / "s", 5, 60_000, one, {"PixelPaddingValue": 60_000})
    for number in (0, 1):
        path = tmp_path / "s" / f"s{number}.dcm"
        dataset = pydicom.dcmread(path)
        pixels = dataset.pixel_array.copy()
        pixels[0] = 900, 901, 902, 903, 1000
        dataset.PixelData = pixels.tobytes()
        dataset.save_as(path)
    with caplog.at_level(logging.WARNING):
        read_image(tmp_path / "s")
    assert "50 voxels (83.3 %) are padding" in caplog.text
    assert "all others are in 900 to 1000" in caplog.text


@pytest.mark.parametrize("distance", [0, -2, 7.5, None])
def test_the_distance_of_slices_comes_from_their_positions(tmp_path, rng, distance):
    pixels = write_series(tmp_path / "s", rng, SpacingBetweenSlices=distance)
    volume = read_image(tmp_path / "s")
    np.testing.assert_array_equal(volume.array, pixels)
    assert volume.spacing_mm == pytest.approx((0.7, 0.8, 2.5))
    for file in (tmp_path / "s").iterdir():
        assert read_image(file).spacing_mm == pytest.approx(
            (0.7, 0.8, distance if (distance or 0) > 0 else 1)
        )
