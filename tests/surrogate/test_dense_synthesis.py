"""Whole slices through the network: equal to the prediction of every patch."""

from __future__ import annotations

import os

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

from glcm_cuda import GLCMSettings
from glcm_cuda.maps import entropy_of_levels

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

keras = pytest.importorskip("keras")

from surrogate import (  # noqa: E402
    NetworkSettings,
    build_model,
    dense_model,
    synthesize,
    synthesize_features,
    synthesize_patches,
)


@pytest.fixture(autouse=True)
def _same_weights():
    keras.utils.set_random_seed(1)


FILTERS = (16, 8, 8, 8)
NETWORKS = [
    (3, NetworkSettings(filters=FILTERS, pool_stride=1)),
    (5, NetworkSettings(filters=FILTERS)),
    (5, NetworkSettings(filters=FILTERS, pool_stride=1)),
    (7, NetworkSettings(filters=FILTERS)),
    (9, NetworkSettings(filters=(8, 8), pool_stride=1)),
    (11, NetworkSettings(filters=FILTERS, padding="valid", pool_stride=1)),
    (13, NetworkSettings(filters=FILTERS, padding="valid", pool_stride=1)),
    (27, NetworkSettings(filters=FILTERS, padding="valid")),
    (31, NetworkSettings(filters=FILTERS, padding="valid")),
    (3, NetworkSettings(architecture="equality", hidden=(16,))),
    (5, NetworkSettings(architecture="equality", hidden=(8, 4))),
    (7, NetworkSettings(architecture="equality", hidden=(16,))),
    (5, NetworkSettings(architecture="analytic")),
    (7, NetworkSettings(architecture="analytic", temperature=1.0)),
]
CASES = [
    (window, network, features)
    for window, network in NETWORKS
    for features in (("joint_entropy",), ("contrast", "joint_entropy"))
    if network.architecture != "analytic" or features == ("joint_entropy",)  # all it gives
]
QUICK = [case for case in CASES if case[0] in (3, 7, 27) and (case[0] == 7) == (len(case[2]) == 1)]


def unsettled(model, rng):
    """Give the model statistics and gains as after a training, all of them different."""
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            size = layer.get_weights()[0].size
            ranges = ((0.5, 2), (-1, 1), (-1, 1), (0.2, 2))
            layer.set_weights([rng.uniform(*limits, size) for limits in ranges])
    return model


@pytest.mark.parametrize(
    ("window", "network", "features"),
    [pytest.param(*case, marks=() if case in QUICK else pytest.mark.slow) for case in CASES],
    ids=str,
)
def test_every_whole_window_is_predicted_as_its_patch(rng, window, network, features):
    model = unsettled(build_model(GLCMSettings(window=window), network, features), rng)
    dense = dense_model(model)
    for height, width in ((window, window), (window + 4, window + 7)):
        levels = rng.integers(0, 64, (2, height, width))
        levels[1] //= 9
        patches = sliding_window_view(levels, (window, window), axis=(1, 2))
        expected = model.predict_on_batch(patches.reshape(-1, window, window, 1).astype(np.float32))
        expected = expected.reshape(*patches.shape[:3], len(features))
        found = np.asarray(dense.predict_on_batch(levels[..., None].astype(np.float32)))
        assert found.shape == expected.shape
        assert expected.std() > 0.001
        np.testing.assert_allclose(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "shape", [(7, 31), *(pytest.param(s, marks=pytest.mark.slow) for s in [(5, 5), (3, 12, 9)])]
)
@pytest.mark.parametrize("tile", [4, 100, *(pytest.param(t, marks=pytest.mark.slow) for t in [1, 6])])
def test_a_map_is_that_of_the_patches_for_every_tile_up_to_the_border(rng, shape, tile):
    model = unsettled(build_model(GLCMSettings(), NetworkSettings(filters=FILTERS)), rng)
    image = rng.normal(size=shape).cumsum(axis=-1)
    calls = []
    found = synthesize(
        image, dense_model(model), tile=tile, progress=lambda done, total: calls.append((done, total))
    )
    assert found.dtype == np.float32
    assert found.shape == shape
    np.testing.assert_allclose(found, synthesize_patches(image, model), atol=1e-5)
    assert calls[-1] == (image.size, image.size)


def test_the_analytic_network_gives_the_exact_map_of_an_image_inside_its_border(rng):
    settings = GLCMSettings()
    image = rng.normal(size=(3, 40, 30)).cumsum(axis=1)
    found = synthesize(image, build_model(settings, NetworkSettings(architecture="analytic")))
    from glcm_cuda import quantize

    exact = entropy_of_levels(quantize(image, settings), settings, backend="cpu")
    np.testing.assert_allclose(found[:, 2:-2, 2:-2], exact[:, 2:-2, 2:-2], atol=1e-5)


def test_several_features_come_by_name(rng):
    features = ("joint_energy", "contrast")
    network = NetworkSettings(architecture="equality", hidden=(4,))
    model = build_model(GLCMSettings(levels=8), network, features)
    image = rng.normal(size=(9, 8))
    maps = synthesize_features(image, model)
    assert tuple(maps) == features
    assert all(found.shape == image.shape for found in maps.values())
    np.testing.assert_allclose(maps["joint_energy"], synthesize_patches(image, model), atol=1e-5)
    with pytest.raises(
        ValueError, match="the model predicts joint_energy, contrast; use synthesize_features"
    ):
        synthesize(image, model)
