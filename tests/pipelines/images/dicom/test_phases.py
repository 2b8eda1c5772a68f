"""Several volumes in one series, split by what tells them apart; gaps and copies; multi-frame files."""

from __future__ import annotations

import logging

import numpy as np
import pydicom
import pytest
from helpers.commands import assert_refused, radsynth
from helpers.dicom import OBLIQUE, group, normal, write_enhanced, write_series, write_slice

from pipelines.images.dicom.series import Choice
from pipelines.images.reading import read_image

PLACES = (0.0, 2.5, 5.0, 7.5)


def write_phases(folder, rng, values, keyword, **attributes):
    """Write a volume for each value of an attribute; return the volumes."""
    volumes = []
    for number, value in enumerate(values):
        written = write_series(folder / str(number), rng, **{keyword: value}, **attributes)
        volumes.append(written)
    return volumes


@pytest.mark.parametrize(
    ("keyword", "values", "names"),
    [
        (
            "TemporalPositionIdentifier",
            [2, 10],
            ["TemporalPositionIdentifier 2", "TemporalPositionIdentifier 10"],
        ),
        ("TriggerTime", ["900.5", "0"], ["TriggerTime 0", "TriggerTime 900.5"]),
        ("EchoTime", ["80", "12.5"], ["EchoTime 12.5", "EchoTime 80"]),
        ("DiffusionBValue", [0.0, 800.0], ["DiffusionBValue 0.0", "DiffusionBValue 800.0"]),
        ("AcquisitionNumber", [1, 2], ["AcquisitionNumber 1", "AcquisitionNumber 2"]),
        ("ContentTime", ["235950", "235930.5"], ["ContentTime +0 s", "ContentTime +19.5 s"]),
    ],
)  # fmt: skip
def test_phases_are_told_apart_and_sorted_by_their_value(tmp_path, rng, keyword, values, names):
    volumes = write_phases(tmp_path, rng, values, keyword)
    with pytest.raises(ValueError, match=rf"holds {len(values)} phases: ") as caught:
        read_image(tmp_path)
    listed = "; ".join(f"{number} {name} (4 slices)" for number, name in enumerate(names, start=1))
    assert f"{listed}; give --phase with a number" in str(caught.value)
    order = np.argsort([float(value) for value in values])
    for number, index in enumerate(order, start=1):
        np.testing.assert_array_equal(read_image(tmp_path, Choice(phase=number)).array, volumes[index])
    for wrong in (0, len(values) + 1):
        with pytest.raises(ValueError, match=rf"holds {len(values)} phases, got --phase {wrong}: 1 "):
            read_image(tmp_path, Choice(phase=wrong))


def test_an_attribute_that_splits_no_whole_volumes_is_not_taken(tmp_path, rng):
    early = write_series(tmp_path / "0", rng, AcquisitionNumber=1, ContentTime="101010")
    for number, time in ((1, "101020"), (2, "101030")):
        write_series(tmp_path / str(number), rng, AcquisitionNumber=2, ContentTime=time)
    np.testing.assert_array_equal(read_image(tmp_path, Choice(phase=1)).array, early)
    with pytest.raises(ValueError, match=r"2 ContentTime \+10 s \(4 slices\); 3 ContentTime \+20 s"):
        read_image(tmp_path)


def test_a_phase_that_lacks_a_slice_is_still_told_apart(tmp_path, rng):
    write_series(tmp_path / "0", rng, AcquisitionNumber=1)
    write_series(tmp_path / "1", rng, AcquisitionNumber=2, places=(0.0, 2.5, 7.5, 10.0))
    assert read_image(tmp_path, Choice(phase=1)).array.shape == (4, 6, 5)
    with pytest.raises(ValueError, match=r"equally spaced, got 5\.00 mm between slices 1 and 2 of 4"):
        read_image(tmp_path, Choice(phase=2))


def test_two_attributes_tell_apart_what_one_does_not(tmp_path, rng):
    """Two echoes of two repeats, numbered along the slices forth and back: their order would mix them."""
    pixels = rng.integers(0, 1000, (2, 2, 4, 6, 5))
    for repeat, echo, slice_ in np.ndindex(2, 2, 4):
        turn = echo if slice_ % 2 else 1 - echo
        write_slice(
            tmp_path / f"{repeat}{echo}{slice_}",
            pixels[repeat, echo, slice_],
            2.5 * slice_ * normal(),
            EchoTime=[4.6, 12][echo],
            TemporalPositionIdentifier=repeat + 1,
            InstanceNumber=1 + 8 * repeat + 2 * slice_ + turn,
        )
    with pytest.raises(ValueError, match=r"1 TemporalPositionIdentifier 1, EchoTime 4\.6 \(4 slices\); 2"):
        read_image(tmp_path)
    for number, (repeat, echo) in enumerate(np.ndindex(2, 2), start=1):
        volume = read_image(tmp_path, Choice(phase=number))
        np.testing.assert_array_equal(volume.array, pixels[repeat, echo])


def test_where_some_lack_the_time_that_of_the_others_is_not_told(tmp_path, rng):
    for number, attributes in enumerate(({}, {"ContentTime": "101112"}, {"ContentTime": "101115.5"})):
        for slice_ in range(3):
            path = tmp_path / f"{number}{slice_}"
            write_slice(path, rng.integers(0, 9, (6, 5)), 2.5 * slice_ * normal(), **attributes)
    with pytest.raises(ValueError, match=r"1 ContentTime None \(3 slices\); 2 ContentTime \+0 s .* \+3\.5 s"):
        read_image(tmp_path)


def test_repeats_that_nothing_tells_apart_go_by_the_order_they_were_taken_in(tmp_path, rng):
    pixels = rng.integers(0, 1000, (8, 6, 5))
    for index in range(8):  # the scanner went through the places twice
        place = np.array([1.0, 2.0, 3.0]) + PLACES[index % 4] * normal()
        write_slice(tmp_path / f"{7 - index}", pixels[index], place, InstanceNumber=index + 1)
    np.testing.assert_array_equal(read_image(tmp_path, Choice(phase=2)).array, pixels[4:])
    with pytest.raises(ValueError, match=r"1 repeat 1 \(4 slices\); 2 repeat 2 \(4 slices\)"):
        read_image(tmp_path)


def test_images_of_one_place_that_make_no_whole_volumes_are_refused(tmp_path, rng):
    write_series(tmp_path / "0", rng)
    write_slice(tmp_path / "1", np.zeros((6, 5)), np.array([1.0, 2.0, 3.0]))
    with pytest.raises(
        ValueError, match=r"got 5 images at 4 positions \(up to 2 share one\), and no attribute separates"
    ):
        read_image(tmp_path)


def test_one_volume_has_no_phases(tmp_path, rng):
    pixels = write_series(tmp_path, rng)
    np.testing.assert_array_equal(read_image(tmp_path, Choice(phase=1)).array, pixels)
    with pytest.raises(ValueError, match="holds one volume and no phases, got --phase 2; leave --phase out"):
        read_image(tmp_path, Choice(phase=2))


def test_a_series_is_chosen_by_number_uid_or_description(tmp_path, rng):
    one = write_series(tmp_path, rng, series="1.2.3", SeriesDescription="T1 post", SeriesNumber=9)
    two = write_series(tmp_path, rng, series="1.2.4", SeriesDescription="T2 fat-sat", SeriesNumber=2)
    for wanted, expected in (("1", two), ("2", one), ("1.2.3", one), ("FAT", two)):
        np.testing.assert_array_equal(read_image(tmp_path, Choice(series=wanted)).array, expected)
    for wanted, count in (("t", 2), ("DWI", 0), ("3", 0)):
        with pytest.raises(
            ValueError, match=f"holds 2 DICOM series and --series {wanted} matches {count} of"
        ):
            read_image(tmp_path, Choice(series=wanted))


def test_series_and_phase_choose_from_dicom_alone(tmp_path, rng):
    import SimpleITK

    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(np.ones((3, 4, 5), np.int16)), str(tmp_path / "i.nii"))
    with pytest.raises(ValueError, match=r"--series and --phase choose from DICOM, got .*i\.nii, which"):
        read_image(tmp_path / "i.nii", Choice(phase=1))


def test_a_gap_may_be_allowed_and_is_told(tmp_path, rng, caplog):
    pixels = write_series(tmp_path, rng, places=(0.0, 2.5, 7.5, 10.0, 12.5))
    with caplog.at_level(logging.WARNING):
        volume = read_image(tmp_path, Choice(allow_gaps=True))
    np.testing.assert_array_equal(volume.array, pixels)
    assert volume.spacing_mm[2] == pytest.approx(2.5)
    assert "slices are missing; from slice 2 on the rest is shown 2.40 mm off" in caplog.text


def test_a_copy_may_be_allowed_and_counts_once(tmp_path, rng):
    pixels = write_series(tmp_path, rng)
    (tmp_path / "zz-copy").write_bytes((tmp_path / "001-").read_bytes())
    np.testing.assert_array_equal(read_image(tmp_path, Choice(allow_gaps=True)).array, pixels)


def test_the_volume_names_its_files_in_order(tmp_path, rng):
    (tmp_path / "deep").mkdir()
    write_series(tmp_path / "deep" / "er", rng)
    assert [path.name for path in read_image(tmp_path).sources] == ["004-", "003-", "002-", "001-"]


# Multi-frame


def test_frames_are_sorted_by_their_positions(tmp_path, rng):
    pixels = rng.integers(0, 1000, (3, 6, 5))
    groups = [group((10, 20, z)) for z in (0.0, 6.0, 3.0)]
    volume = read_image(write_enhanced(tmp_path / "frames.dcm", pixels, groups))
    np.testing.assert_array_equal(volume.array, pixels[[0, 2, 1]])
    assert volume.array.dtype == np.uint16
    assert volume.spacing_mm == pytest.approx((0.7, 0.8, 3.0))
    assert volume.origin_mm == (10, 20, 0)
    assert volume.sources == (tmp_path / "frames.dcm",)


def test_frames_have_phases_and_slopes_of_their_own(tmp_path, rng):
    pixels = rng.integers(0, 1000, (4, 6, 5))
    groups = [group((0, 0, 5 * (index // 2)), phase=index % 2 + 1, slope=index + 0.5) for index in range(4)]
    path = write_enhanced(tmp_path / "frames.dcm", pixels, groups)
    with pytest.raises(ValueError, match="holds 2 phases: 1 TemporalPositionIdentifier 1"):
        read_image(path)
    volume = read_image(path, Choice(phase=2))
    np.testing.assert_allclose(volume.array[0], pixels[1] * 1.5 - 1)
    np.testing.assert_allclose(volume.array[1], pixels[3] * 3.5 - 1)
    assert volume.spacing_mm[2] == 5


def test_oblique_frames_lie_where_single_slices_would(tmp_path, rng):
    pixels = write_series(tmp_path / "slices", rng)
    groups = [group(np.array([1.0, 2.0, 3.0]) + place * normal()) for place in PLACES]
    frames = read_image(write_enhanced(tmp_path / "frames.dcm", pixels, groups, OBLIQUE))
    slices = read_image(tmp_path / "slices")
    np.testing.assert_array_equal(frames.array, slices.array)
    for field in ("spacing_mm", "origin_mm", "direction"):
        np.testing.assert_allclose(getattr(frames, field), getattr(slices, field), atol=1e-9)


def test_frames_cut_short_are_refused(tmp_path):
    path = write_enhanced(tmp_path / "f.dcm", np.zeros((3, 6, 5)), [group((0, 0, z)) for z in range(3)])
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ValueError, match=r"f\.dcm is truncated or damaged"):
        read_image(path)


# Compressed


@pytest.mark.parametrize("syntax", ["RLELossless", "JPEGLSLossless"])
def test_compressed_slices_and_frames_are_those_of_the_plain_ones(tmp_path, rng, syntax):
    if syntax == "JPEGLSLossless":
        pytest.importorskip("jpeg_ls")
    pixels = rng.integers(0, 1000, (4, 12, 10))  # GDCM reads no RLE of a few dozen voxels
    (tmp_path / "slices").mkdir()
    for index in range(4):
        write_slice(tmp_path / "slices" / str(index), pixels[index], index * normal())
    frames = write_enhanced(tmp_path / "frames.dcm", pixels, [group((0, 0, z)) for z in range(4)])
    for path in (*(tmp_path / "slices").iterdir(), frames):
        dataset = pydicom.dcmread(path)
        dataset.compress(getattr(pydicom.uid, syntax))
        dataset.save_as(path)
    np.testing.assert_array_equal(read_image(tmp_path / "slices").array, pixels)
    np.testing.assert_array_equal(read_image(frames).array, pixels)


def test_a_missing_decoder_is_named(tmp_path, rng, monkeypatch):
    path = write_enhanced(tmp_path / "f.dcm", np.ones((2, 6, 5)), [group((0, 0, z)) for z in (0, 1)])

    def refuse(self):
        raise RuntimeError("no handler")

    monkeypatch.setattr(pydicom.dataset.FileDataset, "pixel_array", property(refuse))
    with pytest.raises(ValueError, match=r"is compressed \(.*\) and needs another decoder: pip install"):
        read_image(path)


# Copies are the same image, whatever their identifiers say


@pytest.mark.parametrize("uids", [["1.2.3.4"] * 4, ["1.5.1", "1.5.2", "1.2.3.4", "1.2.3.4"], [""] * 4])
def test_slices_that_share_an_identifier_are_no_copies(tmp_path, rng, uids):
    pixels = rng.integers(0, 1000, (4, 6, 5))
    for index, uid in enumerate(uids):
        write_slice(tmp_path / str(index), pixels[index], PLACES[index] * normal(), SOPInstanceUID=uid)
    for choice in (Choice(), Choice(allow_gaps=True)):
        np.testing.assert_array_equal(read_image(tmp_path, choice).array, pixels)


@pytest.mark.parametrize("uid", ["1.2.3.4", ""])
def test_a_parametric_map_of_slices_that_share_an_identifier_is_refused_at_once(tmp_path, rng, uid):
    write_series(tmp_path / "s", rng, SOPInstanceUID=uid, FrameOfReferenceUID="1.2.99")
    result = radsynth("map", tmp_path / "s", "-o", tmp_path / "map.dcm")
    assert_refused(result, "refers to each slice by its SOPInstanceUID, but slices of the image share one or")


def test_volumes_that_share_identifiers_are_phases(tmp_path, rng):
    volumes = write_phases(tmp_path, rng, [0.0, 800.0], "DiffusionBValue", SOPInstanceUID="1.2.3.4")
    for phase, volume in enumerate(volumes, start=1):
        np.testing.assert_array_equal(read_image(tmp_path, Choice(phase=phase)).array, volume)


def test_a_copy_with_an_identifier_of_its_own_is_a_copy(tmp_path, rng, caplog):
    pixels = write_series(tmp_path, rng, InstanceNumber=3)
    copy = pydicom.dcmread(tmp_path / "001-")
    copy.SOPInstanceUID = copy.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4.5"
    copy.save_as(tmp_path / "again")
    with pytest.raises(ValueError, match="again is a copy of 001-; remove one of them, or give --allow-gaps"):
        read_image(tmp_path)
    with caplog.at_level(logging.WARNING):
        np.testing.assert_array_equal(read_image(tmp_path, Choice(allow_gaps=True)).array, pixels)
    assert "left out: again is a copy of 001-" in caplog.text


def test_images_of_one_identifier_and_place_with_other_voxels_are_not_left_out(tmp_path, rng):
    write_series(tmp_path / "0", rng, SOPInstanceUID="1.2.3.4")
    write_series(tmp_path / "1", rng, SOPInstanceUID="1.2.3.4")
    with pytest.raises(ValueError, match=r"8 images at 4 positions .* no attribute separates them"):
        read_image(tmp_path, Choice(allow_gaps=True))


# Volumes are split before slices are compared by place


def write_shifted(folder, rng, shift, first, second, places=PLACES):
    """Write two volumes of one series, the second shifted along the slices, and return them."""
    one = write_series(folder / "0", rng, places=places, **first)
    return one, write_series(folder / "1", rng, places=[place + shift for place in places], **second)


@pytest.mark.parametrize("shift", [0, 0.001, 0.01, 1.25, 2.5, 40])
@pytest.mark.parametrize(
    ("keyword", "values", "name"),
    [
        ("DiffusionBValue", (0.0, 800.0), "DiffusionBValue 800.0"),
        ("EchoTime", ("4.6", "12"), "EchoTime 12"),
        ("EchoNumbers", (1, 2), "EchoNumbers 2"),
        ("TemporalPositionIdentifier", (1, 2), "TemporalPositionIdentifier 2"),
        (
            "DiffusionGradientOrientation",
            ([0.0, 0.0, 1.0], [0.0, 1.0, 0.0]),
            r"DiffusionGradientOrientation \[0.0, 1.0, 0.0\]",
        ),
        ("ComplexImageComponent", ("MAGNITUDE", "PHASE"), "ComplexImageComponent PHASE"),
    ],
)
def test_volumes_of_other_contrast_that_lie_beside_each_other(tmp_path, rng, shift, keyword, values, name):
    volumes = write_shifted(tmp_path, rng, shift, {keyword: values[0]}, {keyword: values[1]})
    with pytest.raises(ValueError, match=rf"holds 2 phases: 1 {keyword} .*; 2 {name} \(4 slices\)"):
        read_image(tmp_path)
    read = [read_image(tmp_path, Choice(phase=phase)) for phase in (1, 2)]
    assert all(volume.spacing_mm[2] == pytest.approx(2.5) for volume in read)
    for volume, pixels in zip(read, volumes, strict=True):
        np.testing.assert_array_equal(volume.array, pixels)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({}, {}),
        ({"AcquisitionNumber": 1}, {"AcquisitionNumber": 2}),
        ({"AcquisitionTime": "101010"}, {"AcquisitionTime": "101020"}),
        ({"TriggerTime": "0"}, {"TriggerTime": "90"}),
        ({"EchoTime": "4.601"}, {"EchoTime": "4.603"}),
    ],
)
def test_interleaved_packages_stay_one_volume(tmp_path, rng, first, second):
    even, odd = write_shifted(tmp_path, rng, 1.25, first, second)
    volume = read_image(tmp_path)
    np.testing.assert_array_equal(volume.array, np.stack([even, odd], axis=1).reshape(8, 6, 5))
    assert volume.spacing_mm[2] == pytest.approx(1.25)


def test_repeats_a_little_beside_each_other_share_their_positions(tmp_path, rng):
    volumes = write_shifted(tmp_path, rng, 0.01, {"AcquisitionNumber": 1}, {"AcquisitionNumber": 2})
    for phase, pixels in enumerate(volumes, start=1):
        np.testing.assert_array_equal(read_image(tmp_path, Choice(phase=phase)).array, pixels)


def test_an_attribute_that_differs_in_every_slice_splits_nothing(tmp_path, rng):
    pixels = rng.integers(0, 1000, (4, 6, 5))
    for index in range(4):
        about = {"TemporalPositionIdentifier": index + 1, "AcquisitionTime": f"10101{index}"}
        write_slice(tmp_path / str(index), pixels[index], PLACES[index] * normal(), **about)
    np.testing.assert_array_equal(read_image(tmp_path).array, pixels)


def test_b_values_and_echoes_and_repeats(tmp_path, rng):
    """Three attributes together: two contrasts, and times within each."""
    volumes = {}
    for b, echo, time in np.ndindex(2, 2, 2):
        about = {"DiffusionBValue": 800.0 * b, "EchoTime": str(5 + 5 * echo)}
        about["AcquisitionTime"] = f"10101{time}"
        volumes[b, echo, time] = write_series(tmp_path / f"{b}{echo}{time}", rng, **about)
    line = r"holds 8 phases: 1 DiffusionBValue 0\.0, EchoTime 5, AcquisitionTime \+0 s"
    with pytest.raises(ValueError, match=line):
        read_image(tmp_path)
    for phase, pixels in enumerate(volumes.values(), start=1):
        np.testing.assert_array_equal(read_image(tmp_path, Choice(phase=phase)).array, pixels)


# Phases are in order of date and time


@pytest.mark.parametrize(
    ("keywords", "first", "second"),
    [
        (("AcquisitionDate", "AcquisitionTime"), ("20200101", "235830"), ("20200102", "000030")),
        (("ContentDate", "ContentTime"), ("20191231", "235830.5"), ("20200101", "000030.5")),
        (("AcquisitionTime",), ("235830",), ("000030",)),
        (("AcquisitionDateTime",), ("20200229235830.000",), ("20200301000030.000",)),
        (("AcquisitionDateTime",), ("20200102005830+0100",), ("20200102000030+0000",)),
    ],
)
def test_phases_over_midnight_are_in_order(tmp_path, rng, keywords, first, second):
    late = write_series(tmp_path / "0", rng, **dict(zip(keywords, second, strict=True)))
    early = write_series(tmp_path / "1", rng, **dict(zip(keywords, first, strict=True)))
    with pytest.raises(ValueError, match=r"holds 2 phases: 1 \w+ \+0 s \(4 slices\); 2 \w+ \+120 s"):
        read_image(tmp_path)
    for phase, pixels in enumerate((early, late), start=1):
        np.testing.assert_array_equal(read_image(tmp_path, Choice(phase=phase)).array, pixels)


def test_a_dynamic_series_with_a_time_of_its_own_for_every_file(tmp_path, rng):
    pixels = rng.integers(0, 1000, (8, 6, 5))
    for index in range(8):
        about = {"AcquisitionTime": f"1010{10 + index}", "InstanceNumber": index + 1}
        write_slice(tmp_path / f"{7 - index}", pixels[index], PLACES[index % 4] * normal(), **about)
    for phase in (1, 2):
        expected = pixels[4 * phase - 4 : 4 * phase]
        np.testing.assert_array_equal(read_image(tmp_path, Choice(phase=phase)).array, expected)


# Enhanced files with one frame, and mosaics


def test_an_enhanced_file_for_each_frame_is_a_volume(tmp_path, rng):
    pixels = rng.integers(0, 1000, (5, 6, 5))
    for index in (3, 0, 4, 1, 2):
        path = tmp_path / f"{index}.dcm"
        write_enhanced(path, pixels[index : index + 1], [group((0, 0, 2.0 * index))])
    volume = read_image(tmp_path)
    np.testing.assert_array_equal(volume.array, pixels)
    assert volume.spacing_mm == pytest.approx((0.7, 0.8, 2.0))
    assert [path.name for path in volume.sources] == [f"{index}.dcm" for index in range(5)]
    np.testing.assert_array_equal(read_image(tmp_path / "3.dcm").array, pixels[3:4])


def test_a_parametric_map_of_several_enhanced_files_is_refused_at_once(tmp_path, rng):
    for index in range(2):
        (tmp_path / "s").mkdir(exist_ok=True)
        path = write_enhanced(tmp_path / "s" / f"{index}.dcm", np.ones((1, 6, 5)), [group((0, 0, index))])
        header = pydicom.dcmread(path)
        header.FrameOfReferenceUID = "1.2.99"
        header.save_as(path)
    result = radsynth("map", tmp_path / "s", "-o", tmp_path / "map.dcm")
    assert_refused(result, "one enhanced file or to single-frame files, got 2 enhanced files; write .nii.gz")


def test_an_enhanced_file_for_each_phase(tmp_path, rng):
    pixels = rng.integers(0, 1000, (2, 3, 6, 5))
    for phase in range(2):
        groups = [group((0, 0, 2.0 * index), phase=phase + 1, slope=phase + 1) for index in range(3)]
        write_enhanced(tmp_path / f"{phase}.dcm", pixels[phase], groups)
    for phase in range(2):
        volume = read_image(tmp_path, Choice(phase=phase + 1))
        np.testing.assert_allclose(volume.array, pixels[phase] * (phase + 1) - 1)


def test_a_copy_of_an_enhanced_file_is_one(tmp_path, rng):
    write_enhanced(tmp_path / "a.dcm", rng.integers(0, 9, (2, 6, 5)), [group((0, 0, z)) for z in (0, 1)])
    (tmp_path / "b.dcm").write_bytes((tmp_path / "a.dcm").read_bytes())
    with pytest.raises(ValueError, match=r"b\.dcm is a copy of a\.dcm"):
        read_image(tmp_path)


def test_blank_enhanced_files_are_no_copies(tmp_path):
    for index in range(3):
        write_enhanced(tmp_path / f"{index}.dcm", np.zeros((1, 6, 5)), [group((0, 0, index))])
    assert read_image(tmp_path).array.shape == (3, 6, 5)


@pytest.mark.parametrize("number", [1, 4])
def test_a_mosaic_is_refused_by_name(tmp_path, rng, number):
    about = {"ImageType": ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"], "orientation": (1, 0, 0, 0, 1, 0)}
    for index in range(number):
        write_slice(tmp_path / f"{index}.dcm", rng.integers(0, 9, (12, 12)), (0, 0, 0), **about)
    with pytest.raises(ValueError, match=r"0\.dcm is a mosaic .* convert the series to NIfTI with dcm2niix"):
        read_image(tmp_path)
    with pytest.raises(ValueError, match=r"0\.dcm is a mosaic"):
        read_image(tmp_path / "0.dcm")


def test_copies_of_a_mosaic_are_mosaics_first(tmp_path, rng):
    write_slice(tmp_path / "0.dcm", rng.integers(0, 99, (6, 6)), (0, 0, 0), ImageType=["ORIGINAL", "MOSAIC"])
    (tmp_path / "1.dcm").write_bytes((tmp_path / "0.dcm").read_bytes())
    with pytest.raises(ValueError, match=r"0\.dcm is a mosaic"):
        read_image(tmp_path)


def test_a_mosaic_by_the_private_number_of_its_slices(tmp_path):
    write_slice(tmp_path / "a.dcm", np.zeros((12, 12)), (0, 0, 0))
    header = pydicom.dcmread(tmp_path / "a.dcm")
    header.private_block(0x0019, "SIEMENS MR HEADER", create=True).add_new(0x0A, "US", 9)
    header.save_as(tmp_path / "a.dcm")
    with pytest.raises(ValueError, match=r"a\.dcm is a mosaic"):
        read_image(tmp_path)


def test_an_enhanced_file_that_says_mosaic_is_none(tmp_path, rng):
    pixels = rng.integers(0, 1000, (3, 6, 5))
    path = write_enhanced(tmp_path / "f.dcm", pixels, [group((0, 0, z)) for z in range(3)])
    header = pydicom.dcmread(path)
    header.ImageType = ["ORIGINAL", "PRIMARY", "M", "MOSAIC"]
    header.save_as(path)
    np.testing.assert_array_equal(read_image(path).array, pixels)
