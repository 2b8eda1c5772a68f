"""A store and a finished training, made once for the tests of all modules."""

from __future__ import annotations

import pytest
from helpers.networks import QUICK, SMALL
from helpers.stores import write_store


@pytest.fixture(scope="session")
def store(tmp_path_factory):
    return write_store(tmp_path_factory.mktemp("store") / "s.h5", {f"phantom-{i}": 500 + i for i in range(6)})


@pytest.fixture(scope="session")
def finished(store, tmp_path_factory):
    """Return the folder of a two-fold training and its results; who changes the folder takes a copy."""
    pytest.importorskip("keras")
    from surrogate import train

    run = tmp_path_factory.mktemp("runs") / "run"
    return run, train(store, run, QUICK, SMALL)
