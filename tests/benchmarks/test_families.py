"""The comparison of families with other tools. No environment is made, nothing is fetched."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import families  # noqa: E402
from _family_report import markdown  # noqa: E402
from _family_runs import Configuration, Subject, compare, measure  # noqa: E402
from _peer_tools import SCRIPTS, Tool, ToolError  # noqa: E402

TINY = Configuration(
    "3x3, 8 levels", 2, 1, 8, {"radsynth": (1, 6, 7), "liar": (1, 3, 3), "breaker": (1, 3, 3)}, 5.0
)


def subject():
    image = np.random.default_rng(0).integers(0, 80, (3, 9, 10)).astype(np.int16)
    return Subject("a knee", image, (1, 4, 5))


# Regions


def test_a_region_lies_around_the_centre_and_inside_the_image():
    image = subject()
    np.testing.assert_array_equal(image.around((1, 3, 3)), image.array[1:2, 3:6, 4:7])
    np.testing.assert_array_equal(image.around((3, 9, 4)), image.array[:, :, 3:7])


def test_the_share_of_full_windows_is_that_of_their_voxels():
    shape = (4, 5, 6)
    voxels = [len(range(max(at - 2, 0), min(at + 3, size))) for size in shape for at in range(size)]
    share = np.prod([np.mean(part) / 5 for part in np.split(voxels, [4, 9])])
    configuration = Configuration("5x5x5", 3, 2, 8, {})
    assert configuration.full_share(shape) == pytest.approx(share)
    assert Configuration("5x5", 2, 2, 8, {}).full_share((1, 100, 100)) == pytest.approx(0.988**2)


# The check of values


def values(**changed):
    found = {"Range": [2.0, 0.0], "Skewness": [0.5, 0.0], "Busyness": [0.0, 3.0], "RunEntropy": [1.0, np.nan]}
    return {name: np.array(changed.get(name, value)) for name, value in found.items()}


@pytest.mark.parametrize(
    ("changed", "verdict"),
    [
        ({}, "agrees to 0e+00"),
        ({"RunEntropy": [1.0 + 1e-7, np.nan]}, "agrees to 1e-07"),
        ({"Skewness": [0.5, -1.0]}, "agrees to 0e+00"),  # a flat window
        ({"Busyness": [1e15, 3.0]}, "agrees to 0e+00"),  # a denominator of 0
        ({"Busyness": [0.0, 4.0]}, "values differ by 0.3: Busyness"),
        ({"RunEntropy": [1.0, 0.0]}, "voxels without a value differ: RunEntropy"),
    ],
)
def test_values_of_a_peer(changed, verdict):
    assert compare(values(**changed), values()) == verdict


# The report


def planted_run(tool, us, verdict="agrees to 6e-08"):
    return {"tool": tool, "us_per_voxel": us, "verdict": verdict}


@pytest.fixture
def document():
    return {
        "machine": {
            "cpu": "Slide rule",
            "vector_extensions": [],
            "cores": 2,
            "memory_gib": 1.0,
            "load_average_before": 0.0,
            "versions": {"python": "3"},
        },
        "turns": 3,
        "tolerance": 2e-7,
        "families": ["glrlm", "gldm"],
        "tools": [
            {"name": "radsynth", "title": "RadSynth", "versions": {"radsynth": "9"}, "problem": ""},
            {"name": "liar", "title": "Liar", "versions": {"liar": "1"}, "problem": ""},
            {"name": "breaker", "title": "Breaker", "versions": {}, "problem": "Breaker ended: no"},
        ],
        "images": [{"name": "a knee", "shape": [1, 2, 3], "phantom": True}],
        "configurations": [{"name": "5x5", "goal_us": 5}],
        "cases": [
            {
                "image": "a knee",
                "configuration": "5x5",
                "family": family,
                "runs": [planted_run("radsynth", us), planted_run("liar", 40 * us, verdict)],
            }
            for family, us, verdict in (("glrlm", 2.0, "agrees to 6e-08"), ("gldm", 1.0, "values differ"))
        ],
        "first_map_seconds": {"5x5": {"glrlm": 4.0, "gldm": 3.5}},
    }


def test_the_table_has_ratios_and_sums(document):
    text = markdown(document)
    rows = [[cell.strip() for cell in line.split("|")[2:-1]] for line in text.splitlines() if "| 5x5" in line]
    assert rows == [
        ["glrlm", "2", "80 (40)", "", "", "4.0"],
        ["gldm", "1", "40 (40)", "", "", "3.5"],
        ["**all 2**", "3", "120 (40)", "", "5", "7.5"],
    ]
    assert "### a knee (phantom)" in text
    assert "agrees to 2e-07 in 1 case; values differ (gldm, 5x5, a knee)" in text
    assert "**Breaker** (not started): Breaker ended: no" in text


# The comparison with real processes

LIAR = f"""
import sys
sys.path.insert(0, {str(SCRIPTS)!r})
from _families import serve

def prepare(job):
    return lambda: None

def read(result, job):
    print("chatter of the tool")
    return {{name: job.mask[job.mask != 0] * 2.0 for name in job.features}}

serve(prepare, read, {{"liar": "1"}})
"""


@pytest.fixture
def peers(tmp_path):
    scripts = {"liar": LIAR, "breaker": "raise SystemExit('no')"}
    for name, text in scripts.items():
        (tmp_path / f"{name}.py").write_text(text)
    return [
        Tool(name=name, title=name.capitalize(), script=str(tmp_path / f"{name}.py"), computes="")
        for name in scripts
    ]


@pytest.mark.slow
def test_tools_take_turns_and_one_that_fails_costs_no_other(peers, capsys):
    found = measure([families.RADSYNTH, *peers], [subject()], [TINY], ["glrlm"], 2)
    [case] = found["cases"]
    ours, liars = case["runs"]
    assert [ours["tool"], ours["voxels"], ours["verdict"]] == ["radsynth", 42, "agrees to 0e+00"]
    assert ours["us_per_voxel"] > 0
    assert len(liars["seconds"]) == 2
    assert liars["verdict"].startswith("values differ by")
    assert found["tools"][2]["problem"] == "Breaker ended: no"
    assert "a knee: 3x3, 8 levels" in capsys.readouterr().err
    json.dumps(found, allow_nan=False)


def test_without_radsynth_nothing_can_be_compared(peers):
    breaker = peers[1]
    with pytest.raises(ToolError, match="Breaker ended: no"):
        measure([breaker, peers[0]], [subject()], [TINY], ["glrlm"], 2)


def test_the_images_and_the_regions_of_all_tools_fit():
    image = families.random_walk()
    assert image.array.dtype == np.int16
    assert np.ptp(image.array) == 4095
    for configuration in (*families.FULL, *families.QUICK):
        assert set(configuration.regions) == {"radsynth", *(tool.name for tool in families.PEERS)}
        for tool, shape in configuration.regions.items():
            grown = np.add(shape, 0 if tool == "radsynth" else 2 * np.array(configuration.radii))
            assert (grown <= image.array.shape).all()


@pytest.mark.slow
def test_the_first_map_of_a_family_compiles(tmp_path):
    assert families.first_map(TINY, "glrlm") > 0.2
