"""B-values in private attributes split volumes as the standard attribute does."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
from helpers.dicom import write_series
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from pipelines.images.dicom.series import Choice
from pipelines.images.reading import read_image

SCANNERS = [
    ("SIEMENS MR HEADER", 0x0019, 0x0C, "IS", lambda b: f"{b}"),
    ("GEMS_PARM_01", 0x0043, 0x39, "IS", lambda b: [f"{1_000_000_000 + b}", "8", "0", "0"]),
    ("Philips Imaging DD 001", 0x2001, 0x03, "FL", float),
    ("Image Private Header", 0x0065, 0x09, "FD", float),
]


def write_volumes(folder, rng, scanner, syntax):
    """Write a volume for each of two b-values, the second half a slice beside the first."""
    creator, group, element, vr, stored = scanner
    volumes = []
    for number, b_value in enumerate((0, 800)):
        places = 2.5 * np.arange(4) + 1.25 * number
        volumes.append(write_series(folder / str(number), rng, places))
        for path in (folder / str(number)).iterdir():
            dataset = pydicom.dcmread(path)
            block = dataset.private_block(group, creator, create=True)
            block.add_new(element, vr, stored(b_value))
            dataset.file_meta.TransferSyntaxUID = syntax
            dataset.save_as(path, implicit_vr=syntax.is_implicit_VR, little_endian=True)
    return volumes


@pytest.mark.parametrize("scanner", SCANNERS, ids=lambda scanner: scanner[0])
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian], ids=["typed", "untyped"])
def test_private_b_values_split_volumes(tmp_path, rng, scanner, syntax):
    volumes = write_volumes(tmp_path, rng, scanner, syntax)
    with pytest.raises(ValueError, match=r"2 phases: 1 DiffusionBValue 0\.0 .*; 2 DiffusionBValue 800\.0 "):
        read_image(tmp_path)
    for number, pixels in enumerate(volumes, start=1):
        np.testing.assert_array_equal(read_image(tmp_path, Choice(phase=number)).array, pixels)


def test_a_foreign_or_malformed_block_states_no_b_value(tmp_path, rng):
    pixels = write_series(tmp_path, rng)
    for number, path in enumerate(sorted(tmp_path.iterdir())):
        dataset = pydicom.dcmread(path)
        dataset.private_block(0x0019, "SOMEBODY ELSE", create=True).add_new(0x0C, "IS", str(number % 2))
        dataset.private_block(0x0043, "GEMS_PARM_01", create=True).add_new(0x39, "LO", "none")
        dataset.save_as(path)
    np.testing.assert_array_equal(read_image(tmp_path).array, pixels)
