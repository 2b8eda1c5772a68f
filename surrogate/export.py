"""Export to other runtimes: the dense network as ONNX, SavedModel or LiteRT."""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from glcm_cuda.base.extras import require
from glcm_cuda.base.files import replacing, temporary_folder
from glcm_cuda.base.version import __version__
from surrogate.dense import dense_model
from surrogate.model import glcm_settings, model_features, network_settings

_MOST_CONVERSIONS = 5
"""Times that a model is converted to ONNX until the file gives its values."""

_CLOSE = 1e-3
"""Difference between runtimes on any device; a wrong graph is off by far more."""

FORMATS = {".onnx": "onnx", ".tflite": "litert", "": "tf_saved_model"}
"""Format by file suffix, as Keras names it."""

Maps = npt.NDArray[np.float32]

Predictor = Callable[[Maps], Maps]
"""From (N, Y, X, 1) grey levels to (N, Y-w+1, X-w+1, F) values, for any N, Y and X."""


def export_model(model: keras.Model, path: str | os.PathLike[str], *, force: bool = False) -> None:
    """Write the dense network of a model for another runtime.

    Input and output are those of `dense_model`, for slices of any height and width. Settings, features and
    version are written too: into the metadata of an ONNX file, and into ``PATH.json`` for the other formats.

    Parameters
    ----------
    model : keras.Model
        Model from `load_model`, `build_model` or `dense_model`.
    path : path
        A path ending in ``.onnx`` or ``.tflite`` (LiteRT), or without suffix for the folder of a SavedModel.
    force : bool
        Whether to replace an existing file or folder.

    Raises
    ------
    ValueError
        If the suffix is not one of these, or the Keras backend cannot write the format.
    ImportError
        If a package that the format needs is not installed.
    RuntimeError
        If the converter to ONNX changes the network's values.
    FileExistsError
        If `path` exists and `force` is False.
    """
    path = Path(path)
    if path.suffix not in FORMATS:
        msg = f"{path} must end in .onnx or .tflite, or have no suffix for a SavedModel"
        raise ValueError(msg)
    file_format = FORMATS[path.suffix]
    _check_format(file_format)
    dense = model if model.input_shape[1] is None else dense_model(model)
    edge = glcm_settings(model).edge
    # Keras can export a model only after it has been called.
    dense.predict_on_batch(np.zeros((1, edge, edge, 1), np.float32))
    metadata = {
        "radsynth": __version__,
        "glcm": glcm_settings(model).to_json(),
        "features": json.dumps(model_features(model)),
        "network": json.dumps(network_settings(model).to_dict()),
    }
    with replacing(path, force=force) as temporary:
        if file_format == "onnx":
            _write_onnx(dense, edge, temporary)
            _add_onnx_metadata(temporary, metadata)
        else:
            _write(dense, file_format, temporary)
    if file_format != "onnx":
        with replacing(path.with_name(f"{path.name}.json"), force=True) as temporary:
            temporary.write_text(json.dumps(metadata, indent=2) + "\n", encoding="utf-8")


def _write(dense: keras.Model, file_format: str, path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the converters warn about their own deprecated calls
        dense.export(path, format=file_format, verbose=False)


def _write_onnx(dense: keras.Model, edge: int, path: Path) -> None:
    """Write an ONNX file that gives the network's values.

    The converter (seen with tf2onnx 1.17) now and then writes a graph whose output has an axis too many, and
    the right graph when it is called again. So every file is run before it is kept.

    Raises
    ------
    RuntimeError
        If no file that was written gives the network's values.
    """
    levels = np.arange(2 * edge * edge, dtype=np.float32).reshape(2, edge, edge, 1) % 4
    expected = np.asarray(dense.predict_on_batch(levels))
    for _ in range(_MOST_CONVERSIONS):
        path.unlink(missing_ok=True)
        _write(dense, "onnx", path)
        values = _onnx_values(path, levels)
        if values.shape == expected.shape and np.allclose(values, expected, rtol=_CLOSE, atol=_CLOSE):
            return
    msg = (
        f"the ONNX file gives other values than the network, after {_MOST_CONVERSIONS} conversions; "
        "try another version of tf2onnx, or export a SavedModel"
    )
    raise RuntimeError(msg)


def _onnx_values(path: Path, levels: Maps) -> Maps:
    """Return what an ONNX file gives: with onnxruntime, or else with the evaluator of the onnx package."""
    if importlib.util.find_spec("onnxruntime") is not None:
        import onnxruntime

        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        (values,) = session.run(None, {session.get_inputs()[0].name: levels})
    else:
        from onnx.reference import ReferenceEvaluator

        evaluator = ReferenceEvaluator(str(path))
        (values,) = evaluator.run(None, {evaluator.input_names[0]: levels})
    return np.asarray(values, np.float32)


@functools.lru_cache(maxsize=2)
def onnx_predictor(model: keras.Model) -> Predictor:
    """Return a function that computes the dense network of a model with onnxruntime, on its fastest device.

    Raises
    ------
    ImportError
        If onnxruntime or a package that the export needs is not installed.
    """
    require("the runtime onnxruntime", "onnxruntime")
    import onnxruntime

    with temporary_folder() as folder:
        path = folder / "model.onnx"
        export_model(model, path)
        session = onnxruntime.InferenceSession(path, providers=onnxruntime.get_available_providers())
    name = session.get_inputs()[0].name

    def predict(levels: Maps) -> Maps:
        (values,) = session.run(None, {name: levels})
        return np.asarray(values, np.float32)

    return predict


def _check_format(file_format: str) -> None:
    backend = keras.backend.backend()
    if file_format == "onnx":
        for package in ("onnx", *(["tf2onnx"] if backend == "tensorflow" else [])):
            require("export to ONNX", package)
    elif backend != "tensorflow":
        msg = f"exporting to SavedModel or LiteRT needs KERAS_BACKEND=tensorflow, got {backend}"
        raise ValueError(msg)


def _add_onnx_metadata(path: Path, metadata: dict[str, str]) -> None:
    import onnx

    proto: Any = onnx.load(path)
    onnx.helper.set_model_props(proto, metadata)
    onnx.save(proto, path)
