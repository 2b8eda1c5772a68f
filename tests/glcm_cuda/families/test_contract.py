"""The contract of a family: one that is made here goes through the engines like any other."""

from __future__ import annotations

import sys
from types import ModuleType

import numpy as np
import pytest

from glcm_cuda import GLCMSettings, feature_maps
from glcm_cuda.engines import cpu
from glcm_cuda.families import registry
from glcm_cuda.families.feature import Family, Feature
from glcm_cuda.families.stage import Task
from glcm_cuda.levels.bins import OUTSIDE, bins_of_levels

BRIGHTEST = Feature("toy", "brightest", "brightest", "Brightest")
LEVELS_MARKED = Feature("toy", "marked", "levels_marked", "LevelsMarked")


class Stage:
    """What both made stages share."""

    slowness = 1
    entering = 5
    together = 1

    def __init__(self, task, chosen):
        self.task, self.chosen = task, chosen

    def check(self):
        if self.task.bins.levels > 64:
            msg = f"brightest allows at most 64 levels, got {self.task.bins.levels}"
            raise ValueError(msg)

    def windows(self, array, first, out):
        """Yield every voxel of a block with the part of an array that its window reaches."""
        _, rows, columns = self.task.settings.radii
        for z, y, x in np.ndindex(out.shape[1:]):
            at, top = (first[0] + z, first[1] + y, x), max(first[1] + y - rows, 0)
            window = array[at[0], top : at[1] + rows + 1, max(x - columns, 0) : x + columns + 1]
            yield (z, y, x), window


class Brightest(Stage):
    """The highest intensity of a window."""

    reads = "intensities"

    def map(self, source, first, out):
        ((plane, _),) = self.chosen
        for voxel, window in self.windows(source.intensities, first, out):
            out[plane][voxel] = window.max()


class Marked(Stage):
    """How many voxels of a window do not count."""

    reads = "levels"

    def map(self, source, first, out):
        ((plane, _),) = self.chosen
        for voxel, window in self.windows(source.levels, first, out):
            out[plane][voxel] = np.count_nonzero(window == OUTSIDE)


@pytest.fixture
def toy(monkeypatch):
    """Register a family whose code is in this file."""
    module = ModuleType("glcm_cuda.families.toy.cpu.stages")
    module.STAGES = {"brightest": Brightest, "marked": Marked}
    monkeypatch.setitem(sys.modules, module.__name__, module)
    family = Family("toy", (BRIGHTEST, LEVELS_MARKED))
    monkeypatch.setattr(registry, "FAMILIES", (*registry.FAMILIES, family))
    for feature in family.features:
        monkeypatch.setitem(registry._BY_NAME, registry._folded(feature.name), (feature,))


@pytest.mark.usefixtures("toy")
def test_a_new_family_is_mapped_beside_the_others(monkeypatch, rng):
    image = rng.normal(size=(3, 12, 9)).astype(np.float32)
    mask = rng.random(image.shape) < 0.7
    monkeypatch.setattr(cpu, "_BLOCK_VOXELS", 4 * 9)  # several blocks a slice, with halos
    maps = feature_maps(image, ["contrast", "brightest", "levels_marked"], mask=mask, backend="cpu")
    padded = np.pad(image, ((0, 0), (2, 2), (2, 2)), constant_values=-np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (5, 5), axis=(1, 2))
    np.testing.assert_array_equal(maps["brightest"][mask], windows.max(axis=(3, 4))[mask])
    outside = np.pad(~mask, ((0, 0), (2, 2), (2, 2)))
    counts = np.lib.stride_tricks.sliding_window_view(outside, (5, 5), axis=(1, 2)).sum(axis=(3, 4))
    np.testing.assert_array_equal(maps["levels_marked"][mask], counts[mask])
    assert np.isnan(maps["brightest"][~mask]).all()
    alone = feature_maps(image, "contrast", mask=mask, backend="cpu")["contrast"]
    np.testing.assert_array_equal(maps["contrast"], alone)


@pytest.mark.usefixtures("toy")
def test_a_stage_refuses_levels_before_any_work():
    settings = GLCMSettings(levels=65)
    with pytest.raises(ValueError, match="at most 64 levels, got 65"):
        feature_maps(np.ones((4, 4)), ["contrast", "brightest"], settings, backend="cpu")
    with pytest.raises(ValueError, match="at most 64 levels, got 65"):
        registry.check_features((BRIGHTEST,), settings, bins_of_levels(65))


@pytest.mark.usefixtures("toy")
def test_only_the_families_that_are_asked_for_are_loaded(monkeypatch):
    monkeypatch.delitem(sys.modules, "glcm_cuda.families.toy.cpu.stages")
    task = Task(GLCMSettings(), bins_of_levels(64), registry.features_named("contrast"))
    assert [type(stage).__name__ for stage in registry.stages_of(task, "cpu")] == ["SumsStage"]


def test_every_feature_has_a_stage_on_both_backends():
    pytest.importorskip("numba.cuda")
    task = Task(GLCMSettings(), bins_of_levels(64), registry.FEATURES)
    for backend in ("cpu", "cuda"):
        planes = [plane for stage in registry.stages_of(task, backend) for plane, _ in stage._chosen]
        assert sorted(planes) == list(range(len(registry.FEATURES)))
