"""Tables, sentences and the plot that `radsynth benchmark` writes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pipelines.evaluation.timing import (
    PAPERS_SLICE,
    Benchmark,
    as_json,
    image_slices,
    measure,
    phantom_slices,
    summary,
)
from pipelines.reports.figures import Bar, draw_speeds
from pipelines.reports.tables import counted, markdown_table, replacing_folder, write_csv
from pipelines.shell.progress import progress_bar

Row = dict[str, Any]


def run_benchmark(
    output: Path,
    image: Path | None,
    slices: int,
    model: Path | None,
    *,
    repeats: int,
    crossover: bool,
    force: bool,
    show: Callable[[str], object],
) -> Path:
    """Time exact and synthetic maps and write the results.

    Parameters
    ----------
    output : path
        Folder for the results; written as a whole or not at all.
    image : path or None
        Image to take slices from; None for a phantom.
    slices : int
        Slices from the middle of the image.
    model : path or None
        Network to time.
    repeats : int
        Timed calls of each method.
    crossover : bool
        Also time untrained networks over windows, features and dimensions; this needs Keras.
    force : bool
        Replace earlier results.
    show : callable
        Called with the table, and then with the verdict of the crossover, which takes minutes.

    Returns
    -------
    path
        The table as Markdown.

    Raises
    ------
    FileExistsError, FileNotFoundError, ValueError
        If the output exists, an input is missing or unfit, or the exact methods disagree.
    """
    with replacing_folder(output, marker="*benchmark.json", force=force) as folder:
        chosen = phantom_slices(slices) if image is None else image_slices(image, slices)
        with progress_bar("Timing") as progress:
            result = measure(chosen, model, repeats=repeats, progress=progress)
        path = write_benchmark(result, folder)
        show(markdown(result))
        if crossover:
            show(_crossover(folder, repeats))
    return output / path.name


def _crossover(folder: Path, repeats: int) -> str:
    from pipelines.evaluation.crossover import write_crossover  # needs Keras, the rest does not

    with progress_bar("Crossover") as progress:
        return f"\n{write_crossover(folder, repeats, progress)}"


def write_benchmark(result: Benchmark, folder: Path) -> Path:
    """Write JSON, CSV, Markdown and plot into an existing folder; return the path of the Markdown.

    All names start with ``phantom_`` where the slices are phantoms.
    """
    prefix = "phantom_" if result.slices.is_phantom else ""

    def path(suffix: str) -> Path:
        return folder / f"{prefix}benchmark.{suffix}"

    path("json").write_text(as_json(result), encoding="utf-8")
    rows = summary(result)
    write_csv(path("csv"), rows)
    path("md").write_text(markdown(result) + "\n", encoding="utf-8")
    draw_speeds([_bar(row) for row in rows], path("png"), title=_title(result), subtitle=_subject(result))
    return path("md")


def markdown(result: Benchmark) -> str:
    """Return title, verdicts, table, notes and machine as Markdown."""
    rows = summary(result)
    header = ["method", "s per 512x512 slice", "s per patient", "M voxel/s", "(slowest to fastest)"]
    header += ["x dense CPU", "x exact CPU", "first call, s", "r"]
    parts = [f"# {_title(result)}", f"{_subject(result)}.", *verdicts(result)]
    parts += [markdown_table(header, [_cells(row) for row in rows]), *_notes(result), _machine(result)]
    return "\n\n".join(parts)


def verdicts(result: Benchmark) -> list[str]:
    """Return which is faster, exact or surrogate, and by what factor: one sentence per kind of device."""
    rows = summary(result)
    if not any(row["kind"] == "surrogate" for row in rows):
        return ["No surrogate was timed; give one with --model."]
    return [
        _verdict(exact, surrogate, device.upper(), result)
        for device in ("cpu", "gpu")
        for exact, surrogate in _pairs(rows, device)
    ]


def _pairs(rows: list[Row], device: str) -> Iterator[tuple[Row, Row]]:
    """Yield the fastest exact method and the fastest surrogate on a kind of device, if both exist."""
    fastest = [
        min(
            (row for row in rows if (row["kind"], row["device"]) == (kind, device)),
            key=lambda row: float(row["median_seconds"]),
            default=None,
        )
        for kind in ("exact", "surrogate")
    ]
    if fastest[0] is not None and fastest[1] is not None:
        yield fastest[0], fastest[1]


def _verdict(exact: Row, surrogate: Row, device: str, result: Benchmark) -> str:
    factor = surrogate["median_seconds"] / exact["median_seconds"]
    winner, times = ("exact engine", factor) if factor >= 1 else ("surrogate", 1 / factor)
    loser = "surrogate" if factor >= 1 else "exact engine"
    return (
        f"**On this machine's {device} the {winner} is {_three(times)} times as fast as the {loser}: "
        f"{_seconds(exact, surrogate, result)}; the surrogate's map correlates "
        f"with the exact one at r = {surrogate['pearson']:.4f}.**"
    )


def _seconds(exact: Row, surrogate: Row, result: Benchmark) -> str:
    """Return the seconds per slice of the paper's size; also of the measured size if it is much smaller."""
    scaled = (
        f"exact {_three(exact['seconds_per_512_slice'])} s, surrogate "
        f"{_three(surrogate['seconds_per_512_slice'])} s per 512x512 slice"
    )
    if not _extrapolates(result):
        return scaled
    depth, height, width = result.slices.array.shape
    measured = [_three(row["median_seconds"] / depth) for row in (exact, surrogate)]
    return (
        f"exact {measured[0]} s, surrogate {measured[1]} s per {width}x{height} slice as measured "
        f"(extrapolated to the paper's size: {scaled})"
    )


def _extrapolates(result: Benchmark) -> bool:
    """Whether the slices are so small that fixed costs matter, which scaling by voxels would multiply."""
    _, height, width = result.slices.array.shape
    return bool(height * width < PAPERS_SLICE / 4)


def _title(result: Benchmark) -> str:
    words = "exact and synthetic entropy maps" if result.model else "exact entropy maps"
    return f"Benchmark on a phantom: {words}" if result.slices.is_phantom else f"Benchmark: {words}"


def _subject(result: Benchmark) -> str:
    depth, height, width = result.slices.array.shape
    settings = result.settings
    return (
        f"{counted(depth, 'slice')} of {width}x{height} of {result.slices.name}; "
        f"window {settings.window}x{settings.window}, {settings.levels} levels; "
        f"{counted(result.repeats, 'repeat')}"
    )


def _cells(row: Row) -> list[str]:
    low, high = row["voxels_per_second_low"] / 1e6, row["voxels_per_second_high"] / 1e6
    return [
        row["method"],
        _three(row["seconds_per_512_slice"]),
        _three(row["seconds_per_patient"]),
        _three(row["voxels_per_second"] / 1e6),
        f"{_three(low)} to {_three(high)}",
        _three(row["times_faster_than_dense_cpu"]),
        _three(row["times_faster_than_exact_cpu"]),
        _three(row["first_call_seconds"]),
        "" if row["pearson"] is None else f"{row['pearson']:.4f}",
    ]


def _notes(result: Benchmark) -> list[str]:
    slices = result.slices
    height, width = slices.array.shape[1:]
    scaled = (
        ""
        if height * width == PAPERS_SLICE
        else f" The slices are {width}x{height}; times are scaled by the number of voxels."
    )
    if _extrapolates(result):
        scaled += " The slice is so small that the figures for 512x512 are rough extrapolations."
    return [
        "Times are medians of the repeats; the methods take turns. They run from the image to the map in "
        "host memory, including quantisation and transfers. The first call (compilation and warm-up) is "
        "listed separately. x: how many times faster than that method on all CPU threads.",
        f"Per patient: {counted(slices.patient_slices, 'slice')} of {width}x{height}, as in this image; "
        f"the paper (11.8 s per patient) does not say how many slices its patients had.{scaled}",
        "Dense: the paper's algorithm, with a full matrix for each window and direction. Exact and dense "
        f"maps were compared before timing; largest difference {result.largest_difference:.1e}.",
    ]


def _machine(result: Benchmark) -> str:
    machine = result.machine
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    return (
        f"Machine: {machine['cpu']}, {counted(machine['cores'], 'core')} in use, "
        f"{machine['memory_gib']} GiB memory; GPU: {machine['gpu'] or 'none found'}; {machine['system']}; "
        f"load average before {machine['load_average_before']}. {versions}."
    )


def _bar(row: Row) -> Bar:
    note = f"{_three(row['seconds_per_512_slice'])} s per 512x512 slice"
    if row["pearson"] is not None:
        note += f", r = {row['pearson']:.3f}"
    return Bar(
        row["kind"],
        row["method"],
        row["voxels_per_second"],
        row["voxels_per_second_low"],
        row["voxels_per_second_high"],
        note,
    )


def _three(value: float) -> str:
    """Return three significant digits without an exponent."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:#.3g}" if value >= 1e-4 else f"{value:.2g}"
