"""What `make test-core` runs in an environment that has the core alone: python -P tests/core.py."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import SimpleITK

from glcm_cuda.base.extras import EXTRAS
from pipelines.__main__ import COMMANDS

RADSYNTH = Path(sys.executable).with_name("radsynth")


def run(*arguments: object, refused: bool = False) -> str:
    """Return what a command prints; it must end well, or be refused in one line."""
    words = [str(RADSYNTH), *map(str, arguments)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == (2 if refused else 0), f"{words}: {done.stdout}{done.stderr}"
    assert not refused or done.stderr.count("\n") == 1, done.stderr
    return done.stderr if refused else done.stdout


def main() -> None:
    """Run every command as far as the core goes."""
    extra = [package for package in EXTRAS if importlib.util.find_spec(package)]
    assert not extra, f"the core must not bring {', '.join(extra)}"
    for name in COMMANDS:
        assert "--help" in run(name, "--help"), name
    folder = Path(tempfile.mkdtemp())
    image, mask, table = folder / "image.nii.gz", folder / "mask.nii.gz", folder / "table.csv"
    voxels = np.random.default_rng(0).integers(0, 200, (5, 16, 16)).astype(np.int16)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(voxels), image)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray((voxels > 60).astype(np.uint8)), mask)
    assert "5x16x16 voxels" in run("map", image, "--mask", mask, "-o", folder / "map.nii.gz")
    assert "137 features" in run("roi", image, "--mask", mask, "-o", table)
    assert "16x16x5 voxels" in run("inspect", image)
    run("map", image, "-o", folder / "edges.nii.gz", "--filter", "log:sigma=2")
    preview = run("map", image, "-o", folder / "again.nii.gz", "--preview", folder / "p.png", refused=True)
    assert "pip install 'radsynth[report]'" in preview
    assert "pip install 'radsynth[" in run("train", "store.h5", "-o", folder / "run", refused=True)
    assert not (folder / "again.nii.gz").exists()
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
