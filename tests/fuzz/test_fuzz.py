"""The fuzzer for seconds, and what it must notice itself; ``make fuzz`` and ``make crash`` run for long."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections import Counter

import pytest
from helpers import TESTS

pytest.importorskip("hypothesis")  # which a machine for the GPU tests alone lacks

from fuzz import calls, files, kills, workers
from fuzz.mutations import damaged

SEED = int(os.environ.get("FUZZ_SEED", "0"))

needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="workers are watched through /proc")


@pytest.mark.filterwarnings("default")
def test_calls_give_the_oracle_s_value_or_a_refusal():
    ends = calls.run_calls(60, SEED)
    assert sum(number for end, number in ends.items() if end.endswith("right")) > 15


def test_a_wrong_value_is_noticed(monkeypatch):
    right = calls.answer
    monkeypatch.setattr(
        calls, "answer", lambda call, chosen: {"joint_entropy": right(call, chosen)["joint_entropy"] + 1e-6}
    )
    call = calls.Call("entropy_map", ("joint_entropy",), [[0, 1], [2, 3]], None, {})
    with pytest.raises(AssertionError, match="joint_entropy"):
        calls.check(call)


@pytest.mark.slow  # most of it compiles all features
@needs_linux
def test_damaged_files_end_in_a_line_or_a_map(tmp_path):
    campaign = files.run_files(40, SEED, tmp_path, keras=False)
    assert campaign.failures == [], campaign.report()
    assert len(Counter(end.split()[1] for end in campaign.ends)) > 1, campaign.report()


@pytest.mark.parametrize(
    ("ended", "reason"),
    [
        (workers.Ended(1, "", "Traceback (most recent call last):\nKeyError: 1", 0, 0), "exit code 1"),
        (workers.Ended(2, "", "Error: \n", 0, 0), "without a word"),
        (workers.Ended(2, "", "", 0, 0), "without a word"),
        (workers.Ended(0, "", "a line\n" * 20, 0, 0), "20 lines"),
        (workers.Ended(0, "", "/x/pydicom/a.py:1: UserWarning: odd", 0, 0), "exit code 0"),
        (workers.Ended(0, "", "", 1000, 0), "1000.0 s"),
        (workers.Ended(2, "", "Error: it is damaged\n", 0, 5000), "5000 MB"),
        (workers.Ended(2, "", "Error: it is damaged\n", 0, 0), ""),
    ],
)
def test_ends_are_judged(ended, reason):
    assert reason in files.wrong_end(ended)
    assert bool(reason) == bool(files.wrong_end(ended))


@needs_linux
def test_a_dead_worker_is_noticed(tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "MOST_SECONDS", 0.01)
    with pytest.raises(workers.DeadWorkerError, match="not done after"):
        workers.Worker().run(["--version"], tmp_path)


@pytest.mark.parametrize("suffix", [".nii", ".nrrd", ".csv", ".json", ".dcm", ".zip", ".h5"])
def test_damage_follows_from_the_seed(suffix):
    content = b"NRRD0004\ntype: short\nsizes: 2 2\n" * 20
    one, again = (damaged(content, suffix, random.Random("7")) for _ in range(2))
    assert one == again


def test_a_result_that_differs_is_noticed(tmp_path):
    whole, other = tmp_path / "whole.json", tmp_path / "other.json"
    whole.write_text('{"created": "today", "levels": 64, "rmse": 0.5}')
    for text, found in (
        ('{"created": "now", "levels": 64, "rmse": 0.501}', []),
        ('{"created": "now", "levels": 65, "rmse": 0.5}', ["other.json differs"]),
        ('{"created": "now", "levels": 64, "rmse": 0.6}', ["other.json differs"]),
    ):
        other.write_text(text)
        assert kills.differences(other, whole, 5e-3) == found
    other.write_text('{"created"')
    assert kills.differences(other, whole, 0)[0].startswith("other.json cannot be read")


@needs_linux
@pytest.mark.slow
@pytest.mark.parametrize("name", ["groundtruth", "map", "preprocess"])
def test_killed_commands_start_again(tmp_path, name):
    """In a process of its own: a fork of one that has threads may wait for them."""
    command = [sys.executable, "-m", "fuzz.kills", "--times", "4", "--only", name, "--folder", str(tmp_path)]
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join([TESTS, *sys.path])}
    ended = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert f"{name}: " in ended.stdout
    assert "; 0 faults" in ended.stdout
