"""Folders of DICOM: one regular series is read, anything else is refused in one line."""

from __future__ import annotations

import zipfile

import numpy as np
import pytest
from helpers.dicom import OBLIQUE, normal, write_series, write_slice
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from pipelines.images.dicom.series import Choice
from pipelines.images.masks import read_mask
from pipelines.images.reading import read_image


def test_a_series_is_sorted_along_its_normal(tmp_path, rng):
    pixels = write_series(tmp_path / "series", rng)
    (tmp_path / "series" / "LICENSE").write_text("no DICOM")
    volume = read_image(tmp_path / "series")
    np.testing.assert_array_equal(volume.array, pixels)
    np.testing.assert_allclose(volume.spacing_mm, (0.7, 0.8, 2.5))
    np.testing.assert_allclose(volume.origin_mm, (1.0, 2.0, 3.0), atol=1e-9)
    direction = np.array(volume.direction).reshape(3, 3)
    np.testing.assert_allclose(direction, np.transpose([OBLIQUE[:3], OBLIQUE[3:], normal()]), atol=1e-9)


def test_one_file_and_a_folder_of_one_file_are_the_same(tmp_path, rng):
    pixels = write_series(tmp_path / "series", rng, places=(4.0,))
    (file,) = (tmp_path / "series").iterdir()
    for path in (file, tmp_path / "series"):
        np.testing.assert_array_equal(read_image(path).array, pixels)


def test_slopes_that_differ_between_slices_are_kept(tmp_path, rng):
    folder = tmp_path / "series"
    folder.mkdir()
    ones = np.ones((6, 5))
    write_slice(folder / "a", ones, (0, 0, 0), RescaleSlope="1", RescaleIntercept="0")
    write_slice(folder / "b", ones, 2.0 * normal(), RescaleSlope="0.25", RescaleIntercept="0")
    assert read_image(folder).array[:, 0, 0].tolist() == [1.0, 0.25]


def refuse_empty(folder, rng):
    folder.mkdir()
    (folder / "notes.txt").write_text("nothing")


def refuse_empty_file(folder, rng):
    write_series(folder, rng)
    (folder / "002-lost").touch()


def refuse_reports(folder, rng):
    folder.mkdir()
    for modality in ("SR", "RTDOSE"):
        write_slice(folder / modality, np.zeros((6, 5)), (0, 0, 0), Modality=modality)


def refuse_copies(folder, rng):
    write_series(folder, rng)
    (folder / "copy").write_bytes((folder / "001-").read_bytes())


def refuse_no_spacing(folder, rng):
    write_series(folder, rng)
    import pydicom

    header = pydicom.dcmread(folder / "001-")
    del header.PixelSpacing
    header.save_as(folder / "001-")


def refuse_two_series(folder, rng):
    write_series(folder, rng, series="1.2.3", SeriesDescription="T1")
    localizer = {"SeriesDescription": "T2", "ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}
    write_series(folder, rng, series="1.2.4", places=(0.0, 3.0), **localizer)


def refuse_phases(folder, rng):
    write_series(folder, rng, ContentTime="101010")
    for path in folder.iterdir():
        path.rename(path.with_name(f"first-{path.name}"))
    write_series(folder, rng, ContentTime="111111")


def refuse_gap(folder, rng):
    write_series(folder, rng, places=(0.0, 2.5, 7.5, 10.0, 12.5))


def refuse_sizes(folder, rng):
    write_series(folder, rng)
    write_slice(folder / "z", np.zeros((7, 5)), 10.0 * normal())


def refuse_planes(folder, rng):
    write_series(folder, rng)
    write_slice(folder / "z", np.zeros((6, 5)), (0, 0, 0), orientation=(1, 0, 0, 0, 1, 0))


def refuse_no_position(folder, rng):
    write_series(folder, rng)
    write_slice(folder / "0", np.zeros((6, 5)), None)


def refuse_bad_orientation(folder, rng):
    folder.mkdir()
    for index in range(2):
        write_slice(folder / str(index), np.zeros((6, 5)), (0, 0, index), orientation=(1, 0, 0, 1, 0, 0))


def refuse_tilt(folder, rng):
    folder.mkdir()
    for index in range(4):
        shear = 0.5 * index * np.array(OBLIQUE[3:])
        write_slice(folder / str(index), np.zeros((6, 5)), 2.5 * index * normal() + shear)


def refuse_aside(folder, rng):
    folder.mkdir()
    for index, shift in enumerate((0.0, 0.1, 0.9, 0.3)):
        write_slice(
            folder / str(index), np.zeros((6, 5)), 2.5 * index * normal() + shift * np.array(OBLIQUE[:3])
        )


def refuse_multi_frame_among_others(folder, rng):
    write_series(folder, rng)
    write_slice(folder / "z", np.zeros((2, 6, 5)), 10.0 * normal(), NumberOfFrames=2)


def refuse_frames_without_positions(folder, rng):
    folder.mkdir()
    write_slice(folder / "z", np.zeros((2, 6, 5)), None, NumberOfFrames=2)


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (refuse_empty, "must hold the files of a DICOM series, got no DICOM image$"),
        (refuse_empty_file, r"002-lost is empty \(0 bytes\); copy or export it again"),
        (refuse_reports, "must hold the files of a DICOM series, got only objects of modality RTDOSE, SR"),
        (refuse_copies, "copy is a copy of 001-; remove one of them, or give --allow-gaps to take the first"),
        (refuse_no_spacing, "001- must have PixelSpacing, got none"),
        (
            refuse_two_series,
            r"holds 2 DICOM series: 1 T1 \(MR, 4 images\); 2 T2 \(MR, localizer, 2 images\); give --series",
        ),
        (
            refuse_phases,
            r"holds 2 phases: 1 ContentTime \+0 s \(4 slices\); 2 ContentTime \+3661 s \(4 slices\); give",
        ),
        (
            refuse_gap,
            r"equally spaced, got 5\.00 mm between slices 1 and 2 of 5 \(004-, 003-\) and 2\.50 mm elsewhere",
        ),
        (refuse_sizes, "one size, spacing and orientation, got 5x6, .* and 5x7"),
        (refuse_planes, "one size, spacing and orientation, got"),
        (refuse_no_position, "must have ImagePositionPatient and ImageOrientationPatient, got none"),
        (refuse_bad_orientation, "ImageOrientationPatient must be two perpendicular directions"),
        (
            refuse_tilt,
            r"must lie above each other, got a gantry tilted by 11\.3 degrees; give --corr",
        ),
        (refuse_aside, r"must lie on a regular grid in their order, but slice 2 is \d\.\d\d mm off"),
        (
            refuse_multi_frame_among_others,
            "holds 5 images of one series of which z is multi-frame;",
        ),
        (refuse_frames_without_positions, "has 2 frames and must give the position of each, got 0"),
    ],
)
def test_irregular_folders_are_refused(tmp_path, rng, make, line):
    make(tmp_path / "series", rng)
    with pytest.raises(ValueError, match=line):
        read_image(tmp_path / "series")


@pytest.mark.parametrize("keyword", ["PatientID", "StudyInstanceUID"])
def test_a_uid_that_two_patients_share_is_two_series(tmp_path, rng, keyword):
    """As careless anonymisation leaves it; together their slices would make an even stack."""
    write_series(tmp_path / "one", rng, places=(0.0, 2.5, 5.0))
    other = write_series(tmp_path / "other", rng, places=(7.5, 10.0, 12.5), **{keyword: "1.9"})
    with pytest.raises(ValueError, match=r"holds 2 DICOM series: .*give --series with a number"):
        read_image(tmp_path)
    numbers = [read_image(tmp_path, Choice(series=str(number))).array.tolist() for number in (1, 2)]
    assert other.tolist() in numbers


def test_a_truncated_slice_is_refused(tmp_path, rng):
    write_series(tmp_path / "series", rng)
    victim = min((tmp_path / "series").iterdir())
    victim.write_bytes(victim.read_bytes()[:-20])
    with pytest.raises(ValueError, match=r"001- is truncated or damaged: its voxels need 60 bytes, got 40"):
        read_image(tmp_path / "series")
    with pytest.raises(
        ValueError, match=r"is truncated or damaged: its voxels need 60 bytes, got 40; copy or export"
    ):
        read_image(victim)


@pytest.mark.parametrize("length", [200, 300, 700])
def test_a_slice_cut_in_its_header_is_refused_not_lost(tmp_path, rng, length):
    write_series(tmp_path / "series", rng)
    victim = min((tmp_path / "series").iterdir())
    victim.write_bytes(victim.read_bytes()[:length])
    with pytest.raises(ValueError, match=r"must be a complete DICOM|is truncated or damaged"):
        read_image(tmp_path / "series")


def test_what_is_no_image_is_passed_over(tmp_path, rng):
    pixels = write_series(tmp_path / "series", rng)
    write_slice(tmp_path / "series" / "zz", np.zeros((9, 9)), None, Modality="SEG", series="9.9")
    directory = Dataset()
    directory.file_meta = FileMetaDataset()
    directory.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    directory.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.1.3.10"
    directory.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    directory.save_as(tmp_path / "series" / "DICOMDIR", enforce_file_format=True)
    np.testing.assert_array_equal(read_image(tmp_path / "series").array, pixels)


@pytest.mark.parametrize(
    "attributes",
    [{"Modality": "SEG"}, {"Modality": "RTDOSE"}, {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.66.4"}],
)
def test_another_object_is_no_image_but_may_be_a_mask(tmp_path, attributes):
    write_slice(tmp_path / "image.dcm", np.zeros((6, 5)), (0, 0, 0))
    write_slice(tmp_path / "other.dcm", np.ones((6, 5)), (0, 0, 0), **attributes)
    with pytest.raises(ValueError, match=r"other\.dcm must be a DICOM image, got an object of modality"):
        read_image(tmp_path / "other.dcm")
    if "SOPClassUID" not in attributes:  # of that class it would need the geometry of a segmentation
        assert read_mask(tmp_path / "other.dcm", read_image(tmp_path / "image.dcm")).all()


def test_a_dicom_file_without_pixels_is_refused(tmp_path):
    write_slice(tmp_path / "report.dcm", np.zeros((6, 5)), None)
    import pydicom

    header = pydicom.dcmread(tmp_path / "report.dcm")
    del header.Rows
    header.save_as(tmp_path / "report.dcm")
    with pytest.raises(ValueError, match=r"report\.dcm must be a DICOM image, got a file without rows"):
        read_image(tmp_path / "report.dcm")


@pytest.mark.parametrize(
    ("archive", "folder", "shape", "spacing"),
    [
        ("CMB-CRC_SCAN_001_T2_12slices_dicom.zip", "crc", (12, 512, 584), (0.6836, 0.6836, 8.0)),
        ("datalad_T1_oblique_24slices_dicom.zip", "dl", (24, 384, 274), (0.69999, 0.66667, 0.66667)),
    ],
)
def test_real_series(data_dir, tmp_path, archive, folder, shape, spacing):
    with zipfile.ZipFile(data_dir / "other_mr" / archive) as file:
        file.extractall(tmp_path)
    volume = read_image(tmp_path / folder)
    assert volume.array.shape == shape
    np.testing.assert_allclose(volume.spacing_mm, spacing, atol=1e-4)
    direction = np.array(volume.direction).reshape(3, 3)
    np.testing.assert_allclose(direction @ direction.T, np.eye(3), atol=1e-6)


def test_real_phases_are_those_of_the_published_images(data_dir):
    archive = data_dir / "breast_ucsf" / "UCSF-BR-06_dicom_3phases_plus_SEG.zip"
    for phase, name in enumerate(("pre", "post1", "post2"), start=1):
        volume = read_image(archive, Choice(phase=phase))
        expected = read_image(data_dir / "breast_ucsf" / f"UCSF-BR-06_{name}.nii.gz")
        np.testing.assert_array_equal(volume.array, expected.array)
        for field in ("spacing_mm", "origin_mm", "direction"):
            np.testing.assert_allclose(getattr(volume, field), getattr(expected, field), atol=1e-4)


def test_real_phases_are_to_be_chosen(data_dir, tmp_path):
    with zipfile.ZipFile(data_dir / "breast_ucsf" / "UCSF-BR-06_dicom_3phases_plus_SEG.zip") as file:
        names = [name for name in file.namelist() if not name.endswith("/")]
        for number, name in enumerate(names):  # all of it in one folder, the segmentation too
            (tmp_path / f"{number:03d}").write_bytes(file.read(name))
    with pytest.raises(
        ValueError, match=r"holds 3 phases: 1 ContentTime \+0 s \(60 slices\); .* give --phase with a number"
    ):
        read_image(tmp_path)


def test_real_multi_frame_without_positions_is_refused(data_dir):
    with pytest.raises(ValueError, match="has 10 frames and must give the position of each, got 0"):
        read_image(data_dir / "other_mr" / "emri_small.dcm")


def test_real_single_file(data_dir):
    volume = read_image(data_dir / "other_mr" / "MR-SIEMENS-DICOM-WithOverlays.dcm")
    assert volume.array.shape == (1, 484, 484)
    np.testing.assert_allclose(volume.spacing_mm[:2], 0.72314, atol=1e-5)
