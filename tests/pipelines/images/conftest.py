"""A DICOM series that tests of several modules read."""

from __future__ import annotations

import pytest
from helpers.dicom import write_series
from helpers.regions import FRAME


@pytest.fixture
def series(tmp_path, rng):
    """Return the folder of an oblique series of four slices of 6x5."""
    about = {"FrameOfReferenceUID": FRAME, "SliceThickness": 2.5}
    # What a segmentation takes over from its image.
    blank = ("StudyDate", "StudyTime", "AccessionNumber", "StudyID", "ReferringPhysicianName")
    about |= dict.fromkeys((*blank, "PatientName", "PatientBirthDate", "PatientSex"), "")
    write_series(tmp_path / "series", rng, **about)
    return tmp_path / "series"
