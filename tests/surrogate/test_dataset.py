"""Minibatches from a store."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from helpers.stores import SETTINGS as GLCM
from helpers.stores import write_store

from glcm_cuda import GLCMSettings, feature_maps
from glcm_cuda.maps import entropy_of_levels
from glcm_cuda.store.reading import PatchStore
from surrogate import dataset as dataset_module

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

keras = pytest.importorskip("keras")

from surrogate import (  # noqa: E402 (Keras first, or nothing)
    PatchDataset,
)
from surrogate.dataset import Scale  # noqa: E402

GLCM_AS_LEVELS = GLCMSettings(levels=16, intensity_range=(0.0, 16.0))


def rows_of(data: PatchDataset, path: Path) -> list[np.ndarray]:
    """Return the store's row numbers of every minibatch, recognised by patch and entropy."""
    with PatchStore(path) as opened:
        samples = opened.read(0, len(opened))
    number = {
        (patch.tobytes(), float(entropy)): row
        for row, (patch, entropy) in enumerate(zip(samples.patches, samples.entropy, strict=True))
    }
    batches = [data[index] for index in range(len(data))]
    return [
        np.array(
            [
                number[patch.tobytes(), float(e)]
                for patch, e in zip(x[..., 0].astype(np.uint8), y[:, 0], strict=True)
            ]
        )
        for x, y in batches
    ]


@pytest.mark.parametrize("block_bytes", [1, 40_000, 1 << 26])
def test_an_epoch_is_every_row_of_the_patients_once(store, monkeypatch, block_bytes):
    monkeypatch.setattr(dataset_module, "BLOCK_BYTES", block_bytes)
    data = PatchDataset(store, ["phantom-1", "phantom-4", "phantom-5"], batch=200, seed=1)
    with PatchStore(store) as opened:
        wanted = [case for case in opened.cases if case.patient in ("phantom-1", "phantom-4", "phantom-5")]
    expected = np.concatenate([np.arange(case.start, case.start + case.count) for case in wanted])
    orders = []
    for _ in range(2):
        batches = rows_of(data, store)
        assert sorted(np.concatenate(batches)) == sorted(expected)
        assert {len(batch) for batch in batches} <= {188, 189}
        for batch in batches:
            shares = [np.isin(batch, np.arange(case.start, case.start + case.count)).sum() for case in wanted]
            np.testing.assert_allclose(shares, len(expected) / len(batches) / 3, atol=2)
        orders.append(np.concatenate(batches))
        data.on_epoch_end()
    assert (orders[0] != orders[1]).any()
    data.close()


def test_minibatches_do_not_depend_on_the_block_size(store, monkeypatch):
    whole = PatchDataset(store, ["phantom-0", "phantom-3"], batch=100, seed=1)
    monkeypatch.setattr(dataset_module, "BLOCK_BYTES", 1)
    single = PatchDataset(store, ["phantom-0", "phantom-3"], batch=100, seed=1)
    for index in range(len(whole)):
        np.testing.assert_array_equal(whole[index][1], single[index][1])


def test_cases_smaller_than_the_number_of_minibatches(tmp_path):
    path = write_store(tmp_path / "s.h5", {"large": 90, "tiny": 2, "one": 1})
    data = PatchDataset(path, ["large", "tiny", "one"], batch=10)
    batches = rows_of(data, path)
    assert [len(batch) for batch in batches] == [9, 9, 9, 10, 9, 9, 10, 9, 9, 10]
    assert sorted(np.concatenate(batches)) == list(range(93))
    one = PatchDataset(path, ["one"], batch=10)
    assert [y.shape for _, y in [one[0]]] == [(1, 1)]


def test_minibatches_are_levels_and_entropies(store):
    levels, entropy = PatchDataset(store, ["phantom-0"], batch=64)[0]
    assert levels.dtype == entropy.dtype == np.float32
    assert levels.shape == (len(entropy), 5, 5, 1)
    exact = entropy_of_levels(levels[..., 0].astype(np.uint8), GLCM, backend="cpu")[:, 2, 2]
    np.testing.assert_array_equal(entropy, exact[:, None])


def test_minibatches_of_other_features_are_exact_and_on_the_scale_of_training(store):
    names = ("contrast", "joint_entropy", "correlation")
    data = PatchDataset(store, ["phantom-0", "phantom-2"], batch=64, seed=1, augment=0.5, features=names)
    levels, values = data[1]
    patches = levels[..., 0].astype(np.uint8)
    maps = [feature_maps(patch, names, GLCM_AS_LEVELS, backend="cpu") for patch in patches]
    expected = np.array([[found[name][2, 2] for name in names] for found in maps])
    np.testing.assert_allclose(values, expected, rtol=1e-6)
    data.scale = Scale.of(values, names)
    scaled = data[1][1]
    np.testing.assert_allclose(scaled.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(scaled.std(axis=0), 1, atol=1e-5)


def test_of_entropy_alone_the_scale_keeps_the_unit():
    values = np.array([[1.0], [3.0], [8.0]], np.float32)
    np.testing.assert_allclose(Scale.of(values, ("joint_entropy",)).scaled(values), values - 4)
    constant = Scale.of(np.full((5, 2), 3, np.float32), ("contrast", "joint_entropy"))
    np.testing.assert_array_equal(constant.scaled(np.full((5, 2), 4, np.float32)), 1)


def test_a_dataset_travels_to_another_process(store):
    data = PatchDataset(store, ["phantom-2"], batch=100, seed=3)
    first = data[0]
    copy = pickle.loads(pickle.dumps(data))
    np.testing.assert_array_equal(copy[0][0], first[0])


def test_what_a_dataset_refuses(store):
    with pytest.raises(ValueError, match="the store does not contain the patients nobody"):
        PatchDataset(store, ["phantom-0", "nobody"], batch=10)
    with pytest.raises(ValueError, match="at least one patient is needed, got none"):
        PatchDataset(store, [], batch=10)
    with pytest.raises(IndexError, match="minibatch must be from 0 to 4, got 5"):
        PatchDataset(store, ["phantom-0"], batch=100)[5]


def test_augmented_patches_have_their_exact_entropy(store):
    plain = PatchDataset(store, ["phantom-1", "phantom-2"], batch=200, seed=1)[0]
    dataset = PatchDataset(store, ["phantom-1", "phantom-2"], batch=200, seed=1, augment=0.25)
    levels, entropy = dataset[0]
    changed = np.any(levels != plain[0], axis=(1, 2, 3))
    assert 40 < changed.sum() <= 50
    assert levels.min() >= 0
    assert levels.max() < GLCM.levels
    expected = entropy_of_levels(levels[..., 0].astype(np.uint8), GLCM, backend="cpu")[:, 2, 2]
    np.testing.assert_array_equal(entropy[:, 0], expected)
    np.testing.assert_array_equal(levels, dataset[0][0])
    dataset.on_epoch_end()
    assert not np.array_equal(levels, dataset[0][0])
