"""Machine code that Numba cached is not used for a definition that has changed since."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import glcm_cuda

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
