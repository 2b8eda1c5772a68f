"""Settings: defaults, checks, and the form in which results carry them."""

from __future__ import annotations

import math
import re

import pytest

from glcm_cuda import GLCMSettings
from glcm_cuda.settings import PRESETS


def test_defaults_are_the_preset_of_the_paper():
    settings = GLCMSettings.preset("radsynth")
    assert (settings.levels, settings.window, settings.radius) == (64, 5, 2)
    assert settings == GLCMSettings()


def test_json_round_trip():
    settings = GLCMSettings(levels=32, window=7, aggregate="merge", log_base="e", intensity_range=(-5, 80))
    assert GLCMSettings.from_json(settings.to_json()) == settings


def test_edges_of_the_window():
    assert GLCMSettings(window=7).edges == (1, 7, 7)
    assert GLCMSettings(window=7, dimensions=3).radii == (3, 3, 3)
    settings = GLCMSettings(window=(3, 7, 7), dimensions=3)
    assert (settings.edges, settings.edge, settings.radius) == ((3, 7, 7), 7, 3)
    assert GLCMSettings.from_json(settings.to_json()) == settings
    with pytest.raises(ValueError, match="window must have equal edges in the slice plane, got 5 and 7"):
        _ = GLCMSettings(window=(3, 5, 7), dimensions=3).edge


@pytest.mark.parametrize(("base", "unit"), [(2, 1.0), (10, math.log10(2)), ("e", math.log(2))])
def test_log_unit(base, unit):
    assert GLCMSettings(log_base=base).log_unit == unit


@pytest.mark.parametrize(
    ("field", "error", "message"),
    [
        ({"levels": 1}, ValueError, "levels must be from 2 to 65536, got 1"),
        ({"levels": 65537}, ValueError, "levels must be from 2 to 65536, got 65537"),
        ({"levels": 64.0}, TypeError, "levels must be an integer, got 64.0"),
        ({"levels": True}, TypeError, "levels must be an integer, got True"),
        ({"window": 4}, ValueError, "window must be odd, got 4"),
        ({"window": 1}, ValueError, "window must be from 3"),
        ({"window": -5}, ValueError, "window must be from 3"),
        ({"window": (3, 5, 5)}, ValueError, "window must be one edge length, or three with dimensions=3"),
        (
            {"window": (5, 5), "dimensions": 3},
            ValueError,
            "window must be one edge length, or three with dimensions=3",
        ),
        ({"window": (3, 4, 5), "dimensions": 3}, ValueError, "window must be odd, got 4"),
        ({"window": (3, 5, 5), "dimensions": 3, "distance": 3}, ValueError, "distance must be from 1 to 2"),
        ({"distance": 0}, ValueError, "distance must be from 1 to 4, got 0"),
        ({"distance": 5}, ValueError, "distance must be from 1 to 4, got 5"),
        ({"dimensions": 4}, ValueError, "dimensions must be from 2 to 3"),
        ({"symmetric": 1}, TypeError, "symmetric must be True or False, got 1"),
        ({"aggregate": "sum"}, ValueError, "aggregate must be one of"),
        ({"log_base": 3}, ValueError, "log_base must be one of"),
        ({"range_over": "slice"}, ValueError, "range_over must be one of"),
        ({"intensity_range": 5}, TypeError, "intensity_range must be a pair of numbers"),
        ({"intensity_range": (1, 1)}, ValueError, "intensity_range must be finite and increasing"),
        ({"intensity_range": (0, math.inf)}, ValueError, "intensity_range must be finite and increasing"),
    ],
)
def test_every_field_is_checked(field, error, message):
    with pytest.raises(error, match=re.escape(message)):
        GLCMSettings(**field)


def test_unknown_names():
    with pytest.raises(ValueError, match="no preset 'unheard-of'; the presets are radsynth"):
        GLCMSettings.preset("unheard-of")
    with pytest.raises(ValueError, match=r"unknown settings \['bins'\]"):
        GLCMSettings.from_dict({"bins": 3})


@pytest.mark.parametrize("name", PRESETS)
def test_presets_go_through_json(name):
    chosen = GLCMSettings.preset(name)
    assert GLCMSettings.from_json(chosen.to_json()) == chosen


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"bin_width": 0}, ValueError, "bin_width must be finite and positive, got 0"),
        ({"bin_width": "25"}, TypeError, "bin_width must be a number, got '25'"),
        ({"bin_width": 10**400}, ValueError, "bin_width must be finite and positive, got 1000"),
        ({"deviations": 10**400}, ValueError, "deviations must be finite and positive, got 1000"),
        ({"intensity_range": (0, 10**400)}, TypeError, "intensity_range must be a pair of numbers, got"),
        ({"bin_edges": "matlab"}, ValueError, "bin_edges must be one of"),
        ({"percentiles": (5, 101)}, ValueError, "percentiles must be from 0 to 100"),
        (
            {"percentiles": (1, 99), "deviations": 3},
            ValueError,
            "percentiles and deviations are mutually exclusive",
        ),
        ({"deviations": -1}, ValueError, "deviations must be finite and positive"),
        ({"distance": (1, 1)}, ValueError, "distance must be an int or several different ints"),
        ({"distance": ()}, ValueError, "distance must be an int or several different ints"),
        ({"distance": (1, 9)}, ValueError, "distance must be from 1 to 4, got 9"),
        ({"directions": "some"}, ValueError, "directions must be one of"),
        ({"slice_axis": 3}, ValueError, "slice_axis must be one of"),
        ({"slice_axis": 1, "dimensions": 3}, ValueError, "slice_axis=1 requires dimensions=2"),
        ({"masked_window": 1}, TypeError, "masked_window must be True or False"),
        ({"first_level": 2}, ValueError, "first_level must be one of"),
        ({"weighting": "cosine", "aggregate": "merge"}, ValueError, "weighting must be one of"),
        ({"weighting": "euclidean"}, ValueError, "weighting='euclidean' requires aggregate='merge'"),
    ],
)
def test_what_the_newer_settings_refuse(fields, error, message):
    with pytest.raises(error, match=message):
        GLCMSettings(**fields)


def test_one_distance_in_a_list_is_that_distance():
    assert GLCMSettings(distance=[2]) == GLCMSettings(distance=2)
    assert GLCMSettings(distance=[1, 2]).distances == (1, 2)


def test_an_unknown_preset_suggests_the_nearest():
    with pytest.raises(
        ValueError, match=r"no preset 'pyradiomic' \(did you mean 'pyradiomics'\?\); the presets"
    ):
        GLCMSettings.preset("pyradiomic")


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "[1]", "64", "{", ""])
def test_what_is_no_json_of_settings_is_refused(text):
    with pytest.raises(ValueError, match="settings must be a JSON object of names and values, got "):
        GLCMSettings.from_json(text)
