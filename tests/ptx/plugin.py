"""Pytest on the emulator (`-p ptx.plugin`): no test is skipped for lack of a device; faults fail tests."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from ptx.faults import take_faults, why_not_emulated


def pytest_sessionstart() -> None:
    """End the session with one line if the emulator does not work: tests would be skipped then."""
    from glcm_cuda.engines.choice import why_no_cuda

    if reason := why_not_emulated() or why_no_cuda():
        pytest.exit(f"the PTX emulator cannot be used: {reason}", returncode=3)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, object, object]:
    """Fail a test in which the emulator met a fault, even if the test did not notice."""
    try:
        result = yield
    finally:
        faults = take_faults()
    if faults:
        pytest.fail("\n".join(faults), pytrace=False)
    return result
