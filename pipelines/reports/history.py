"""The figure of a training history."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from glcm_cuda.base.files import replacing
from surrogate.epochs import history_path, read_history


def draw_history(run: Path, folds: int, unit: str, *, phantom: bool) -> None:
    """Draw the RMSE of every epoch, one panel per fold, to ``RUN/history.png``.

    Parameters
    ----------
    run : path
        Folder with ``history_foldK.csv`` for every fold.
    folds : int
        Number of folds.
    unit : str
        Unit of the RMSE, for the axis.
    phantom : bool
        Whether the patients are phantoms; the titles say so.
    """
    figure = Figure(figsize=(4 * max(folds, 2), 3.5), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, folds, sharey=True, squeeze=False)[0]
    for fold, axes in enumerate(panels):
        _draw_fold(axes, read_history(history_path(run, fold)))
        axes.set_title(f"fold {fold}{', phantom' if phantom else ''}")
    panels[0].set_ylabel(f"RMSE ({unit})")
    with replacing(run / "history.png", force=True) as temporary:
        figure.savefig(temporary, format="png", dpi=120)


def _draw_fold(axes: Axes, history: Sequence[dict[str, float]]) -> None:
    epochs = [row["epoch"] for row in history]
    axes.plot(epochs, [row["rmse"] for row in history], label="training, with dropout")
    if not math.isnan(history[0]["validation_rmse"]):
        axes.plot(epochs, [row["validation_rmse"] for row in history], label="validation patients")
    axes.set_yscale("log")
    axes.set_xlabel("epoch")
    axes.grid(visible=True, which="both", alpha=0.3)
    axes.legend()
