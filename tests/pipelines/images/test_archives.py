"""Zip archives of images: read in place, refused where they could do harm."""

from __future__ import annotations

import shutil
import struct
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from helpers.commands import radsynth
from helpers.dicom import write_series
from helpers.reading import read_or_refused_in_a_line

from pipelines.images import archives
from pipelines.images.archives import opened
from pipelines.images.dicom.series import Choice
from pipelines.images.reading import read_image


@pytest.fixture(autouse=True)
def own_temporary_folder(tmp_path, monkeypatch):
    """Let archives be unpacked where the test can see what is left of them."""
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    yield
    assert list(place.iterdir()) == []


def packed(path: Path, folder: Path, **options) -> Path:
    with zipfile.ZipFile(path, "w", **options) as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder))
    return path


def test_a_series_in_folders_in_an_archive(tmp_path, rng):
    (tmp_path / "study" / "patient").mkdir(parents=True)
    pixels = write_series(tmp_path / "study" / "patient" / "series", rng)
    path = packed(tmp_path / "study.ZIP", tmp_path / "study", compression=zipfile.ZIP_DEFLATED)
    np.testing.assert_array_equal(read_image(path).array, pixels)


def test_sources_are_there_as_long_as_the_archive_is_open(tmp_path, rng):
    write_series(tmp_path / "study", rng)
    path = packed(tmp_path / "study.zip", tmp_path / "study")
    with opened(path) as place:
        sources = read_image(place).sources
        assert all(source.is_file() for source in sources)
    assert not any(source.exists() for source in sources)


def test_one_image_of_another_format(tmp_path):
    image = SimpleITK.GetImageFromArray(np.arange(60, dtype=np.int16).reshape(3, 4, 5))
    (tmp_path / "in").mkdir()
    SimpleITK.WriteImage(image, str(tmp_path / "in" / "a.nrrd"))
    (tmp_path / "in" / "readme.txt").write_text("hello")
    path = packed(tmp_path / "one.zip", tmp_path / "in")
    np.testing.assert_array_equal(read_image(path).array.ravel(), np.arange(60))
    SimpleITK.WriteImage(image, str(tmp_path / "in" / "b.nii.gz"))
    with pytest.raises(ValueError, match=r"two\.zip holds 2 images \(a\.nrrd, b\.nii\.gz\); unpack it"):
        read_image(packed(tmp_path / "two.zip", tmp_path / "in"))


def test_a_message_names_the_archive_not_where_it_was_unpacked(tmp_path, rng):
    write_series(tmp_path / "study", rng, places=(0.0, 2.5, 7.5))
    path = packed(tmp_path / "study.zip", tmp_path / "study")
    with pytest.raises(ValueError, match=rf"^{path}: slices must be equally spaced"):
        read_image(path)
    with pytest.raises(ValueError, match="holds one volume and no phases") as caught:
        read_image(path, Choice(phase=4))
    assert "radsynth-" not in str(caught.value)


def test_a_warning_names_the_archive_not_where_it_was_unpacked(tmp_path):
    image = SimpleITK.GetImageFromArray(np.arange(60, dtype=np.int16).reshape(3, 4, 5))
    (tmp_path / "in").mkdir()
    SimpleITK.WriteImage(image, str(tmp_path / "in" / "a.nii"))
    with (tmp_path / "in" / "a.nii").open("ab") as file:
        file.write(b"more")
    path = packed(tmp_path / "one.zip", tmp_path / "in")
    result = radsynth("map", path, "-o", tmp_path / "map.nrrd", "--backend", "cpu")
    assert result.stderr == (
        f"{path}/a.nii has 4 bytes after the voxels that its header states; its sizes may be wrong\n"
    )
    assert radsynth("map", tmp_path / "in" / "a.nii", "-o", tmp_path / "b.nrrd").stderr.startswith(
        f"{tmp_path / 'in' / 'a.nii'} has 4 bytes"
    )


@pytest.mark.parametrize("name", ["../evil", "/evil", "a/../../evil", "..\\evil", "C:evil"])
def test_a_path_out_of_the_archive_is_refused_before_anything_is_written(tmp_path, name):
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        archive.writestr("good.txt", "x")
        archive.writestr(name, "x")
    with pytest.raises(ValueError, match=r"z\.zip contains a path outside its own folder"):
        read_image(tmp_path / "z.zip")
    assert not list(tmp_path.rglob("evil*"))


def test_a_link_is_refused(tmp_path):
    entry = zipfile.ZipInfo("link")
    entry.create_system, entry.external_attr = 3, 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        archive.writestr(entry, "/etc/passwd")
    with pytest.raises(ValueError, match=r"z\.zip contains a symbolic link \(link\)"):
        read_image(tmp_path / "z.zip")


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "z.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(1_000_000))
    monkeypatch.setattr(archives, "_SMALL_BYTES", 1000)
    with pytest.raises(ValueError, match=r"z\.zip would unpack from 0 to 1 MB, more than 100 times its size"):
        read_image(tmp_path / "z.zip")


def test_a_bomb_that_lies_about_its_size_is_not_unpacked_further(tmp_path):
    path = tmp_path / "z.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(1_000_000))
    content = path.read_bytes()
    path.write_bytes(content.replace(struct.pack("<L", 1_000_000), struct.pack("<L", 1000)))
    with pytest.raises(ValueError, match=r"z\.zip is a damaged zip archive: 'zeros' cannot be unpacked"):
        read_image(path)


def test_a_full_disk_is_told_before_anything_is_written(tmp_path, rng, monkeypatch):
    write_series(tmp_path / "study", rng)
    path = packed(tmp_path / "study.zip", tmp_path / "study")
    usage = shutil.disk_usage(tmp_path)._replace(free=100)
    monkeypatch.setattr(archives.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(OSError, match=r"study\.zip unpacks to 0 MB and 0 MB are free; make room"):
        read_image(path)


def test_an_encrypted_archive_is_refused(tmp_path):
    path = tmp_path / "z.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a", "x")
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"z\.zip is encrypted; unpack it with its password"):
        read_image(path)


@pytest.mark.parametrize("keep", [0, 10, 200])
def test_a_truncated_archive_is_refused(tmp_path, rng, keep):
    write_series(tmp_path / "study", rng)
    path = packed(tmp_path / "study.zip", tmp_path / "study")
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"study\.zip is not a zip archive, or is truncated; copy it again"):
        read_image(path)


def archive_of(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize("seed", range(30))
def test_a_damaged_archive_is_refused_or_read(tmp_path, seed):
    rng = np.random.default_rng(seed)
    image = tmp_path / "image.nrrd"
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(np.zeros((3, 4, 5), np.int16)), str(image))
    path = archive_of(tmp_path / "z.zip", [("a/image.nrrd", image.read_bytes()), ("notes.txt", b"x" * 500)])
    content = bytearray(path.read_bytes())
    for place in rng.integers(0, len(content), 3):
        content[place] = rng.integers(256)
    path.write_bytes(content)
    read_or_refused_in_a_line(path)


def test_a_damaged_file_in_an_archive_is_named(tmp_path, rng):
    path = archive_of(tmp_path / "z.zip", [("a/image.raw", rng.bytes(5000))])
    content = bytearray(path.read_bytes())
    content[200] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"z\.zip is a damaged zip archive: 'a/image\.raw' cannot"):
        read_image(path)


@pytest.mark.parametrize("name", [".", ""])
def test_a_file_without_a_name_is_refused(tmp_path, name):
    path = archive_of(tmp_path / "z.zip", [("a.txt", "x"), (name or "?", "x")])
    if not name:
        path.write_bytes(path.read_bytes().replace(b"?", b"\0"))
    with pytest.raises(ValueError, match=rf"z\.zip has a file without a name \('{name}'\); pack it again"):
        read_image(path)


def test_two_files_of_one_name_are_refused(tmp_path):
    with pytest.warns(UserWarning, match="Duplicate name"):
        path = archive_of(tmp_path / "z.zip", [("a.nrrd", "x"), ("a.nrrd", "y")])
    with pytest.raises(ValueError, match=r"z\.zip has two files named a\.nrrd; pack it again"):
        read_image(path)


def test_an_unknown_compression_is_named(tmp_path):
    path = archive_of(tmp_path / "z.zip", [("a.nrrd", "x" * 99)])
    path.write_bytes(path.read_bytes().replace(struct.pack("<HH", 0, 8), struct.pack("<HH", 0, 97)))
    with pytest.raises(ValueError, match=r"a\.nrrd is compressed by a method that is not read"):
        read_image(path)


@pytest.mark.parametrize("name", ["/etc/passwd", "../../../etc/passwd"])
def test_a_header_in_an_archive_reads_nothing_outside(tmp_path, name):
    header = f"NRRD0004\ntype: uchar\ndimension: 2\nsizes: 4 4\nencoding: raw\ndata file: {name}\n"
    path = archive_of(tmp_path / "z.zip", [("a.nhdr", header)])
    with pytest.raises(ValueError, match=r"z\.zip.* names .*etc/passwd for its voxels, which is outside"):
        read_image(path)


def test_a_header_with_data_in_a_subfolder_of_an_archive(tmp_path):
    header = "NDims = 2\nDimSize = 4 4\nElementType = MET_UCHAR\nElementDataFile = data/a.raw\n"
    path = archive_of(tmp_path / "z.zip", [("a.mhd", header), ("data/a.raw", bytes(range(16)))])
    np.testing.assert_array_equal(read_image(path).array.ravel(), np.arange(16))


def test_dicom_beside_another_image_is_to_be_named(tmp_path, rng):
    pixels = write_series(tmp_path / "series", rng)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(pixels), str(tmp_path / "mask.nii"))
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for path in (tmp_path / "mask.nii", *(tmp_path / "series").iterdir()):
            archive.write(path, path.name)
    with pytest.raises(ValueError, match=r"a\.zip holds DICOM files and mask\.nii; unpack it and name"):
        read_image(tmp_path / "a.zip")
