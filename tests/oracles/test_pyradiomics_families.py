"""pyradiomics' voxel mode, every feature of the families beside the GLCM.

Ours must be 0 where pyradiomics' values are those of rounding (docs/conventions.md, section 6): skewness and
kurtosis of flat windows, and busyness where its denominator is 0.
"""

from __future__ import annotations

import functools
import operator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import SimpleITK as sitk
from voxel_mode import voxel_mode

from glcm_cuda import GLCMSettings, feature_maps
from glcm_cuda.families.registry import features_named

FAMILIES = ("firstorder", "glrlm", "glszm", "gldm", "ngtdm")
RTOL, ATOL = 1.2e-7, 1e-12
"""Two halves of a float32's last place; and what float64 leaves of a skewness that is 0."""

LARGEST_BUSYNESS = 1e9
"""No window has more: the smallest denominator is a fraction of 125 voxels."""

PLANE = {"force2D": True, "binWidth": 10}, {"dimensions": 2, "bin_width": 10.0}
SPACE = {"binWidth": 15}, {"bin_width": 15.0}
UNMASKED = {"maskedKernel": False}, {"masked_window": False, "range_over": "crop"}
LARGER = {"kernelRadius": 2}, {"window": 5}


def told(*parts: tuple[dict[str, Any], dict[str, Any]]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what pyradiomics is told, and the settings that stand for it."""
    theirs, ours = zip(*parts, strict=True)
    return functools.reduce(operator.or_, theirs), functools.reduce(operator.or_, ours)


def distances(*steps: int) -> tuple[dict[str, Any], dict[str, Any]]:
    return {"distances": list(steps)}, {"distance": steps}


WINDOWS = {
    "2d, 3x3": told(PLANE),
    "2d, 5x5": told(PLANE, LARGER),
    "2d, 5x5, unmasked": told(PLANE, LARGER, UNMASKED),
    "2d, 3x3, hundreds of levels": told(PLANE, ({"binWidth": 0.3}, {"bin_width": 0.3})),
    "2d across y": told(PLANE, ({"force2Ddimension": 1}, {"slice_axis": 1})),
    "2d across x, unmasked": told(PLANE, UNMASKED, ({"force2Ddimension": 2}, {"slice_axis": 2})),
    "3d, 3x3x3": told(SPACE),
    "3d, 3x3x3, unmasked": told(SPACE, UNMASKED),
    "3d, 5x5x5": told(SPACE, LARGER),
    "3d, 5x5x5, unmasked, count": told(
        LARGER, UNMASKED, ({"binCount": 16}, {"bin_width": None, "levels": 16})
    ),
}
MERGED = {"weightingNorm": "no_weighting"}, {"aggregate": "merge"}
TOLERANT = {"gldm_a": 1}, {"gldm_a": 1}
OWN = {
    "firstorder": {
        "2d, shifted": told(PLANE, LARGER, ({"voxelArrayShift": 300}, {"intensity_shift": 300.0})),
        "3d, shifted": told(SPACE, ({"voxelArrayShift": 300}, {"intensity_shift": 300.0})),
    },
    "glrlm": {
        "2d, merged": told(PLANE, LARGER, MERGED),
        "3d, merged": told(SPACE, MERGED),
        "3d, merged, unmasked": told(SPACE, LARGER, UNMASKED, MERGED),
        "2d, distance 2, which it ignores": told(PLANE, LARGER, distances(2)),
    },
    "glszm": {"3d, distance 2, which it ignores": told(SPACE, LARGER, distances(2))},
    "gldm": {
        "2d, distance 2": told(PLANE, LARGER, distances(2)),
        "2d, distances 1 and 2, alpha 1": told(PLANE, LARGER, distances(1, 2), TOLERANT),
        "2d, alpha 1, unmasked": told(PLANE, UNMASKED, TOLERANT),
        "3d, distance 2, alpha 1": told(SPACE, LARGER, distances(2), TOLERANT),
        "3d, distances 1 and 2": told(SPACE, LARGER, distances(1, 2)),
        "3d, alpha 1": told(SPACE, TOLERANT),
    },
    "ngtdm": {
        "2d, distance 2": told(PLANE, LARGER, distances(2)),
        "2d, distances 1 and 2": told(PLANE, LARGER, distances(1, 2)),
        "3d, 3x3x3, distance 2": told(SPACE, distances(2)),
        "3d, distances 1 and 2, unmasked": told(SPACE, LARGER, distances(1, 2), UNMASKED),
    },
}
CASES = [
    pytest.param(family, *case, id=f"{family}, {name}")
    for family in FAMILIES
    for name, case in {**WINDOWS, **OWN[family]}.items()
]


@dataclass(frozen=True)
class Subject:
    """An image and its mask, with the distance of neighbouring voxels along z, y and x in mm."""

    image: npt.NDArray[Any]
    mask: npt.NDArray[np.bool_]
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)


def random_walk(density: float, dtype: Any = np.int16) -> Subject:
    """Return steps that add up, and a mask in two pieces that touches the border and has holes."""
    rng = np.random.default_rng(3)
    image = rng.integers(-9, 10, (6, 13, 14)).cumsum(axis=1).cumsum(axis=2)
    image[1:5, 6:12, :7] = 12  # windows of one level
    mask = np.zeros(image.shape, bool)
    mask[:4, :9, :9] = True
    mask[3:, 10:12, 7:] = True
    mask &= rng.random(image.shape) < density
    scale = 1 if np.issubdtype(dtype, np.integer) else 0.1
    return Subject((image * scale).astype(dtype), mask, (2.5, 0.7, 0.8))


def breast(data_dir) -> Subject:
    """Return a part of a real image: its lesion, of which few voxels are kept to save time."""
    image, label = (
        sitk.ReadImage(str(data_dir / "pyradiomics" / f"breast1_{part}.nrrd")) for part in ("image", "label")
    )
    z, y, x = image.GetSpacing()[::-1]
    return Subject(sitk.GetArrayFromImage(image), sitk.GetArrayFromImage(label) == 1, (z, y, x))


SUBJECTS = {
    "filled": lambda _: random_walk(1.0),
    "holes": lambda _: random_walk(0.6),
    "sparse": lambda _: random_walk(0.15),
    "real numbers": lambda _: random_walk(0.8, np.float32),
    "breast1": lambda request: breast(request.getfixturevalue("data_dir")),
}


@pytest.fixture(params=SUBJECTS, scope="module")
def subject(request) -> Subject:
    return SUBJECTS[request.param](request)


@pytest.mark.parametrize(("family", "theirs", "ours"), CASES)
def test_maps_are_those_of_the_voxel_mode(compare, subject, family, theirs, ours):
    settings = replace(GLCMSettings.preset("pyradiomics"), **ours)
    options = {"mask": subject.mask, "spacing": subject.spacing, "backend": "cpu"}
    maps = feature_maps(subject.image, family, settings, **options)
    if family == "firstorder":  # its levels there are those of a float64 copy, whose edges are others
        of_levels = ["firstorder_Entropy", "firstorder_Uniformity"]
        maps |= feature_maps(subject.image.astype(float), of_levels, settings, **options)
    expected = voxel_mode(subject.image, subject.mask, family, theirs, subject.spacing)
    for feature in features_named(family):
        found, reference = maps[feature.name][subject.mask], expected[feature.pyradiomics]
        ours_alone = undefined_there(feature.full_name, expected)
        assert (found[ours_alone] == 0).all()
        values = found[~ours_alone], reference[~ours_alone]
        compare("pyradiomics", feature.full_name, *values, RTOL, ATOL, row=family)


def undefined_there(name: str, expected: dict[str, npt.NDArray[np.float64]]) -> npt.NDArray[np.bool_]:
    """Return where pyradiomics divides what is left of rounding, so that its values mean nothing."""
    if name in ("firstorder_Skewness", "firstorder_Kurtosis"):
        return expected["Range"] == 0
    if name == "ngtdm_Busyness":
        return expected["Busyness"] > LARGEST_BUSYNESS
    return np.zeros(len(next(iter(expected.values()))), bool)
