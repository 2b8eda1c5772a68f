"""Outputs appear whole or not at all."""

from __future__ import annotations

import errno
import os

import pytest

from glcm_cuda.base.files import refuse_unwritable, replacing


def test_the_output_appears_when_the_block_ends(tmp_path):
    target = tmp_path / "new" / "map.nii.gz"
    with replacing(target) as temporary:
        temporary.write_text("whole")
        assert temporary.name.endswith("map.nii.gz")
        assert not target.exists()
    assert target.read_text() == "whole"
    assert list(target.parent.iterdir()) == [target]


def test_a_failure_leaves_the_old_output_and_nothing_else(tmp_path):
    def fail_midway(path):
        path.write_text("half")
        msg = "disk"
        raise OSError(msg)

    target = tmp_path / "map.nrrd"
    target.write_text("old")
    with pytest.raises(OSError, match="disk"), replacing(target, force=True) as temporary:
        fail_midway(temporary)
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_an_existing_output_needs_force(tmp_path):
    target = tmp_path / "map.nrrd"
    target.write_text("old")
    with pytest.raises(FileExistsError, match=r"map.nrrd exists; give --force"), replacing(target):
        pytest.fail("the block must not run")
    with replacing(target, force=True) as temporary:
        temporary.write_text("new")
    assert target.read_text() == "new"


def test_a_folder_is_replaced_whole(tmp_path):
    target = tmp_path / "report"
    target.mkdir()
    (target / "stale.csv").write_text("old")
    with replacing(target, force=True) as temporary:
        temporary.mkdir()
        (temporary / "table.csv").write_text("new")
    assert [path.name for path in target.iterdir()] == ["table.csv"]


def fail_without_name(_):
    raise OSError(errno.EFBIG, "File too large")


def fail_on_the_temporary_name(path):
    raise OSError(errno.ENOSPC, "No space left on device", str(path))


def fail_inside_the_temporary_folder(path):
    path.mkdir()
    (path / "no" / "table.csv").write_text("x")


@pytest.mark.parametrize(
    ("fail", "error", "name"),
    [
        (fail_without_name, OSError, "map.nii"),
        (fail_on_the_temporary_name, OSError, "map.nii"),
        (fail_inside_the_temporary_folder, FileNotFoundError, "map.nii/no/table.csv"),
    ],
)
def test_errors_name_the_output_not_the_temporary(tmp_path, fail, error, name):
    with pytest.raises(error, match=r"map\.nii") as raised, replacing(tmp_path / "map.nii") as temporary:
        fail(temporary)
    assert raised.value.filename == str(tmp_path / name)
    assert ".tmp-" not in str(raised.value)
    assert list(tmp_path.iterdir()) == []


def test_errors_about_other_files_are_kept(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"other\.nii"), replacing(tmp_path / "map.nii"):
        (tmp_path / "other.nii").read_text()


def test_a_folder_that_cannot_be_written_is_refused(tmp_path, monkeypatch):
    refuse_unwritable(tmp_path / "new" / "folder" / "map.nii")
    monkeypatch.chdir(tmp_path)
    refuse_unwritable("map.nii")
    (tmp_path / "file").write_text("x")
    with pytest.raises(NotADirectoryError, match=r"cannot write into .*file: it is a file; choose another"):
        refuse_unwritable(tmp_path / "file" / "map.nii")
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(PermissionError, match=r"cannot write into .*: permission denied; choose another"):
        refuse_unwritable(tmp_path / "new" / "map.nii")


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd.json"])
def test_temporary_names_are_short_enough_for_the_longest_output(tmp_path, suffix):
    target = tmp_path / f"{'n' * (255 - len(suffix))}{suffix}"
    with replacing(target) as temporary:
        assert temporary.name.startswith(f".tmp-{os.getpid()}-")
        assert temporary.name.endswith(suffix)
        temporary.with_name(f"{temporary.name}.uncompressed").write_text("room for what a writer adds")
        temporary.with_name(f"{temporary.name}.uncompressed").unlink()
        temporary.write_text("whole")
    assert target.read_text() == "whole"
    assert list(tmp_path.iterdir()) == [target]


def test_two_long_names_have_two_temporary_names(tmp_path):
    with replacing(tmp_path / f"{'n' * 250}a.h5") as one, replacing(tmp_path / f"{'n' * 250}b.h5") as other:
        assert one != other
        one.write_text("a")
        other.write_text("b")
    assert sorted(path.read_text() for path in tmp_path.iterdir()) == ["a", "b"]


def test_temporary_names_are_utf8_whatever_the_output_is_called(tmp_path):
    """SimpleITK would end the process."""
    target = tmp_path / os.fsdecode(b"caf\xe9.nii.gz")
    with replacing(target) as temporary:
        assert temporary.name.isascii()
        assert temporary.name.endswith(".nii.gz")
        temporary.write_text("whole")
    assert target.read_text() == "whole"
