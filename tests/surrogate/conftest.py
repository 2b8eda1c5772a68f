"""A store, made once for the tests of all modules."""

from __future__ import annotations

import pytest
from helpers.stores import write_store


@pytest.fixture(scope="session")
def store(tmp_path_factory):
    return write_store(tmp_path_factory.mktemp("store") / "s.h5", {f"phantom-{i}": 500 + i for i in range(6)})
