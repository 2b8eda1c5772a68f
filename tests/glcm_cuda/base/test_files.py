"""Outputs appear whole or not at all."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from glcm_cuda.base import files
from glcm_cuda.base.files import (
    refuse_existing,
    refuse_unwritable,
    replacing,
    second_temporary,
    temporary_folder,
)


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
        assert temporary.name.startswith(".tmp-")
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


WRITE_FOREVER = """
import sys, time
from glcm_cuda.base.files import replacing, second_temporary
with replacing(sys.argv[1]) as temporary:
    temporary.write_text("half")
    second_temporary(temporary, ".nii").write_text("half")
    print("writing", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def other_run(tmp_path):
    """A process that is writing map.nii.gz."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITE_FOREVER, str(tmp_path / "map.nii.gz")], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_what_a_killed_run_left_is_removed_by_the_next(tmp_path, other_run):
    other_run.send_signal(signal.SIGKILL)
    other_run.wait()
    left = sorted(path.name for path in tmp_path.iterdir())
    assert len(left) == 2
    with replacing(tmp_path / "other.nii.gz") as temporary:
        temporary.write_text("another output")
    assert sorted(path.name for path in tmp_path.iterdir()) == [*left, "other.nii.gz"]
    with replacing(tmp_path / "map.nii.gz") as temporary:
        temporary.write_text("whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["map.nii.gz", "other.nii.gz"]


UNPACK_FOREVER = """
import tempfile, time
from glcm_cuda.base.files import temporary_folder
with temporary_folder() as folder:
    (folder / "patient.nii").write_text("half")
    print(folder, flush=True)
    time.sleep(60)
"""


def test_temporary_folders_of_killed_runs_are_removed_by_the_next(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "radsynth-0123abcd-7-of-another-machine").mkdir()
    command = [sys.executable, "-c", UNPACK_FOREVER]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "TMPDIR": str(tmp_path)}
    ) as other:
        left = Path(other.stdout.readline().strip())
        with temporary_folder() as folder:
            assert folder.parent == tmp_path
            assert left.is_dir()  # of a run that still works
        other.kill()
    with temporary_folder():
        assert not left.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["radsynth-0123abcd-7-of-another-machine"]


def test_the_second_run_on_one_output_says_so(tmp_path, other_run):
    message = rf"map\.nii\.gz is being written by another run \(process {other_run.pid}\); wait"
    with pytest.raises(FileExistsError, match=message), replacing(tmp_path / "map.nii.gz", force=True):
        pytest.fail("the block must not run")
    assert len(list(tmp_path.iterdir())) == 2


def test_what_a_run_on_another_machine_left_is_removed_after_a_day(tmp_path):
    left = tmp_path / ".tmp-0123abcd-7-map.nii"
    left.mkdir()
    (left / "half").write_text("x")
    with (
        pytest.raises(FileExistsError, match="being written by another run"),
        replacing(tmp_path / "map.nii"),
    ):
        pytest.fail("the block must not run")
    os.utime(left, (time.time() - 2 * 24 * 3600,) * 2)
    with replacing(tmp_path / "map.nii") as temporary:
        temporary.write_text("whole")
    assert [path.name for path in tmp_path.iterdir()] == ["map.nii"]


def test_names_up_to_the_limit_of_the_file_system(tmp_path):
    target = tmp_path / ("x" * 248 + ".nii.gz")
    with replacing(target) as temporary:
        assert temporary.name.endswith(".nii.gz")
        second_temporary(temporary, ".nii").touch()
        second_temporary(temporary, ".nii").unlink()
        temporary.write_text("whole")
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_that_cannot_be_listed_takes_outputs(tmp_path, monkeypatch):
    def refuse(_):
        raise PermissionError

    monkeypatch.setattr(files.Path, "iterdir", refuse)
    with replacing(tmp_path / "map.nii") as temporary:
        temporary.write_text("whole")
    assert (tmp_path / "map.nii").read_text() == "whole"


def test_a_link_to_a_missing_file_needs_force(tmp_path):
    target = tmp_path / "map.nii"
    target.symlink_to(tmp_path / "none" / "map.nii")
    with pytest.raises(FileExistsError, match=r"map\.nii is a link to a missing file; remove it, or give"):
        refuse_existing(target)
    with replacing(target, force=True) as temporary:
        temporary.write_text("whole")
    assert target.read_text() == "whole"
    assert not target.is_symlink()
