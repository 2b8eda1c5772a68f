"""The notebooks of examples/notebooks, executed again: they run, and what they print is what they show."""

from __future__ import annotations

from pathlib import Path

import nbclient
import nbformat
import pytest

FOLDER = Path(__file__).parents[2] / "examples" / "notebooks"


def printed(notebook) -> list[str]:
    """Return what the cells of a notebook print, one text for each."""
    return ["".join(part.text for part in cell.outputs if part.output_type == "stream")
            for cell in notebook.cells if cell.cell_type == "code"]  # fmt: skip


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_notebook_prints_what_it_shows(path, tmp_path):
    shown, again = (nbformat.read(path, as_version=4) for _ in range(2))
    nbformat.validate(shown)
    nbclient.NotebookClient(again, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert printed(again) == printed(shown)
