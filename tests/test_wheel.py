"""What a user installs: a wheel that holds every module, and whose commands run away from the checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from glcm_cuda import entropy_map

ROOT = Path(__file__).parents[1]
PACKAGES = sorted(path.parent.name for path in ROOT.glob("*/__init__.py"))
SOURCES = ("pyproject.toml", "setup.cfg", "README.md", "LICENSE", *PACKAGES)

pytestmark = pytest.mark.slow


def run(*command: object, **options) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Build from a copy, so that nothing is left in the checkout and nothing left there gets in."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(
                ROOT / name, folder / "source" / name, ignore=shutil.ignore_patterns("__pycache__")
            )
        else:
            (folder / "source").mkdir(exist_ok=True)
            shutil.copy(ROOT / name, folder / "source" / name)
    run(sys.executable, "-m", "pip", "wheel", "--no-deps", "--quiet", "-w", folder, folder / "source")
    (built,) = folder.glob("radsynth-*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """Return a folder with the wheel's packages alone, and the environment that prefers them to ours."""
    target = tmp_path_factory.mktemp("installed")
    run(sys.executable, "-m", "pip", "install", "--no-deps", "--quiet", "--target", target, wheel)
    return target, {**os.environ, "PYTHONPATH": str(target)}


def test_the_wheel_holds_every_module(wheel):
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    modules = {path.relative_to(ROOT).as_posix() for name in PACKAGES for path in (ROOT / name).rglob("*.py")}
    data = {f"{name}/py.typed" for name in PACKAGES} | {"radsynth/adapters/slicer/TextureMap.xml"}
    assert packed == modules | data


@pytest.mark.parametrize("call", ["radsynth map", "python -m pipelines.map"])
def test_a_map_by_the_installed_commands(installed, tmp_path, rng, call):
    target, environment = installed
    image = rng.integers(0, 200, (2, 12, 10)).astype(np.int16)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(image), str(tmp_path / "image.nii.gz"))
    where = f"import {', '.join(PACKAGES)}; print({', '.join(f'{name}.__file__' for name in PACKAGES)})"
    inside = {"cwd": tmp_path, "env": environment}
    assert all(path.startswith(str(target)) for path in run(sys.executable, "-c", where, **inside).split())
    program, *rest = call.split()
    start = [target / "bin" / program] if program == "radsynth" else [sys.executable]
    run(*start, *rest, "image.nii.gz", "-o", "map.nii.gz", "--backend", "cpu", **inside)
    made = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(tmp_path / "map.nii.gz")))
    np.testing.assert_array_equal(made, entropy_map(image, backend="cpu"))
