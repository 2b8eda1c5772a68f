"""The network and its file."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from helpers.networks import SMALL
from helpers.stores import SETTINGS as GLCM

from glcm_cuda import GLCMSettings

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

keras = pytest.importorskip("keras")

from surrogate import (  # noqa: E402 (Keras first, or nothing)
    LevelScaling,
    NetworkSettings,
    build_model,
    glcm_settings,
    load_model,
)
from surrogate.model import root_mean_squared_error  # noqa: E402

# The network


def test_the_papers_network_has_99137_parameters():
    model = build_model(GLCMSettings())
    assert model.count_params() == 99_137
    assert model.input_shape == (None, 5, 5, 1)
    assert model.output_shape == (None, 1)
    kinds = [type(layer).__name__ for layer in model.layers]
    block = ["Conv2D", "BatchNormalization", "ReLU"]
    pooled = [*block, "MaxPooling2D"]
    assert kinds == [
        "InputLayer",
        "LevelScaling",
        *pooled,
        *pooled,
        *block,
        *block,
        "Dropout",
        "Flatten",
        "Dense",
    ]
    assert model.get_layer("dropout").rate == 0.2


@pytest.mark.parametrize(
    ("network", "window"),
    [
        (NetworkSettings(pool_stride=1), 5),
        (NetworkSettings(padding="valid", pool_stride=1), 11),
        (NetworkSettings(padding="valid", pool_stride=2), 27),
        (NetworkSettings(pool_stride=1), 3),
    ],
)
def test_the_settings_know_what_the_network_does(network, window):
    model = build_model(GLCMSettings(window=window), network)
    edge = network.edge_after_blocks(window)
    assert model.get_layer("flatten").output.shape == (None, edge * edge * 16)


def test_patches_that_shrink_to_nothing_and_cubes_are_refused():
    with pytest.raises(ValueError, match="a 5x5 patch shrinks to nothing"):
        build_model(GLCMSettings(), NetworkSettings(padding="valid"))
    with pytest.raises(ValueError, match=r"takes two-dimensional windows \(dimensions=2\), got dimensions=3"):
        build_model(GLCMSettings(dimensions=3))


def test_features_of_levels_are_learned_and_those_of_intensities_refused():
    names = ("firstorder_Entropy", "glrlm_RunVariance", "glszm_ZoneEntropy", "gldm_DependenceEntropy")
    assert build_model(GLCMSettings(), SMALL, names).output_shape == (None, 4)
    with pytest.raises(ValueError, match="which are all it sees, got firstorder_Mean of intensities"):
        build_model(GLCMSettings(), SMALL, ("RunEntropy", "Mean"))


@pytest.mark.parametrize(
    ("features", "fields", "needed"),
    [
        (
            ("joint_entropy", "glrlm_RunEntropy", "glszm_LargeAreaEmphasis", "firstorder_Uniformity"),
            {},
            False,
        ),
        (("gldm_DependenceVariance",), {}, False),
        (("gldm_DependenceVariance",), {"gldm_a": 1}, True),
        (("joint_entropy", "glrlm_GrayLevelVariance"), {}, True),
        (("ngtdm_Coarseness",), {}, True),
    ],
)
def test_differences_of_levels_are_compared_where_they_matter(features, fields, needed):
    network = NetworkSettings(architecture="equality", hidden=(4,))
    plain, other = (
        build_model(GLCMSettings(window=3, **chosen), network, names).get_layer("dense1").kernel.shape[2]
        for names, chosen in (("joint_entropy", {}), (features, fields))
    )
    assert (other > plain) == needed


def test_levels_are_scaled_to_one():
    scaled = LevelScaling(GLCMSettings(levels=5).to_dict())(np.array([0.0, 1.0, 4.0], np.float32))
    np.testing.assert_allclose(scaled, [0, 0.25, 1])


def test_cost_is_the_root_of_the_mean_square():
    truth, prediction = np.array([1.0, 2.0, 3.0], np.float32), np.array([[1.0], [4.0], [1.0]], np.float32)
    np.testing.assert_allclose(root_mean_squared_error(truth, prediction), np.sqrt(8 / 3), rtol=1e-6)


def test_cost_of_a_perfect_prediction_has_a_finite_gradient(rng):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, kernel_initializer="zeros")])
    model.compile(optimizer=keras.optimizers.SGD(0.1), loss=root_mean_squared_error)
    model.train_on_batch(np.ones((4, 1), np.float32), np.zeros(4, np.float32))
    assert all(np.isfinite(weights).all() for weights in model.get_weights())


# Files


def test_a_model_carries_its_settings(tmp_path, rng):
    glcm = GLCMSettings(levels=32, window=7, log_base="e", intensity_range=(-1.0, 4.0))
    model = build_model(glcm, SMALL)
    model.save(tmp_path / "m.keras")
    again = load_model(tmp_path / "m.keras")
    assert glcm_settings(again) == glcm
    patches = rng.integers(0, 32, (3, 7, 7, 1)).astype(np.float32)
    np.testing.assert_allclose(again.predict_on_batch(patches), model.predict_on_batch(patches), atol=1e-6)


def test_what_is_no_model_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"there is no model file .*absent.keras"):
        load_model(tmp_path / "absent.keras")
    (tmp_path / "text.keras").write_text("no model")
    with pytest.raises(ValueError, match=r"text.keras is not a .keras file, or is truncated"):
        load_model(tmp_path / "text.keras")
    with zipfile.ZipFile(tmp_path / "other.keras", "w") as archive:
        archive.writestr("a.txt", "a")
    with pytest.raises(ValueError, match=r"other.keras is a zip archive but not a .keras file"):
        load_model(tmp_path / "other.keras")


def test_a_model_with_other_files_is_refused(tmp_path):
    """Keras would unpack them, and leave them behind where it fails."""
    build_model(GLCM, SMALL).save(tmp_path / "m.keras")
    with zipfile.ZipFile(tmp_path / "m.keras", "a") as archive:
        archive.writestr("a" * 300, "x")
    with pytest.raises(ValueError, match=r"m.keras must hold config.json, .* alone, got 'aaa.*' too; train"):
        load_model(tmp_path / "m.keras")


def test_a_damaged_directory_of_a_model_is_told(tmp_path):
    build_model(GLCM, SMALL).save(tmp_path / "m.keras")
    content = bytearray((tmp_path / "m.keras").read_bytes())
    content[content.rindex(b"PK\x01\x02")] ^= 1
    (tmp_path / "m.keras").write_bytes(content)
    with pytest.raises(ValueError, match=r"m.keras is not a .keras file, or is truncated"):
        load_model(tmp_path / "m.keras")


def test_a_model_without_settings_is_refused(tmp_path):
    keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]).save(tmp_path / "m.keras")
    with pytest.raises(ValueError, match=r"m.keras: the model has no GLCM settings"):
        load_model(tmp_path / "m.keras")


def _with_config(source: Path, target: Path, old: str, new: str) -> Path:
    with zipfile.ZipFile(source) as archive, zipfile.ZipFile(target, "w") as changed:
        for name in archive.namelist():
            content = archive.read(name)
            if name == "config.json":
                assert old.encode() in content
                content = content.replace(old.encode(), new.encode())
            changed.writestr(name, content)
    return target


@pytest.mark.parametrize(
    ("old", "new"),
    [("LevelScaling", "UnheardOf"), ('"levels": 16', '"levels": 1'), ('"ReLU"', '"Lambda"'), ("{", "")],
    ids=["unknown layer", "settings out of range", "code in the file", "no JSON"],
)
def test_a_foreign_or_damaged_model_is_refused_in_one_line(tmp_path, old, new):
    build_model(GLCM, SMALL).save(tmp_path / "m.keras")
    changed = _with_config(tmp_path / "m.keras", tmp_path / "n.keras", old, new)
    with pytest.raises(ValueError, match=r"n.keras cannot be loaded as a Keras model: .") as caught:
        load_model(changed)
    assert "\n" not in str(caught.value)
