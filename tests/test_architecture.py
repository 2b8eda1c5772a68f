"""Which package may import what: held by reading the imports and by importing with packages missing."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FORBIDDEN = {
    "glcm_cuda": {
        "surrogate",
        "pipelines",
        "keras",
        "tensorflow",
        "SimpleITK",
        "pandas",
        "click",
        "matplotlib",
    },
    "surrogate": {"pipelines", "tensorflow", "jax", "torch", "SimpleITK", "pandas", "click", "matplotlib"},
}
OURS = {"glcm_cuda", "surrogate", "pipelines"}


def imported(path: Path) -> set[str]:
    """Names of the top-level packages that a module imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("package", FORBIDDEN)
def test_imports_go_one_way(package):
    modules = sorted((ROOT / package).rglob("*.py"))
    assert modules
    found = {path.name: sorted(imported(path) & FORBIDDEN[package]) for path in modules}
    assert {name: names for name, names in found.items() if names} == {}


def test_the_oracle_imports_nothing_of_ours():
    assert not imported(ROOT / "tests" / "naive.py") & OURS


WITHOUT = """
import importlib.abc, pkgutil, sys

class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {missing!r}:
            raise ModuleNotFoundError(f"no module named {{name!r}} here")

sys.meta_path.insert(0, Missing())
import {package}
for module in pkgutil.iter_modules({package}.__path__):
    importlib.import_module("{package}." + module.name)
"""


@pytest.mark.parametrize(
    ("package", "missing", "backend"),
    [
        ("glcm_cuda", ["tensorflow", "keras", "SimpleITK", "pandas", "click", "matplotlib"], "tensorflow"),
        ("surrogate", ["tensorflow", "SimpleITK", "pandas", "click", "matplotlib"], "jax"),
    ],
)
def test_imports_without_what_it_must_not_need(tmp_path, package, missing, backend):
    code = WITHOUT.format(package=package, missing=missing)
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"KERAS_BACKEND": backend, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_importing_the_engine_does_not_import_numba():
    code = "import glcm_cuda, sys; sys.exit('numba' in sys.modules or 'h5py' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
