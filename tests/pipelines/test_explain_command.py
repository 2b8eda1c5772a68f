"""What a network sees: filters, searches, parts of texture, and ``radsynth explain``."""

from __future__ import annotations

import csv
import os
from functools import partial

import numpy as np
import pytest
from helpers.commands import radsynth

from glcm_cuda import GLCMSettings
from glcm_cuda.families.offsets import largest_entropy
from glcm_cuda.maps import entropy_of_levels
from glcm_cuda.store.layout import CaseRecord, CaseSource
from glcm_cuda.store.patches import Samples
from glcm_cuda.store.writing import StoreWriter

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

pytest.importorskip("keras")

from pipelines.reports.explain_figures import _mosaic, _number  # noqa: E402
from surrogate import NetworkSettings, build_model  # noqa: E402
from surrogate.explanation import (  # noqa: E402
    PARTS,
    exact_by,
    explain,
    extremes,
    first_layer_filters,
    occluded,
    predicted_by,
    search,
    texture_parts,
    without_part,
)

GLCM = GLCMSettings(levels=16)
SMALL = NetworkSettings(filters=(8, 8, 4, 4))
ANALYTIC = NetworkSettings(architecture="analytic")


@pytest.fixture(scope="module")
def analytic():
    return build_model(GLCM, ANALYTIC)


@pytest.fixture
def patches(rng):
    """Return rough and smooth patches, one of them even."""
    levels = rng.integers(0, GLCM.levels, (40, 5, 5), dtype=np.uint8)
    levels[::2] //= 5
    levels[0] = 7
    return levels


# Values


def test_exact_values_are_those_of_the_engine(patches):
    settings = GLCMSettings(levels=16, slice_axis=1, percentiles=(2, 98), log_base="e")
    expected = entropy_of_levels(patches, GLCMSettings(levels=16, log_base="e"), backend="cpu")[:, 2, 2]
    np.testing.assert_array_equal(exact_by(settings, "joint_entropy")(patches), expected)
    contrast = exact_by(GLCMSettings(levels=16, window=3), "contrast")
    board = np.array([[[0, 3, 0], [3, 0, 3], [0, 3, 0]]], np.uint8)
    assert contrast(board).tolist() == [4.5]  # 9 along rows and columns, 0 along diagonals
    assert contrast(board[:0]).shape == (0,)


def test_predictions_do_not_depend_on_how_many_there_are(analytic, patches):
    predict = predicted_by(analytic, "joint_entropy")
    many = np.concatenate([patches] * 60)  # more than a batch
    np.testing.assert_allclose(predict(many), np.tile(predict(patches), 60), atol=1e-6)
    assert predict(patches[:0]).shape == (0,)


def test_a_prediction_is_that_of_the_feature(patches):
    model = build_model(GLCM, SMALL, ["contrast", "joint_entropy"])
    both = model.predict_on_batch(patches[..., np.newaxis].astype(np.float32))
    for column, feature in enumerate(("contrast", "joint_entropy")):
        np.testing.assert_allclose(predicted_by(model, feature)(patches), both[:, column], rtol=1e-5)
    with pytest.raises(ValueError, match="the model predicts contrast, joint_entropy, got imc1"):
        predicted_by(model, "imc1")


# Filters


def test_filters_of_the_papers_network():
    model = build_model(GLCMSettings())
    kernel = np.zeros((3, 3, 1, 128), np.float32)
    kernel[:, :, 0, 5] = [[0, 0, 0], [0, 2, -2], [0, 0, 0]]  # a difference
    kernel[:, :, 0, 9] = 1  # an average
    model.get_layer("convolution1").set_weights([kernel, np.zeros(128)])
    normalization = model.get_layer("normalization1")
    normalization.set_weights([np.full(128, 3.0), np.zeros(128), np.zeros(128), np.full(128, 4.0)])
    filters = first_layer_filters(model)
    assert (filters.layer, filters.weights.shape) == ("convolution1", (128, 3, 3))
    gain = 3 / np.sqrt(4 + normalization.epsilon)
    np.testing.assert_allclose(filters.weights[0], np.full((3, 3), gain), rtol=1e-6)  # power 9, the other 8
    np.testing.assert_allclose(filters.weights[1, 1], [0, 2 * gain, -2 * gain], rtol=1e-6)
    assert filters.mean_share == pytest.approx(9 / 17)


def test_filters_of_equalities_add_up_the_comparisons_of_a_voxel():
    model = build_model(GLCM, NetworkSettings(architecture="equality", hidden=(6, 4)), ["contrast"])
    layer = model.get_layer("dense1")
    kernel, bias = layer.get_weights()
    kernel[:] = 0
    kernel[0, 0, 0, 2] = 1.5  # the first two pairs along x: voxels 0, 1 and 1, 2
    kernel[0, 0, 2, 2] = -1  # the first and the fourth: voxels 0, 1 and 3, 4
    kernel[0, 0, 620:, 3] = 9  # what is behind the comparisons
    layer.set_weights([kernel, bias])
    filters = first_layer_filters(model)
    expected = np.zeros((5, 5))
    expected[0] = [0.5, 2, 1.5, -1, -1]
    assert filters.weights.shape == (6, 5, 5)
    np.testing.assert_array_equal(filters.weights[0], expected)
    assert not filters.weights[1:].any()


def test_the_comparisons_of_the_analytic_network_are_two_voxels_each(analytic):
    filters = first_layer_filters(analytic)
    assert filters.weights.shape == (110, 9, 9)  # of 114, those of a pair with itself compare nothing
    assert filters.random_share is None
    assert np.all(filters.weights.sum(axis=(1, 2)) == 0)
    assert np.all(np.abs(filters.weights).sum(axis=(1, 2)) == 2)


@pytest.mark.parametrize("architecture", ["radsynth", "equality"])
def test_random_weights_have_the_share_of_chance(architecture):
    filters = first_layer_filters(build_model(GLCM, NetworkSettings(architecture=architecture)))
    assert filters.mean_share == pytest.approx(filters.random_share, rel=0.5)


# Extremes and searches


def test_extremes_are_different_patches_in_order():
    patches = np.repeat(np.arange(4, dtype=np.uint8), 9 * 2).reshape(8, 3, 3)  # each twice
    highest, lowest = extremes(patches, patches[:, 0, 0] * 1.5, 3)
    assert highest[:, 0, 0].tolist() == [3, 2, 1]
    assert lowest[:, 0, 0].tolist() == [0, 1, 2]
    assert len(extremes(patches, patches[:, 0, 0], 9)[0]) == 4


@pytest.mark.parametrize("levels", [2, 3, 16])
def test_a_search_never_worsens_and_ends_where_no_voxel_helps(rng, levels):
    exact = exact_by(GLCMSettings(levels=levels, window=3), "joint_entropy")
    starts = rng.integers(0, levels, (6, 3, 3), dtype=np.uint8)
    before = starts.copy()
    for highest, sign in ((True, 1), (False, -1)):
        found = search(exact, starts, levels, rng=rng, highest=highest)
        np.testing.assert_array_equal(starts, before)
        assert np.all(sign * exact(found) >= sign * exact(starts))
        for patch, value in zip(found, exact(found), strict=True):
            changed = np.repeat(patch[np.newaxis], 9 * levels, axis=0)
            changed.reshape(9, levels, 9)[np.arange(9), :, np.arange(9)] = np.arange(levels)
            assert np.all(sign * exact(changed) <= sign * value + 1e-6)


def test_searches_reach_the_largest_and_the_smallest_entropy(rng):
    settings = GLCMSettings(levels=16, window=3)
    predict = predicted_by(build_model(settings, ANALYTIC), "joint_entropy")
    starts = rng.integers(0, 3, (4, 3, 3), dtype=np.uint8)
    starts[0] = 5
    highest = search(predict, starts, 16, rng=rng)
    lowest = search(predict, starts, 16, rng=rng, highest=False)
    np.testing.assert_allclose(predict(highest), largest_entropy(settings), atol=1e-5)
    assert predict(lowest).min() == pytest.approx(0, abs=1e-5)


def test_a_search_with_few_levels_finds_the_best_of_all_patches(rng):
    exact = exact_by(GLCMSettings(levels=2, window=3), "joint_entropy")
    everything = (np.arange(512)[:, np.newaxis] >> np.arange(9) & 1).astype(np.uint8).reshape(-1, 3, 3)
    starts = everything[rng.choice(512, 12, replace=False)]
    assert exact(search(exact, starts, 2, rng=rng)).max() == exact(everything).max()


def test_a_search_stops_after_its_sweeps(rng):
    calls = []

    def evaluate(patches):
        calls.append(len(patches))
        return patches.reshape(len(patches), -1).sum(axis=1, dtype=np.float32)

    starts = np.zeros((2, 3, 3), np.uint8)
    assert np.all(search(evaluate, starts, 4, rng=rng, sweeps=1) == 3)
    assert calls == [8] * 9
    calls.clear()
    starts[1] = 3  # nothing to gain: not looked at again
    search(evaluate, starts, 4, rng=rng)
    assert calls == [8] * 9 + [4] * 9


# Parts of a patch


@pytest.mark.parametrize("window", [3, 5, 7, 9, 11])
def test_the_parts_add_up_to_the_patch(rng, window):
    patch = rng.integers(0, 64, (window, window), dtype=np.uint8)
    parts = texture_parts(patch)
    assert tuple(parts) == PARTS
    mean = patch - parts["edges"] - parts["blobs"] - parts["noise"]
    assert np.all(mean == mean[0, 0])
    assert mean[0, 0] == round(mean[0, 0])
    np.testing.assert_array_equal(parts["smooth"], parts["edges"] + parts["blobs"])
    for part in PARTS:
        rest = without_part(patch, part, 64)
        assert rest.dtype == np.uint8
        assert rest.max() < 64


def test_the_parts_are_what_they_are_called():
    even = np.full((7, 7), 10, np.uint8)
    slope = np.add.outer(3 * np.arange(7), 2 * np.arange(7))
    spike = even.copy()
    spike[3, 3] = 60
    step = np.where(np.arange(7) < 3, 10, 40) * np.ones((7, 1))
    blob = even.copy()
    blob[2:5, 2:5] = 50
    power = {
        name: {part: float(np.square(values).sum()) for part, values in texture_parts(patch).items()}
        for name, patch in {"slope": slope, "spike": spike, "step": step, "blob": blob}.items()
    }
    assert power["slope"]["blobs"] == power["slope"]["noise"] == 0 < power["slope"]["edges"]
    assert power["spike"] == {"smooth": 0, "edges": 0, "blobs": 0, "noise": 2500}
    assert power["step"]["noise"] == 0
    assert power["step"]["edges"] > 5 * power["step"]["blobs"]
    share = {
        name: values["blobs"] / (values["blobs"] + values["edges"])
        for name, values in power.items()
        if name in ("step", "blob")
    }
    assert share["blob"] > 2 * share["step"]
    middle = texture_parts(blob)["blobs"][3]
    assert middle[3] > 0 > middle[1]


def test_what_is_left_without_a_part():
    slope = np.add.outer(3 * np.arange(5), 2 * np.arange(5)).astype(np.uint8)
    np.testing.assert_array_equal(without_part(slope, "edges", 64), np.full((5, 5), 10))
    spike = np.full((5, 5), 9, np.uint8)
    spike[1, 3] = 0
    np.testing.assert_array_equal(without_part(spike, "noise", 64), np.full((5, 5), 9))
    np.testing.assert_array_equal(without_part(spike, "smooth", 64), spike)


def test_parts_that_leave_the_levels_are_clipped():
    bright = np.where(np.arange(5) < 2, 0, 15) * np.ones((5, 1))
    bright[2, 1] = 15
    for patch in (bright.astype(np.uint8), (15 - bright).astype(np.uint8)):
        unclipped = np.rint(patch - texture_parts(patch)["blobs"])
        assert unclipped.min() < 0 or unclipped.max() > 15
        np.testing.assert_array_equal(without_part(patch, "blobs", 16), np.clip(unclipped, 0, 15))


def test_occlusion_moves_one_voxel_to_the_median(rng):
    patch = rng.permutation(25).astype(np.uint8).reshape(5, 5)
    variants = occluded(patch)
    assert variants.shape == (25, 5, 5)
    for voxel, variant in enumerate(variants):
        expected = patch.copy()
        expected.flat[voxel] = 12
        np.testing.assert_array_equal(variant, expected)


# Drops


def test_the_analytic_network_is_right_for_the_right_reason(analytic, patches):
    predicted, exact = predicted_by(analytic, "joint_entropy"), exact_by(GLCM, "joint_entropy")
    seen = []
    for patch in patches[:8]:
        explanation = explain(patch, predicted, exact, GLCM.levels)
        assert explanation.predicted.value == pytest.approx(explanation.exact.value, abs=1e-4)
        for part in PARTS:
            drop = explanation.exact.parts[part]
            assert explanation.predicted.parts[part] == pytest.approx(drop, abs=1e-4)
            seen.append(drop)
        np.testing.assert_allclose(explanation.predicted.voxels, explanation.exact.voxels, atol=1e-4)
    assert max(seen) > 0.5


def test_drops_are_differences_of_values(patches):
    def total(levels):
        return levels.reshape(len(levels), -1).sum(axis=1, dtype=np.float32)

    patch = patches[1]
    explanation = explain(patch, total, total, GLCM.levels)
    np.testing.assert_array_equal(explanation.exact.voxels, patch - np.median(patch))
    for part in PARTS:
        rest = without_part(patch, part, GLCM.levels)
        np.testing.assert_array_equal(explanation.without[part], rest)
        assert explanation.exact.parts[part] == float(patch.sum()) - float(rest.sum())


@pytest.mark.parametrize("network", [SMALL, ANALYTIC])
def test_an_even_patch_has_no_contributions(patches, network):
    predicted = predicted_by(build_model(GLCM, network), "joint_entropy")
    explanation = explain(patches[0], predicted, exact_by(GLCM, "joint_entropy"), GLCM.levels)
    assert explanation.exact.value == 0
    for drops in (explanation.predicted, explanation.exact):
        assert all(drop == pytest.approx(0, abs=1e-6) for drop in drops.parts.values())
        np.testing.assert_allclose(drops.voxels, 0, atol=1e-6)


# Drawing


def test_filters_lie_row_by_row_in_the_mosaic():
    weights = np.arange(5, dtype=np.float32)[:, np.newaxis, np.newaxis] * np.ones((1, 2, 2), np.float32)
    mosaic = _mosaic(weights, 2, 3)
    nan = np.nan
    expected = [[0, 0, nan, 1, 1, nan, 2, 2], [3, 3, nan, 4, 4, nan, nan, nan]]
    np.testing.assert_array_equal(mosaic[[0, 3]], expected)
    assert mosaic.shape == (5, 8)


@pytest.mark.parametrize(
    ("value", "reach", "text"),
    [
        (-0.001, 0.1, "0.00"),
        (0.114, 0.11, "0.11"),
        (-0.114, 5, "−0.1"),
        (321.4, 400, "321"),
        (0, 0, "0.0000"),
    ],
)
def test_numbers_have_the_decimals_that_their_neighbours_need(value, reach, text):
    assert _number(value, reach, 2) == text


# The command


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with a store of two tissues and a model."""
    path = tmp_path_factory.mktemp("explain")
    rng = np.random.default_rng(3)
    writer = StoreWriter(path / "s.h5", GLCM, seed=0, samples_per_case=30)
    sources = [
        CaseSource(patient=f"phantom-{i}", group="benign", image="i.nii", sha256=str(i)) for i in range(2)
    ]
    for source in sources:
        levels = rng.integers(0, GLCM.levels, (30, 5, 5), dtype=np.uint8)
        entropy = entropy_of_levels(levels, GLCM, backend="cpu")[:, 2, 2]
        zeros = np.zeros(30, np.int32)
        label = np.array([2, 9] * 15, np.uint8)
        label[0] = 3
        samples = Samples(levels, entropy, zeros, zeros, zeros, label)
        record = CaseRecord(
            **vars(source),
            intensity_range=(0.0, 1.0),
            tissues=f"2=glandular;3=lesion;9={source.patient}",
            shape=(1, 9, 9),
            count=30,
        )
        writer.add(record, samples)
    writer.finish(sources)
    build_model(GLCM, SMALL, ["joint_entropy", "contrast"]).save(path / "two.keras")
    build_model(GLCMSettings(levels=32, log_base=10), SMALL).save(path / "other.keras")
    return path


run = partial(radsynth, "explain")


@pytest.fixture
def undrawn(monkeypatch):
    """Leave out the figures, which take most of the time."""
    for name in ("draw_filters", "draw_extremes", "draw_explanation"):
        monkeypatch.setattr(f"pipelines.evaluation.explanation.{name}", lambda *_, **__: None)


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_the_command_writes_figures_and_table(folder, tmp_path):
    output = tmp_path / "out"
    arguments = [str(folder / name) for name in ("two.keras", "s.h5")]
    result = run(*arguments, "-o", output)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines == [str(output), "6 patches of 3 tissues: glandular, lesion, label 9"]
    rows = rows_of(output / "explanation.csv")
    assert [row["part"] for row in rows] == list(PARTS) * 6
    assert [row["tissue"] for row in rows[::4]] == ["glandular"] * 2 + ["lesion"] * 2 + ["label 9"] * 2
    assert {row["patch"] for row in rows[8:16]} == {"0", "30"}  # the lesion's only rows
    drawn = {f"patch_{row['tissue'].replace(' ', '-')}_{row['patch']}.png" for row in rows}
    assert {path.name for path in output.iterdir()} == drawn | {
        "filters.png",
        "extremes.png",
        "explanation.csv",
    }
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in output.glob("*.png"))


def test_the_table_holds_what_the_library_gives(folder, tmp_path):
    from glcm_cuda.store.reading import PatchStore
    from surrogate import load_model

    result = run(
        folder / "two.keras", folder / "s.h5", "-o", tmp_path / "o", "--feature", "ACUI", "--patches", 1
    )
    assert result.exit_code == 0, result.output
    predicted = predicted_by(load_model(folder / "two.keras"), "contrast")
    with PatchStore(folder / "s.h5") as store:
        patches = store.read(0, len(store)).patches
    for row in rows_of(tmp_path / "o" / "explanation.csv"):
        drops = explain(patches[int(row["patch"])], predicted, exact_by(GLCM, "contrast"), GLCM.levels)
        assert row["feature"] == "contrast"
        assert float(row["exact_drop"]) == pytest.approx(drops.exact.parts[row["part"]], rel=1e-4, abs=1e-4)
        assert float(row["predicted_drop"]) == pytest.approx(drops.predicted.parts[row["part"]], abs=1e-4)
        assert float(row["exact"]) == pytest.approx(drops.exact.value, rel=1e-4)


@pytest.mark.usefixtures("undrawn")
@pytest.mark.slow
def test_the_seed_chooses_the_patches(folder, tmp_path):
    tables = []
    for name, seed in (("a", 4), ("b", 4), ("c", 5)):
        arguments = ["-o", tmp_path / name, "--seed", seed, "--patches", 3]
        assert run(folder / "two.keras", folder / "s.h5", *arguments).exit_code == 0
        tables.append([(row["patch"], row["exact"]) for row in rows_of(tmp_path / name / "explanation.csv")])
    assert tables[0] == tables[1] != tables[2]


@pytest.mark.parametrize(
    ("model", "store", "options", "message"),
    [
        (
            "other.keras",
            "s.h5",
            [],
            "must have the same GLCM settings, got levels 32 and 16, log_base 10 and 2;",
        ),
        ("none.keras", "s.h5", [], "there is no model file"),
        ("two.keras", "none.h5", [], "does not exist; create it with `radsynth groundtruth`"),
        ("s.h5", "s.h5", [], "is not a .keras file"),
        ("two.keras", "s.h5", ["--feature", "imc1"], r"predicts (joint_entropy, contrast), got imc1"),
        ("two.keras", "s.h5", ["--feature", "all"], r"predicts (joint_entropy, contrast), got all"),
        ("two.keras", "s.h5", ["--feature", "nonsense"], "nonsense"),
        ("two.keras", "s.h5", ["--patches", "0"], "--patches"),
        ("two.keras", "s.h5", ["--seed", "-1"], "--seed"),
    ],
)
def test_what_the_command_refuses(folder, tmp_path, model, store, options, message):
    result = run(folder / model, folder / store, "-o", tmp_path / "out", *options)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("undrawn")
def test_outputs_are_replaced_only_when_asked_and_inputs_never(folder, tmp_path):
    arguments = [folder / "two.keras", folder / "s.h5", "-o", tmp_path / "out", "--patches", 1]
    assert run(*arguments).exit_code == 0
    refused = run(*arguments)
    assert refused.exit_code == 2
    assert "exists; give --force" in refused.stderr
    assert run(*arguments, "--force").exit_code == 0
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").write_text("mine")
    foreign = run(*arguments[:3], tmp_path / "other", "--force")
    assert "not an earlier output (no explanation.csv in it)" in foreign.stderr
    inside = run(*arguments[:3], folder, "--force")
    assert inside.exit_code == 2
    assert "is inside the output folder" in inside.stderr
    (tmp_path / "file").write_text("")
    assert "-o must be a folder" in run(*arguments[:3], tmp_path / "file").stderr
