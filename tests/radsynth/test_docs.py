"""The examples of docs/python.md and of the README, run as a reader would."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

ROOT = Path(__file__).parents[2]


def snippets(path: Path) -> list[str]:
    """Return the blocks of Python of a page."""
    return re.findall(r"^```python\n(.*?)^```$", path.read_text(), re.DOTALL | re.MULTILINE)


@pytest.fixture
def folder(tmp_path, rng, monkeypatch):
    """Make a folder with the files that the examples read the current one."""
    image = rng.integers(0, 200, (4, 12, 11)).astype(np.int16)
    label = np.zeros(image.shape, np.uint8)
    label[1:3, 3:9, 2:9] = 1
    for name, array in (("image", image), ("label", label)):
        written = sitk.GetImageFromArray(array)
        written.SetSpacing((0.9, 0.9, 3.0))
        sitk.WriteImage(written, str(tmp_path / f"{name}.nrrd"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_example_of_the_readme_runs(folder):
    (block,) = snippets(ROOT / "README.md")
    names: dict[str, object] = {}
    exec(compile(block, "README.md", "exec"), names)
    assert "original_glcm_JointEntropy" in names["values"]
    assert list(names["maps"]) == ["JointEntropy", "TU9B"]


def test_the_examples_run(folder, capsys):
    blocks = snippets(ROOT / "docs" / "python.md")
    assert len(blocks) == 5
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, "docs/python.md", "exec"), names)
    written = {path.name for path in folder.iterdir()}
    assert {"entropy.nrrd", "features.csv", "original_glcm_JointEntropy.nrrd"} <= written
    assert "computed by RadSynth" in capsys.readouterr().out
