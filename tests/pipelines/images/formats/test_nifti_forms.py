"""NIfTI images whose two forms differ, or whose header is odd: the map is found where the image is."""

from __future__ import annotations

import gzip
import logging

import nibabel
import numpy as np
import pytest
import SimpleITK
from helpers.commands import assert_refused, radsynth
from helpers.reading import read_or_refused_in_a_line

from pipelines.images.masks import MaskChoice, read_mask
from pipelines.images.reading import read_image
from pipelines.images.writing import write_map

SHAPE = (12, 14, 6)
SUFFIXES = [".nii", ".nii.gz"]


def affine(spacing=(0.9, 0.9, 2.0), origin=(-30.0, 20.0, 10.0), angle=0.0, shear=0.0):
    """Return a matrix from voxels to mm, turned about z, with a sheared second axis."""
    cosine, sine = np.cos(angle), np.sin(angle)
    matrix = np.diag([*spacing, 1.0])
    matrix[0, 1] = shear * spacing[1]
    matrix[:3, :3] = np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]]) @ matrix[:3, :3]
    matrix[:3, 3] = origin
    return matrix


def write(path, *, sform=None, qform=None, pixdim=None, dtype=np.int16, array=None, **fields):
    """Write an image; forms are (matrix, code)."""
    array = np.random.default_rng(3).integers(0, 900, SHAPE) if array is None else array
    image = nibabel.Nifti1Image(array.astype(dtype), None)
    header = image.header
    if qform is not None:
        image.set_qform(*qform)
    if sform is not None:
        image.set_sform(*sform)
    for name, value in fields.items():
        header[name] = value
    nibabel.save(image, path)
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rb") as file:
        content = bytearray(file.read())
    codes = (0 if form is None else form[1] for form in (qform, sform))
    content[252:256] = np.array([*codes], "<i2").tobytes()
    if pixdim is not None:
        content[80:92] = np.array(pixdim, "<f4").tobytes()
    with opened(path, "wb") as file:
        file.write(content)
    return path


def forms(path):
    header = nibabel.load(path).header
    return {
        name: (None if code == 0 else np.round(matrix, 4).tolist(), int(code))
        for name, (matrix, code) in {
            "sform": header.get_sform(coded=True),
            "qform": header.get_qform(coded=True),
        }.items()
    }


def itk_place(path):
    image = SimpleITK.ReadImage(str(path))
    return [*image.GetSpacing(), *image.GetOrigin(), *image.GetDirection()]


def mapped(source, path, **changes):
    volume = read_image(source)
    write_map(np.zeros(volume.array.shape), volume, path, provenance={}, **changes)
    return path


def warnings_of(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


CODES = [(1, 2), (1, 1), (2, 1), (1, 4), (0, 2), (0, 4), (2, 0), (1, 0), (0, 0)]


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(("qcode", "scode"), CODES)
def test_a_map_keeps_both_forms_and_their_codes(tmp_path, suffix, qcode, scode):
    source = write(
        tmp_path / f"image{suffix}",
        qform=(affine(), qcode) if qcode else None,
        sform=(affine(angle=0.14, origin=(-28.0, 9.6, 13.0)), scode) if scode else None,
        pixdim=(0.9, 0.9, 2.0),
    )
    target = mapped(source, tmp_path / f"map{suffix}")
    assert forms(target) == forms(source)
    np.testing.assert_allclose(nibabel.load(target).affine, nibabel.load(source).affine, atol=1e-5)
    np.testing.assert_allclose(itk_place(target), itk_place(source), atol=1e-5)
    np.testing.assert_allclose(read_image(target).origin_mm, read_image(source).origin_mm, atol=1e-5)


def test_a_map_in_another_format_lies_where_itk_sees_the_image(tmp_path):
    source = write(tmp_path / "image.nii", qform=(affine(), 1), sform=(affine(angle=0.14), 2))
    np.testing.assert_allclose(itk_place(mapped(source, tmp_path / "map.nrrd")), itk_place(source), atol=1e-5)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_part_of_an_image_keeps_both_forms(tmp_path, suffix):
    source = write(tmp_path / "image.nii", qform=(affine(angle=0.2), 1), sform=(affine(angle=0.5), 4))
    part = read_image(source).cropped((slice(1, 5), slice(3, 10), slice(2, 12)))
    path = tmp_path / f"part{suffix}"
    write_map(np.zeros(part.array.shape), part, path, provenance={})
    start = (2, 3, 1, 1)
    for name in ("get_sform", "get_qform"):
        whole, cut = (getattr(nibabel.load(file).header, name)() for file in (source, path))
        np.testing.assert_allclose(cut @ (0, 0, 0, 1), whole @ start, atol=1e-4)
        np.testing.assert_allclose(cut[:, :3], whole[:, :3], atol=1e-5)
    image = SimpleITK.ReadImage(str(source))
    place = image.TransformIndexToPhysicalPoint((2, 3, 1))
    np.testing.assert_allclose(SimpleITK.ReadImage(str(path)).GetOrigin(), place, atol=1e-4)


def test_units_other_than_mm_are_kept(tmp_path):
    matrix = affine()
    matrix[:3] /= 1000
    source = write(tmp_path / "image.nii", qform=(matrix, 1), sform=(matrix, 1), xyzt_units=1)
    np.testing.assert_allclose(read_image(source).spacing_mm, (0.9, 0.9, 2.0), rtol=1e-5)
    target = mapped(source, tmp_path / "map.nii.gz")
    np.testing.assert_allclose(nibabel.load(target).affine, matrix, rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(itk_place(target), itk_place(source), rtol=1e-5, atol=1e-9)


def test_forms_that_differ_are_told_in_one_line(tmp_path, caplog):
    read_image(write(tmp_path / "image.nii", qform=(affine(), 1), sform=(affine(origin=(-30, 20, 13)), 2)))
    (line,) = warnings_of(caplog)
    assert "its sform (aligned) and qform (scanner) differ by up to 3.00 mm: the qform is taken" in line


def test_forms_that_agree_are_not_told(tmp_path, caplog):
    read_image(write(tmp_path / "image.nii", qform=(affine(angle=0.3), 1), sform=(affine(angle=0.3), 2)))
    assert warnings_of(caplog) == []


# Spacing


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    ("qcode", "pixdim"),
    [(0, (0.9, 0.9, 2.0)), (1, (0.9, 0.9, 2.0)), (0, (0.9, 0.9, 0.0)), (0, (0, 0, np.nan))],
)
def test_the_spacing_is_that_of_the_sform(tmp_path, caplog, suffix, qcode, pixdim):
    matrix = affine(spacing=(0.9, 0.9, 4.0))
    source = write(
        tmp_path / "image.nii",
        qform=(affine(), qcode) if qcode else None,
        sform=(matrix, 1),
        pixdim=pixdim,
    )
    np.testing.assert_allclose(read_image(source).spacing_mm, (0.9, 0.9, 4.0), rtol=1e-6)
    (line,) = warnings_of(caplog)
    assert "its pixdim states a spacing of " in line
    assert "its sform 0.9x0.9x4 mm, which is taken" in line
    target = mapped(source, tmp_path / f"map{suffix}")
    np.testing.assert_allclose(nibabel.load(target).affine, matrix, atol=1e-5)
    np.testing.assert_allclose(nibabel.load(target).header.get_zooms(), (0.9, 0.9, 4.0), rtol=1e-6)
    np.testing.assert_allclose(itk_place(target)[:3], (0.9, 0.9, 4.0), rtol=1e-6)


@pytest.mark.parametrize("edge", [0.0, -2.0, np.nan])
def test_a_spacing_that_is_nowhere_is_refused(tmp_path, edge):
    path = write(tmp_path / "image.nii", qform=(affine(), 1), pixdim=(0.9, 0.9, edge))
    with pytest.raises(
        ValueError, match=rf"states a voxel size of {edge:g} along z \(pixdim\) and has no sform"
    ):
        read_image(path)


def test_an_invalid_qform_gives_way_to_the_sform(tmp_path):
    matrix = affine(origin=(1.0, 2.0, 3.0), angle=0.2)
    path = write(tmp_path / "image.nii", qform=(affine(), 1), sform=(matrix, 2), pixdim=(0.9, 0.9, 0.0))
    volume = read_image(path)
    np.testing.assert_allclose(volume.spacing_mm, (0.9, 0.9, 2.0), rtol=1e-6)
    np.testing.assert_allclose(volume.origin_mm, (-1.0, -2.0, 3.0), atol=1e-5)


def test_a_flat_image_needs_no_third_spacing(tmp_path):
    array = np.arange(30).reshape(5, 6, 1)
    path = write(tmp_path / "image.nii", qform=(affine(), 1), pixdim=(0.9, 0.9, 0.0), array=array)
    assert read_image(path).array.shape == (1, 6, 5)


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0])
def test_an_sform_that_is_no_matrix_is_refused(tmp_path, value):
    path = write(tmp_path / "image.nii", sform=(affine(), 2))
    content = bytearray(path.read_bytes())
    content[280:292] = np.full(3, value, "<f4").tobytes()
    path.write_bytes(content)
    with pytest.raises(ValueError, match="is damaged: its sform is not a valid matrix"):
        read_image(path)


# Shear


def test_a_sheared_image_is_refused_with_the_reason(tmp_path):
    path = write(tmp_path / "image.nii", sform=(affine(shear=0.1), 2))
    assert_refused(
        radsynth("map", path, "-o", tmp_path / "map.nii.gz"),
        "has a sheared sform: its axes are not orthonormal (right angles would move voxels by up to 0.83",
    )


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_little_shear_is_read_and_told(tmp_path, caplog, suffix):
    matrix = affine(shear=0.002, angle=0.2)
    source = write(tmp_path / f"image{suffix}", sform=(matrix, 2), pixdim=(0.9, 0.9, 2.0))
    volume = read_image(source)
    (line,) = warnings_of(caplog)
    assert "the axes of its sform are not orthonormal; the nearest orthonormal ones are taken" in line
    assert "up to 0.02 voxels" in line
    axes = np.reshape(volume.direction, (3, 3))
    np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-6)
    far = volume.origin_mm + axes @ (np.array(volume.spacing_mm) * (11, 13, 5))
    true = np.array([-1, -1, 1]) * (matrix @ (11, 13, 5, 1))[:3]
    assert np.linalg.norm(far - true) < 0.03 * 0.9
    target = mapped(source, tmp_path / f"map{suffix}")
    np.testing.assert_allclose(nibabel.load(target).affine, matrix, atol=1e-5)
    found = itk_place(target)  # which ITK would refuse to read with the sform alone
    np.testing.assert_allclose(found, [*volume.spacing_mm, *volume.origin_mm, *volume.direction], atol=1e-4)


def test_a_sheared_sform_beside_a_qform_is_kept(tmp_path, caplog):
    matrix = affine(shear=0.3)
    source = write(tmp_path / "image.nii", qform=(affine(), 1), sform=(matrix, 4), pixdim=(0.9, 0.9, 2))
    target = mapped(source, tmp_path / "map.nii.gz")
    assert "its sform (MNI) and qform (scanner) differ" in warnings_of(caplog)[0]
    np.testing.assert_allclose(nibabel.load(target).affine, matrix, atol=1e-5)
    np.testing.assert_allclose(itk_place(target), itk_place(source), atol=1e-5)


# Masks


@pytest.mark.parametrize("followed", ["sform", "qform"])
def test_a_mask_on_either_form_is_on_the_grid(tmp_path, followed):
    matrices = {"sform": affine(angle=0.14), "qform": affine()}
    source = write(tmp_path / "image.nii", qform=(matrices["qform"], 1), sform=(matrices["sform"], 2))
    array = np.zeros(SHAPE)
    array[3:6, 2:5, 1:3] = 1
    mask = write(tmp_path / "mask.nii", sform=(matrices[followed], 2), array=array, dtype=np.uint8)
    np.testing.assert_array_equal(read_mask(mask, read_image(source)), array.T != 0)


def test_a_mask_that_itk_wrote_with_the_stated_spacing_is_on_the_grid(tmp_path):
    source = write(tmp_path / "image.nii", sform=(affine(spacing=(0.9, 0.9, 4.0)), 2), pixdim=(0.9, 0.9, 2.0))
    image = SimpleITK.ReadImage(str(source)) > 100
    SimpleITK.WriteImage(image, str(tmp_path / "mask.nii"))
    assert read_mask(tmp_path / "mask.nii", read_image(source)).any()


def test_a_mask_elsewhere_is_refused_and_not_resampled_to_two_places(tmp_path):
    source = write(tmp_path / "image.nii", qform=(affine(), 1), sform=(affine(angle=0.5), 2))
    array = np.ones(SHAPE)
    mask = write(tmp_path / "mask.nii", sform=(affine(origin=(0, 0, 0)), 2), array=array, dtype=np.uint8)
    volume = read_image(source)
    with pytest.raises(ValueError, match="must lie on the image's grid"):
        read_mask(mask, volume)
    with pytest.raises(
        ValueError, match="cannot be resampled: the image's sform and qform place it different"
    ):
        read_mask(mask, volume, MaskChoice(resample=True))


# Headers that are not read


@pytest.mark.parametrize("offset", [0, 348, 351, -352, np.nan, 352.5, np.inf])
def test_voxels_that_start_in_the_header_are_refused(tmp_path, offset):
    path = write(tmp_path / "image.nii", sform=(affine(), 2))
    content = bytearray(path.read_bytes())
    content[108:112] = np.float32(offset).tobytes()
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"voxels start at byte \S+ \(vox_offset\), expected 352 or more"):
        read_image(path)


@pytest.mark.parametrize(
    ("slope", "intercept", "accepted"),
    [
        (0, 3, False), (np.nan, 3, False), (2, np.nan, False), (2, np.inf, False),
        (0, 0, True), (np.nan, np.nan, True), (1, 3, True), (2, 0, True),
    ],
)  # fmt: skip
def test_scalings_that_tools_read_differently_are_refused(tmp_path, slope, intercept, accepted):
    path = write(tmp_path / "image.nii", sform=(affine(), 2))
    stored = read_image(path).array
    content = bytearray(path.read_bytes())
    content[112:120] = np.float32([slope, intercept]).tobytes()
    path.write_bytes(content)
    if not accepted:
        with pytest.raises(ValueError, match=r"states scl_slope \S+ and scl_inter \S+, which tools read"):
            read_image(path)
        return
    scaled = stored * slope + intercept if slope > 0 else stored
    np.testing.assert_array_equal(read_image(path).array, scaled)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_nifti_2_is_refused_by_name(tmp_path, suffix):
    path = tmp_path / f"image{suffix}"
    nibabel.save(nibabel.Nifti2Image(np.zeros(SHAPE, np.int16), affine()), path)
    with pytest.raises(ValueError, match="is NIfTI-2, which is not read; convert it to NIfTI-1, for example"):
        read_image(path)


def test_a_pair_named_as_one_file_is_refused(tmp_path):
    path = write(tmp_path / "image.nii", sform=(affine(), 2))
    content = bytearray(path.read_bytes())
    content[344:348] = b"ni1\0"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="must be one NIfTI-1 file, got half of a header and image pair"):
        read_image(path)


def test_a_type_that_is_not_read_is_named(tmp_path):
    path = write(tmp_path / "image.nii", sform=(affine(), 2))
    content = bytearray(path.read_bytes())
    content[70:72] = np.int16(1536).tobytes()
    path.write_bytes(content)
    with pytest.raises(
        ValueError, match="has voxels of NIfTI data type 1536, which is not read; convert them"
    ):
        read_image(path)


def test_the_sign_of_an_infinity_follows_the_slope(tmp_path):
    array = np.ones(SHAPE)
    array[0, 0, 0], array[1, 1, 1] = np.inf, np.nan
    path = write(tmp_path / "image.nii", sform=(affine(), 2), array=array, dtype=np.float32)
    content = bytearray(path.read_bytes())
    content[112:120] = np.array([-2, 5], "<f4").tobytes()
    path.write_bytes(content)
    found = read_image(path).array
    assert found[0, 0, 0] == -np.inf
    assert np.isnan(found[1, 1, 1])
    assert found[2, 2, 2] == 3


def test_voxels_that_the_header_does_not_state_are_told(tmp_path, caplog):
    path = write(tmp_path / "image.nii", qform=(affine(), 1))
    content = bytearray(path.read_bytes())
    content[42:44] = np.int16(SHAPE[0] - 1).tobytes()  # rows of voxels would be shifted against each other
    path.write_bytes(content)
    read_image(path)
    surplus = 2 * SHAPE[1] * SHAPE[2]
    assert warnings_of(caplog) == [
        f"{path} has {surplus} bytes after the voxels that its header states; its sizes may be wrong"
    ]


@pytest.mark.parametrize("seed", range(60))
def test_mutated_headers_are_refused_or_read(tmp_path, seed):
    rng = np.random.default_rng(seed)
    path = write(tmp_path / "image.nii", qform=(affine(), 1), sform=(affine(), 2))
    content = bytearray(path.read_bytes())
    for place in rng.integers(0, 352, 6):
        content[place] = rng.integers(256)
    path.write_bytes(content)
    read_or_refused_in_a_line(path)
