"""Collects the largest difference of every tool and feature and prints them at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest

_KEY = pytest.StashKey[dict[tuple[str, str], tuple[float, float, int]]]()
Compare = Callable[..., None]


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_KEY] = {}


@pytest.fixture
def compare(pytestconfig: pytest.Config) -> Iterator[Compare]:
    """Return a function that asserts that values agree, NaN included, and notes how far they do."""
    worst = pytestconfig.stash[_KEY]

    def check(tool: str, feature: str, ours: np.ndarray, theirs: np.ndarray, *, rtol: float, atol: float):
        ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
        difference = np.abs(ours - theirs)[np.isfinite(theirs)]
        size = np.abs(theirs)[np.isfinite(theirs)]
        relative = difference[size > 1e-3] / size[size > 1e-3]
        before = worst.get((tool, feature), (0.0, 0.0, 0))
        worst[tool, feature] = (
            max(before[0], difference.max(initial=0)),
            max(before[1], relative.max(initial=0)),
            before[2] + difference.size,
        )
        np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=atol, err_msg=f"{tool}: {feature}")

    yield check


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if not config.stash[_KEY]:
        return
    terminalreporter.section("largest differences (relative: where the value is above 0.001)")
    header = f"{'tool':<12} {'feature':<22} {'absolute':>9} {'relative':>9} {'values':>8}"
    terminalreporter.write_line(header)
    for (tool, feature), (absolute, relative, count) in config.stash[_KEY].items():
        terminalreporter.write_line(f"{tool:<12} {feature:<22} {absolute:9.1e} {relative:9.1e} {count:8d}")
