"""Training: runs that are whole, learn, continue and refuse."""

from __future__ import annotations

import csv
import json
import os
import shutil
from dataclasses import replace

import h5py
import numpy as np
import pytest
from helpers.networks import QUICK, SMALL
from helpers.stores import SETTINGS as GLCM
from helpers.stores import write_store

from glcm_cuda import GLCMSettings
from glcm_cuda.store.reading import PatchStore

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

keras = pytest.importorskip("keras")

from surrogate import (  # noqa: E402 (Keras first, or nothing)
    NetworkSettings,
    PatchDataset,
    TrainingSettings,
    load_model,
    model_features,
    train,
)
from surrogate.epochs import history_path, read_history  # noqa: E402
from surrogate.exact import exact_values  # noqa: E402
from surrogate.training_run import model_path  # noqa: E402


@pytest.fixture(scope="module")
def finished(store, tmp_path_factory):
    """Return the folder of a two-fold training and its results; who changes the folder takes a copy."""
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


@pytest.mark.slow
@pytest.mark.slow
def test_a_finished_fold_is_kept_and_a_missing_one_trained_anew(finished, store, tmp_path):
    run = shutil.copytree(finished[0], tmp_path / "run")
    results = [replace(result, model=run / result.model.name) for result in finished[1]]
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_training_that_is_too_short_is_told(store, tmp_path, caplog):
    with caplog.at_level("WARNING", logger="surrogate"):
        results = train(
            store, tmp_path / "run", TrainingSettings(epochs=1, batch=500, learning_rate=1e-9), SMALL
        )
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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.slow
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
    from surrogate.honesty.card import read_card

    settings = TrainingSettings(folds=1, epochs=3, batch=500, patience=0)
    (result,) = train(store, tmp_path / "run", settings, SMALL)
    assert (result.epochs, result.validation_rmse) == (3, None)
    card = read_card(result.model)
    assert card.basis == "the training patients themselves"
    assert len(card.learned) == 6


@pytest.mark.slow
def test_folds_by_group_hold_out_whole_groups(store, tmp_path):
    settings = TrainingSettings(folds_by="group", epochs=1, batch=500)
    train(store, tmp_path / "run", settings, SMALL)
    with (tmp_path / "run" / "folds.csv").open() as file:
        folds = {(row["group"], row["fold"]) for row in csv.DictReader(file)}
    assert {group for group, _ in folds} == {"a", "b"}
    assert len(folds) == len({fold for _, fold in folds}) == 2


@pytest.mark.slow
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
