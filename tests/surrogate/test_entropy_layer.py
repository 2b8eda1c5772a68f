"""The differentiable entropy: its hard limit, its gradient, its use."""

from __future__ import annotations

import os

import naive
import numpy as np
import pytest

from glcm_cuda import GLCMSettings
from glcm_cuda.maps import entropy_of_levels

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

keras = pytest.importorskip("keras")

from surrogate import GLCMEntropy, NetworkSettings, build_model  # noqa: E402

if keras.backend.backend() == "jax":
    import jax

    jax.config.update("jax_enable_x64", True)  # finite differences need it

SETTINGS = [
    GLCMSettings(),
    GLCMSettings(levels=8, window=3, log_base="e"),
    GLCMSettings(levels=16, window=7, log_base=10),
    GLCMSettings(levels=16, aggregate="merge"),
    GLCMSettings(levels=16, symmetric=False),
    GLCMSettings(levels=16, symmetric=False, aggregate="merge"),
    GLCMSettings(levels=16, distance=(1, 2), directions="all"),
]


def image(rng, levels, shape=(11, 13)):
    """Half noise, half even."""
    drawn = rng.integers(0, levels, shape, dtype=np.uint8)
    drawn[:, : shape[1] // 2] //= max(2, levels // 3)
    return drawn


def as_tensor(levels):
    return levels[None, :, :, None].astype(np.float32)


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_the_hard_limit_is_the_exact_map_with_its_borders(settings, rng):
    levels = image(rng, settings.levels)
    found = keras.ops.convert_to_numpy(GLCMEntropy(settings)(as_tensor(levels)))[0, :, :, 0]
    np.testing.assert_allclose(found, entropy_of_levels(levels, settings, backend="cpu"), atol=2e-6)


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_the_analytic_network_is_exact_on_whole_levels(settings, rng):
    edge = settings.edge
    patches = np.stack([image(rng, settings.levels, (edge, edge)) for _ in range(20)])
    patches[0] = 3
    model = build_model(settings, NetworkSettings(architecture="analytic"))
    found = model.predict_on_batch(patches[..., None].astype(np.float32))[:, 0]
    exact = entropy_of_levels(patches, settings, backend="cpu")[:, settings.radius, settings.radius]
    np.testing.assert_allclose(found, exact, atol=1e-5)


def test_against_the_oracle(rng):
    levels = image(rng, 8, (6, 7))
    settings = GLCMSettings(levels=8, window=3)
    found = keras.ops.convert_to_numpy(GLCMEntropy(settings)(as_tensor(levels)))[0, :, :, 0]
    expected = naive.entropy_map(levels[None], window=(1, 3, 3))[0]
    np.testing.assert_allclose(found, expected, atol=2e-6)


def test_by_hand():
    # Two pairs along x, one down each column and one on each diagonal of a 2x2 image: (0, 0), (0, 9) ...
    levels = np.array([[0, 0], [0, 9]])
    # along x: {00, 09}, symmetric 1/2, 1/4, 1/4: 1.5 bits; down the same; diagonals: {09}: 1 and {00}: 0
    found = keras.ops.convert_to_numpy(GLCMEntropy(GLCMSettings(window=5))(as_tensor(levels)))
    np.testing.assert_allclose(found, np.full((1, 2, 2, 1), (1.5 + 1.5 + 1 + 0) / 4), atol=1e-6)


def gradient(function, at):
    """Gradient of a scalar function, on the backend at hand."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        point = tf.constant(at)
        with tf.GradientTape() as tape:
            tape.watch(point)
            value = function(point)
        return tape.gradient(value, point).numpy()
    if backend == "jax":
        import jax

        return np.asarray(jax.grad(function)(at))
    import torch

    point = torch.tensor(at, requires_grad=True)
    function(point).backward()
    return point.grad.numpy()


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_gradient_against_finite_differences(temperature, rng):
    layer = GLCMEntropy(GLCMSettings(levels=8), temperature, dtype="float64")
    levels = rng.uniform(0, 7, (1, 7, 8, 1))
    weights = rng.normal(size=levels.shape)

    def value(at):
        # Left to itself, a layer of some backends rounds an array to float32 first.
        levels_at, weights_at = (keras.ops.convert_to_tensor(one, dtype="float64") for one in (at, weights))
        return keras.ops.sum(layer(levels_at) * weights_at)

    found = gradient(value, levels)
    assert np.abs(found).max() > 0.01
    # Keras' products are float64 on TensorFlow alone; elsewhere differences need a longer step.
    step, near, floor = (1e-5, 1e-5, 1e-8) if keras.backend.backend() == "tensorflow" else (1e-2, 1e-2, 5e-4)
    for place in zip(
        *np.unravel_index(rng.choice(levels.size, 12, replace=False), levels.shape), strict=True
    ):
        above, below = levels.copy(), levels.copy()
        above[place] += step
        below[place] -= step
        expected = float(value(above) - value(below)) / (2 * step)
        assert found[place] == pytest.approx(expected, rel=near, abs=floor)


def test_it_is_smooth_in_the_temperature_and_falls_with_it(rng):
    levels = as_tensor(image(rng, 16))
    means = [float(keras.ops.mean(GLCMEntropy(temperature=t)(levels))) for t in (0.1, 0.5, 1, 2, 8, 100)]
    assert means == sorted(means, reverse=True)
    assert means[-1] < 0.1


def test_it_is_saved_within_a_model(tmp_path, rng):
    inputs = keras.Input((None, None, 1))
    model = keras.Model(inputs, GLCMEntropy(GLCMSettings(window=3), 0.7)(inputs))
    model.save(tmp_path / "m.keras")
    again = keras.saving.load_model(tmp_path / "m.keras", safe_mode=True)
    levels = as_tensor(image(rng, 64))
    np.testing.assert_array_equal(model(levels), again(levels))
    assert again.layers[-1].temperature == 0.7


@pytest.mark.parametrize(
    ("settings", "temperature", "message"),
    [
        (GLCMSettings(dimensions=3), 1.0, r"takes two-dimensional windows \(dimensions=2\)"),
        (GLCMSettings(), 0.0, "temperature must be above 0 and finite, got 0.0"),
    ],
)
def test_what_cannot_be_is_refused(settings, temperature, message):
    with pytest.raises(ValueError, match=message):
        GLCMEntropy(settings, temperature)
