"""The comparison of co-occurrence features with other tools. No environment is made, nothing is fetched."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import features  # noqa: E402
from _family_runs import GROUPS  # noqa: E402

from glcm_cuda.families.registry import features_named  # noqa: E402


def test_the_groups_are_the_family():
    names = [name for group in GROUPS.values() for name in group]
    assert sorted(names) == sorted(feature.full_name for feature in features_named("glcm"))
    assert set(features.FIRST) <= {feature.name for feature in features_named("glcm")}


def test_the_regions_of_all_tools_fit():
    image = features.random_walk()
    names = {"radsynth", features.BEFORE, *(tool.name for tool in features.PEERS)}
    for configuration in (*features.FULL, *features.QUICK):
        assert set(configuration.regions) == names
        for shape in configuration.regions.values():
            assert (np.add(shape, 2 * np.array(configuration.radii)) <= image.array.shape).all()


def test_a_folder_without_the_package_is_refused(tmp_path):
    with pytest.raises(SystemExit, match="has no glcm_cuda"):
        features.main(["--before", str(tmp_path)])


def test_the_table_has_ratios():
    runs = [
        {"tool": "radsynth", "us_per_voxel": 0.5, "verdict": "agrees to 0e+00"},
        {"tool": "radsynth-before", "us_per_voxel": 2.0, "verdict": "agrees to 0e+00"},
    ]
    tool = {"versions": {"radsynth": "9"}, "problem": ""}
    text = features.markdown({
        "machine": {
            "cpu": "Slide rule", "vector_extensions": [], "cores": 2, "memory_gib": 1.0,
            "load_average_before": 0.0, "versions": {"python": "3"},
        },
        "turns": 2,
        "tolerance": 2e-7,
        "tools": [
            {"name": "radsynth", "title": "RadSynth", **tool},
            {"name": "radsynth-before", "title": "RadSynth before", **tool},
            {"name": "absent", "title": "Absent", "versions": {}, "problem": "Absent is not here"},
        ],
        "cases": [{"image": "a knee", "configuration": "5x5", "family": "MCC", "runs": runs}],
        "first_map_seconds": {"5x5": {"mcc": 4.0}},
    })  # fmt: skip
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if "5x5" in line]
    assert rows == [["a knee", "5x5", "MCC", "0.5", "2 (4)", ""], ["5x5", "mcc", "4.0"]]
    assert "**RadSynth before** (radsynth 9): agrees to 2e-07 in 1 case" in text
    assert "Absent is not here" in text


def test_another_checkout_is_a_tool_of_its_own():
    here = BENCHMARKS.parent
    tool = features._before(here)
    assert (tool.name, tool.arguments) == ("radsynth-before", (str(here.resolve()),))
