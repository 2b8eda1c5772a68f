"""Model cards, the check of a map, error maps."""

from __future__ import annotations

import json
import os
from functools import partial

import numpy as np
import pytest
import SimpleITK as sitk
from helpers.commands import radsynth
from helpers.stores import write_store

from glcm_cuda import GLCMSettings, PatchStore, entropy_map
from pipelines.cohorts.cohort import Case
from pipelines.cohorts.runs import _check_current
from pipelines.images.provenance import sha256_of
from pipelines.maps.synthetic import Synthesis
from pipelines.maps.synthetic_cohort import Job, is_done
from surrogate.honesty.card import STATISTICS, read_card, window_statistics, write_card
from surrogate.honesty.card_measurement import make_card
from surrogate.honesty.checks import spot_check

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

keras = pytest.importorskip("keras")

from surrogate import NetworkSettings, TrainingSettings, build_model, load_model, train  # noqa: E402


@pytest.fixture(autouse=True)
def _same_weights():
    keras.utils.set_random_seed(1)


GLCM = GLCMSettings(levels=16)
ANALYTIC = NetworkSettings(architecture="analytic")
RUN = {
    "glcm": GLCM.to_dict(),
    "network": ANALYTIC.to_dict(),
    "training": {},
    "store_sha256": "0" * 64,
    "seconds": 1.0,
    "keras_backend": "tensorflow",
}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return write_store(tmp_path_factory.mktemp("store") / "s.h5", {"a": 900, "b": 800, "c": 700})


def card_of(model, store, held_out=("a", "b"), validated=("c",), learned=("c",)):
    return make_card(model, store, held_out=held_out, validated=validated, learned=learned, run=RUN)


@pytest.fixture(scope="module")
def analytic(store, tmp_path_factory):
    """A model that is exact, with its card."""
    model = build_model(GLCM, ANALYTIC)
    path = tmp_path_factory.mktemp("model") / "fold0.keras"
    model.save(path)
    write_card(card_of(model, store), path)
    return path


def test_an_exact_model_has_a_perfect_card(analytic):
    card = read_card(analytic)
    assert card.basis == "held-out patients"
    assert list(card.patients) == ["a", "b"]
    assert card.agreement.samples == 1700
    assert card.agreement.pearson == pytest.approx(1)
    assert card.agreement.rmse < 1e-5
    assert card.tissues["0"] == card.agreement
    assert card.voxels_per_second > 0
    text = analytic.with_suffix(".card.md").read_text()
    assert "| all | 1,700 | 1.00000 |" in text
    assert "Trained on c " in text


@pytest.mark.slow
def test_errors_and_their_coverage_are_those_of_the_predictions(store):
    model = build_model(GLCM, NetworkSettings(architecture="equality", hidden=(4,)))
    card = card_of(model, store)
    with PatchStore(store) as opened:
        rows = opened.read(0, 1700)
    predicted = model.predict_on_batch(rows.patches[..., None].astype(np.float32))[:, 0]
    errors = np.abs(predicted - rows.entropy)
    assert card.agreement.rmse == pytest.approx(np.sqrt(np.mean(errors**2)), rel=1e-4)
    assert card.agreement.largest == pytest.approx(errors.max(), rel=1e-4)
    assert card.agreement.percent == pytest.approx(100 * np.mean(errors / rows.entropy), rel=1e-4)
    assert 0.94 < np.mean(errors <= card.error_band.at(predicted)) < 0.99
    assert card.error_band.factor >= 1
    assert len(card.error_band.half_width) == len(card.error_band.edges) + 1 <= 16


def test_where_nobody_is_held_out_the_card_says_so(store):
    model = build_model(GLCM, ANALYTIC)
    chosen = card_of(model, store, held_out=())
    assert chosen.basis == "patients that chose the epoch"
    assert (chosen.error_band.coverage, chosen.error_band.factor) == (None, None)
    itself = card_of(model, store, held_out=(), validated=())
    assert itself.basis == "the training patients themselves"
    assert "No patients were held out" in itself.limits()[-1]


def test_window_statistics_by_hand():
    window = np.array([[[0, 1, 2], [0, 1, 2], [0, 1, 2]], [[4, 4, 4], [4, 4, 4], [7, 7, 7]]], np.uint8)
    np.testing.assert_allclose(window_statistics(window), [[1, 0.5, 2], [5, 0.75, 3]])
    assert len(STATISTICS) == 3


@pytest.fixture
def image(rng):
    """As rough as the store's patches."""
    return rng.integers(0, 16, (2, 40, 40)).astype(np.float32)


def test_a_map_as_good_as_the_card_passes_and_a_worse_one_does_not(analytic, image, store):
    card = card_of(build_model(GLCM, NetworkSettings(architecture="equality", hidden=(4,))), store)
    exact = entropy_map(image, GLCM, backend="cpu")
    good = spot_check(image, exact, GLCM, "joint_entropy", card)
    assert (good.voxels, good.rmse, good.largest, good.bias) == (2000, 0, 0, 0)
    assert not good.failed
    promised = card.features["joint_entropy"].promised_rmse()
    off = 2 * promised
    worse = spot_check(image, exact + np.float32(off), GLCM, "joint_entropy", card)
    assert worse.bias == pytest.approx(off, rel=1e-4)
    assert worse.failed
    assert f"the model card says {promised:.4g}" in worse.warnings[0]
    alone = spot_check(image, exact + 9, GLCM, "joint_entropy", None)
    assert alone.bias == pytest.approx(9, rel=1e-4)
    assert [line.split(" ")[0] for line in alone.failures] == ["R2"]


def test_the_check_leaves_the_border_out_and_takes_every_voxel_of_a_small_image(image):
    small = image[:, :7, :8]
    spoiled = entropy_map(small, GLCM, backend="cpu")
    inner = np.zeros(small.shape, bool)
    inner[:, 2:-2, 2:-2] = True
    spoiled[~inner] += 99
    check = spot_check(small, spoiled, GLCM, "joint_entropy", None)
    assert (check.voxels, check.largest) == (2 * 3 * 4, 0)


def test_an_image_unlike_the_training_is_flagged(analytic, image):
    card = read_card(analytic)
    like = spot_check(image, entropy_map(image, GLCM, backend="cpu"), GLCM, "joint_entropy", card)
    assert max(like.outside.values()) < 0.1
    even = np.full((20, 20), 8.0)
    even[0, 0], even[0, 1] = 0, 15
    other = spot_check(even, entropy_map(even, GLCM, backend="cpu"), GLCM, "joint_entropy", card)
    assert other.outside["difference_of_neighbours"] > 0.9
    assert any("training range of the difference of neighbours" in line for line in other.warnings)


def test_training_writes_the_card(store, tmp_path):
    settings = TrainingSettings(epochs=1, batch=500, augment=0)
    (first, _) = train(store, tmp_path / "run", settings, NetworkSettings(filters=(4, 4)))
    card = read_card(first.model)
    assert card.basis == "held-out patients"
    assert card.run["training"]["epochs"] == 1
    assert not set(card.patients) & set(card.learned)


# The command


run = partial(radsynth, "synthesize")


def write(path, array):
    sitk.WriteImage(sitk.GetImageFromArray(array), str(path))
    return path


def sidecar(path):
    return json.loads((path.parent / f"{path.name}.json").read_text())


def test_the_command_reports_the_check_and_writes_the_error_map(analytic, image, tmp_path):
    source = write(tmp_path / "i.nii.gz", image)
    output, error = tmp_path / "o.nii.gz", tmp_path / "e.nii.gz"
    result = run(source, "-o", output, "--model", analytic, "--error-map", error)
    assert result.exit_code == 0, result.output
    assert "check of 2000 voxels: r 1.0000, R2 1.0000, bias" in result.stdout
    record = sidecar(output)
    assert record["spot_check"]["voxels"] == 2000
    assert record["spot_check"]["largest"] < 1e-4
    assert record["spot_check"]["warnings"] == []
    assert record["fallback"] is None
    found = sitk.GetArrayFromImage(sitk.ReadImage(str(error)))
    assert found.shape == image.shape
    assert 0 <= found.min() <= found.max() < 1e-4
    assert "95 % of the errors" in sidecar(error)["kind"]


def test_a_map_that_fails_is_warned_of_and_replaced_if_asked(store, image, tmp_path):
    model = tmp_path / "poor.keras"
    poor = build_model(GLCM, NetworkSettings(architecture="equality", hidden=(4,)))
    poor.save(model)
    write_card(card_of(build_model(GLCM, ANALYTIC), store), model)  # promises what the model does not hold
    source = write(tmp_path / "i.nii.gz", image)
    plain, replaced = tmp_path / "plain.nii.gz", tmp_path / "replaced.nii.gz"
    warned = run(source, "-o", plain, "--model", model)
    assert warned.exit_code == 0
    assert sidecar(plain)["spot_check"]["warnings"][0].startswith("RMSE ")
    assert sidecar(plain)["kind"].startswith("synthetic")
    result = run(source, "-o", replaced, "--model", model, "--fallback", "exact")
    assert result.exit_code == 0
    assert "exact map written instead" in result.stdout
    record = sidecar(replaced)
    assert (record["fallback"], record["backend"]) == ("exact", "cpu")
    settings = load_model(model).get_layer("level_scaling").settings
    exact = entropy_map(image, settings, backend="cpu")
    np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(replaced))), exact)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--fallback", "cpu"], "--fallback must be exact, got cpu"),
        (["--error-map", "e.nii.gz"], "--error-map needs the model card beside"),
    ],
)
def test_what_the_command_refuses(image, tmp_path, monkeypatch, options, line):
    monkeypatch.chdir(tmp_path)
    model = tmp_path / "m.keras"
    build_model(GLCM, ANALYTIC).save(model)
    source = write(tmp_path / "i.nii.gz", image)
    result = run(source, "-o", tmp_path / "o.nii.gz", "--model", model, *options)
    assert result.exit_code == 2
    assert line in result.stderr
    assert not (tmp_path / "o.nii.gz").exists()


@pytest.mark.parametrize(("failed", "fallback"), [(False, None), (True, None), (True, "exact")])
def test_a_map_is_kept_only_if_it_is_what_is_asked_for(tmp_path, failed, fallback):
    image, model, output = (tmp_path / name for name in ("i.nii", "fold0.keras", "o.nii.gz"))
    for path in (image, model, output):
        path.write_text(path.name)
    job = Job(Case("p", "g", image, None), model, "0", {"joint_entropy": output})
    record = {"source_sha256": sha256_of(image), "model_sha256": sha256_of(model), "fallback": fallback}
    record["clipped"] = None
    (tmp_path / "o.nii.gz.json").write_text(json.dumps({**record, "spot_check": {"failed": failed}}))
    kept = {asked: is_done(job, Synthesis(128, "keras", asked)) for asked in (False, True)}
    assert kept == {False: fallback is None, True: not failed or fallback == "exact"}
    del record["clipped"]  # as older versions wrote it
    (tmp_path / "o.nii.gz.json").write_text(json.dumps({**record, "spot_check": {"failed": failed}}))
    assert not is_done(job, Synthesis(128, "keras", kept[True] and not kept[False]))


def test_an_exact_map_is_not_evaluated_as_a_synthetic_one(tmp_path):
    for name in ("i.nii", "fold0.keras"):
        (tmp_path / name).write_text(name)
    (tmp_path / "o.nii.gz.json").write_text(json.dumps({"fallback": "exact"}))
    case = Case("p", "g", tmp_path / "i.nii", None)
    message = r"o.nii.gz is an exact map, not a synthetic one; run `radsynth synthesize` without --fallback$"
    with pytest.raises(ValueError, match=message):
        _check_current(tmp_path / "o.nii.gz", case, tmp_path / "fold0.keras")


def test_a_damaged_card_is_one_line(analytic, tmp_path, image):
    model = tmp_path / "m.keras"
    model.write_bytes(analytic.read_bytes())
    (tmp_path / "m.card.json").write_text("{}")
    result = run(write(tmp_path / "i.nii.gz", image), "-o", tmp_path / "o.nii.gz", "--model", model)
    assert result.exit_code == 2
    assert "m.card.json is not a model card" in result.stderr
