"""Where a network is faster than the exact engine: what is timed, said and drawn."""

from __future__ import annotations

import csv
import json

import pytest
from click.testing import CliRunner

from pipelines import benchmark
from pipelines.evaluation import crossover, timing
from pipelines.evaluation.crossover import (
    EXACT,
    Case,
    Timed,
    markdown,
    measure,
    verdict,
    write,
)

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


def timed(method, seconds, *, device="cpu", dimensions=2, window=5, features=1):
    return Timed(Case(method, device, dimensions, window, features, 1, lambda: lambda: None), seconds)


def test_where_no_network_wins_the_nearest_is_named():
    found = [
        timed(EXACT, 0.1), timed(EXACT, 0.2, window=7), timed("equality", 3), timed("equality", 5, window=7),
    ]  # fmt: skip
    assert verdict(found) == (
        "**No network is faster than the exact engine in any of these 2 comparisons.** "
        "The closest, equality, window 7, 1 feature, CPU, takes 25.0 times as long."
    )


def test_where_a_network_wins_it_is_said_how_often_and_where():
    found = [timed(EXACT, 6, features=24), timed("radsynth", 2, features=24), timed(EXACT, 1)]
    found += [timed("radsynth", 2), timed("radsynth", 0.1, device="gpu")]
    assert verdict(found) == (
        "**Faster than the exact engine in 1 of 2 comparisons**: "
        "radsynth, window 5, 24 features, CPU, 3.0 times."
    ), "a device without an exact map is not compared"


def test_files_hold_every_case(tmp_path):
    found = [timed(EXACT, 0.1), timed("equality", 3), timed(EXACT, 0.5, dimensions=3)]
    path = write(found, tmp_path)
    assert path.read_text() == markdown(found) + "\n"
    with (tmp_path / "crossover.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["method"], row["dimensions"], row["window"]) for row in rows] == [
        ("exact", "2", "5"), ("equality", "2", "5"), ("exact", "3", "5"),
    ]  # fmt: skip
    document = json.loads((tmp_path / "crossover.json").read_text())
    assert [case["seconds"] for case in document["cases"]] == [0.1, 3, 0.5]
    assert document["machine"]["cores"] >= 1
    assert (tmp_path / "crossover.png").read_bytes().startswith(b"\x89PNG")


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(crossover, "WINDOWS", (5,))
    monkeypatch.setattr(crossover, "WINDOWS_3D", (3,))
    monkeypatch.setattr(crossover, "FEATURES", (("joint_entropy",), ("contrast", "joint_entropy")))
    for name, value in (("EDGE", 16), ("DEPTH", 4), ("TILE", 16)):
        monkeypatch.setattr(crossover, name, value)


def test_exact_maps_and_networks_are_timed_alike(small):
    steps = []
    found = measure(1, lambda done, total: steps.append((done, total)))
    cpu = {
        (one.case.method, one.case.dimensions, one.case.window, one.case.features)
        for one in found
        if one.case.device == "cpu"
    }
    assert cpu == {
        (EXACT, 2, 5, 1), (EXACT, 2, 5, 2), (EXACT, 3, 3, 1),
        ("radsynth", 2, 5, 1), ("radsynth", 2, 5, 2), ("equality", 2, 5, 1), ("equality", 2, 5, 2),
        ("analytic", 2, 5, 1),
    }  # fmt: skip
    assert all(one.seconds > 0 for one in found)
    assert steps[-1] == (len(found), len(found))


def test_the_command_adds_it_to_the_benchmark(small, tmp_path, monkeypatch):
    monkeypatch.setattr(timing, "PHANTOM_SIZE", 64)
    arguments = ["-o", str(tmp_path / "out"), "--repeats", "1", "--crossover"]
    result = CliRunner().invoke(benchmark.command, arguments)
    assert result.exit_code == 0, result.output
    assert "the exact engine in" in result.stdout
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {f"crossover.{suffix}" for suffix in ("csv", "json", "md", "png")} <= names
