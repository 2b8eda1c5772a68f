"""Machine code that Numba cached is not used for a definition that has changed since."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import glcm_cuda
from glcm_cuda.base import cache

MAPS = """
from glcm_cuda import GLCMSettings, entropy_map
for window in (5, 11):
    print(entropy_map([[0, 1], [2, 3]], GLCMSettings(window=window), backend="cpu")[0, 0])
"""


def run_maps(folder: Path) -> list[float]:
    """Entropies by the vector lanes and by the tally."""
    command = [sys.executable, "-c", MAPS]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return [float(line) for line in done.stdout.split()]


@pytest.mark.slow
def test_an_edit_of_the_definition_is_seen(tmp_path):
    package = tmp_path / "glcm_cuda"
    shutil.copytree(Path(glcm_cuda.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    assert run_maps(tmp_path) == [1.5, 1.5]
    definition = package / "families" / "glcm" / "definition.py"
    source = definition.read_text()
    edited = source.replace("+ distinct * log_one) / pairs", ") / pairs")
    assert edited != source
    definition.write_text(edited)
    assert run_maps(tmp_path) == [0.5, 0.5]


def test_every_import_of_the_package_counts():
    """Also one of several names, in parentheses, and inside a function."""
    import glcm_cuda.families.glcm.cpu.sums
    import glcm_cuda.families.glrlm.runs  # noqa: F401

    sources: dict[str, str] = {}
    cache._collect("glcm_cuda.families.glrlm.runs", sources)
    families = "glcm_cuda.families"
    assert {f"{families}.{name}" for name in ("windows", "tallies", "emphases", "offsets")} <= set(sources)
    sources.clear()
    cache._collect("glcm_cuda.families.glcm.cpu.sums", sources)
    assert f"{families}.glcm.cpu.tally" in sources


def test_a_folder_for_machine_code_is_found_or_missed_once(monkeypatch, caplog):
    def refuse(**_):
        msg = "cannot cache function '_nothing': no locator available"
        raise RuntimeError(msg)

    monkeypatch.setattr(cache, "njit", lambda **_: lambda function: function)
    cache.can_cache.cache_clear()
    try:
        assert cache.can_cache()
        cache.can_cache.cache_clear()
        monkeypatch.setattr(cache, "njit", refuse)
        with caplog.at_level(logging.WARNING, "glcm_cuda"):
            assert not cache.can_cache()
            assert not cache.can_cache()
    finally:
        cache.can_cache.cache_clear()
    (message,) = caplog.messages
    assert "compiled again in every run; set NUMBA_CACHE_DIR" in message


@pytest.mark.slow
def test_without_home_and_cache_maps_are_computed(tmp_path):
    package = tmp_path / "glcm_cuda"
    shutil.copytree(Path(glcm_cuda.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    for folder in [package, *(path for path in package.rglob("*") if path.is_dir())]:
        (folder / "__pycache__").write_text("no folder can be made here")
    nowhere = {"HOME": os.devnull, "XDG_CACHE_HOME": f"{os.devnull}/cache", "NUMBA_CACHE_DIR": ""}
    done = subprocess.run(
        [sys.executable, "-c", f"import logging; logging.basicConfig(){MAPS}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | nowhere | {"PYTHONPATH": str(tmp_path)},
    )
    assert [float(line) for line in done.stdout.split()] == [1.5, 1.5]
    assert done.stderr.count("set NUMBA_CACHE_DIR") == 1


@pytest.mark.slow
def test_code_of_another_version_with_other_classes_is_not_met(tmp_path):
    """Numba's index of cached code names the classes of arguments, which a later version may not have."""
    package = tmp_path / "glcm_cuda"
    shutil.copytree(Path(glcm_cuda.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    code = "from glcm_cuda import feature_maps; feature_maps([[0, 1], [2, 3]], 'glrlm', backend='cpu')"
    for name in ("Plan", "Scheme"):
        runs = package / "families" / "glrlm" / "runs.py"
        runs.write_text(runs.read_text().replace("Plan", name))
        done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
