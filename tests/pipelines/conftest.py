"""Commands in tests say nothing that depends on the machine's speed, or on what is compiled already."""

from __future__ import annotations

import math

import pytest

from glcm_cuda.base import cache
from pipelines.shell import messages


@pytest.fixture(autouse=True)
def _steady_messages(monkeypatch):
    monkeypatch.setattr(messages, "TOLD_AFTER_SECONDS", math.inf)
    monkeypatch.setattr(cache.COMPILING, "told", True)
