"""Model cards: what they hold, by hand, and that they come back from their file."""

from __future__ import annotations

import dataclasses
import os

import numpy as np
import pytest

from glcm_cuda import GLCMSettings, PatchStore, feature_maps
from glcm_cuda.store.layout import CaseRecord, CaseSource
from glcm_cuda.store.patches import Samples
from glcm_cuda.store.writing import StoreWriter

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

keras = pytest.importorskip("keras")

from surrogate import NetworkSettings, build_model  # noqa: E402
from surrogate.exact import exact_values, known_values  # noqa: E402
from surrogate.honesty import card_measurement  # noqa: E402
from surrogate.honesty.card import card_path, read_card, write_card  # noqa: E402
from surrogate.honesty.card_measurement import make_card  # noqa: E402

GLCM = GLCMSettings(levels=16)
NETWORK = NetworkSettings(architecture="equality", hidden=(4,))
NAMES = ("joint_entropy", "contrast")
RUN = {
    "glcm": GLCM.to_dict(),
    "network": NETWORK.to_dict(),
    "training": {"epochs": 3},
    "store": "/home/anna.smith/store.h5",
    "store_sha256": "0123456789abcdef" * 4,
    "seconds": 12.3,
    "keras_backend": "tensorflow",
    "versions": {"keras": "3"},
}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Three patients of two groups; labels 1 and 2, but patient b has label 1 only."""
    rng = np.random.default_rng(2)
    path = tmp_path_factory.mktemp("store") / "s.h5"
    writer = StoreWriter(path, GLCM, seed=0, samples_per_case=300)
    sources = []
    for patient, count in {"a": 300, "b": 200, "c": 250}.items():
        levels = rng.integers(0, 16, (count, 5, 5), dtype=np.uint8)
        levels[::3] //= 4
        entropy = exact_values(levels, GLCM, ("joint_entropy",))[:, 0]
        labels = np.ones(count, np.uint8) if patient == "b" else (1 + np.arange(count) % 2).astype(np.uint8)
        rows, zeros = np.arange(count, dtype=np.int32), np.zeros(count, np.int32)
        group = "benign" if patient == "b" else "normal"
        source = CaseSource(patient=patient, group=group, image=f"{patient}.nii", sha256=patient)
        record = CaseRecord(**vars(source), intensity_range=(0.0, 1.0), shape=(1, 9, 300), count=count)
        writer.add(record, Samples(levels, entropy, rows, zeros, zeros, labels))
        sources.append(source)
    return writer.finish(sources)


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(4)
    return build_model(GLCM, NETWORK, NAMES)


@pytest.fixture(scope="module")
def card(store, model):
    return make_card(model, store, held_out=("a", "b"), validated=(), learned=("c",), run=RUN)


def errors_of(model, store, feature):
    """Errors, exact values and labels of patients a and b: each window mapped as an image of its own."""
    with PatchStore(store) as opened:
        rows = opened.read(0, 500)
    whole = dataclasses.replace(GLCM, intensity_range=(0.0, 16.0))
    exact = np.array([feature_maps(patch, [feature], whole)[feature][2, 2] for patch in rows.patches])
    predicted = model.predict_on_batch(rows.patches[..., None].astype(np.float32))
    return np.asarray(predicted)[:, NAMES.index(feature)] - exact, exact, rows.label


@pytest.mark.parametrize(("feature", "unit"), [("joint_entropy", "bits"), ("contrast", None)])
def test_every_feature_and_tissue_is_measured(card, model, store, feature, unit):
    part = card.features[feature]
    assert part.unit == unit
    errors, exact, labels = errors_of(model, store, feature)
    for found, chosen in [
        (part.agreement, labels > 0),
        (part.tissues["1"], labels == 1),
        (part.tissues["2"], labels == 2),
    ]:
        some, truth = errors[chosen], exact[chosen]
        assert found.samples == len(some)
        assert found.rmse == pytest.approx(np.sqrt(np.mean(some**2)), rel=1e-4)
        assert found.bias == pytest.approx(some.mean(), rel=1e-3)
        assert found.pearson == pytest.approx(np.corrcoef(truth, truth + some)[0, 1], abs=1e-4)
        assert found.percentile_99 == pytest.approx(np.quantile(np.abs(some), 0.99), rel=1e-4)
        assert found.largest == pytest.approx(np.abs(some).max(), rel=1e-4)
    assert (part.agreement.patients, part.tissues["1"].patients, part.tissues["2"].patients) == (2, 2, 1)


def test_the_first_feature_is_at_hand(card):
    part = card.features["joint_entropy"]
    assert (card.agreement, card.tissues, card.error_band) == (part.agreement, part.tissues, part.error_band)


def test_a_band_is_widened_by_what_the_patient_left_out_needs(card, model, store):
    errors, exact, _ = errors_of(model, store, "joint_entropy")
    predicted, off = errors + exact, np.abs(errors)
    parts, relative = (slice(0, 300), slice(300, 500)), []
    for here, there in (parts, parts[::-1]):
        edges = np.quantile(predicted[there], np.linspace(0, 1, 17)[1:-1])
        bins = np.searchsorted(edges, predicted)
        width = np.array([np.quantile(off[there][bins[there] == k], 0.95) for k in range(16)])
        relative.append(off[here] / width[bins[here]])
    first, second = (np.sort(part)[int(np.ceil((len(part) + 1) * 0.95)) - 1] for part in relative)
    band = card.error_band
    assert band.factor == pytest.approx(max(first, second, 1), rel=1e-3)
    shares = np.mean(relative[0] <= max(second, 1)), np.mean(relative[1] <= max(first, 1))
    assert band.coverage == pytest.approx((np.mean(shares), min(shares)), abs=0.01)
    plain = dataclasses.replace(band, factor=None)
    np.testing.assert_allclose(band.at(predicted), band.factor * plain.at(predicted), rtol=1e-6)


def patients_of(rng, number):
    """Return exact and predicted values of patients of whom each has errors of a size of its own."""
    pairs = []
    for _ in range(number):
        exact = rng.uniform(1, 5, 2000)
        size = rng.uniform(0.5, 1.5) * (0.1 + 0.05 * exact)
        predicted = exact + rng.normal(0, size)
        pairs.append((exact.astype(np.float32), predicted.astype(np.float32)))
    return pairs


def shares_within(band, patients):
    return np.array([np.mean(np.abs(guess - exact) <= band.at(guess)) for exact, guess in patients])


def test_a_widened_band_holds_for_new_patients(rng):
    band = card_measurement._error_band(patients_of(rng, 12), held_out=True)
    new = patients_of(rng, 60)
    plain = shares_within(dataclasses.replace(band, factor=None), new)
    assert np.mean(plain >= 0.95) < 0.7
    assert np.mean(shares_within(band, new) >= 0.95) > 12 / 13 - 0.05
    mean, least = band.coverage
    assert 0.9 < least < mean < 1


def test_of_many_patients_one_in_twenty_may_need_more(rng):
    factors = [float(number) for number in range(1, 41)]
    assert card_measurement._factor(factors) == 39
    assert card_measurement._factor(factors[:18]) == 18
    assert card_measurement._factor([0.2, 0.7]) == 1


def test_what_was_learned_from_says_nothing_of_coverage(rng):
    patients = patients_of(rng, 4)
    for band in (
        card_measurement._error_band(patients, held_out=False),
        card_measurement._error_band(patients[:1], held_out=True),
    ):
        assert (band.factor, band.coverage) == (None, None)
        assert np.mean(shares_within(band, patients[:1])) > 0.8


def test_a_band_of_no_errors_can_be_widened(rng):
    (exact, _), (other, _) = patients_of(rng, 2)
    band = card_measurement._error_band([(exact, exact), (other, other + np.float32(1e-6))], held_out=True)
    assert band.factor == 1
    assert 0 < min(band.half_width) <= max(band.half_width) < 1e-4
    assert np.isfinite(card_measurement._error_band([(exact * 0, exact * 0)] * 2, held_out=True).factor)


def test_samples_that_have_no_value_are_left_out(store, model, monkeypatch):
    def partly(patches, entropy, settings, names):
        exact = known_values(patches, entropy, settings, names)
        exact[::2, 1] = np.nan
        return exact

    monkeypatch.setattr(card_measurement, "known_values", partly)
    found = make_card(model, store, held_out=("a",), validated=(), learned=("c",), run=RUN)
    assert found.features["joint_entropy"].agreement.samples == 300
    assert found.features["contrast"].agreement.samples == 150


def test_of_a_large_patient_some_rows_are_taken(store, model, monkeypatch):
    monkeypatch.setattr(card_measurement, "MOST_SAMPLES", 50)
    found = make_card(model, store, held_out=("a", "b"), validated=(), learned=("c",), run=RUN)
    assert found.agreement.samples == 100


def test_a_card_comes_back_as_it_was(card, tmp_path):
    write_card(card, tmp_path / "m.keras")
    assert read_card(tmp_path / "m.keras") == card
    assert read_card(tmp_path / "other.keras") is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.card.json", "m.card.md"]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"features": []}', '{"features": {"a": 1}}'])
def test_what_is_no_card_is_refused(tmp_path, text):
    card_path(tmp_path / "m.keras").write_text(text)
    with pytest.raises(ValueError, match=r"m.card.json is not a model card of this version .* train again"):
        read_card(tmp_path / "m.keras")


def test_a_card_knows_its_model(card):
    assert card.is_of(NAMES, GLCM)
    assert not card.is_of(NAMES[::-1], GLCM)
    assert not card.is_of(NAMES, GLCMSettings(levels=17))


def test_a_card_keeps_no_folder_names(card, tmp_path):
    write_card(card, tmp_path / "m.keras")
    assert card.run["store"] == "store.h5"
    assert "anna" not in "".join(path.read_text() for path in tmp_path.iterdir())


def test_what_the_text_says(card, tmp_path):
    write_card(card, tmp_path / "m.keras")
    text = (tmp_path / "m.card.md").read_text()
    for line in [
        "`joint_entropy`, `contrast`: 16 levels, window 5. Architecture `equality`",
        "Measured on held-out patients: a, b.",
        "| joint_entropy | samples | r | bias, bits | RMSE, bits |",
        "| contrast | samples | r | bias | RMSE |",
        "Trained on c (1 patient: normal 1; modality unknown 1; store 0123456789ab).",
        "- training: epochs 3",
        f"voxels per second with tensorflow ({card.device}). Training 12 s.",
        "Within 2 voxels of the border",
        "- joint_entropy: agreement is worst in label ",
        "Coverage of each held-out patient by the band of the others is ",
        f" at least (widened {card.error_band.factor:.3g} times).",
        "| in texture | ",
    ]:
        assert line in text
    many = dataclasses.replace(card, patients=tuple(f"p{i}" for i in range(20)))
    write_card(many, tmp_path / "m.keras")
    assert "p6, p7 and 12 more." in (tmp_path / "m.card.md").read_text()


def test_limits_follow_from_what_was_measured(card, store, model):
    assert card.groups == {"normal": 1}
    assert not any("phantom" in line or "held out" in line for line in card.limits())
    phantom = dataclasses.replace(card, run=card.run | {"phantom": True})
    assert "Trained on phantoms: the figures say nothing about patients." in phantom.limits()
    alone = make_card(model, store, held_out=(), validated=("b",), learned=("a", "c"), run=RUN)
    assert alone.groups == {"normal": 2}
    assert alone.error_band.coverage is None
    assert any("contrast: the coverage of error maps is not known: that" in line for line in alone.limits())
    assert (
        "No patients were held out. Agreement was measured on patients that chose the epoch"
        in alone.limits()[-1]
    )
