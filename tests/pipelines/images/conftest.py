"""A DICOM series that tests of several modules read."""

from __future__ import annotations

import pytest
from helpers.dicom import write_series
from helpers.regions import ABOUT


@pytest.fixture
def series(tmp_path, rng):
    """Return the folder of an oblique series of four slices of 6x5."""
    write_series(tmp_path / "series", rng, **ABOUT)
    return tmp_path / "series"
