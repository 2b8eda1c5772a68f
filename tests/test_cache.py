"""Machine code that Numba cached is not used for a definition that has changed since."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import glcm_cuda

MAP = "from glcm_cuda import entropy_map; print(entropy_map([[0, 1], [2, 3]], backend='cpu')[0, 0])"


def run_map(folder: Path) -> float:
    done = subprocess.run([sys.executable, "-c", MAP], cwd=folder, capture_output=True, text=True, check=True)
    return float(done.stdout)


def test_an_edit_of_the_definition_is_seen(tmp_path):
    package = tmp_path / "glcm_cuda"
    shutil.copytree(Path(glcm_cuda.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    assert run_map(tmp_path) == 1.5
    definition = package / "definition.py"
    source = definition.read_text()
    edited = source.replace("return max(first, second) * levels + min(first, second)", "return levels")
    assert edited != source
    definition.write_text(edited)
    assert run_map(tmp_path) == 1.0
