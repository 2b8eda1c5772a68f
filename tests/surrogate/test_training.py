"""Network, minibatches, training and synthetic maps."""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from glcm_cuda import GLCMSettings, feature_maps, quantize
from glcm_cuda.maps import entropy_of_levels
from glcm_cuda.store.layout import CaseRecord, CaseSource
from glcm_cuda.store.patches import Samples
from glcm_cuda.store.reading import PatchStore
from glcm_cuda.store.writing import StoreWriter
from surrogate import dataset as dataset_module

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

keras = pytest.importorskip("keras")

from surrogate import (  # noqa: E402 (Keras first, or nothing)
    LevelScaling,
    NetworkSettings,
    PatchDataset,
    TrainingSettings,
    build_model,
    glcm_settings,
    load_model,
    model_features,
    synthesize,
    synthesize_patches,
    train,
)
from surrogate.dataset import Scale  # noqa: E402
from surrogate.epochs import history_path, read_history  # noqa: E402
from surrogate.exact import exact_values  # noqa: E402
from surrogate.model import root_mean_squared_error  # noqa: E402
from surrogate.training_run import model_path  # noqa: E402

GLCM = GLCMSettings(levels=16)
GLCM_AS_LEVELS = GLCMSettings(levels=16, intensity_range=(0.0, 16.0))
SMALL = NetworkSettings(filters=(8, 8, 4, 4))


def write_store(path: Path, counts: dict[str, int], glcm: GLCMSettings = GLCM) -> Path:
    """Write a store of random patches, half of them smooth, with their exact entropies; rows are numbered."""
    rng = np.random.default_rng(5)
    writer = StoreWriter(path, glcm, seed=0, samples_per_case=max(counts.values()))
    sources, row = [], 0
    for number, (patient, count) in enumerate(counts.items()):
        levels = rng.integers(0, glcm.levels, (count, glcm.window, glcm.window), dtype=np.uint8)
        levels[::2] //= 6
        entropy = entropy_of_levels(levels, glcm, backend="cpu")[:, glcm.radius, glcm.radius]
        rows = np.arange(row, row + count, dtype=np.int32)
        zeros = np.zeros(count, np.int32)
        samples = Samples(levels, entropy, rows, zeros, zeros, zeros.astype(np.uint8))
        source = CaseSource(patient=patient, group="ab"[number % 2], image=f"{patient}.nii", sha256=patient)
        record = CaseRecord(**vars(source), intensity_range=(0.0, 1.0), shape=(1, 9, 9), count=count)
        writer.add(record, samples)
        sources.append(source)
        row += count
    return writer.finish(sources)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return write_store(tmp_path_factory.mktemp("store") / "s.h5", {f"phantom-{i}": 500 + i for i in range(6)})


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


# Minibatches


def rows_of(data: PatchDataset, path: Path) -> list[np.ndarray]:
    """Return the store's row numbers of every minibatch, recognised by patch and entropy."""
    with PatchStore(path) as opened:
        samples = opened.read(0, len(opened))
    number = {
        (patch.tobytes(), float(entropy)): row
        for row, (patch, entropy) in enumerate(zip(samples.patches, samples.entropy, strict=True))
    }
    batches = [data[index] for index in range(len(data))]
    return [
        np.array(
            [
                number[patch.tobytes(), float(e)]
                for patch, e in zip(x[..., 0].astype(np.uint8), y[:, 0], strict=True)
            ]
        )
        for x, y in batches
    ]


@pytest.mark.parametrize("block_bytes", [1, 40_000, 1 << 26])
def test_an_epoch_is_every_row_of_the_patients_once(store, monkeypatch, block_bytes):
    monkeypatch.setattr(dataset_module, "BLOCK_BYTES", block_bytes)
    data = PatchDataset(store, ["phantom-1", "phantom-4", "phantom-5"], batch=200, seed=1)
    with PatchStore(store) as opened:
        wanted = [case for case in opened.cases if case.patient in ("phantom-1", "phantom-4", "phantom-5")]
    expected = np.concatenate([np.arange(case.start, case.start + case.count) for case in wanted])
    orders = []
    for _ in range(2):
        batches = rows_of(data, store)
        assert sorted(np.concatenate(batches)) == sorted(expected)
        assert {len(batch) for batch in batches} <= {188, 189}
        for batch in batches:
            shares = [np.isin(batch, np.arange(case.start, case.start + case.count)).sum() for case in wanted]
            np.testing.assert_allclose(shares, len(expected) / len(batches) / 3, atol=2)
        orders.append(np.concatenate(batches))
        data.on_epoch_end()
    assert (orders[0] != orders[1]).any()
    data.close()


def test_minibatches_do_not_depend_on_the_block_size(store, monkeypatch):
    whole = PatchDataset(store, ["phantom-0", "phantom-3"], batch=100, seed=1)
    monkeypatch.setattr(dataset_module, "BLOCK_BYTES", 1)
    single = PatchDataset(store, ["phantom-0", "phantom-3"], batch=100, seed=1)
    for index in range(len(whole)):
        np.testing.assert_array_equal(whole[index][1], single[index][1])


def test_cases_smaller_than_the_number_of_minibatches(tmp_path):
    path = write_store(tmp_path / "s.h5", {"large": 90, "tiny": 2, "one": 1})
    data = PatchDataset(path, ["large", "tiny", "one"], batch=10)
    batches = rows_of(data, path)
    assert [len(batch) for batch in batches] == [9, 9, 9, 10, 9, 9, 10, 9, 9, 10]
    assert sorted(np.concatenate(batches)) == list(range(93))
    one = PatchDataset(path, ["one"], batch=10)
    assert [y.shape for _, y in [one[0]]] == [(1, 1)]


def test_minibatches_are_levels_and_entropies(store):
    levels, entropy = PatchDataset(store, ["phantom-0"], batch=64)[0]
    assert levels.dtype == entropy.dtype == np.float32
    assert levels.shape == (len(entropy), 5, 5, 1)
    exact = entropy_of_levels(levels[..., 0].astype(np.uint8), GLCM, backend="cpu")[:, 2, 2]
    np.testing.assert_array_equal(entropy, exact[:, None])


def test_minibatches_of_other_features_are_exact_and_on_the_scale_of_training(store):
    names = ("contrast", "joint_entropy", "correlation")
    data = PatchDataset(store, ["phantom-0", "phantom-2"], batch=64, seed=1, augment=0.5, features=names)
    levels, values = data[1]
    patches = levels[..., 0].astype(np.uint8)
    maps = [feature_maps(patch, names, GLCM_AS_LEVELS, backend="cpu") for patch in patches]
    expected = np.array([[found[name][2, 2] for name in names] for found in maps])
    np.testing.assert_allclose(values, expected, rtol=1e-6)
    data.scale = Scale.of(values, names)
    scaled = data[1][1]
    np.testing.assert_allclose(scaled.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(scaled.std(axis=0), 1, atol=1e-5)


def test_of_entropy_alone_the_scale_keeps_the_unit():
    values = np.array([[1.0], [3.0], [8.0]], np.float32)
    np.testing.assert_allclose(Scale.of(values, ("joint_entropy",)).scaled(values), values - 4)
    constant = Scale.of(np.full((5, 2), 3, np.float32), ("contrast", "joint_entropy"))
    np.testing.assert_array_equal(constant.scaled(np.full((5, 2), 4, np.float32)), 1)


def test_a_dataset_travels_to_another_process(store):
    data = PatchDataset(store, ["phantom-2"], batch=100, seed=3)
    first = data[0]
    copy = pickle.loads(pickle.dumps(data))
    np.testing.assert_array_equal(copy[0][0], first[0])


def test_what_a_dataset_refuses(store):
    with pytest.raises(ValueError, match="the store does not contain the patients nobody"):
        PatchDataset(store, ["phantom-0", "nobody"], batch=10)
    with pytest.raises(ValueError, match="at least one patient is needed, got none"):
        PatchDataset(store, [], batch=10)
    with pytest.raises(IndexError, match="minibatch must be from 0 to 4, got 5"):
        PatchDataset(store, ["phantom-0"], batch=100)[5]


# Training

QUICK = TrainingSettings(epochs=8, batch=250, learning_rate=0.02, patience=8, augment=0)


@pytest.fixture(scope="module")
def finished(store, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "run"
    return run, train(store, run, QUICK, SMALL)


def test_a_run_is_complete(finished, store):
    run, results = finished
    assert {path.name for path in run.iterdir()} == {
        "fold0.keras", "fold0.card.json", "fold0.card.md", "history_fold0.csv",
        "fold1.keras", "fold1.card.json", "fold1.card.md", "history_fold1.csv",
        "folds.csv", "run.json",
    }  # fmt: skip
    assert [result.model for result in results] == [run / "fold0.keras", run / "fold1.keras"]
    description = json.loads((run / "run.json").read_text())
    assert GLCMSettings.from_dict(description["glcm"]) == GLCM
    assert NetworkSettings.from_dict(description["network"]) == SMALL
    assert TrainingSettings.from_dict(description["training"]) == QUICK
    assert description["phantom"] is True
    assert description["keras_backend"] == keras.backend.backend()
    assert description["validation_rmse"] == [result.validation_rmse for result in results]
    with (run / "folds.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["patient"] for row in rows] == [f"phantom-{i}" for i in range(6)]
    assert sorted(row["fold"] for row in rows) == list("000111")


def test_training_learns_and_keeps_the_best_epoch(finished, store):
    run, results = finished
    with PatchStore(store) as opened:
        deviation = opened.read(0, len(opened)).entropy.std()
    for fold, result in enumerate(results):
        assert result.validation_rmse < 0.7 * deviation
        history = read_history(history_path(run, fold))
        assert [row["epoch"] for row in history] == list(range(1, len(history) + 1))
        assert history[-1]["rmse"] < history[0]["rmse"]
        assert result.validation_rmse == min(row["validation_rmse"] for row in history[4:])
        assert max(row["learning_rate"] for row in history) <= QUICK.learning_rate


def test_the_kept_weights_are_those_of_the_best_epoch_on_held_back_patients(finished, store):
    from surrogate.folds import assign_folds, validation_patients

    _, results = finished
    with PatchStore(store) as opened:
        groups = {case.patient: case.group for case in opened.cases}
    folds = assign_folds(groups, 2, QUICK.seed)
    for fold, result in enumerate(results):
        seen = {patient: group for patient, group in groups.items() if folds[patient] != fold}
        validated = validation_patients(seen, QUICK.seed + fold)
        levels, entropy = PatchDataset(store, validated, batch=5000)[0]
        difference = load_model(result.model).predict_on_batch(levels) - entropy
        assert np.sqrt(np.mean(difference**2)) == pytest.approx(result.validation_rmse, rel=1e-3)


def test_a_finished_fold_is_kept_and_a_missing_one_trained_anew(finished, store):
    run, results = finished
    before = model_path(run, 0).stat().st_mtime_ns
    weights = load_model(model_path(run, 1)).get_weights()
    model_path(run, 1).unlink()
    (run / "run.json").rename(run / "run.unfinished.json")
    again = train(store, run, QUICK, SMALL)
    assert model_path(run, 0).stat().st_mtime_ns == before
    assert again[0] == results[0]
    assert (run / "run.json").exists()
    assert not (run / "run.unfinished.json").exists()
    # Threads add up in any order, so the same seed gives nearly, not exactly, the same weights.
    assert again[1].validation_rmse == pytest.approx(results[1].validation_rmse, rel=0.2)
    shapes = [array.shape for array in load_model(model_path(run, 1)).get_weights()]
    assert shapes == [array.shape for array in weights]


def test_another_run_in_the_folder_needs_force(finished, store, tmp_path):
    run, _ = finished
    kept = {path: path.read_bytes() for path in run.iterdir()}
    other = TrainingSettings(epochs=1, batch=500)
    with pytest.raises(FileExistsError, match="holds a run of another store or other settings; give --force"):
        train(store, run, other, SMALL)
    assert {path: path.read_bytes() for path in run.iterdir()} == kept
    copy = tmp_path / "copy"
    copy.mkdir()
    for path, content in kept.items():
        (copy / path.name).write_bytes(content)
    (copy / "mine.txt").write_text("not of the run")
    train(store, copy, TrainingSettings(folds=1, epochs=1, batch=500), SMALL, force=True)
    assert (copy / "mine.txt").exists()
    assert not (copy / "fold1.keras").exists()


def test_one_fold_learns_from_everybody(tmp_path, caplog):
    path = write_store(tmp_path / "s.h5", {"only": 300})
    with pytest.raises(ValueError, match="2 folds need 2 patients or more, the store has 1; give --folds 1"):
        train(path, tmp_path / "run", QUICK, SMALL)
    assert not (tmp_path / "run").exists()
    # What a run without any model left is nothing to protect.
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text("{}")
    calls = []
    with caplog.at_level("INFO", logger="surrogate"):
        (result,) = train(
            path,
            tmp_path / "run",
            TrainingSettings(folds=1, epochs=2, batch=100),
            SMALL,
            progress=lambda done, total: calls.append((done, total)),
        )
    assert calls == [(1, 2), (2, 2), (2, 2)]
    assert "no validation; all epochs are trained" in caplog.text
    assert (result.epochs, result.validation_rmse) == (2, None)
    assert (tmp_path / "run" / "folds.csv").read_text().splitlines()[1] == "only,a,"
    assert json.loads((tmp_path / "run" / "run.json").read_text())["phantom"] is False


def test_a_store_of_cubes_is_refused(tmp_path):
    path = write_store(tmp_path / "s.h5", {"a": 10, "b": 10})
    with h5py.File(path, "r+") as file:
        file.attrs["settings"] = GLCMSettings(levels=16, dimensions=3).to_json()
    with pytest.raises(ValueError, match=r"takes two-dimensional windows \(dimensions=2\), got dimensions=3"):
        train(path, tmp_path / "run", QUICK, SMALL)
    assert not (tmp_path / "run").exists()


def test_a_training_that_is_too_short_is_told(store, tmp_path, caplog):
    with caplog.at_level("WARNING", logger="surrogate"):
        results = train(store, tmp_path / "run", TrainingSettings(epochs=1, learning_rate=1e-9), SMALL)
    description = json.loads((tmp_path / "run" / "run.json").read_text())
    assert description["validation_deviation"] == [result.validation_deviation for result in results]
    worse = [r.validation_rmse >= r.validation_deviation for r in results]
    for fold, is_worse in enumerate(worse):
        words = f"fold {fold} predicts no better than a constant (validation RMSE "
        assert (words in caplog.text) == is_worse
    assert any(worse)


def test_the_deviation_is_that_of_the_validation_patients(finished, store, caplog):
    from surrogate.folds import assign_folds, validation_patients

    with PatchStore(store) as opened:
        groups = {case.patient: case.group for case in opened.cases}
        entropy = {c.patient: opened.read_entropy(c.start, c.start + c.count) for c in opened.cases}
    folds = assign_folds(groups, 2, QUICK.seed)
    for fold, result in enumerate(finished[1]):
        seen = {patient: group for patient, group in groups.items() if folds[patient] != fold}
        values = np.concatenate([entropy[p] for p in validation_patients(seen, QUICK.seed + fold)])
        assert result.validation_deviation == pytest.approx(values.std(dtype=float), rel=1e-6)
    assert "no better than a constant" not in caplog.text


def test_entropies_that_are_not_finite_are_refused_before_the_training(tmp_path):
    path = write_store(tmp_path / "s.h5", {"a": 10, "b": 10})
    with h5py.File(path, "r+") as file:
        file["entropy"][13] = np.nan
    with pytest.raises(
        ValueError, match=r"s.h5 holds NaN or infinite entropies \(row 13\); rerun groundtruth"
    ):
        train(path, tmp_path / "run", QUICK, SMALL)
    assert not (tmp_path / "run").exists()
    with pytest.raises(ValueError, match=r"s.h5 holds NaN or infinite entropies \(row 13\)"):
        PatchDataset(path, ["b"], batch=10)[0]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_diverging_training_leaves_no_model(store, tmp_path):
    with pytest.raises(
        ValueError, match=r"fold 0 diverged in minibatch 2 of epoch 1: .* give a lower --learning-rate"
    ):
        train(store, tmp_path / "run", TrainingSettings(epochs=2, batch=250, learning_rate=1e38), SMALL)
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"run.unfinished.json", "folds.csv"}


def train_and_interrupt(store, folder, settings, *, after):
    """Train until so many epochs are done."""

    def stop(done, total):
        if done == after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(store, folder, settings, SMALL, progress=stop)


def test_an_interrupted_fold_continues_the_same_curve(store, tmp_path):
    settings = TrainingSettings(folds=1, epochs=6, batch=250, learning_rate=0.01, augment=0.3)
    train(store, tmp_path / "whole", settings, SMALL)
    train_and_interrupt(store, tmp_path / "cut", settings, after=4)
    assert (tmp_path / "cut" / "fold0.checkpoint.keras").exists()
    assert len(read_history(history_path(tmp_path / "cut", 0))) == 4
    assert not model_path(tmp_path / "cut", 0).exists()
    done = []
    train(store, tmp_path / "cut", settings, SMALL, progress=lambda epoch, total: done.append(epoch))
    assert done[0] == 5
    whole, cut = (read_history(history_path(tmp_path / name, 0)) for name in ("whole", "cut"))
    for name in ("epoch", "rmse", "validation_rmse", "learning_rate"):
        np.testing.assert_allclose([row[name] for row in cut], [row[name] for row in whole], rtol=2e-3)
    left = {path.name for path in (tmp_path / "cut").iterdir()}
    cards = {"fold0.card.json", "fold0.card.md"}
    assert left == {"fold0.keras", "folds.csv", "history_fold0.csv", "run.json"} | cards


def test_mixed_precision_leaves_a_model_in_float32(store, tmp_path):
    rmse = {}
    for precision in ("float32", "bfloat16"):
        settings = TrainingSettings(folds=1, epochs=6, batch=100, patience=0, augment=0, precision=precision)
        (result,) = train(store, tmp_path / precision, settings, SMALL)
        model = load_model(result.model)
        assert {layer.compute_dtype for layer in model.layers} == {"float32"}
        assert {weight.dtype for weight in model.weights if "seed" not in weight.path} == {"float32"}
        rmse[precision] = [row["rmse"] for row in read_history(history_path(tmp_path / precision, 0))]
    assert rmse["bfloat16"] != rmse["float32"]
    assert rmse["bfloat16"][-1] < 0.5 * rmse["bfloat16"][0]


def test_mixed_precision_continues_the_same_curve(store, tmp_path):
    settings = TrainingSettings(folds=1, epochs=3, batch=100, patience=0, augment=0, precision="bfloat16")
    train(store, tmp_path / "whole", settings, SMALL)
    train_and_interrupt(store, tmp_path / "parts", settings, after=2)
    train(store, tmp_path / "parts", settings, SMALL)
    whole, parts = (
        [row["rmse"] for row in read_history(history_path(tmp_path / name, 0))] for name in ("whole", "parts")
    )
    assert parts == whole
    assert keras.config.dtype_policy().name == "float32"


def test_without_patience_nobody_is_set_aside_and_all_epochs_are_trained(store, tmp_path):
    from surrogate.card import read_card

    settings = TrainingSettings(folds=1, epochs=3, batch=500, patience=0)
    (result,) = train(store, tmp_path / "run", settings, SMALL)
    assert (result.epochs, result.validation_rmse) == (3, None)
    card = read_card(result.model)
    assert card.basis == "the training patients themselves"
    assert len(card.learned) == 6


def test_folds_by_group_hold_out_whole_groups(store, tmp_path):
    settings = TrainingSettings(folds_by="group", epochs=1, batch=500)
    train(store, tmp_path / "run", settings, SMALL)
    with (tmp_path / "run" / "folds.csv").open() as file:
        folds = {(row["group"], row["fold"]) for row in csv.DictReader(file)}
    assert {group for group, _ in folds} == {"a", "b"}
    assert len(folds) == len({fold for _, fold in folds}) == 2


def test_one_network_learns_several_features(store, tmp_path, rng):
    names = ("joint_entropy", "contrast", "correlation", "idm", "joint_energy")
    network = NetworkSettings(architecture="equality", hidden=(32,))
    settings = TrainingSettings(folds=1, epochs=8, batch=250, learning_rate=0.01, augment=0)
    (result,) = train(store, tmp_path / "run", settings, network, features=names)
    assert result.validation_rmse < 0.7 * result.validation_deviation
    assert result.validation_deviation == pytest.approx(1, abs=0.5)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["features"] == list(names)
    model = load_model(result.model)
    assert model_features(model) == names
    with PatchStore(store) as opened:
        patches = opened.read(0, len(opened)).patches
    exact = exact_values(patches, GLCM, names)
    found = model.predict(patches[..., None].astype(np.float32), verbose=0)
    # In the features' own units, which differ by orders of magnitude.
    errors = np.sqrt(np.mean((found - exact) ** 2, axis=0))
    assert (errors < 0.9 * exact.std(axis=0)).all()
    assert (np.abs(found.mean(axis=0) - exact.mean(axis=0)) < 0.3 * exact.std(axis=0)).all()
    with pytest.raises(FileExistsError, match="holds a run of another store or other settings"):
        train(store, tmp_path / "run", settings, network)


def test_the_analytic_network_is_not_trained(store, tmp_path):
    with pytest.raises(ValueError, match="the analytic network has nothing to learn"):
        train(store, tmp_path / "run", QUICK, NetworkSettings(architecture="analytic"))


def test_augmented_patches_have_their_exact_entropy(store):
    plain = PatchDataset(store, ["phantom-1", "phantom-2"], batch=200, seed=1)[0]
    dataset = PatchDataset(store, ["phantom-1", "phantom-2"], batch=200, seed=1, augment=0.25)
    levels, entropy = dataset[0]
    changed = np.any(levels != plain[0], axis=(1, 2, 3))
    assert 40 < changed.sum() <= 50
    assert levels.min() >= 0
    assert levels.max() < GLCM.levels
    expected = entropy_of_levels(levels[..., 0].astype(np.uint8), GLCM, backend="cpu")[:, 2, 2]
    np.testing.assert_array_equal(entropy[:, 0], expected)
    np.testing.assert_array_equal(levels, dataset[0][0])
    dataset.on_epoch_end()
    assert not np.array_equal(levels, dataset[0][0])


# Synthetic maps


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


def test_synthesize_is_the_network_patch_by_patch(finished, rng):
    model = load_model(model_path(finished[0], 0))
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


@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
def test_the_same_file_gives_the_same_map_elsewhere(finished, tmp_path, rng, backend):
    if backend == keras.backend.backend():
        pytest.skip("the backend of this process is what the others are compared with")
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    image = rng.normal(size=(2, 40, 30)).cumsum(axis=1)
    np.save(tmp_path / "image.npy", image)
    model = model_path(finished[0], 0)
    paths = [str(model), str(tmp_path / "image.npy"), str(tmp_path / "map.npy")]
    environment = {**os.environ, "KERAS_BACKEND": backend, "JAX_PLATFORMS": "cpu"}
    run = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, *paths], capture_output=True, text=True, env=environment
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == backend
    here = synthesize(image, load_model(model))
    assert here.std() > 0.05
    np.testing.assert_allclose(np.load(tmp_path / "map.npy"), here, atol=1e-5)
