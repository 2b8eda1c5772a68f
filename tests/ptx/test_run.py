"""Without an emulator nothing is skipped silently: programs and test sessions end with one line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent


def ran(*command, **environment):
    return subprocess.run(
        [sys.executable, *map(str, command)], env=environment, capture_output=True, text=True, check=False
    )


def test_a_missing_compiler_is_named(tmp_path):
    done = ran(FOLDER / "run.py", "true", PATH=str(tmp_path))
    assert done.returncode == 1
    assert done.stderr == "the PTX emulator needs gcc and g++, and gcc was not found; install it\n"


def test_a_session_without_the_emulator_ends(tmp_path):
    (tmp_path / "test_it.py").write_text("def test_it():\n    pass\n")
    environment = {name: text for name, text in os.environ.items() if name != "LD_LIBRARY_PATH"}
    paths = os.pathsep.join([str(FOLDER.parent), str(FOLDER.parents[1])])
    done = ran("-m", "pytest", "-p", "ptx.plugin", tmp_path, **{**environment, "PYTHONPATH": paths})
    assert done.returncode == 3
    assert "the PTX emulator cannot be used: " in done.stdout + done.stderr
    assert "1 passed" not in done.stdout
