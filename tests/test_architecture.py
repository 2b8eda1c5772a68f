"""Who may import whom: between packages, between the folders of a package, and from outside.

Every import counts, also one inside a function or under ``TYPE_CHECKING``: it ties the reader of one
module to the other whenever it runs. Imports by a computed name (`importlib.import_module`) are not seen.
"""

from __future__ import annotations

import ast
import importlib
import pkgutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

PACKAGES = ("radsynth", "pipelines", "surrogate", "glcm_cuda")
"""Each may import those after it."""

SCRIPTS = ("radsynth/adapters/slicer/TextureMap.py",)
"""Programs of other tools, which are no modules of ours; the wheel holds them as data."""

ROOMS: dict[str, tuple[set[str], ...]] = {
    "radsynth": (
        {"adapters"},
        {"."},
        {"extraction"},
        {"kinds"},
    ),
    "pipelines": (
        {"."},  # the commands: modules of the package itself, and `import pipelines`
        {"evaluation", "reliability"},
        {"maps"},
        {"cohorts"},
        {"shell"},
        {"filters"},
        {"images"},
        {"reports"},
    ),
    "glcm_cuda": (
        {"."},
        {"store"},
        {"maps", "roi"},
        {"engines"},
        {"families"},
        {"levels"},
        {"settings"},
        {"base"},
    ),
}
"""Folders and modules of a package; each may import those of its own step and of the steps after it."""

OUTSIDE = {
    "glcm_cuda": {"keras", "tensorflow", "SimpleITK", "pandas", "click", "matplotlib"},
    "surrogate": {"tensorflow", "jax", "torch", "SimpleITK", "pandas", "click", "matplotlib"},
}
"""What a package must not import by name."""

MOST_MODULES = 20
"""In one folder; the fullest of comparable projects hold 16 to 27."""


def modules_of(package: str) -> dict[str, Path]:
    """Return the file of every module of a package, by its dotted name, at all levels."""
    root = importlib.import_module(package)
    found = {package: Path(root.__file__)}
    for module in pkgutil.walk_packages(root.__path__, f"{package}."):
        folder = Path(module.module_finder.path)
        name = module.name.rpartition(".")[2]
        found[module.name] = folder / name / "__init__.py" if module.ispkg else folder / f"{name}.py"
    return found


MODULES = {name: path for package in PACKAGES for name, path in modules_of(package).items()}


def imported(module: str, source: str, *, is_package: bool = False) -> Iterator[str]:
    """Yield the dotted names that a module imports, anywhere in it; of `from a import b` both a and a.b."""
    own_package = module if is_package else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = node.module or ""
            if node.level:
                above = own_package.split(".")[: len(own_package.split(".")) - node.level + 1]
                origin = ".".join([*above, *filter(None, [origin])])
            yield from (_target(origin, alias.name) for alias in node.names)


def _target(origin: str, name: str) -> str:
    """Return the module that `from origin import name` needs."""
    return f"{origin}.{name}" if f"{origin}.{name}" in MODULES else origin


def step_of(module: str) -> int | None:
    """Return the place of a module in the order of its package; None where the package has none."""
    package, *parts = module.split(".")
    steps = ROOMS.get(package)
    if steps is None:
        return None
    room = parts[0] if parts and any(parts[0] in rooms for rooms in steps) else "."
    return next(step for step, rooms in enumerate(steps) if room in rooms)


def is_allowed(module: str, target: str) -> bool:
    """Return whether a module may import another of ours, by package and by folder."""
    package, other = module.split(".")[0], target.split(".")[0]
    if other not in PACKAGES:
        return True
    if package != other:
        return PACKAGES.index(package) < PACKAGES.index(other)
    own, its = step_of(module), step_of(target)
    return own is None or its is None or own <= its


def wrong_imports(sources: Mapping[str, str]) -> list[str]:
    """Return `module -> module` for every import of these sources that runs against the order."""
    return [
        f"{module} -> {target}"
        for module, source in sorted(sources.items())
        for target in sorted(set(imported(module, source, is_package=_is_package(module))))
        if not is_allowed(module, target)
    ]


def _is_package(module: str) -> bool:
    return module in MODULES and MODULES[module].name == "__init__.py"


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_go_one_way(package):
    sources = {name: path.read_text() for name, path in MODULES.items() if name.split(".")[0] == package}
    assert len(sources) > 1
    assert wrong_imports(sources) == []


@pytest.mark.parametrize("package", OUTSIDE)
def test_packages_that_must_not_be_needed_are_not_imported(package):
    found = {
        name: sorted({target.split(".")[0] for target in imported(name, path.read_text())} & OUTSIDE[package])
        for name, path in MODULES.items()
        if name.split(".")[0] == package
    }
    assert {name: names for name, names in found.items() if names} == {}


@pytest.mark.parametrize(
    ("module", "source", "target"),
    [
        ("glcm_cuda.engines.made", "import surrogate.honesty.card", "surrogate.honesty.card"),
        ("surrogate.made", "from pipelines import map", "pipelines.map"),
        ("glcm_cuda.levels.made", "import glcm_cuda.engines.cpu as engine", "glcm_cuda.engines.cpu"),
        ("glcm_cuda.base.made", "from glcm_cuda.settings import GLCMSettings", "glcm_cuda.settings"),
        ("glcm_cuda.base.made", "from glcm_cuda import settings", "glcm_cuda.settings"),
        ("glcm_cuda.store.made", "from glcm_cuda import entropy_map", "glcm_cuda"),
        ("glcm_cuda.families.glcm.made", "from ...engines import cpu", "glcm_cuda.engines.cpu"),
        ("pipelines.maps.made", "from ..evaluation.timing import x", "pipelines.evaluation.timing"),
        ("pipelines.images.made", "def f():\n    from pipelines.maps import exact", "pipelines.maps.exact"),
        ("pipelines.images.made", "if TYPE_CHECKING:\n    import pipelines.roi", "pipelines.roi"),
        (
            "pipelines.shell.made",
            "try:\n    import pipelines.cohorts\nexcept OSError: 0",
            "pipelines.cohorts",
        ),
    ],
)
def test_a_wrong_import_is_seen(module, source, target):
    assert wrong_imports({module: source}) == [f"{module} -> {target}"]


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("pipelines.made", "from pipelines.evaluation import timing\nimport pipelines.map"),
        ("pipelines.evaluation.made", "from pipelines.maps.exact import x\nfrom . import timing"),
        ("pipelines.maps.made", "from surrogate import load_model\nfrom glcm_cuda import entropy_map"),
        ("pipelines.images.dicom.made", "from ..volume import Volume\nfrom .headers import x"),
        ("glcm_cuda.roi", "from glcm_cuda.maps import x\nfrom glcm_cuda.base import files\nimport numpy"),
    ],
)
def test_a_right_import_is_let_through(module, source):
    assert wrong_imports({module: source}) == []


@pytest.mark.parametrize("package", PACKAGES)
def test_every_file_belongs_to_a_package(package):
    """A folder without `__init__.py` would be missing from the wheel and from the checks above."""
    files = set((ROOT / package).rglob("*.py")) - {ROOT / path for path in SCRIPTS}
    assert files == {path.resolve() for name, path in MODULES.items() if name.split(".")[0] == package}


def test_every_room_is_there():
    assert {path.parent.name for path in ROOT.glob("*/__init__.py")} == set(PACKAGES)
    for package, steps in ROOMS.items():
        rooms = set().union(*steps) - {"."}
        folders = {path.parent.name for path in (ROOT / package).glob("*/__init__.py")}
        assert folders <= rooms, "a folder without a place in the order"
        assert {room for room in rooms if f"{package}.{room}" not in MODULES} == set()


def test_no_folder_is_too_full():
    counts = Counter(path.parent for path in MODULES.values() if path.name != "__init__.py")
    assert {str(folder): count for folder, count in counts.items() if count > MOST_MODULES} == {}


def test_the_oracle_imports_nothing_of_ours():
    names = imported("naive", (ROOT / "tests" / "naive.py").read_text())
    assert not {name.split(".")[0] for name in names} & set(PACKAGES)


WITHOUT = """
import importlib.abc, pkgutil, sys

class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {missing!r}:
            raise ModuleNotFoundError(f"no module named {{name!r}} here")

sys.meta_path.insert(0, Missing())
import {package}
for module in pkgutil.walk_packages({package}.__path__, "{package}."):
    importlib.import_module(module.name)
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
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_importing_the_engine_does_not_import_numba():
    code = "import glcm_cuda, sys; sys.exit('numba' in sys.modules or 'h5py' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
