"""Tests that take long in Numba's simulator of CUDA alone."""

from __future__ import annotations

import numba
import pytest

slow_if_simulated = (
    pytest.mark.slow
    if numba.config.ENABLE_CUDASIM
    else pytest.mark.skipif(False, reason="as fast as others without the simulator")  # marks nothing
)
"""Mark of a test, or of a parameter, that belongs to the slow ones where the simulator runs it."""
