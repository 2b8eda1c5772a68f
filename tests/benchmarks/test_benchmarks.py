"""The scripts in benchmarks: what they refuse, mark and say. No environment is made, nothing is fetched."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import _peer_runs  # noqa: E402
import _peer_tools  # noqa: E402
import families  # noqa: E402
import memory  # noqa: E402
import scaling  # noqa: E402
from _peer_report import draw, markdown  # noqa: E402
from _peer_runs import Effort, Slice, compare, measure  # noqa: E402
from _peer_tools import OURS, PEERS, Tool, ToolError, command_of, environment  # noqa: E402

from glcm_cuda import GLCMSettings, entropy_map  # noqa: E402

MACHINE = {
    "cpu": "Slide rule",
    "vector_extensions": ["avx2"],
    "cores": 2,
    "memory_gib": 1.0,
    "load_average_before": 0.0,
    "versions": {"python": "3"},
}


def planted_run(threads, ns, *, difference=1e-7):
    agrees = difference <= 1e-5
    return {
        "levels": 64,
        "window": 5,
        "threads": threads,
        "shape": [64, 64],
        "seconds": [ns * 64 * 64 / 1e9],
        "ns_per_voxel": ns,
        "agrees": agrees,
        "largest_difference": difference,
        "verdict": "agrees to 1e-07" if agrees else f"values differ by {difference}",
    }


def planted_entry(name, runs, **fields):
    entry = _peer_runs.Entry(next(tool for tool in (*OURS, *PEERS) if tool.name == name)).as_dict()
    return entry | {"runs": runs, "startup_seconds": 1.0, "versions": {"v": "1"}} | fields


@pytest.fixture
def document():
    return {
        "quick": False,
        "machine": MACHINE,
        "image": {"name": "a knee", "shape": [512, 512], "phantom": False},
        "turns": 3,
        "tolerance": 1e-5,
        "cases": [{"levels": 64, "window": 5}],
        "tools": [
            planted_entry("radsynth", [planted_run(1, 40.0), planted_run("default", 20.0)], parallel=True),
            planted_entry("grass", [planted_run(1, 4000.0)]),
            planted_entry("mahotas", [planted_run(1, 8e5, difference=0.25)]),
            planted_entry("pyradiomics", [], problem="pyradiomics, voxel-based ended: out of memory"),
        ],
    }


def row_of(text, title):
    return next(line for line in text.splitlines() if line.startswith(f"| {title}"))


# The check of values


@pytest.fixture(scope="module")
def right():
    return entropy_map(np.random.default_rng(0).random((12, 12)), GLCMSettings(levels=8), backend="cpu")


def test_a_map_that_agrees(right):
    found = compare(right.astype(np.float64) + 1e-7, right, 0)
    assert found["agrees"]
    assert found["verdict"] == "agrees to 1e-07"


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        (lambda entropy: entropy + 1e-3, "values differ by 0.001"),
        (lambda entropy: entropy * np.log(2), "values differ by "),
        (
            lambda entropy: np.where(entropy > entropy.mean(), np.nan, entropy),
            "voxels without a value differ",
        ),
        (lambda entropy: entropy[1:], r"the map has shape (11, 12) instead of (12, 12)"),
    ],
)
def test_a_wrong_map_is_refused(right, change, verdict):
    found = compare(change(right), right, 0)
    assert not found["agrees"]
    assert found["verdict"].startswith(verdict)


def test_a_margin_is_not_compared(right):
    bordered = right.copy()
    bordered[:2] = bordered[:, -2:] = 9.0
    assert compare(bordered, right, 2)["agrees"]
    assert not compare(bordered, right, 1)["agrees"]


# The comparison with real processes


ADAPTER = f"""
import sys
sys.path.insert(0, {str(BENCHMARKS / "peers")!r})
import numpy as np
from _adapter import serve

def prepare(levels, number_of_levels, window, threads):
    print("chatter of the tool")
    return {{mapper}}

serve(prepare, {{{{"planted": "1"}}}})
"""


@pytest.fixture
def adapter(tmp_path):
    def make(name, mapper):
        script = tmp_path / f"{name}.py"
        script.write_text(ADAPTER.format(mapper=mapper))
        return Tool(name=name, title=name.capitalize(), script=str(script), computes="nothing")

    return make


@pytest.mark.slow
def test_wrong_failing_and_missing_tools_are_told_and_the_others_measured(adapter, rng, capsys):
    missing = Tool(
        name="missing", title="Missing", script="", computes="", program="no-such", how_to_install="buy"
    )
    tools = [
        OURS[0],
        adapter("wrong", "lambda: np.zeros(levels.shape)"),
        adapter("failing", "lambda: 1 / 0"),
        missing,
    ]
    image = Slice(rng.random((32, 32)), 16, "noise", phantom=True)
    results = measure(tools, image, [(8, 3)], Effort(call_seconds=0.1, turns=2))
    ours, wrong, failing, gone = results["tools"]
    assert [run["threads"] for run in ours["runs"]] == [1, "default"]
    assert all(run["agrees"] and len(run["seconds"]) >= 2 for run in ours["runs"])
    assert wrong["runs"][0]["verdict"].startswith("values differ by ")
    assert wrong["versions"] == {"planted": "1"}
    assert failing["problem"] == "Failing ended: ZeroDivisionError: division by zero"
    assert gone["problem"] == "Missing is not installed: buy"
    assert failing["runs"] == gone["runs"] == []
    errors = capsys.readouterr().err.splitlines()
    assert errors == [gone["problem"], "8 levels, window 3x3", failing["problem"]]


def test_every_peer_has_its_script_and_its_list_of_packages():
    for tool in (*OURS, *PEERS, families.RADSYNTH, *families.PEERS):
        assert (BENCHMARKS / "peers" / tool.script).is_file()
        if tool.environment is not None:
            lines = (BENCHMARKS / "peers" / f"{tool.environment}.txt").read_text().splitlines()
            assert all("==" in line for line in lines if not line.startswith("#"))
        assert tool.reference in {ours.name for ours in OURS}
        GLCMSettings(**tool.settings)


# Environments


def test_a_missing_program_is_one_line_that_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(_peer_tools.shutil, "which", lambda _: None)
    grass = next(tool for tool in PEERS if tool.name == "grass")
    with pytest.raises(ToolError, match=r"^GRASS r.texture is not installed: apt-get install grass-core$"):
        command_of(grass)


def test_an_environment_is_used_again_while_its_list_is_the_same(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(
        _peer_tools, "_install", lambda text, place, name: (made.append(name), fill(place, text))
    )

    def fill(place, text):
        place.mkdir(parents=True)
        (place / "requirements.txt").write_text(text)

    for _ in range(2):
        assert environment("mahotas", tmp_path) == tmp_path / "mahotas" / "bin" / "python"
    assert made == ["mahotas"]
    (tmp_path / "mahotas" / "requirements.txt").write_text("mahotas==0.1")
    environment("mahotas", tmp_path)
    assert made == ["mahotas"] * 2


def test_an_environment_that_cannot_be_made_is_one_line_and_leaves_none(tmp_path, monkeypatch):
    def run(command, **_):
        return subprocess.CompletedProcess(
            command, int("pip" in command), "", "noise\nERROR: no such version\n"
        )

    monkeypatch.setattr(_peer_tools.subprocess, "run", run)
    message = r"^the environment of mahotas cannot be made: ERROR: no such version$"
    with pytest.raises(ToolError, match=message):
        environment("mahotas", tmp_path)
    assert not (tmp_path / "mahotas").exists()


# The report


def test_factors_are_of_the_same_number_of_threads(document):
    row = row_of(markdown(document), "GRASS r.texture")
    cells = [cell.strip() for cell in row.split("|")]
    assert cells[4:9] == ["1.0", "4,000", "4,000", "100", "200"]
    assert cells[9] == "agrees to 1e-07"


def test_a_tool_whose_values_differ_is_marked_and_never_silent(document):
    text = markdown(document)
    assert "800,000 †" in row_of(text, "mahotas")
    assert "values differ by 0.25" in row_of(text, "mahotas")
    assert "800,000 † (20,000)" in row_of(text, "mahotas, a call per window, 1 thread")
    assert text.count("†") >= 4


def test_what_was_not_measured_is_listed_once(document):
    text = markdown(document)
    assert text.count("- pyradiomics, voxel-based ended: out of memory") == 1
    assert "Slide rule (avx2), 2 cores in use" in text


def test_a_rehearsal_is_called_so(document):
    assert "rehearsal" in markdown(document | {"quick": True}).splitlines()[0]
    assert "rehearsal" not in markdown(document)


def test_the_plot_is_drawn_and_the_document_is_json(document, tmp_path):
    before = copy.deepcopy(document)
    draw(document, tmp_path / "new" / "peers.png")
    assert (tmp_path / "new" / "peers.png").stat().st_size > 10_000
    assert document == before
    assert json.loads(json.dumps(document, allow_nan=False)) == document


# The other scripts


def test_scaling_measures_every_point_in_every_turn_and_draws(tmp_path):
    points = [
        scaling.Point(panel, "line", 1, (8, 8), GLCMSettings(levels=8), threads=1)
        for panel in ("voxels", "window", "levels", "threads")
    ]
    scaling.measure(points, 2)
    assert all(len(point.seconds) == 2 for point in points)
    assert scaling.table(points).count("8x8") == 4
    scaling.draw(points, tmp_path / "scaling.png", "caption")
    assert (tmp_path / "scaling.png").exists()


@pytest.mark.skipif(not memory.STATUS.exists(), reason="resident memory is read from /proc")
def test_memory_is_measured_in_a_child():
    case = {"shape": (4, 64, 64), "dimensions": 2, "masked": True}
    found = memory.in_child(case)
    assert found["baseline_bytes"] > 2 * 4 * 64 * 64 * 4
    assert 0 <= found["beyond_bytes"] < 64 * memory.MIB
    line = memory.sentence(case | found)
    assert line.startswith("4x64x64 float32, window 5x5, with mask: ")
    assert line.endswith(" MiB beyond input and output")


def test_the_mask_of_the_memory_benchmark_is_an_ellipsoid():
    mask = memory.ball((41, 51, 61))
    assert mask.mean() == pytest.approx(np.pi / 6, abs=0.05)
    assert mask[20, 25, 0]
    assert not mask[20, 0, 0]
