"""Outputs appear whole or not at all."""

from __future__ import annotations

import pytest

from glcm_cuda.files import replacing


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
