"""Volumes of known geometry."""

from __future__ import annotations

import numpy as np

from pipelines.images.volume import Volume

IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


def straight(array):
    return Volume(np.asarray(array), (1.0, 1.0, 2.0), (0.0, 0.0, 0.0), IDENTITY)
