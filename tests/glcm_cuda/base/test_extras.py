"""What is said where the packages of an extra are missing."""

from __future__ import annotations

import re
import sys
import tomllib
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
from helpers.commands import assert_refused, radsynth

from glcm_cuda.base import extras
from glcm_cuda.base.extras import EXTRAS, how_to_install, library, require
from pipelines.shell.errors import describe

PROJECT = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]


@pytest.fixture
def without(monkeypatch):
    """Return a function that takes packages away."""

    def take_away(*packages):
        for package in packages:
            monkeypatch.setitem(sys.modules, package, None)

    return take_away


def test_what_is_installed_passes():
    require("a map", "numpy")
    assert library("json.decoder", "a map").JSONDecoder


def test_every_package_is_in_the_extra_that_is_named():
    for name, extra in EXTRAS.values():
        wanted = PROJECT["optional-dependencies"][extra]
        names = [re.split(r"[\[<>=;]", one)[0].casefold() for one in wanted]
        assert name.casefold() in {one.removesuffix("-cpu") for one in names}, name


def test_the_core_needs_no_extra():
    core = {re.split(r"[<>=]", one)[0].casefold() for one in PROJECT["dependencies"]}
    assert not core & {name.casefold() for name, _ in EXTRAS.values()}


def test_without_a_distribution_the_folder_is_named(monkeypatch):
    def missing(name):
        raise PackageNotFoundError(name)

    assert how_to_install("report", "dicom") == "pip install 'radsynth[report,dicom]'"
    monkeypatch.setattr(extras, "distribution", missing)
    assert how_to_install("report") == "pip install -e '.[report]' in the folder of pyproject.toml"


@pytest.mark.parametrize(
    ("packages", "arguments", "line"),
    [
        (["scipy"], "phantom -o x", "radsynth phantom needs SciPy, which is not installed: {surrogate}"),
        (
            ["keras", "scipy", "matplotlib"],
            "train s.h5 -o x",
            "radsynth train needs Keras, SciPy and Matplotlib, which are not installed: {surrogate,report}",
        ),
        (
            ["keras"],
            "synthesize i.nii -o x.nii --model m.keras",
            "radsynth synthesize needs Keras, which is not installed: {surrogate}",
        ),
        (
            ["keras", "tensorflow", "jax", "torch", "scipy"],
            "train s.h5 -o x",
            "radsynth train needs Keras and SciPy, which are not installed: {tensorflow-cpu}",
        ),
        (["scipy", "matplotlib"], "evaluate r -o x", "evaluate needs SciPy and Matplotlib"),
        (["matplotlib"], "explain m.keras s.h5 -o x", "explain needs Matplotlib"),
        (["keras"], "export m.keras -o x.onnx", "export needs Keras"),
        (["matplotlib"], "benchmark -o x", "benchmark needs Matplotlib"),
        (["idc_index"], "download --collection c", "download needs idc-index, which is not installed: {idc}"),
        (["matplotlib"], "map i.nii -o m.nii --preview p.png", "a preview (p.png) needs Matplotlib"),
        (["highdicom"], "map i.nii -o m.dcm", "a Parametric Map (m.dcm) needs highdicom"),
        (["skimage"], "map i.nii -o m.nii --filter lbp-2d", "i.nii does not exist"),
        (["scipy"], "map i.nii -o m.nii --filter ibsi-mean:3", "a filter of IBSI needs SciPy"),
    ],
)
def test_commands_say_what_to_install(tmp_path, monkeypatch, without, packages, arguments, line):
    """Before anything is read or written; a command that can do without a package does."""
    monkeypatch.chdir(tmp_path)
    without(*packages)
    line = re.sub(r"\{(.+)\}", r"pip install 'radsynth[\1]'", line)
    assert_refused(radsynth(*arguments.split()), line)
    assert list(tmp_path.iterdir()) == []


def test_a_package_that_is_missed_later_is_named_too(without):
    without("highdicom")
    missed = ModuleNotFoundError("No module named 'highdicom.sr'", name="highdicom.sr")
    assert describe(missed) == ("this needs highdicom, which is not installed: pip install 'radsynth[dicom]'")
    assert describe(ModuleNotFoundError("No module named 'x'", name="x")) == "No module named 'x'"
