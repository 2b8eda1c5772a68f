"""``radsynth train``: wiring with the library mocked, and one small real run."""

from __future__ import annotations

import csv
import json
import os
import re

import numpy as np
import pytest
from click.testing import CliRunner

from glcm_cuda import GLCMSettings
from glcm_cuda.store.layout import CaseRecord, CaseSource
from glcm_cuda.store.patches import Samples
from glcm_cuda.store.writing import StoreWriter
from pipelines.train import command
from surrogate.settings import NetworkSettings, TrainingSettings

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture
def store(tmp_path, rng):
    """Return a store of two patients; the entropies need not be exact here."""
    writer = StoreWriter(tmp_path / "s.h5", GLCMSettings(), seed=0, samples_per_case=60)
    sources = [CaseSource(patient=f"p{i}", group="benign", image="i.nii", sha256="0") for i in range(2)]
    for source in sources:
        zeros = np.zeros(60, np.int32)
        levels = rng.integers(0, 64, (60, 5, 5), dtype=np.uint8)
        samples = Samples(levels, np.ones(60, np.float32), zeros, zeros, zeros, zeros.astype(np.uint8))
        record = CaseRecord(**vars(source), intensity_range=(0.0, 1.0), shape=(1, 9, 9), count=60)
        writer.add(record, samples)
    return writer.finish(sources)


@pytest.fixture
def calls(monkeypatch):
    """Replace the training by one that notes how it was called and leaves what the command reads."""
    from pipelines.cohorts import training as library
    from surrogate.epochs import HISTORY_COLUMNS
    from surrogate.training import FoldResult

    noted = []

    def train(store, run, training, network, *, features, force, progress):
        noted.append((store, run, training, network, features, force))
        run.mkdir(parents=True, exist_ok=True)
        (run / "run.json").write_text(
            json.dumps({"glcm": {"log_base": 10}, "features": features, "phantom": True})
        )
        for fold in range(training.folds):
            with (run / f"history_fold{fold}.csv").open("w", newline="") as file:
                csv.writer(file).writerows([HISTORY_COLUMNS, (1, 0.5, "", 0.1, 2), (2, 0.4, "", 0.0, 2)])
        progress(1, 1)
        rmse = [0.25, None]
        return [FoldResult(run / f"fold{fold}.keras", 2, rmse[fold], None) for fold in range(training.folds)]

    monkeypatch.setattr(library, "train", train)
    return noted


def test_options_become_settings(calls, tmp_path):
    run = tmp_path / "run"
    arguments = "--epochs 3 --learning-rate 0.1 --patience 4 --batch 50 --seed 6 --pool-stride 1 --force"
    result = CliRunner().invoke(command, ["s.h5", "-o", str(run), *arguments.split()])
    assert result.exit_code == 0, result.output
    ((store, folder, training, network, features, force),) = calls
    assert features == ["joint_entropy"]
    assert (store.name, folder, force) == ("s.h5", run, True)
    assert training == TrainingSettings(epochs=3, learning_rate=0.1, patience=4, batch=50, seed=6)
    assert network == NetworkSettings(pool_stride=1)
    assert result.stdout.splitlines() == [
        str(run),
        "fold 0: 2 epochs, validation RMSE 0.250 hartleys",
        "fold 1: 2 epochs, no validation patients",
    ]
    assert (run / "history.png").read_bytes().startswith(b"\x89PNG")


def test_defaults_are_the_librarys(calls, tmp_path):
    result = CliRunner().invoke(command, ["s.h5", "-o", str(tmp_path / "run")])
    assert result.exit_code == 0, result.output
    assert calls[0][2:] == (TrainingSettings(), NetworkSettings(), ["joint_entropy"], False)


def test_several_features_are_trained_in_standard_deviations(calls, tmp_path):
    options = ["--feature", "Contrast", "--feature", "f9", "--feature", "contrast"]
    result = CliRunner().invoke(command, ["s.h5", "-o", str(tmp_path / "run"), *options])
    assert result.exit_code == 0, result.output
    assert calls[0][4] == ["contrast", "joint_entropy"]
    assert "fold 0: 2 epochs, validation RMSE 0.250 standard deviations" in result.stdout
    unknown = CliRunner().invoke(command, ["s.h5", "-o", str(tmp_path / "other"), "--feature", "contrasst"])
    assert unknown.exit_code == 2
    assert "no feature 'contrasst' (did you mean" in unknown.stderr


def test_one_epoch_is_singular():
    from pipelines.cohorts.training import fold_summary
    from surrogate.training import FoldResult

    assert fold_summary(FoldResult("m", 1, 0.5, 1.0), "bits") == "1 epoch, validation RMSE 0.500 bits"


def test_a_folder_of_something_else_needs_force(calls, tmp_path):
    run = tmp_path / "thesis"
    run.mkdir()
    (run / "chapter.txt").write_text("years of work")
    arguments = ["s.h5", "-o", str(run)]
    refused = CliRunner().invoke(command, arguments)
    assert refused.exit_code == 2
    assert re.search(r"thesis is not empty and holds no earlier run \(it has chapter.txt\)", refused.stderr)
    assert calls == []
    assert CliRunner().invoke(command, [*arguments, "--force"]).exit_code == 0
    assert (run / "chapter.txt").read_text() == "years of work"
    assert CliRunner().invoke(command, arguments).exit_code == 0, "the run that is there now goes on"


@pytest.mark.parametrize("options", [[], ["--force"]])
def test_a_file_is_no_folder_for_a_run(calls, tmp_path, options):
    (tmp_path / "file").write_text("precious")
    result = CliRunner().invoke(command, ["s.h5", "-o", str(tmp_path / "file"), *options])
    assert result.exit_code == 2
    assert "Error: -o must be a folder, got a file: " in result.stderr
    assert (calls, (tmp_path / "file").read_text()) == ([], "precious")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--epochs", "0"], "Error: epochs must be 1 or more, got 0"),
        (
            ["--feature", "GrayLevelVariance"],
            "Error: feature 'GrayLevelVariance' is ambiguous; give glrlm_GrayLevelVariance or ",
        ),
        (
            ["--feature", "contrast,all"],
            "Error: a network must learn features of grey levels, which are all it sees, got "
            "firstorder_10Percentile and 15 more features of intensities; of firstorder name only",
        ),
        (["--padding", "full"], "Error: padding must be one of ('same', 'valid'), got 'full'"),
        (["--padding", "valid"], "Error: a 5x5 patch shrinks to nothing with padding"),
        (["--folds", "3"], "Error: 3 folds need 3 patients or more, the store has 2; give --folds 2"),
    ],
)
def test_bad_options_are_one_line(store, tmp_path, arguments, message):
    result = CliRunner().invoke(command, [str(store), "-o", str(tmp_path / "run"), *arguments])
    assert result.exit_code == 2
    assert result.stderr.startswith(message)
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "does not exist; create it with `radsynth groundtruth`"),
        (b"no store", "is not a complete HDF5 file"),
    ],
)
def test_bad_stores_are_one_line(tmp_path, content, message):
    if content is not None:
        (tmp_path / "s.h5").write_bytes(content)
    result = CliRunner().invoke(command, [str(tmp_path / "s.h5"), "-o", str(tmp_path / "run")])
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_small_real_run(store, tmp_path):
    run = tmp_path / "run"
    arguments = [str(store), "-o", str(run), "--epochs", "1", "--folds", "2"]
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 0, result.output
    assert "fold 0: training on 1 patient, no validation" in result.stderr
    assert {path.name for path in run.iterdir()} >= {"fold0.keras", "fold1.keras", "run.json", "history.png"}
    before = (run / "fold0.keras").read_bytes()
    again = CliRunner().invoke(command, [*arguments, "--seed", "1"])
    assert again.exit_code == 2
    assert "holds a run of another store or other settings; give --force" in again.stderr
    assert (run / "fold0.keras").read_bytes() == before
    kept = CliRunner().invoke(command, arguments)
    assert "fold 1: kept" in kept.stderr
