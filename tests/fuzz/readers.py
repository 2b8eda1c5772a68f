"""What other readers find in a damaged file that we read: nibabel in NIfTI, pydicom in a DICOM slice."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom

from pipelines.images.reading import read_image

NEGLIGIBLE = 1e-20
"""What ITK does not add to voxels as an intercept."""


def differs(path: Path) -> str:
    """Return how the voxels of a file that we read differ from those of another reader, or ""."""
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(action="ignore"), np.errstate(all="ignore"):
            expected = _of_nifti(path) if path.name.endswith((".nii", ".nii.gz")) else _of_dicom(path)
        found = read_image(path).array
    except Exception:  # one of them cannot read it, or not as an image
        return ""
    finally:
        logging.disable(logging.NOTSET)
    if not expected.size:  # ITK takes an axis of 0 for one of 1, as the NIfTI library does
        return ""
    if found.size != expected.size:
        return f"read as {found.shape}, by another reader as {expected.shape}"
    # Rescaled numbers are float32 or float64 in one reader or the other.
    if not np.allclose(found.ravel(), expected.ravel(), rtol=1e-6, atol=NEGLIGIBLE, equal_nan=True):
        return "the voxels are not those that another reader finds"
    return ""


def _of_nifti(path: Path) -> Any:
    return np.asanyarray(nibabel.load(path).dataobj).T


def _of_dicom(path: Path) -> Any:
    image = pydicom.dcmread(path, force=True)
    slope = 1.0 if image.get("RescaleSlope") in (None, "") else float(image.RescaleSlope)
    intercept = 0.0 if image.get("RescaleIntercept") in (None, "") else float(image.RescaleIntercept)
    return image.pixel_array * slope + intercept
