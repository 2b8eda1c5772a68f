"""Synthetic maps: every voxel by its own window."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from helpers.networks import QUICK, SMALL
from helpers.stores import SETTINGS as GLCM

from glcm_cuda import GLCMSettings, quantize

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

keras = pytest.importorskip("keras")

from surrogate import (  # noqa: E402 (Keras first, or nothing)
    LevelScaling,
    build_model,
    load_model,
    synthesize,
    synthesize_patches,
    train,
)


@pytest.fixture(scope="module")
def trained(store, tmp_path_factory):
    """Return the file of a model that has learned a little."""
    settings = replace(QUICK, folds=1, epochs=3, patience=0)
    (result,) = train(store, tmp_path_factory.mktemp("runs") / "run", settings, SMALL)
    return result.model


class Centre(keras.layers.Layer):
    """Stand-in for a network whose answer is known: a sum of two voxels of the window."""

    def call(self, x):
        return x[:, 2, 2] + 100 * x[:, 0, 1]


def centre_model(glcm: GLCMSettings) -> keras.Model:
    inputs = keras.Input((5, 5, 1))
    scaled = LevelScaling(glcm.to_dict())(inputs)
    return keras.Model(inputs, Centre()(scaled) * (glcm.levels - 1))


@pytest.mark.parametrize("shape", [(5, 5), (7, 11), (3, 6, 9)])
@pytest.mark.parametrize("batch", [1, 20, 1000])
def test_every_voxel_gets_its_own_window(rng, shape, batch):
    image = rng.normal(size=shape)
    calls = []
    out = synthesize_patches(
        image, centre_model(GLCM), batch=batch, progress=lambda done, total: calls.append((done, total))
    )
    levels = quantize(image, GLCM).astype(np.float32)
    edges = [(0, 0)] * (len(shape) - 2) + [(2, 2), (2, 2)]
    padded = np.pad(levels, edges, mode="reflect")
    expected = levels + 100 * padded[..., : shape[-2], 1 : 1 + shape[-1]]
    assert out.dtype == np.float32
    np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-3)
    assert calls[-1] == (image.size, image.size)


def test_synthesize_is_the_network_patch_by_patch(trained, rng):
    model = load_model(trained)
    image = rng.normal(size=(9, 8)).cumsum(axis=0)
    levels = quantize(image, GLCM)
    patches = np.lib.stride_tricks.sliding_window_view(levels, (5, 5)).reshape(-1, 5, 5, 1)
    expected = model.predict_on_batch(patches.astype(np.float32)).reshape(5, 4)
    np.testing.assert_allclose(synthesize(image, model)[2:-2, 2:-2], expected, atol=1e-5)


@pytest.mark.parametrize(
    ("image", "tile", "message"),
    [
        (np.zeros((4, 9)), 10, "image must hold a whole 5x5 window, got slices of 4x9 voxels"),
        (np.zeros(9), 10, r"image must have two or three dimensions, got shape \(9,\)"),
        (np.zeros((6, 6)), 0, "tile must be 1 or more, got 0"),
        (np.full((6, 6), np.nan), 10, "finite intensities"),
    ],
)
def test_what_synthesize_refuses(image, tile, message):
    with pytest.raises(ValueError, match=message):
        synthesize(image, build_model(GLCM, SMALL), tile=tile)


def test_patches_predicted_at_a_time_are_one_or_more():
    with pytest.raises(ValueError, match="batch must be 1 or more, got 0"):
        synthesize_patches(np.zeros((6, 6)), build_model(GLCM, SMALL), batch=0)


ELSEWHERE = """
import sys, numpy as np
from surrogate import load_model, synthesize
image = np.load(sys.argv[2])
np.save(sys.argv[3], synthesize(image, load_model(sys.argv[1])))
import keras
print(keras.backend.backend())
"""


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
def test_the_same_file_gives_the_same_map_elsewhere(trained, tmp_path, rng, backend):
    if backend == keras.backend.backend():
        pytest.skip("the backend of this process is what the others are compared with")
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    image = rng.normal(size=(2, 40, 30)).cumsum(axis=1)
    np.save(tmp_path / "image.npy", image)
    paths = [str(trained), str(tmp_path / "image.npy"), str(tmp_path / "map.npy")]
    environment = {**os.environ, "KERAS_BACKEND": backend, "JAX_PLATFORMS": "cpu"}
    run = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, *paths], capture_output=True, text=True, env=environment
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == backend
    here = synthesize(image, load_model(trained))
    assert here.std() > 0.05
    np.testing.assert_allclose(np.load(tmp_path / "map.npy"), here, atol=1e-5)
