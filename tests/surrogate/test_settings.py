"""Settings of network and training, and folds: nothing here needs Keras."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter

import pytest

from surrogate.folds import assign_folds, validation_patients
from surrogate.settings import NetworkSettings, TrainingSettings

PAPER = (
    {f"b{i}": "benign" for i in range(10)}
    | {f"m{i}": "malignant" for i in range(10)}
    | {f"n{i}": "normal" for i in range(4)}
)


def test_cheap_imports_leave_keras_alone():
    code = (
        "import sys, surrogate, surrogate.settings, surrogate.folds\n"
        "heavy = {'keras', 'tensorflow', 'jax', 'torch', 'numba', 'h5py', 'SimpleITK'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_missing_backend_is_one_clear_line():
    code = "import sys; sys.modules['torch'] = None\nimport surrogate\nsurrogate.build_model"
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={"KERAS_BACKEND": "torch"}
    )
    assert out.returncode == 1
    assert "ImportError: Keras needs torch, which is not installed: pip install" in out.stderr


def test_unknown_name():
    import surrogate

    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        _ = surrogate.nonsense


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"architecture": "unet"}, ValueError, "architecture must be one of"),
        ({"filters": 128}, TypeError, "filters must be a tuple of integers, got 128"),
        ({"filters": (8, 4.0)}, TypeError, "each of filters must be an integer, got 4.0"),
        ({"filters": (8, 0)}, ValueError, "each of filters must be 1 or more, got 0"),
        ({"filters": (8,)}, ValueError, "filters must list 2 or more layers"),
        ({"dropout": "0.2"}, TypeError, "dropout must be a number"),
        ({"dropout": 1.0}, ValueError, "dropout must be at least 0 and below 1, got 1.0"),
        ({"padding": "full"}, ValueError, "padding must be one of"),
        ({"pool_stride": 3}, ValueError, r"pool_stride must be one of \(1, 2\), got 3"),
    ],
)
def test_network_settings_are_checked(fields, error, message):
    with pytest.raises(error, match=message):
        NetworkSettings(**fields)


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"folds": 0}, ValueError, "folds must be 1 or more, got 0"),
        ({"batch": 2.5}, TypeError, "batch must be an integer, got 2.5"),
        ({"epochs": True}, TypeError, "epochs must be an integer"),
        ({"patience": -1}, ValueError, "patience must be 0 or more"),
        ({"augment": 1.5}, ValueError, "augment must be from 0 to 1, got 1.5"),
        ({"folds_by": "scanner"}, ValueError, "folds_by must be one of"),
        ({"learning_rate": "fast"}, TypeError, "learning_rate must be a number"),
        ({"learning_rate": 0.0}, ValueError, "learning_rate must be above 0 and finite"),
        ({"learning_rate": float("nan")}, ValueError, "learning_rate must be above 0 and finite"),
        ({"seed": -1}, ValueError, "seed must be 0 or more"),
        ({"seed": 1 << 31}, ValueError, "seed must be from 0 to"),
    ],
)
def test_training_settings_are_checked(fields, error, message):
    with pytest.raises(error, match=message):
        TrainingSettings(**fields)


@pytest.mark.parametrize("settings", [NetworkSettings(pool_stride=1), TrainingSettings(epochs=3)])
def test_settings_survive_json(settings):
    again = type(settings).from_dict(json.loads(json.dumps(settings.to_dict())))
    assert again == settings
    with pytest.raises(ValueError, match=r"unknown settings \['colour'\]"):
        type(settings).from_dict({"colour": 1})


def test_paper_defaults():
    network, training = NetworkSettings(), TrainingSettings()
    assert (network.filters, network.dropout) == ((128, 64, 32, 16), 0.2)
    assert (training.folds, training.batch) == (2, 2000)


@pytest.mark.parametrize(
    ("padding", "stride", "window", "edge"),
    [
        ("same", 2, 5, 1),
        ("same", 1, 5, 3),
        ("same", 2, 3, 0),
        ("same", 1, 3, 1),
        ("valid", 1, 5, 0),
        ("valid", 2, 5, 0),
        ("valid", 1, 11, 1),
        ("valid", 1, 9, 0),
        ("valid", 2, 27, 1),
        ("valid", 2, 25, 0),
    ],
)
def test_edge_after_blocks(padding, stride, window, edge):
    assert NetworkSettings(padding=padding, pool_stride=stride).edge_after_blocks(window) == edge


def test_what_shrinks_to_nothing_is_refused_with_what_works():
    message = (
        'a 5x5 patch shrinks to nothing with padding="valid" and pool_stride 1; '
        'these work: padding="same" with pool_stride 1, padding="same" with pool_stride 2$'
    )
    with pytest.raises(ValueError, match=message):
        NetworkSettings(padding="valid", pool_stride=1).check_window(5)
    NetworkSettings().check_window(5)


def test_folds_hold_every_patient_out_once_and_spread_the_groups():
    folds = assign_folds(PAPER, 2, seed=0)
    assert list(folds) == list(PAPER)
    count = Counter((PAPER[patient], fold) for patient, fold in folds.items())
    assert count == {(g, f): n for g, n in (("benign", 5), ("malignant", 5), ("normal", 2)) for f in (0, 1)}


@pytest.mark.parametrize("folds", [2, 3, 5])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_folds_are_balanced_also_when_nothing_divides(folds, seed):
    groups = {f"a{i}": "a" for i in range(5)} | {f"b{i}": "b" for i in range(3)} | {"c": "c"}
    assigned = assign_folds(groups, folds, seed)
    sizes = Counter(assigned.values())
    assert len(sizes) == folds
    assert max(sizes.values()) - min(sizes.values()) <= 1


def test_folds_depend_on_the_seed_alone():
    assert assign_folds(PAPER, 2, seed=3) == assign_folds(PAPER, 2, seed=3)
    assert assign_folds(PAPER, 2, seed=3) == assign_folds(dict(reversed(PAPER.items())), 2, seed=3)
    assert assign_folds(PAPER, 2, seed=3) != assign_folds(PAPER, 2, seed=4)


def test_too_few_patients_for_the_folds():
    with pytest.raises(ValueError, match="2 folds need 2 patients or more, the store has 1; give --folds 1"):
        assign_folds({"only": "benign"}, 2, seed=0)


def test_validation_patients_are_a_sixth_out_of_the_large_groups():
    groups = {patient: group for patient, group in PAPER.items() if int(patient[1:]) % 2}
    chosen = validation_patients(groups, seed=0)
    assert sorted(groups[patient] for patient in chosen) == ["benign", "malignant"]
    assert chosen == validation_patients(groups, seed=0)
    chosen_of_all = [set(validation_patients(groups, seed)) for seed in range(20)]
    assert any(chosen != chosen_of_all[0] for chosen in chosen_of_all)


def test_somebody_is_left_to_learn_from():
    assert len(validation_patients({"a": "x", "b": "x"}, seed=0)) == 1
    assert validation_patients({"a": "x"}, seed=0) == []


def test_folds_by_group():
    groups = {"p1": "ge", "p2": "ge", "p3": "philips", "p4": "siemens", "p5": "siemens"}
    found = assign_folds(groups, 2, 0, "group")
    assert {found[patient] for patient in ("p1", "p2")} != {None}
    assert found["p1"] == found["p2"]
    assert found["p4"] == found["p5"]
    assert set(found.values()) == {0, 1}
    with pytest.raises(
        ValueError, match=r"4 folds by group need 4 groups or more, the store has 3 \(ge, philips"
    ):
        assign_folds(groups, 4, 0, "group")
