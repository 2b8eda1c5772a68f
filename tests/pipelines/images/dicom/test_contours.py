"""Contours by type, place and shape: rings, parts, copies, points, and what lies beyond the image."""

from __future__ import annotations

import logging
import warnings

import numpy as np
import pydicom
import pytest
from helpers.commands import radsynth
from helpers.regions import corners, write_structures

from pipelines.images.dicom.regions import Segment, segments_of
from pipelines.images.masks import MaskChoice, read_mask
from pipelines.images.reading import read_image

LARGE, SMALL = ((-0.4, 4.4), (-0.4, 5.4)), ((1.6, 2.4), (1.6, 3.4))


def square(part, place=0):
    return corners(*part, place)


def voxels(slices, part=LARGE):
    """Return the mask of a rectangle in these slices of the series of 4x6x5 voxels."""
    mask = np.zeros((4, 6, 5), bool)
    (left, right), (top, bottom) = part
    columns, rows = (slice(int(np.ceil(low)), int(high) + 1) for low, high in ((left, right), (top, bottom)))
    mask[list(slices), rows, columns] = True
    return mask


def mask_of(folder, series, contours, **changes):
    path = write_structures(folder / "rt.dcm", series, contours, **changes)
    return read_mask(path, read_image(series))


@pytest.mark.parametrize(
    ("contours", "expected"),
    [
        ([square(LARGE), square(LARGE)], voxels([0])),
        ([square(LARGE), square(LARGE)[2:] + square(LARGE)[:2]], voxels([0])),
        ([square(LARGE), square(LARGE)[::-1], square(LARGE)], voxels([0])),
        ([square(LARGE), np.array(square(LARGE)) + 1e-4], voxels([0])),
        ([square(LARGE), square(((-0.39, 4.39), (-0.39, 5.39)))], voxels([0])),
        ([square(LARGE, n) for n in (0, 1, 2, 1)], voxels([0, 1, 2])),
        ([square(LARGE), square(SMALL)], voxels([0]) & ~voxels([0], SMALL)),
        ([square(SMALL), square(LARGE), square(SMALL)], voxels([0]) & ~voxels([0], SMALL)),
        ([square(((-0.4, 2.4), (-0.4, 5.4))), square(((0.6, 4.4), (-0.4, 5.4)))], voxels([0])),
        ([square(((-0.4, 1.4), (-0.4, 5.4))), square(((1.6, 4.4), (-0.4, 5.4)))], voxels([0])),
    ],
)
def test_parts_copies_and_holes(series, tmp_path, contours, expected):
    np.testing.assert_array_equal(mask_of(tmp_path, series, contours), expected)


def test_an_island_in_a_hole_and_a_part_that_overlaps(series, tmp_path):
    hole, island = ((0.6, 3.4), (0.6, 4.4)), ((1.6, 2.4), (1.6, 3.4))
    expected = voxels([0]) & ~voxels([0], hole) | voxels([0], island)
    contours = [square(island), square(hole), square(LARGE)]
    np.testing.assert_array_equal(mask_of(tmp_path, series, contours), expected)


@pytest.mark.parametrize("turned", [False, True])
def test_a_keyhole(series, tmp_path, turned):
    outer, inner = square(LARGE), square(SMALL)
    inner = inner[::-1] if turned else inner
    contour = [*outer, outer[0], *inner, inner[0]]
    expected = voxels([0]) & ~voxels([0], SMALL)
    np.testing.assert_array_equal(mask_of(tmp_path, series, [contour]), expected)


def test_exclusive_or_by_its_type(series, tmp_path):
    contours = [square(LARGE), square(SMALL), square(LARGE, 2)]
    expected = voxels([0, 2]) & ~voxels([0], SMALL)
    kind = "CLOSEDPLANAR_XOR"
    np.testing.assert_array_equal(mask_of(tmp_path, series, contours, kind=kind), expected)
    overlapping = [square(((-0.4, 2.4), (-0.4, 5.4))), square(((0.6, 4.4), (-0.4, 5.4)))]
    expected = voxels([0]) & ~voxels([0], ((0.6, 2.4), (-0.4, 5.4)))
    np.testing.assert_array_equal(mask_of(tmp_path, series, overlapping, kind=kind), expected)


def test_interpolated_contours_are_closed_ones(series, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # three characters longer than DICOM allows
        mask = mask_of(tmp_path, series, [square(LARGE)], kind="INTERPOLATED_PLANAR")
    np.testing.assert_array_equal(mask, voxels([0]))


@pytest.mark.parametrize("kind", ["OPEN_PLANAR", "OPEN_NONPLANAR", "SOMETHING", ""])
def test_other_types_are_refused_by_name(series, tmp_path, kind):
    with pytest.raises(ValueError, match=rf"contours of GTV must have .* got {kind or 'none'}; export the"):
        mask_of(tmp_path, series, [square(LARGE)], kind=kind)


def test_points_have_no_area(series, tmp_path, caplog):
    with pytest.raises(ValueError, match="structure 3 GTV has no contour with an area, only POINT"):
        mask_of(tmp_path, series, [square(LARGE)[:1]], kind="POINT")
    with caplog.at_level(logging.WARNING):
        mask = mask_of(tmp_path, series, [square(LARGE), square(LARGE, 1)[:2]])
    np.testing.assert_array_equal(mask, voxels([0]))
    assert "1 point or line of GTV without an area left out" in caplog.text


@pytest.mark.parametrize("off", [-0.49, -0.134, 0.05, 0.134, 0.4, 0.49])
def test_contours_beside_their_planes_are_in_the_nearest_slice(series, tmp_path, off):
    contours = [square(LARGE, place + off) for place in (1, 2)]
    np.testing.assert_array_equal(mask_of(tmp_path, series, contours), voxels([1, 2]))


def test_contours_between_slices_do_not_become_holes(series, tmp_path):
    """A cone, drawn at every half slice: each slice has the contour of its own plane."""
    parts = [LARGE, ((-0.4, 4.4), (0.6, 4.4)), ((0.6, 3.4), (0.6, 4.4)), SMALL, SMALL]
    contours = [square(part, place) for part, place in zip(parts, (0, 0.5, 1, 1.5, 2), strict=True)]
    expected = voxels([0]) | voxels([1], parts[2]) | voxels([2], SMALL)
    np.testing.assert_array_equal(mask_of(tmp_path, series, contours), expected)


def test_a_contour_across_the_slices_is_refused(series, tmp_path):
    tilted = [*square(LARGE, 1)[:2], *square(LARGE, 2)[2:]]
    with pytest.raises(ValueError, match=r"must be parallel to the slices .* got corners 1\.00 slices apart"):
        mask_of(tmp_path, series, [tilted])


def test_what_lies_beyond_the_image_is_left_out_and_said(series, tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        mask = mask_of(tmp_path, series, [square(LARGE, place) for place in (-1, 2, 3, 4, 5)])
    np.testing.assert_array_equal(mask, voxels([2, 3]))
    assert "3 contours of GTV beyond the slices of the image left out" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        mask = mask_of(tmp_path, series, [square(((-3.4, 2.4), (-0.4, 5.4)), 1)])
    np.testing.assert_array_equal(mask, voxels([1], ((0, 2.4), (-0.4, 5.4))))
    assert "1 contour of GTV reach beyond the edges of the image" in caplog.text


@pytest.mark.parametrize("name", [None, ""])
def test_a_structure_without_a_name_goes_by_its_number(series, tmp_path, name):
    path = write_structures(tmp_path / "rt.dcm", series, [square(LARGE)], name=name)
    volume = read_image(series)
    assert segments_of(path) == [Segment(3, "")]
    for wanted in (None, "3"):
        np.testing.assert_array_equal(read_mask(path, volume, MaskChoice(segment=wanted)), voxels([0]))
    with pytest.raises(ValueError, match=r"has the segments 3 \(no name\); give --segment .* matches 0"):
        read_mask(path, volume, MaskChoice(segment="GTV"))
    assert "RTSTRUCT rt.dcm: 3 (no name) (of series 1)" in radsynth("inspect", tmp_path).stdout


@pytest.mark.parametrize(
    ("spoil", "line"),
    [
        (lambda structure, _: delattr(structure, "ROINumber"), "ROINumber must be a whole number, got none"),
        (
            lambda _, drawn: delattr(drawn, "ReferencedROINumber"),
            "ReferencedROINumber must be a whole number",
        ),
        (
            lambda _, drawn: setattr(drawn.ContourSequence[0], "ContourData", [1, 2, 3, 4]),
            "ContourData must be 3 numbers per corner, got another list",
        ),
    ],
)
def test_what_a_structure_set_lacks_is_named(series, tmp_path, spoil, line):
    path = write_structures(tmp_path / "rt.dcm", series, [square(LARGE)])
    dataset = pydicom.dcmread(path)
    spoil(dataset.StructureSetROISequence[0], dataset.ROIContourSequence[0])
    dataset.save_as(path)
    with pytest.raises(ValueError, match=rf"rt\.dcm: {line}"):
        read_mask(path, read_image(series))
