"""The code in the README and in docs/: Python runs, commands parse, and those that cost little run too.

The transforms of MONAI and the layer of PyTorch run in `tests/monai`, the call in Slicer in
`tests/radsynth/test_slicer.py`.
"""

from __future__ import annotations

import re
import shutil
import tomllib
from pathlib import Path
from types import SimpleNamespace

import click
import numpy as np
import pytest
import SimpleITK as sitk
from helpers.commands import radsynth as command
from helpers.snippets import PAGES, ROOT, before_adapters, blocks, commands_in_text, python_of
from helpers.stores import write_store

from glcm_cuda import GLCMSettings
from pipelines.__main__ import main

NETWORK = "radsynth.synthesize"
"""Is in the block of docs/python.md that needs a network."""

COMMANDS = sorted({tuple(words) for page in PAGES for block in blocks(page) if block.language == "sh"
                   for words in block.commands()})  # fmt: skip
OURS = [words for words in COMMANDS if words[0] == "radsynth"]


@pytest.fixture
def folder(tmp_path, rng, monkeypatch):
    """Make a folder with the files that the examples read the current one."""
    image = rng.integers(0, 200, (4, 24, 22)).astype(np.int16)
    label = np.zeros(image.shape, np.uint8)
    label[1:3, 3:9, 2:9] = 1
    for name in ("image", "breast", "ct", "A", "B", "C"):
        _write(tmp_path / name, image)
    for name in ("label", "mask", "lesion"):
        _write(tmp_path / name, label)
    (tmp_path / "Params.yaml").write_text("featureClass: {glcm: [Contrast]}\nsetting: {binWidth: 20}\n")
    rows = "".join(f"P{one},a,image.nii.gz,label.nii.gz\n" for one in range(2))
    for name in ("cohort", "train"):
        (tmp_path / f"{name}.csv").write_text(f"patient,group,image,labels\n{rows}")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _write(path, array):
    """Write an image as NRRD and as NIfTI."""
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((0.9, 0.9, 3.0))
    for suffix in (".nrrd", ".nii.gz"):
        sitk.WriteImage(image, f"{path}{suffix}")


def run(page, parts, names):
    """Run blocks of Python one after another, as a reader would."""
    for part in parts:
        exec(compile(part, page, "exec"), names)


def test_pages_with_python_are_those_that_run():
    pages = {page for page in PAGES if python_of(page)}
    names = ("python", "slicer", "store_format", "surrogate")
    assert pages == {"README.md", *(f"docs/{name}.md" for name in names)}


def test_the_examples_of_the_readme_run(folder):
    image = np.random.default_rng(0).integers(0, 200, (3, 9, 9))
    names = {"image": image, "mask": image > 20, "tensor": image, "np": np}
    names["torch"] = SimpleNamespace(empty_like=lambda tensor: np.empty(tensor.shape, np.float32))
    run("README.md", python_of("README.md"), names)
    assert "original_glcm_JointEntropy" in names["values"]


def test_the_examples_of_the_python_package_run(folder, capsys):
    (folder / "image.nii.gz").unlink()  # which they write
    parts = before_adapters(python_of("docs/python.md"))
    run("docs/python.md", [part for part in parts if NETWORK not in part], {})
    written = {path.name for path in folder.iterdir()}
    assert {"entropy.nrrd", "features.csv", "original_glcm_JointEntropy.nrrd"} <= written
    assert "computed by RadSynth" in capsys.readouterr().out


def test_the_example_of_a_store_runs(folder):
    write_store(folder / "store.h5", {"A": 1200, "B": 1000}, GLCMSettings())
    names: dict[str, object] = {}
    run("docs/store_format.md", python_of("docs/store_format.md"), names)
    assert len(names["samples"].entropy) == 2000


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_the_examples_with_networks_run(folder):
    keras = pytest.importorskip("keras")
    pytest.importorskip("onnxruntime")
    import glcm_cuda
    import radsynth
    from surrogate import GLCMEntropy

    first, second, third = python_of("docs/surrogate.md")
    rng = np.random.default_rng(0)
    start = rng.random((1, 9, 9, 1)).astype(np.float32) * 64
    names = {"keras": keras, "GLCMEntropy": GLCMEntropy, "start": start, "target": 2.0}
    run("docs/surrogate.md", (first, second), names)
    assert float(names["loss"]) > 0
    assert command("export", "analytic.keras", "-o", "fold0.onnx").exit_code == 0
    names = {"glcm_cuda": glcm_cuda, "settings": GLCMSettings(), "image": rng.random((9, 9))}
    run("docs/surrogate.md", [third], names)
    assert names["values"].shape[1:3] == (5, 5)
    (folder / "runs/demo/training").mkdir(parents=True)
    shutil.copy("analytic.keras", "runs/demo/training/fold0.keras")
    (part,) = (part for part in python_of("docs/python.md") if NETWORK in part)
    run("docs/python.md", [part], {"radsynth": radsynth, "image": "image.nrrd", "mask": "mask.nrrd"})


def found(words):
    """Return the command that words begin with, its name and the other words."""
    here, name, rest = main, words[0], list(words[1:])
    while isinstance(here, click.Group) and rest and not rest[0].startswith("-"):
        name, *rest = rest
        here = here.get_command(click.Context(here), name)
        assert here is not None, f"no command {name}"
    return here, name, rest


@pytest.mark.parametrize("words", OURS, ids=" ".join)
def test_commands_have_these_arguments(words):
    here, name, rest = found(words)
    here.make_context(name, rest).close()


@pytest.mark.parametrize("page", PAGES)
def test_commands_in_the_text_have_these_options(page):
    for words in commands_in_text(page):
        if words[1].isupper():  # NAME
            continue
        here, _, rest = found(words)
        known = {option for param in here.params for option in (*param.opts, *param.secondary_opts)}
        assert {word for word in rest if word.startswith("-")} <= known | {"--help"}, words


@pytest.mark.parametrize("words", [words for words in COMMANDS if words[0] != "radsynth"], ids=" ".join)
def test_other_commands_name_what_is_there(words):
    program, *rest = words
    if program == "make":
        targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
        assert {word for word in rest if "=" not in word} <= targets
    elif program == "pip":
        extras = [extra for found in re.findall(r"\[(.*?)\]", " ".join(rest)) for extra in found.split(",")]
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        assert set(extras) <= set(project["optional-dependencies"])
    elif rest[0] == "-c":
        run("a command", [rest[1]], {})
    elif program == "python":
        module = rest[1].replace(".", "/") + ".py" if rest[0] == "-m" else rest[0]
        text = (ROOT / ("tests" if rest[0] == "-m" else "") / module).read_text()
        assert all(word in text for word in rest if word.startswith("--"))
    else:
        assert program == "pre-commit"


CHEAP = ("map", "roi", "groundtruth", "cohort", "inspect")
"""Commands that take seconds."""

ABSENT = {"PATH", "FOLDER", "export.zip", "studies", "phantom/cohort.csv", "gtv.nii.gz"} | {
    "stability/report/survivors.yaml"
}
"""What the examples read and the folder of the test does not hold."""


@pytest.mark.slow
def test_cheap_commands_run(folder):
    pytest.importorskip("pywt", reason="the extra `filters`")
    wanted = [words[1:] for words in OURS if words[1] in CHEAP and not ABSENT & set(words)]
    wanted.sort(key=lambda words: words[:2] != ("cohort", "standard"))  # others read what it writes
    assert len(wanted) > 15
    for words in wanted:
        for made in (path for path in folder.iterdir() if path.name in _outputs(words)):
            shutil.rmtree(made) if made.is_dir() else made.unlink()
        result = command(*words)
        assert result.exit_code == 0, (words, result.output)


def _outputs(words):
    """Return the files and folders that a command writes, and the folders they are in."""
    place = Path(words[words.index("-o") + 1]) if "-o" in words else Path()
    return {place.name, f"{place.name}.json"}
