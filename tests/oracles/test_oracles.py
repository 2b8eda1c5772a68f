"""Our maps against those of pyradiomics, scikit-image, mahotas and ITK, computed here and now."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import SimpleITK as sitk
from tools import (
    PYRADIOMICS,
    itk_maps,
    itk_settings,
    mahotas_values,
    pyradiomics_maps,
    pyradiomics_settings,
    skimage_values,
)

from glcm_cuda import GLCMSettings, feature_maps
from glcm_cuda.features import NAMES

RADIUS = 2
INNER = (slice(RADIUS, -RADIUS), slice(RADIUS, -RADIUS))


@pytest.fixture(scope="module", params=["walk", "breast"])
def case(request: pytest.FixtureRequest) -> tuple[np.ndarray, np.ndarray]:
    """Return a volume and a mask: a random walk whose mask touches the border, or a real lesion."""
    if request.param == "walk":
        rng = np.random.default_rng(0)
        volume = (200 + rng.normal(0, 12, (5, 9, 10)).cumsum(1).cumsum(2)).round().astype(np.int16)
        mask = rng.random(volume.shape) < 0.6
        mask[:, :, -3:] = False
        assert mask[0].any()
        assert mask[:, 0].any()
        return volume, mask
    data = request.getfixturevalue("data_dir") / "pyradiomics"
    if not (data / "breast1_image.nrrd").is_file():
        pytest.skip(f"no breast1_image.nrrd in {data}")
    volume, mask = (
        sitk.GetArrayFromImage(sitk.ReadImage(data / f"breast1_{name}.nrrd")) for name in ("image", "label")
    )
    return volume, mask == 1


@pytest.mark.parametrize("name", PYRADIOMICS)
def test_pyradiomics(name: str, case: tuple[np.ndarray, np.ndarray], compare: Callable[..., None]) -> None:
    # One voxel a batch: pyradiomics leaves out a direction without pairs only if it has none in the
    # whole batch; see test_pyradiomics_in_batches.
    volume, mask = case
    theirs = pyradiomics_maps(volume, mask, name, batch=1)
    ours = feature_maps(volume, "all", pyradiomics_settings(name), mask=mask, backend="cpu")
    # Its MCC is 0 in a merged window without any pair, where its other features, and all of ours, are NaN
    theirs["mcc"][np.isnan(theirs["joint_entropy"])] = np.nan
    for feature in NAMES:
        compare("pyradiomics", feature, ours[feature][mask], theirs[feature][mask], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", PYRADIOMICS)
def test_pyradiomics_in_batches(
    name: str, case: tuple[np.ndarray, np.ndarray], compare: Callable[..., None]
) -> None:
    """A direction that is empty for some voxels of a batch spoils two of pyradiomics' features there.

    JointAverage becomes NaN, where the others are means over the directions that have pairs; MCC loses its
    eigenvalues, as one NaN makes NumPy refuse the whole stack of matrices.
    """
    volume, mask = case
    theirs = pyradiomics_maps(volume, mask, name, batch=1000)
    ours = feature_maps(volume, "all", pyradiomics_settings(name), mask=mask, backend="cpu")
    for feature in NAMES:
        got, expected = ours[feature][mask], theirs[feature][mask]
        if feature == "mcc":
            continue
        if feature == "joint_average":
            assert np.isnan(expected[np.isnan(got)]).all()
            got, expected = got[~np.isnan(expected)], expected[~np.isnan(expected)]
        compare("pyradiomics", feature, got, expected, rtol=1e-6, atol=1e-7)


@pytest.fixture
def picture() -> np.ndarray:
    rng = np.random.default_rng(1)
    return (120 + rng.integers(-4, 5, (14, 15)).cumsum(0)).astype(np.uint8)


@pytest.mark.parametrize(("tool", "values"), [("skimage", skimage_values), ("mahotas", mahotas_values)])
def test_of_windows(
    tool: str,
    values: Callable[[np.ndarray], dict[str, float]],
    picture: np.ndarray,
    compare: Callable[..., None],
) -> None:
    edge = 2 * RADIUS + 1
    windows = np.lib.stride_tricks.sliding_window_view(picture, (edge, edge)).reshape(-1, edge, edge)
    theirs = [values(np.ascontiguousarray(window)) for window in windows]
    ours = feature_maps(picture, list(theirs[0]), GLCMSettings.preset(tool), backend="cpu")
    for feature in theirs[0]:
        expected = [value[feature] for value in theirs]
        compare(tool, feature, ours[feature][INNER].ravel(), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("symmetric", [False, True])
def test_itk(symmetric: bool, picture: np.ndarray, compare: Callable[..., None]) -> None:
    theirs = itk_maps(picture, symmetric=symmetric)
    ours = feature_maps(picture, "all", itk_settings(symmetric=symmetric), backend="cpu")
    for feature, expected in theirs.items():
        got = ours[feature] / ours["sum_squares"] if feature == "correlation" else ours[feature]
        # The cluster shade is a small sum of large terms of both signs, and ITK's numbers are float32
        atol = 1e-3 if feature == "cluster_shade" else 0
        compare("itk", feature, got[INNER], expected[INNER], rtol=1e-4, atol=atol)
