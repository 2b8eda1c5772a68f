"""Fixtures that several test modules share."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

pytest.register_assert_rewrite("helpers")

try:
    import hypothesis
except ImportError:  # on a machine for the GPU tests alone
    pass
else:  # how long an example takes says how busy the machine is
    hypothesis.settings.register_profile("without deadline", deadline=None)
    hypothesis.settings.load_profile("without deadline")

# They need the tools: make test-oracles, make test-monai, make test-notebooks
collect_ignore = ["oracles", "monai", "notebooks"]

DATA = Path(os.environ.get("RADSYNTH_DATA", Path(__file__).parents[1] / ".." / "shared" / "data")).resolve()


LONGEST = ("test_training.py", "test_synthesize_command.py", "test_export_command.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest files: processes share the tests by file, and one would wait for them."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Return the folder of real images; without it the test is skipped."""
    if not DATA.is_dir():
        pytest.skip(f"no real images at {DATA}; set RADSYNTH_DATA")
    return DATA
