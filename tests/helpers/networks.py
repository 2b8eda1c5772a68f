"""Networks and trainings small enough for a test."""

from __future__ import annotations

from surrogate import NetworkSettings, TrainingSettings

SMALL = NetworkSettings(filters=(8, 8, 4, 4))
QUICK = TrainingSettings(epochs=8, batch=250, learning_rate=0.02, patience=8, augment=0)
