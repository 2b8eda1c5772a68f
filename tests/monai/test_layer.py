"""The differentiable layer as a module of PyTorch: exact at low temperature, with gradients at others."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

import radsynth
from radsynth.adapters.torch import GLCMEntropy


@pytest.fixture
def levels():
    """Return whole levels (N, 1, H, W, D)."""
    rng = np.random.default_rng(0)
    return torch.from_numpy(rng.integers(0, 6, (2, 1, 9, 7, 3)).astype(np.float32))


@pytest.mark.parametrize("symmetric", [True, False])
def test_whole_levels_have_the_exact_entropy(levels, symmetric):
    settings = radsynth.Settings(levels=6, window=5, intensity_range=(0.0, 6.0), symmetric=symmetric)
    made = GLCMEntropy(settings)(levels)
    assert made.shape == levels.shape
    for image, values in zip(levels, made, strict=True):
        exact = radsynth.map(image, settings=settings)
        np.testing.assert_allclose(values.detach(), exact, atol=2e-5)  # sums of float32 logarithms
    np.testing.assert_array_equal(GLCMEntropy(settings)(levels[..., 0]).detach(), made[..., 0].detach())


def test_a_loss_on_texture_has_a_gradient(levels):
    module = GLCMEntropy(radsynth.Settings(window=3), temperature=0.7)
    images = levels.clone().requires_grad_()
    module(images).mean().backward()
    assert images.grad.shape == levels.shape
    assert torch.isfinite(images.grad).all()
    assert (images.grad != 0).float().mean() > 0.9
    assert list(module.parameters()) == []
    before, after = (module(one).mean() for one in (levels, levels - images.grad))
    assert after < before


def test_other_shapes_are_refused(levels):
    for wrong in (levels[0], levels[0, 0], levels.repeat(1, 2, 1, 1, 1)):
        with pytest.raises(ValueError, match=r"levels must be a tensor \(N, 1, H, W\) or"):
            GLCMEntropy()(wrong)


def test_another_backend_of_keras_is_refused():
    code = (
        "import keras\n"
        "keras.backend.backend = lambda: 'jax'\n"
        "from radsynth.adapters.torch import GLCMEntropy\n"
        "GLCMEntropy()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.splitlines()[-1].startswith("RuntimeError: Keras must run on torch, got jax; set")
