"""Keras, where the layer needs it, runs on PyTorch."""

from __future__ import annotations

import os

os.environ["KERAS_BACKEND"] = "torch"
