"""Images in, maps out: geometry kept, bad files refused, outputs whole or absent."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from helpers import TESTS
from helpers.dicom import write_slice
from helpers.volumes import IDENTITY

from glcm_cuda import GLCMSettings
from glcm_cuda.levels.arrays import bounding_box
from pipelines.images.formats import nifti
from pipelines.images.masks import MaskChoice, read_labels, read_mask
from pipelines.images.output_paths import named_after, refuse_input_as_output
from pipelines.images.provenance import provenance, sha256_of
from pipelines.images.reading import read_image
from pipelines.images.volume import Volume, image_of
from pipelines.images.writing import write_map, write_volume

ANGLE = 0.3
ROTATION = (
    np.cos(ANGLE), -np.sin(ANGLE), 0.0,
    np.sin(ANGLE) * 0.8, np.cos(ANGLE) * 0.8, -0.6,
    np.sin(ANGLE) * 0.6, np.cos(ANGLE) * 0.6, 0.8,
)  # fmt: skip
FORMATS = [".nii", ".nii.gz", ".nrrd", ".mha"]


def oblique(rng):
    array = rng.integers(-50, 1000, (4, 7, 6)).astype(np.int16)
    return Volume(array, (0.7, 0.8, 3.1), (-12.5, 40.25, 7.0), ROTATION)


def flat(rng):
    return Volume(rng.random((9, 8)).astype(np.float32), (0.5, 0.6), (-3.0, 4.0), (1.0, 0.0, 0.0, 1.0))


def assert_same_place(one, two):
    # NIfTI keeps its geometry in float32.
    for field in ("spacing_mm", "origin_mm", "direction"):
        np.testing.assert_allclose(
            getattr(one, field), getattr(two, field), atol=2e-6, rtol=1e-6, err_msg=field
        )


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("make", [oblique, flat])
def test_a_map_keeps_values_and_geometry(tmp_path, rng, suffix, make):
    volume = make(rng)
    entropy = rng.random(volume.array.shape).astype(np.float32)
    entropy.flat[3] = np.nan
    path = tmp_path / "made" / f"map{suffix}"
    write_map(entropy, volume, path, provenance={"unit": "bits"})
    found = read_image(path)
    assert found.array.dtype == np.float32
    np.testing.assert_array_equal(found.array, entropy)
    assert_same_place(found, volume)
    assert json.loads((tmp_path / "made" / f"map{suffix}.json").read_text()) == {"unit": "bits"}
    assert sorted(part.name for part in path.parent.iterdir()) == [f"map{suffix}", f"map{suffix}.json"]


@pytest.mark.parametrize("suffix", FORMATS)
def test_every_voxel_lies_where_it_lay(tmp_path, rng, suffix):
    volume = oblique(rng)
    write_map(np.zeros(volume.array.shape), volume, tmp_path / f"map{suffix}", provenance={})
    image = SimpleITK.ReadImage(str(tmp_path / f"map{suffix}"))
    direction, spacing = np.array(volume.direction).reshape(3, 3), np.array(volume.spacing_mm)
    for z, y, x in np.ndindex(volume.array.shape):
        expected = volume.origin_mm + direction @ (spacing * (x, y, z))
        np.testing.assert_allclose(image.TransformIndexToPhysicalPoint((x, y, z)), expected, atol=1e-4)


@pytest.mark.parametrize("make", [oblique, flat])
def test_a_part_lies_where_it_lay(rng, make):
    volume = make(rng)
    box = (slice(1, 4), slice(2, 6), slice(3, 5))[-volume.array.ndim :]
    part = volume.cropped(box)
    np.testing.assert_array_equal(part.array, volume.array[box])
    whole, cut = (image_of(one) for one in (volume, part))
    start = [piece.start for piece in reversed(box)]
    place = whole.TransformIndexToPhysicalPoint(start)
    np.testing.assert_allclose(cut.TransformIndexToPhysicalPoint([0] * len(box)), place, atol=1e-9)
    assert (part.spacing_mm, part.direction) == (volume.spacing_mm, volume.direction)


def test_the_box_of_a_mask_is_clipped_at_the_image():
    mask = np.zeros((5, 9, 8), bool)
    mask[1, 2:4, 7] = mask[3, 5, 6] = True
    assert bounding_box(mask, 0) == (slice(1, 4), slice(2, 6), slice(6, 8))
    assert bounding_box(mask, 2) == (slice(0, 5), slice(0, 8), slice(4, 8))


@pytest.mark.parametrize("suffix", FORMATS)
def test_the_name_of_a_feature_stands_before_the_suffix(suffix):
    assert named_after(Path(f"a/b.c{suffix}"), "idm") == Path(f"a/b.c_idm{suffix}")


@pytest.mark.parametrize(
    ("feature", "unit", "kind"),
    [
        ("joint_entropy", "nats", "GLCM entropy map"),
        ("sum_entropy", "nats", "GLCM feature map"),
        ("mcc", None, "GLCM feature map"),
    ],
)
def test_provenance_names_the_feature_and_its_unit(tmp_path, feature, unit, kind):
    (tmp_path / "a.nii").write_text("x")
    record = provenance(
        source=tmp_path / "a.nii",
        settings=GLCMSettings(log_base="e"),
        intensity_range=(0, 1),
        backend="cpu",
        feature=feature,
    )
    assert (record["unit"], record["kind"], record["feature"]["name"]) == (unit, kind, feature)
    assert (record["source"], record["source_sha256"]) == ("a.nii", sha256_of(tmp_path / "a.nii"))


@pytest.mark.parametrize("suffix", [*FORMATS, ".mhd"])
def test_reading_keeps_the_type_of_the_voxels(tmp_path, rng, suffix):
    volume = oblique(rng)
    image = SimpleITK.GetImageFromArray(volume.array)
    SimpleITK.WriteImage(image, str(tmp_path / f"image{suffix}"))
    found = read_image(tmp_path / f"image{suffix}")
    assert found.array.dtype == np.int16
    np.testing.assert_array_equal(found.array, volume.array)


@pytest.mark.parametrize("fraction", [0.0, 0.001, 0.3, 0.9, 0.999])
@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("suffix", FORMATS)
def test_truncated_images_are_refused(tmp_path, rng, capfd, suffix, compressed, fraction):
    path = tmp_path / f"image{suffix}"
    array = rng.integers(0, 1000, (6, 50, 60)).astype(np.int16)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(array), str(path), compressed)
    content = path.read_bytes()
    path.write_bytes(content[: int(fraction * len(content))])
    with pytest.raises(ValueError, match=r"image\.\S+ (is truncated|must be a readable)") as error:
        read_image(path)
    assert "\n" not in str(error.value)
    assert capfd.readouterr() == ("", "")


def test_a_damaged_nifti_is_refused(tmp_path, rng):
    path = tmp_path / "image.nii.gz"
    array = rng.integers(0, 1000, (6, 200, 200)).astype(np.int16)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(array), str(path))
    content = bytearray(path.read_bytes())
    content[-6] ^= 0xFF  # in the checksum
    path.write_bytes(content)
    with pytest.raises(ValueError, match="is truncated or damaged: its compressed data are corrupt"):
        read_image(path)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("suffix", FORMATS)
def test_nan_and_infinities_are_read(tmp_path, rng, suffix, dtype):
    array = rng.random((3, 400, 400)).astype(dtype)  # more than one block of the scan
    array[0, 0, 0], array[1, 20, 30], array[2, 399, 399] = np.nan, np.inf, -np.inf
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(array), str(tmp_path / f"image{suffix}"))
    np.testing.assert_array_equal(read_image(tmp_path / f"image{suffix}").array, array)


@pytest.mark.parametrize("order", "<>")
def test_both_byte_orders_of_nifti_are_scanned(tmp_path, order):
    header = bytearray(348)
    struct.pack_into(f"{order}i", header, 0, 348)
    struct.pack_into(f"{order}8h", header, 40, 3, 5, 4, 3, 1, 1, 1, 1)
    struct.pack_into(f"{order}2h", header, 70, 64, 64)
    struct.pack_into(f"{order}8f", header, 76, *[1.0] * 8)
    struct.pack_into(f"{order}f", header, 108, 600.0)
    header[344:348] = b"n+1\0"
    voxels = np.zeros(60, f"{order}f8")
    voxels[7], voxels[59] = -np.inf, np.nan
    path = tmp_path / "image.nii"
    path.write_bytes(bytes(header).ljust(600, b"\0") + voxels.tobytes())
    found = nifti.scan(path)
    assert found.places.tolist() == [7, 59]
    np.testing.assert_array_equal(found.values, [-np.inf, np.nan])
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match="its header states 480 bytes of voxels, got 479"):
        nifti.scan(path)
    path.write_bytes(b"x" * 400)
    with pytest.raises(ValueError, match="truncated or no NIfTI file: its header is incomplete"):
        nifti.scan(path)


def test_half_of_a_pair_is_refused(tmp_path):
    image = SimpleITK.GetImageFromArray(np.zeros((3, 4, 5), np.float32))
    SimpleITK.WriteImage(image, str(tmp_path / "image.img"))
    with pytest.raises(ValueError, match=r"image\.img must be one file, got half of a header and image pair"):
        read_image(tmp_path / "image.img")


def test_a_missing_image_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"image .*nothing\.nii does not exist"):
        read_image(tmp_path / "nothing.nii")


@pytest.mark.parametrize("name", ["notes.txt", "notes.nii", "notes.nii.gz", "notes.nrrd", "notes.mha"])
def test_what_is_no_image_is_refused(tmp_path, capfd, name):
    (tmp_path / name).write_text("not an image, whatever its name says\n" * 30)
    with pytest.raises(
        ValueError, match=rf"{re.escape(name)} must be a readable NIfTI, NRRD, MHA or DICOM image"
    ):
        read_image(tmp_path / name)
    assert capfd.readouterr() == ("", "")


def write_colour(path):
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(np.zeros((5, 6, 3), np.uint8), isVector=True), str(path))


@pytest.mark.parametrize("name", ["photo.nrrd", "photo.mha", "photo.nii"])
def test_colour_images_are_refused(tmp_path, name):
    write_colour(tmp_path / name)
    with pytest.raises(
        ValueError, match=r"must hold one number per voxel, got 3 \(a colour or vector image\)"
    ):
        read_image(tmp_path / name)


@pytest.mark.parametrize("name", ["photo.png", "photo.tif", "photo.jpg"])
def test_other_formats_are_no_input(tmp_path, name):
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(np.zeros((5, 6), np.uint8)), str(tmp_path / name))
    with pytest.raises(
        ValueError, match=r"must be a readable NIfTI, NRRD, MHA or DICOM image, got a \w+ image"
    ):
        read_image(tmp_path / name)


def test_a_lost_dicom_file_says_what_it_is(tmp_path, rng):
    write_slice(tmp_path / "a.dcm", rng.integers(0, 9, (6, 5)), (0, 0, 0))
    packed, zeros = tmp_path / "a.dcm.gz", tmp_path / "b.dcm"
    packed.write_bytes(gzip.compress((tmp_path / "a.dcm").read_bytes()))
    zeros.write_bytes(bytes(5000))
    with pytest.raises(ValueError, match=r"a\.dcm\.gz is DICOM packed by gzip; unpack it"):
        read_image(packed)
    with pytest.raises(ValueError, match=r"b\.dcm holds zeros alone; copy or export it again"):
        read_image(zeros)


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_truncated_voxels_are_said_plainly(tmp_path, rng, suffix):
    path = tmp_path / f"image{suffix}"
    write_volume(oblique(rng), path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(
        ValueError,
        match=r"is truncated or damaged: (its compressed voxels cannot be read|the file is shorter than it "
        r"says, 336 bytes of voxels expected, got \d+); copy",
    ) as error:
        read_image(path)
    assert not re.search(r"No such file|_nrrd|ITK", str(error.value))


def test_four_dimensions_are_refused(tmp_path):
    image = SimpleITK.GetImageFromArray(np.zeros((2, 3, 4, 5), np.float32), isVector=False)
    SimpleITK.WriteImage(image, str(tmp_path / "series.nii"))
    with pytest.raises(ValueError, match=r"must be 2D or 3D, got 4D \(5x4x3x2\); extract one volume"):
        read_image(tmp_path / "series.nii")


def test_complex_images_are_refused(tmp_path):
    image = SimpleITK.GetImageFromArray(np.zeros((3, 4, 5), np.complex64))
    SimpleITK.WriteImage(image, str(tmp_path / "raw.nii"))
    with pytest.raises(ValueError, match="one real number per voxel, got complex numbers"):
        read_image(tmp_path / "raw.nii")


# Masks


@pytest.fixture
def volume(rng):
    return oblique(rng)


def write_mask(path, volume, values=None, **changes):
    values = np.ones(volume.array.shape, np.uint8) if values is None else values
    write_volume(replace(volume, array=values, **changes), path)
    return path


def test_masks_and_labels_are_read(tmp_path, volume, rng):
    values = rng.integers(0, 4, volume.array.shape).astype(np.uint8)
    path = write_mask(tmp_path / "mask.nii.gz", volume, values)
    np.testing.assert_array_equal(read_mask(path, volume), values != 0)
    np.testing.assert_array_equal(read_mask(path, volume, MaskChoice(label=2)), values == 2)
    labels = read_labels(path, volume)
    assert labels.dtype == np.uint8
    np.testing.assert_array_equal(labels, values)


def test_labels_stored_as_floats_are_read(tmp_path, volume):
    values = np.full(volume.array.shape, 3.0, np.float32)
    assert read_labels(write_mask(tmp_path / "mask.nrrd", volume, values), volume).max() == 3


@pytest.mark.parametrize("read", [read_mask, read_labels])
@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"spacing_mm": (0.7, 0.8, 3.2)}, r"spacing \(0.7, 0.8, 3.2\) where the image has \(0.7, 0.8, 3.1\)"),
        (
            {"origin_mm": (-12.5, 40.35, 7.0)},
            r"origin \(-12.5, 40.35, 7.0\) where the image has \(-12.5, 40.25, 7.0\)",
        ),
        ({"direction": IDENTITY}, r"direction \(1.0, 0.0, .*\) where the image has \(0.9553, -0.2955,.*"),
    ],
)
def test_another_geometry_is_refused(tmp_path, volume, read, changes, line):
    path = write_mask(tmp_path / "mask.nrrd", volume, **changes)
    with pytest.raises(ValueError, match=f"must lie on the image's grid, got {line}; resample it"):
        read(path, volume)


@pytest.mark.parametrize("read", [read_mask, read_labels])
def test_another_size_is_refused(tmp_path, volume, read):
    path = write_mask(tmp_path / "mask.nrrd", volume, np.ones((4, 6, 7), np.uint8))
    with pytest.raises(ValueError, match=r"got size \(7, 6, 4\) where the image has \(6, 7, 4\)"):
        read(path, volume)


def test_rounding_of_the_format_is_no_other_geometry(tmp_path, volume):
    changes = {"spacing_mm": (0.70001, 0.8, 3.1), "origin_mm": (-12.5001, 40.25, 7.0)}
    assert read_mask(write_mask(tmp_path / "mask.nii", volume, **changes), volume).all()


@pytest.mark.parametrize("read", [read_mask, read_labels])
def test_an_empty_mask_is_refused(tmp_path, volume, read):
    path = write_mask(tmp_path / "mask.nii", volume, np.zeros(volume.array.shape, np.uint8))
    with pytest.raises(ValueError, match=r"mask\.nii must have non-zero voxels, got none"):
        read(path, volume)


@pytest.mark.parametrize(("read", "name"), [(read_mask, "mask"), (read_labels, "labels")])
def test_a_missing_mask_is_refused(tmp_path, volume, read, name):
    with pytest.raises(FileNotFoundError, match=rf"{name} .*none\.nii does not exist"):
        read(tmp_path / "none.nii", volume)


def test_a_label_that_is_not_there_lists_those_that_are(tmp_path, volume, rng):
    values = rng.choice([0, 1, 3], volume.array.shape).astype(np.uint8)
    path = write_mask(tmp_path / "mask.nii", volume, values)
    with pytest.raises(ValueError, match=r"has no voxel of label 2; labels present: 1, 3$"):
        read_mask(path, volume, MaskChoice(label=2))


@pytest.mark.parametrize("label", [None, 1])
def test_a_mask_with_nan_is_refused(tmp_path, volume, label):
    values = np.ones(volume.array.shape, np.float32)
    values[0, 0, :2] = np.nan, np.inf
    path = write_mask(tmp_path / "mask.nii", volume, values)
    with pytest.raises(ValueError, match=r"mask .*mask\.nii must hold finite numbers, got 2 NaN or infinite"):
        read_mask(path, volume, MaskChoice(label=label))


@pytest.mark.parametrize("value", [1.5, -1.0, 300.0, np.nan])
def test_labels_that_are_no_labels_are_refused(tmp_path, volume, value):
    values = np.full(volume.array.shape, value, np.float32)
    with pytest.raises(ValueError, match=rf"must be whole numbers from 0 to 255, got {value}"):
        read_labels(write_mask(tmp_path / "mask.nii", volume, values), volume)


# Writing


@pytest.mark.parametrize("name", ["map.png", "map.mhd", "map", "map.dcm", "map.gz", "map.NII.GZ"])
def test_other_formats_are_refused(tmp_path, volume, name):
    with pytest.raises(
        ValueError,
        match=rf"must end in one of \.nii, \.nii\.gz, \.nrrd, \.mha \(\.dcm from DICOM\), got {name}",
    ):
        write_map(np.zeros(volume.array.shape), volume, tmp_path / name, provenance={})


def test_a_map_of_another_shape_is_refused(tmp_path, volume):
    with pytest.raises(ValueError, match=r"map must have the image's shape \(4, 7, 6\), got \(4, 6, 7\)"):
        write_map(np.zeros((4, 6, 7)), volume, tmp_path / "map.nii", provenance={})


@pytest.mark.parametrize("existing", ["map.nii", "map.nii.json"])
def test_existing_outputs_need_force(tmp_path, volume, existing):
    (tmp_path / existing).write_text("old")
    zeros = np.zeros(volume.array.shape)
    with pytest.raises(FileExistsError, match=rf"{existing} exists; give --force"):
        write_map(zeros, volume, tmp_path / "map.nii", provenance={})
    assert [path.name for path in tmp_path.iterdir()] == [existing]
    assert (tmp_path / existing).read_text() == "old"
    write_map(zeros, volume, tmp_path / "map.nii", provenance={}, force=True)
    np.testing.assert_array_equal(read_image(tmp_path / "map.nii").array, zeros)


def test_a_folder_as_output_is_refused(tmp_path, volume):
    (tmp_path / "map.nii").mkdir()
    with pytest.raises(IsADirectoryError, match=r"map\.nii must be a file name, got a folder"):
        write_map(np.zeros(volume.array.shape), volume, tmp_path / "map.nii", provenance={}, force=True)


def test_an_input_is_no_output(tmp_path):
    image, data, series = tmp_path / "image.mhd", tmp_path / "image.raw", tmp_path / "series"
    image.write_text("ElementDataFile = image.raw\n")
    data.write_bytes(b"voxels")
    series.mkdir()
    (tmp_path / "link.nii").symlink_to(data)
    for output in (image, data, tmp_path / "link.nii", series / ".." / "image.raw"):
        with pytest.raises(ValueError, match="is an input and must not be overwritten; choose another name"):
            refuse_input_as_output(output, series, image)
    for inside in (series / "new.nii", series / "new" / "new.nii"):
        with pytest.raises(ValueError, match=r"new\.nii must not lie in the input folder .*series; choose"):
            refuse_input_as_output(inside, image, series)
    refuse_input_as_output(tmp_path / "map.nii", image, series, tmp_path / "missing.nii")


FULL_DISK = """
import resource, signal, sys
import numpy as np
sys.path.insert(0, {tests!r})
from helpers.volumes import straight
from pipelines.images.writing import write_map
rng = np.random.default_rng(0)
volume = straight(rng.random((6, 50, 60)))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
try:
    write_map(volume.array, volume, {path!r}, provenance={{}}, force=True)
except OSError as error:
    print(error)
"""


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_full_disk_leaves_existing_outputs_untouched(tmp_path, suffix):
    path = tmp_path / f"map{suffix}"
    path.write_text("old")
    script = FULL_DISK.format(tests=TESTS, path=str(path))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert re.match(
        r"could not write .*map\.\S+ completely \(\d+ MB free on that disk\); free some space", done.stdout
    )
    assert done.stdout.count("\n") == 1
    assert done.stderr == ""
    assert [part.name for part in tmp_path.iterdir()] == [path.name]
    assert path.read_text() == "old"


def test_a_failing_writer_leaves_nothing(tmp_path, volume, monkeypatch):
    def fail(*_):
        msg = "itk::ExceptionObject\nmany lines"
        raise RuntimeError(msg)

    monkeypatch.setattr(SimpleITK, "WriteImage", fail)
    with pytest.raises(OSError, match=r"could not write .*map\.mha completely \(\d+ MB free"):
        write_map(np.zeros(volume.array.shape), volume, tmp_path / "map.mha", provenance={})
    assert list(tmp_path.iterdir()) == []


# Provenance


def test_sha256_of_a_file_a_folder_and_a_detached_header(tmp_path):
    (tmp_path / "b").write_bytes(b"second")
    (tmp_path / "a").write_bytes(b"first")
    (tmp_path / ".hidden").write_bytes(b"not counted")
    assert sha256_of(tmp_path / "a") == hashlib.sha256(b"first").hexdigest()
    assert sha256_of(tmp_path) == hashlib.sha256(b"firstsecond").hexdigest()
    (tmp_path / "image.mhd").write_text("ObjectType = Image\nElementDataFile = a\n")
    header = (tmp_path / "image.mhd").read_bytes()
    assert sha256_of(tmp_path / "image.mhd") == hashlib.sha256(header + b"first").hexdigest()


def test_provenance_says_how_a_map_was_made(tmp_path):
    (tmp_path / "image.nii").write_bytes(b"voxels")
    settings = GLCMSettings(log_base="e", levels=32)
    record = provenance(
        source=tmp_path / "image.nii",
        settings=settings,
        intensity_range=(0.0, 9.0),
        backend="cpu",
        mask="m.nii",
    )
    assert record["source"] == "image.nii"  # without the folder
    assert record["source_sha256"] == hashlib.sha256(b"voxels").hexdigest()
    assert GLCMSettings.from_dict(record["settings"]) == settings
    assert (record["unit"], record["intensity_range"], record["backend"]) == ("nats", [0.0, 9.0], "cpu")
    assert record["mask"] == "m.nii"
    assert set(record["software"]) == {"radsynth", "python", "numpy", "numba", "SimpleITK"}
    assert json.loads(json.dumps(record)) == record


# Real images


@pytest.mark.parametrize(
    ("name", "shape", "spacing"),
    [
        ("breast_ucsf/UCSF-BR-06_post1.nii.gz", (60, 256, 256), (0.703, 0.703, 2.0)),
        ("pyradiomics/brain1_image.nrrd", (25, 256, 256), (0.78, 0.78, 6.5)),
        ("sts_mr/STS_002_MR_T1_image.nii.gz", (35, 90, 115), (0.977, 0.977, 3.27)),
    ],
)
def test_real_images(data_dir, name, shape, spacing):
    volume = read_image(data_dir / name)
    assert volume.array.shape == shape
    np.testing.assert_allclose(volume.spacing_mm, spacing, atol=0.01)


def test_real_masks(data_dir):
    volume = read_image(data_dir / "breast_ucsf" / "UCSF-BR-06_post1.nii.gz")
    mask = read_mask(data_dir / "breast_ucsf" / "UCSF-BR-06_tissue_mask.nii.gz", volume)
    assert np.count_nonzero(mask) == 82527
    with pytest.raises(ValueError, match="must lie on the image's grid, got size"):
        read_mask(data_dir / "sts_mr" / "STS_002_MR_T1_mask.nii.gz", volume)
