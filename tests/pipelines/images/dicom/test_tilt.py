"""Tilted gantries: named, refused, and moved above each other without a changed intensity if asked for."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.commands import radsynth
from helpers.dicom import OBLIQUE, group, normal, write_enhanced, write_slice
from helpers.regions import corners, two_masks, write_segmentation, write_structures

from glcm_cuda import GLCMSettings, entropy_map
from pipelines.images.contents import report
from pipelines.images.dicom.series import Choice
from pipelines.images.dicom.tilt import tilt_degrees
from pipelines.images.masks import read_mask
from pipelines.images.parametric_map import read_parametric_map
from pipelines.images.reading import read_image

ACROSS, DOWN = np.array(OBLIQUE[:3]), np.array(OBLIQUE[3:])
CORRECTED = Choice(correct_tilt=True)
BLANK = dict.fromkeys(("StudyDate", "StudyTime", "AccessionNumber", "StudyID", "ReferringPhysicianName"), "")


def positions(step, slices=4):
    return np.array([1.0, 2.0, 3.0]) + np.arange(slices)[:, None] * step


def write_tilted(folder, rng, step):
    """Write four slices of 6x5, named against their order, and return their voxels."""
    folder.mkdir()
    pixels = rng.integers(1, 1000, (4, 6, 5))
    about = {"FrameOfReferenceUID": "1.2.99", "SliceThickness": 2.5, **BLANK}
    about |= dict.fromkeys(("PatientName", "PatientBirthDate", "PatientSex"), "")
    for index, place in enumerate(positions(step)):
        write_slice(folder / f"{9 - index}", pixels[index], place, **about)
    return pixels


STEPS = [
    2.5 * normal() + 0.5 * DOWN,
    2.5 * normal() - 0.5 * DOWN,
    2.5 * normal() + 1.1 * ACROSS - 0.9 * DOWN,
    2.5 * normal() + 0.05 * ACROSS,
]


@pytest.mark.parametrize("step", STEPS)
def test_every_voxel_lies_at_most_half_a_voxel_beside_its_place(tmp_path, rng, step):
    pixels = write_tilted(tmp_path / "series", rng, step)
    volume = read_image(tmp_path / "series", CORRECTED)
    cosines = np.reshape(volume.direction, (3, 3))
    np.testing.assert_allclose(cosines, np.stack([ACROSS, DOWN, normal()], axis=1), atol=1e-9)
    assert volume.spacing_mm == pytest.approx((0.7, 0.8, 2.5))
    seen = np.zeros(volume.array.shape, bool)
    for (z, y, x), value in np.ndenumerate(pixels):
        place = positions(step)[z] + 0.7 * x * ACROSS + 0.8 * y * DOWN  # PS3.3 C.7.6.2.1.1
        voxel = (place - volume.origin_mm) @ cosines / volume.spacing_mm
        column, row, slice_ = np.round(voxel).astype(int)
        assert np.abs(voxel - (column, row, slice_)).max() <= 0.5 + 1e-9
        assert slice_ == z
        assert volume.array[z, row, column] == value
        seen[z, row, column] = True
    assert seen.sum() == pixels.size
    assert (volume.array[~seen] == pixels.min()).all()
    assert seen.any(axis=(0, 1)).all()
    assert seen.any(axis=(0, 2)).all()


def test_angle_by_hand():
    step = np.array([0.0, 3.0, 4.0])  # 3 aside on 4 along
    along = np.array([0.0, 0.0, 1.0])
    assert tilt_degrees(positions(step), along) == pytest.approx(36.8699, abs=1e-4)
    assert tilt_degrees(positions(along), along) == 0
    assert tilt_degrees(positions(np.array([0.03, 0, 1])), along) == 0  # 0.09 mm from first to last
    assert tilt_degrees(positions(step, 1), along) == 0
    disorder = positions(along)
    disorder[2, 0] += 1
    assert tilt_degrees(disorder, along) == 0


def test_a_series_that_is_upright_stays_as_it_is(tmp_path, rng):
    write_tilted(tmp_path / "series", rng, 2.5 * normal())
    plain, corrected = read_image(tmp_path / "series"), read_image(tmp_path / "series", CORRECTED)
    np.testing.assert_array_equal(corrected.array, plain.array)
    assert corrected.origin_mm == plain.origin_mm


def test_a_tilted_multi_frame_image(tmp_path, rng):
    pixels = rng.integers(0, 1000, (4, 6, 5))
    groups = [group(place) for place in positions(STEPS[0])]
    path = write_enhanced(tmp_path / "frames.dcm", pixels, groups, OBLIQUE)
    with pytest.raises(ValueError, match=r"tilted by 11\.3 degrees; give --correct-tilt"):
        read_image(path)
    assert read_image(path, CORRECTED).array.shape == (4, 8, 5)  # 1.5 mm of 0.8 mm rows


def test_the_tilt_is_listed(tmp_path, rng):
    write_tilted(tmp_path / "series", rng, STEPS[0])
    assert any(
        "problem: a gantry tilted by 11.3 degrees; give --correct-tilt" in line for line in report(tmp_path)
    )


def test_the_map_of_each_slice_is_that_of_the_slice(tmp_path, rng):
    pixels = write_tilted(tmp_path / "series", rng, STEPS[0])
    arguments = [tmp_path / "series", "-o", tmp_path / "m.dcm", "--levels", 8, "--range", 0, 1000]
    refused = radsynth("map", *arguments)
    assert refused.exit_code == 2
    assert "give --correct-tilt" in refused.output
    result = radsynth("map", *arguments, "--correct-tilt")
    assert result.exit_code == 0, result.output
    maps, volume, record = read_parametric_map(tmp_path / "m.dcm")
    assert record["correct_tilt"] is True
    assert volume.array.shape == (4, 8, 5)
    expected = entropy_map(pixels, settings=GLCMSettings(levels=8, intensity_range=(0, 1000)), backend="cpu")
    for index, row in enumerate((0, 1, 1, 2)):  # 0, 0.625, 1.25 and 1.875 rows
        inner = maps["joint_entropy"][index, row + 2 : row + 4, 2:3]  # windows that lie in the slice
        np.testing.assert_array_equal(inner, expected[index, 2:4, 2:3])


def test_a_structure_lies_in_its_slices(tmp_path, rng):
    write_tilted(tmp_path / "series", rng, STEPS[0])
    contours = [np.array(corners((0.6, 3.4), (0.6, 3.4), index)) + 0.5 * index * DOWN for index in (1, 3)]
    path = write_structures(tmp_path / "rt.dcm", tmp_path / "series", contours)
    mask = read_mask(path, read_image(tmp_path / "series", CORRECTED))
    assert sorted(set(np.nonzero(mask)[0])) == [1, 3]
    assert mask[1, 2:5, 1:4].all()  # the slice moved by 1 row for 0.625
    assert mask[3, 3:6, 1:4].all()


def test_a_segmentation_of_tilted_frames_is_refused(tmp_path, rng):
    write_tilted(tmp_path / "series", rng, STEPS[0])
    path = write_segmentation(tmp_path / "seg.dcm", tmp_path / "series", two_masks()[:1])
    with pytest.raises(ValueError, match=r"frames of Tumour must lie above .* 0\.50 mm aside"):
        read_mask(path, read_image(tmp_path / "series", CORRECTED))
