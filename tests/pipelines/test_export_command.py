"""Models for other runtimes give the same maps."""

from __future__ import annotations

import json
import os
import sys

import numpy as np
import pytest
from helpers.commands import radsynth

from glcm_cuda import GLCMSettings

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

keras = pytest.importorskip("keras")
onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
if keras.backend.backend() != "tensorflow":
    pytest.skip("the exports are TensorFlow's", allow_module_level=True)

from surrogate import (  # noqa: E402
    NetworkSettings,
    build_model,
    dense_model,
    glcm_settings,
    synthesize,
    synthesize_features,
)
from surrogate import export as export_module  # noqa: E402
from surrogate.export import export_model  # noqa: E402

GLCM = GLCMSettings(levels=16)
NETWORKS = {
    "radsynth": NetworkSettings(filters=(16, 8, 8, 8)),
    "equality": NetworkSettings(architecture="equality", hidden=(32,)),
    "analytic": NetworkSettings(architecture="analytic"),
}


@pytest.fixture(scope="module", params=NETWORKS)
def model(request):
    keras.utils.set_random_seed(1)
    return build_model(GLCM, NETWORKS[request.param])


def smooth(rng, height, width):
    """Levels with equal neighbours, so that there is something to count."""
    return rng.integers(0, 4, (2, height, width, 1)).astype(np.float32)


@pytest.mark.slow
def test_a_wrong_conversion_to_onnx_is_not_kept(monkeypatch, tmp_path):
    right = build_model(GLCM, NETWORKS["analytic"])
    wrong = dense_model(build_model(GLCM, NETWORKS["radsynth"]))
    wrong.predict_on_batch(np.zeros((1, 5, 5, 1), np.float32))
    write, conversions = export_module._write, []

    def first_wrong(dense, file_format, path):
        conversions.append(path)
        write(wrong if len(conversions) == 1 else dense, file_format, path)

    monkeypatch.setattr(export_module, "_write", first_wrong)
    export_model(right, tmp_path / "m.onnx")
    assert len(conversions) >= 2
    levels = smooth(np.random.default_rng(0), 5, 5)
    found = export_module._onnx_values(tmp_path / "m.onnx", levels)
    np.testing.assert_allclose(found, dense_model(right).predict_on_batch(levels), atol=1e-5)
    monkeypatch.setattr(export_module, "_write", lambda dense, *rest: write(wrong, *rest))
    with pytest.raises(RuntimeError, match="other values than the network, after 5 conversions"):
        export_model(right, tmp_path / "other.onnx")
    assert not (tmp_path / "other.onnx").exists()


def test_onnx_gives_the_same_for_every_size(model, rng, tmp_path):
    path = tmp_path / "m.onnx"
    export_model(model, path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    dense = dense_model(model)
    for size in ((5, 5), (17, 40)):
        levels = smooth(rng, *size)
        (found,) = session.run(None, {session.get_inputs()[0].name: levels})
        expected = dense.predict_on_batch(levels)
        assert expected.std() > 0
        np.testing.assert_allclose(found, expected, atol=1e-5)
    about = session.get_modelmeta().custom_metadata_map
    assert GLCMSettings.from_json(about["glcm"]) == GLCM
    assert json.loads(about["features"]) == ["joint_entropy"]


def test_saved_model_gives_the_same(model, rng, tmp_path):
    import tensorflow as tf

    export_model(model, tmp_path / "m")
    levels = smooth(rng, 9, 12)
    loaded = tf.saved_model.load(str(tmp_path / "m"))
    found = loaded.serve(levels)
    np.testing.assert_allclose(found, dense_model(model).predict_on_batch(levels), atol=1e-5)
    assert GLCMSettings.from_json(json.loads((tmp_path / "m.json").read_text())["glcm"]) == GLCM


@pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter is deprecated:UserWarning")
def test_litert_gives_the_same(model, rng, tmp_path):
    import tensorflow as tf

    export_model(model, tmp_path / "m.tflite")
    interpreter = tf.lite.Interpreter(str(tmp_path / "m.tflite"))
    levels = smooth(rng, 9, 12)
    place = interpreter.get_input_details()[0]["index"]
    interpreter.resize_tensor_input(place, levels.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(place, levels)
    interpreter.invoke()
    found = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    np.testing.assert_allclose(found, dense_model(model).predict_on_batch(levels), atol=1e-5)


def test_maps_of_onnxruntime_are_those_of_keras(model, rng):
    image = rng.integers(0, 5, (2, 12, 30))
    here, there = (synthesize(image, model, runtime=name, tile=10) for name in ("keras", "onnxruntime"))
    assert here.std() > 0
    np.testing.assert_allclose(there, here, atol=1e-5)


def test_several_features_in_onnxruntime(rng):
    network = NetworkSettings(architecture="equality", hidden=(4,))
    model = build_model(GLCM, network, ("contrast", "joint_entropy"))
    image = rng.integers(0, 5, (12, 10))
    here, there = (synthesize_features(image, model, runtime=name) for name in ("keras", "onnxruntime"))
    for name, found in here.items():
        np.testing.assert_allclose(there[name], found, atol=1e-5)


def test_the_command(model, tmp_path):
    source, output = tmp_path / "m.keras", tmp_path / "m.onnx"
    model.save(source)
    result = radsynth("export", source, "-o", output)
    assert (result.exit_code, result.stdout) == (0, f"{output}\n")
    assert output.stat().st_size > 1000
    again = radsynth("export", source, "-o", output)
    assert again.exit_code == 2
    assert "exists; give --force" in again.stderr
    other = radsynth("export", source, "-o", tmp_path / "m.pb")
    assert other.exit_code == 2
    assert "must end in .onnx or .tflite" in other.stderr
    assert glcm_settings(model) == GLCM


def test_what_is_not_installed_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    with pytest.raises(ImportError, match=r"tf2onnx, which is not installed: pip install 'radsynth\[onnx\]'"):
        export_model(build_model(GLCM, NETWORKS["analytic"]), tmp_path / "m.onnx")
    assert not list(tmp_path.iterdir())


def test_an_unknown_runtime_is_refused():
    with pytest.raises(ValueError, match="runtime must be one of"):
        synthesize(np.eye(9), build_model(GLCM, NETWORKS["analytic"]), runtime="tensorrt")
