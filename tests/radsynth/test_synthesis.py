"""`radsynth.synthesize`: the network's maps in the kind of the image, checked."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import SimpleITK as sitk

import radsynth
from glcm_cuda import GLCMSettings, entropy_map

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
GLCM = GLCMSettings(levels=8)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Return the path of an untrained model, whose maps fail every check."""
    import keras

    from surrogate import NetworkSettings, build_model

    keras.utils.set_random_seed(0)
    path = tmp_path_factory.mktemp("model") / "model.keras"
    build_model(GLCM, NetworkSettings(filters=(4, 4, 4, 4))).save(path)
    return path


def test_maps_have_the_kind_of_the_image(model, rng, caplog):
    array = rng.integers(0, 100, (2, 9, 12)).astype(np.int16)
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((0.5, 0.75, 3.0))
    with caplog.at_level(logging.INFO):
        made = radsynth.synthesize(image, model)
    assert (made.GetSize(), made.GetSpacing()) == (image.GetSize(), image.GetSpacing())
    assert "synthetic joint_entropy: " in caplog.text
    assert "model.keras has no model card" in caplog.text
    np.testing.assert_array_equal(radsynth.synthesize(array, model), sitk.GetArrayFromImage(made))
    exact = radsynth.synthesize(array, model, fallback=True, mask=array > 20)
    np.testing.assert_array_equal(exact, entropy_map(array, GLCM))


def test_unfit_arguments_are_named(model, rng):
    array = rng.integers(0, 100, (2, 9, 12))
    with pytest.raises(TypeError, match="image must be a path"):
        radsynth.synthesize([1], model)
    with pytest.raises(ValueError, match="mask must have the image's shape"):
        radsynth.synthesize(array, model, mask=array[:1])
    with pytest.raises(ValueError, match="runtime must be one of"):
        radsynth.synthesize(array, model, runtime="jax")
