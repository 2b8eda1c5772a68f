"""Fixtures of the comparisons, and the table of the largest differences that ends a run."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import scipy.ndimage
import scipy.special

sys.path.insert(0, str(Path(__file__).parents[2]))
DATA = Path(os.environ.get("RADSYNTH_DATA", Path(__file__).parents[2] / ".." / "shared" / "data")).resolve()
LARGEST: dict[tuple[str, str], float] = {}


@pytest.fixture
def compare():
    """Return a function that holds values to a tool's, and remembers the largest difference.

    It is remembered by feature, or by `row` where that is given.
    """

    def hold(tool, feature, found, expected, rtol=1e-6, atol=1e-7, row=None):
        difference = np.abs(found - expected) / np.maximum(1.0, np.abs(expected))
        key = tool, row or feature
        LARGEST[key] = max(LARGEST.get(key, 0.0), float(np.nanmax(difference, initial=0.0)))
        np.testing.assert_allclose(found, expected, rtol=rtol, atol=atol, err_msg=f"{tool} {feature}")

    return hold


@pytest.fixture
def _old_names(monkeypatch):
    """Put back what pyradiomics imports and SciPy has removed."""
    module = ModuleType("scipy.ndimage.interpolation")
    module.map_coordinates = scipy.ndimage.map_coordinates
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(
        scipy.special, "sph_harm", lambda m, n, theta, phi: scipy.special.sph_harm_y(n, m, phi, theta),
        raising=False,
    )  # fmt: skip


@pytest.fixture(scope="session")
def data_dir():
    if not DATA.is_dir():
        pytest.skip(f"no real images at {DATA}; set RADSYNTH_DATA")
    return DATA


def pytest_terminal_summary(terminalreporter):
    """Print the differences: absolute below 1, relative above."""
    for (tool, feature), worst in sorted(LARGEST.items()):
        terminalreporter.write_line(f"{tool:14} {feature:24} {worst:.1e}")
