"""Regions from DICOM segmentations, structure sets and labels with names."""

from __future__ import annotations

import zipfile

import numpy as np
import pydicom
import pytest
import SimpleITK
from helpers.commands import radsynth
from helpers.dicom import OBLIQUE, normal, write_series, write_slice
from helpers.regions import FRAME, ORIGIN, corners, headers, two_masks, write_segmentation, write_structures

from pipelines.images.archives import opened
from pipelines.images.dicom.regions import Segment, segments_of
from pipelines.images.dicom.series import Choice
from pipelines.images.masks import MaskChoice, read_mask
from pipelines.images.reading import read_image

# Segmentations


@pytest.mark.parametrize("slices", [slice(None), slice(1, 4)])
def test_a_binary_segmentation_by_number_and_by_name(series, tmp_path, slices):
    path = write_segmentation(tmp_path / "seg.dcm", series, two_masks(), slices=slices)
    volume = read_image(series)
    assert segments_of(path) == [Segment(1, "Tumour"), Segment(2, "Liver")]
    for wanted, index in (("1", 0), ("tumour", 0), ("2", 1), ("LIVER", 1)):
        found = read_mask(path, volume, MaskChoice(segment=wanted))
        np.testing.assert_array_equal(found, two_masks()[index].astype(bool))


@pytest.mark.parametrize(
    ("wanted", "got"),
    [(None, "got no --segment"), ("9", "--segment 9, which matches 0"), ("x", "which matches 0")],
)
def test_a_segment_must_be_chosen(series, tmp_path, wanted, got):
    path = write_segmentation(tmp_path / "seg.dcm", series, two_masks())
    with pytest.raises(ValueError, match=rf"has the segments 1 Tumour, 2 Liver; give --segment.*{got}"):
        read_mask(path, read_image(series), MaskChoice(segment=wanted))
    with pytest.raises(ValueError, match="has segments, not labels; give --segment instead of --mask-label"):
        read_mask(path, read_image(series), MaskChoice(label=1))


def test_a_fractional_segmentation_counts_from_one_half(series, tmp_path):
    values = np.zeros((1, 4, 6, 5), np.float32)
    values[0, 1, 1, :4] = 0.25, 0.49, 0.5, 1.0
    path = write_segmentation(tmp_path / "seg.dcm", series, values, kind="FRACTIONAL")
    expected = np.zeros((4, 6, 5), bool)
    expected[1, 1, 2:4] = True
    np.testing.assert_array_equal(read_mask(path, read_image(series)), expected)


def test_a_label_map(series, tmp_path):
    labels = np.maximum(two_masks()[0], 2 * two_masks()[1])
    path = write_segmentation(
        tmp_path / "seg.dcm", series, np.stack([labels == 1, labels == 2]), kind="LABELMAP"
    )
    found = read_mask(path, read_image(series), MaskChoice(segment="2"))
    np.testing.assert_array_equal(found, labels == 2)


def test_a_segmentation_in_an_archive(series, tmp_path):
    path = write_segmentation(tmp_path / "seg.dcm", series, two_masks()[:1])
    with zipfile.ZipFile(tmp_path / "seg.zip", "w") as archive:
        archive.write(path, "a/seg.dcm")
    found = read_mask(tmp_path / "seg.zip", read_image(series))
    np.testing.assert_array_equal(found, two_masks()[0].astype(bool))


def test_what_refers_to_another_image_is_refused(series, tmp_path, rng):
    path = write_segmentation(tmp_path / "seg.dcm", series, two_masks()[:1])
    write_series(tmp_path / "other", rng, series="9.9.9", FrameOfReferenceUID=FRAME)
    with pytest.raises(ValueError, match=r"seg\.dcm refers to another series than that of the image;"):
        read_mask(path, read_image(tmp_path / "other"))
    write_series(tmp_path / "third", rng, FrameOfReferenceUID="1.2.77")
    with pytest.raises(ValueError, match="refers to another frame of reference than that of the image"):
        read_mask(path, read_image(tmp_path / "third"))


def moved(series, folder, shift, rng):
    """Write a series of the same UIDs somewhere else."""
    folder.mkdir()
    for index, header in enumerate(headers(series)):
        position = np.array(header.ImagePositionPatient, float) + shift
        write_slice(folder / str(index), header.pixel_array, position, FrameOfReferenceUID=FRAME)
    return folder


def test_another_grid_is_refused_or_resampled(series, tmp_path, rng):
    path = write_segmentation(tmp_path / "seg.dcm", series, two_masks()[:1])
    shifted = read_image(moved(series, tmp_path / "shifted", 0.3 * 0.7 * np.array(OBLIQUE[:3]), rng))
    with pytest.raises(ValueError, match=r"must lie on the image's grid, got an origin \(-0.3, .*give"):
        read_mask(path, shifted)
    found = read_mask(path, shifted, MaskChoice(resample=True))
    np.testing.assert_array_equal(found, two_masks()[0].astype(bool))


def test_voxels_beyond_the_image_are_refused(series, tmp_path):
    path = write_segmentation(tmp_path / "seg.dcm", series, two_masks()[:1])
    for file in sorted(series.iterdir(), reverse=True)[:2]:
        file.unlink()
    with pytest.raises(ValueError, match="has 4 voxels outside the image; is it the mask of this image"):
        read_mask(path, read_image(series))


def test_a_plane_image_has_no_segmentation(series, tmp_path):
    path = write_segmentation(tmp_path / "seg.dcm", series, two_masks()[:1])
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(np.ones((6, 5), np.int16)), str(tmp_path / "i.mha"))
    with pytest.raises(ValueError, match="belongs to slices of DICOM, got a two-dimensional image"):
        read_mask(path, read_image(tmp_path / "i.mha"))


def test_a_truncated_segmentation_is_refused(series, tmp_path):
    path = write_segmentation(tmp_path / "seg.dcm", series, two_masks()[:1])
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(ValueError, match=r"seg\.dcm is truncated or damaged"):
        read_mask(path, read_image(series))


def test_the_real_segmentation_is_the_published_mask(data_dir):
    archive = data_dir / "breast_ucsf" / "UCSF-BR-06_dicom_3phases_plus_SEG.zip"
    with opened(archive) as folder:
        volume = read_image(folder, Choice(phase=2))
        (path,) = [file for file in folder.rglob("*.dcm") if file.parent.name == "mask"]
        expected = read_mask(data_dir / "breast_ucsf" / "UCSF-BR-06_tissue_mask.nii.gz", volume)
        np.testing.assert_array_equal(read_mask(path, volume), expected)
    assert expected.sum() == 82_527


# Structures


def test_contours_hold_the_voxels_whose_centres_they_hold(series, tmp_path):
    contours = [corners((0.6, 3.4), (0.6, 3.4), 1), corners((-0.4, 0.4), (4.6, 5.4), 3)]
    path = write_structures(tmp_path / "rt.dcm", series, contours)
    expected = np.zeros((4, 6, 5), bool)
    expected[1, 1:4, 1:4] = expected[3, 5, 0] = True
    volume = read_image(series)
    for wanted in (None, "3", "gtv"):
        np.testing.assert_array_equal(read_mask(path, volume, MaskChoice(segment=wanted)), expected)


def test_a_contour_in_a_contour_is_a_hole(series, tmp_path):
    contours = [corners((-0.4, 4.4), (-0.4, 5.4), 0), corners((1.6, 2.4), (1.6, 3.4), 0)]
    expected = np.zeros((4, 6, 5), bool)
    expected[0] = True
    expected[0, 2:4, 2] = False
    path = write_structures(tmp_path / "rt.dcm", series, contours)
    np.testing.assert_array_equal(read_mask(path, read_image(series)), expected)


@pytest.mark.parametrize(
    ("contours", "changes", "message"),
    [
        ([], {}, "structure 3 GTV has no contour with an area$"),
        ([[]], {}, "structure 3 GTV has no contour"),
        ([corners((0.6, 0.9), (0.6, 0.9), 1)], {}, "structure 3 GTV has no voxel's centre inside"),
        ([corners((0.6, 3.4), (0.6, 3.4), 3.6)], {}, "a contour of GTV lies in no slice of the image"),
        ([corners((0.6, 3.4), (0.6, 3.4), 4)], {}, "a contour of GTV lies in no slice of the image"),
        ([corners((0.6, 3.4), (0.6, 3.4), 1)], {"series": "9.9"}, "refers to another series than"),
        ([corners((0.6, 3.4), (0.6, 3.4), 1)], {"frame": "9.9"}, "refers to another frame of reference"),
    ],
)
def test_structures_that_do_not_fit_are_refused(series, tmp_path, contours, changes, message):
    path = write_structures(tmp_path / "rt.dcm", series, contours, **changes)
    with pytest.raises(ValueError, match=message):
        read_mask(path, read_image(series))


# Labels with names


@pytest.fixture
def named(tmp_path):
    array = np.zeros((4, 6, 5), np.uint8)
    array[1, 2, 2:4], array[2, 3, 3] = 1, 4
    image = SimpleITK.GetImageFromArray(array)
    return array, image, tmp_path


def test_segments_of_a_slicer_segmentation(named):
    array, image, folder = named
    for index, (name, value) in enumerate((("Lesion", 1), ("Vessel", 4))):
        image.SetMetaData(f"Segment{index}_Name", name)
        image.SetMetaData(f"Segment{index}_LabelValue", str(value))
    SimpleITK.WriteImage(image, str(folder / "a.seg.nrrd"))
    volume = read_image(folder / "a.seg.nrrd")
    for wanted, value in (("vessel", 4), ("Lesion", 1), ("4", 4)):
        found = read_mask(folder / "a.seg.nrrd", volume, MaskChoice(segment=wanted))
        np.testing.assert_array_equal(found, array == value)
    with pytest.raises(ValueError, match="contains the labels 1 Lesion, 4 Vessel, got --segment bone"):
        read_mask(folder / "a.seg.nrrd", volume, MaskChoice(segment="bone"))


def test_labels_that_bids_names_in_a_table(named):
    array, image, folder = named
    SimpleITK.WriteImage(image, str(folder / "sub-1_dseg.nii.gz"))
    volume = read_image(folder / "sub-1_dseg.nii.gz")
    with pytest.raises(ValueError, match="contains the labels none, got --segment tumour"):
        read_mask(folder / "sub-1_dseg.nii.gz", volume, MaskChoice(segment="tumour"))
    (folder / "sub-1_dseg.tsv").write_text("index\tname\n1\tmuscle\n4\ttumour\n")
    found = read_mask(folder / "sub-1_dseg.nii.gz", volume, MaskChoice(segment="Tumour"))
    np.testing.assert_array_equal(found, array == 4)


def test_a_label_image_is_resampled_only_when_asked(named):
    array, image, folder = named
    SimpleITK.WriteImage(image, str(folder / "mask.nii"))
    large = SimpleITK.GetImageFromArray(np.zeros((8, 12, 10), np.int16))
    large.SetSpacing((0.5, 0.5, 0.5))
    large.SetOrigin((-0.25, -0.25, -0.25))
    SimpleITK.WriteImage(large, str(folder / "image.nii"))
    volume = read_image(folder / "image.nii")
    with pytest.raises(ValueError, match="must lie on the image's grid, got size"):
        read_mask(folder / "mask.nii", volume)
    found = read_mask(folder / "mask.nii", volume, MaskChoice(resample=True))
    np.testing.assert_array_equal(found, np.kron(array != 0, np.ones((2, 2, 2))))
    far = SimpleITK.GetImageFromArray(np.zeros((2, 2, 2), np.int16))
    far.SetOrigin((500, 0, 0))
    SimpleITK.WriteImage(far, str(folder / "far.nii"))
    with pytest.raises(ValueError, match="and the image do not overlap"):
        read_mask(folder / "mask.nii", read_image(folder / "far.nii"), MaskChoice(resample=True))


def test_a_label_and_a_segment_are_one_choice_too_many():
    with pytest.raises(ValueError, match="--mask-label and --segment are mutually exclusive, got 1 and x"):
        MaskChoice(label=1, segment="x")


# The command


def test_a_map_inside_a_segment(series, tmp_path):
    path = write_segmentation(tmp_path / "seg.dcm", series, two_masks())
    arguments = [series, "-o", tmp_path / "m.nii", "--mask", path, "--segment", "Tumour", "--backend", "cpu"]
    result = radsynth("map", *arguments)
    assert result.exit_code == 0, result.output
    found = read_image(tmp_path / "m.nii").array
    assert not np.isfinite(found[two_masks()[0] == 0]).any()
    assert '"mask_segment": "Tumour"' in (tmp_path / "m.nii.json").read_text()


# Segmentations of few slices


def sparse(series, folder, slices, **measures):
    """Write a segmentation with frames for these slices alone; return it and its mask."""
    mask = np.zeros((4, 6, 5), np.uint8)
    mask[list(slices), 2:4, 1:3] = 1
    path = write_segmentation(folder / "seg.dcm", series, mask[None], slices=list(slices))
    dataset = pydicom.dcmread(path)
    shared = dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    for keyword, value in measures.items():
        if value is None:
            shared.pop(keyword, None)
        else:
            setattr(shared, keyword, value)
    dataset.save_as(path)
    return path, mask.astype(bool)


@pytest.mark.parametrize("slices", [(0, 2), (1, 3), (0, 3), (2,), (0, 1, 3), (3, 0, 2)])
@pytest.mark.parametrize("stated", [2.5, None, 0, 5, 1.25])
def test_frames_lie_in_their_slices_however_few(series, tmp_path, slices, stated):
    path, mask = sparse(series, tmp_path, slices, SpacingBetweenSlices=stated)
    for resample in (False, True):
        found = read_mask(path, read_image(series), MaskChoice(resample=resample))
        np.testing.assert_array_equal(found, mask)


def test_frames_that_fit_no_grid_are_refused(series, tmp_path):
    path, _ = sparse(series, tmp_path, (0, 1, 3), SpacingBetweenSlices=None)
    dataset = pydicom.dcmread(path)
    place = dataset.PerFrameFunctionalGroupsSequence[1].PlanePositionSequence[0]
    place.ImagePositionPatient = [*(ORIGIN + 1.0 * normal())]
    dataset.save_as(path)
    with pytest.raises(ValueError, match="frames must be whole slices apart, got positions"):
        read_mask(path, read_image(series))


def test_a_region_of_an_image_with_gaps_is_refused(series, tmp_path):
    """From the gap on, the slices lie elsewhere than the grid of the image says."""
    regions = [write_segmentation(tmp_path / "seg.dcm", series, two_masks()[:1])]
    regions.append(write_structures(tmp_path / "rt.dcm", series, [corners((0.6, 3.4), (0.6, 3.4), 3)]))
    sorted(series.iterdir(), reverse=True)[1].unlink()
    volume = read_image(series, Choice(allow_gaps=True))
    for path in regions:
        with pytest.raises(ValueError, match="slices of the image are missing and from slice 1 on"):
            read_mask(path, volume)


def test_a_segment_without_a_name(series, tmp_path):
    path = write_segmentation(tmp_path / "seg.dcm", series, two_masks())
    dataset = pydicom.dcmread(path)
    del dataset.SegmentSequence[0].SegmentLabel
    dataset.save_as(path)
    assert segments_of(path) == [Segment(1, ""), Segment(2, "Liver")]
    found = read_mask(path, read_image(series), MaskChoice(segment="1"))
    np.testing.assert_array_equal(found, two_masks()[0].astype(bool))
