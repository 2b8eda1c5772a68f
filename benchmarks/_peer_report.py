"""Tables and plot of `benchmarks/peers.py`, made from its JSON results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from _machine import machine_line, save_figure

from pipelines.reports.figures import COLOURS
from pipelines.reports.tables import counted, markdown_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Document = Mapping[str, Any]
Entry = Mapping[str, Any]

DIFFERS = "†"
"""Marks the times of a map whose values differ from RadSynth's."""

_OURS, _DENSE, _PEER = COLOURS[5], COLOURS[2], COLOURS[0]


def markdown(document: Document) -> str:
    """Return the comparison as Markdown: two tables, what each tool computes, and how it was measured."""
    title = "# Entropy maps of RadSynth and of other tools"
    if document["quick"]:
        title += " (a quick rehearsal: small crops, few repeats)"
    measured = [entry for entry in document["tools"] if entry["runs"]]
    parts = [title, _subject(document), _summary_table(document, measured), _notes()]
    parts += ["## Other levels and windows", _case_table(document, measured)]
    parts += ["## What each computes", "\n".join(_definition(entry) for entry in measured)]
    problems = [f"- {entry['problem']}" for entry in document["tools"] if entry["problem"]]
    if problems:
        parts += ["## Not measured, or not to the end", "\n".join(problems)]
    parts += ["## Machine", machine_line(document["machine"])]
    return "\n\n".join(parts)


def draw(document: Document, path: Path) -> None:
    """Write the voxels per second of the tools in the first case on a logarithmic axis."""
    from matplotlib.figure import Figure

    case = document["cases"][0]
    rows = [row for entry in document["tools"] if (row := _plot_row(document, entry, case))]
    rows.sort(key=lambda row: row["speeds"][0])
    figure = Figure(figsize=(9.6, 1.7 + 0.46 * len(rows)), layout="constrained")
    figure.suptitle(f"Entropy maps, {_case_name(case)}: voxels per second", fontsize=13, x=0.01, ha="left")
    ax = figure.subplots()
    for place, row in enumerate(rows):
        one, *default = row["speeds"]
        highest = max(row["speeds"])
        ax.hlines(place, 1, highest, color="#dddddd", linewidth=1.2, zorder=1)
        ax.plot(default, [place] * len(default), "D", color=row["colour"], markersize=8, fillstyle="none")
        ax.plot(one, place, "o", color=row["colour"], markersize=9)
        _beside(ax, row["label"], (highest, place))
    speeds = [speed for row in rows for speed in row["speeds"]]
    ax.set_xscale("log")
    ax.set_xlim(min(speeds) / 2, max(speeds) * 25)
    ax.set_ylim(-0.6, len(rows) - 0.4)
    ax.set_yticks(range(len(rows)), [row["title"] for row in rows], fontsize=10.5)
    ax.tick_params(axis="y", length=0)
    ax.set_xlabel(_legend(document), fontsize=9.5)
    ax.grid(axis="x", which="major", alpha=0.35)
    ax.set_axisbelow(True)
    ax.spines[["top", "right", "left"]].set_visible(False)
    save_figure(figure, path)


def _beside(ax: Axes, text: str, point: tuple[float, float]) -> None:
    ax.annotate(text, point, xytext=(10, 0), textcoords="offset points", va="center", fontsize=10)


def _subject(document: Document) -> str:
    image = document["image"]
    height, width = image["shape"]
    kind = " (a phantom, computer-generated)" if image["phantom"] else ""
    return (
        f"Image: {image['name']}{kind}, {width}x{height}, or a crop of it where a tool is slow. "
        "Distance 1, four directions, pairs inside the window. Median of the calls in "
        f"{counted(document['turns'], 'turn')}, the tools taking turns; from levels in memory to the map."
    )


def _summary_table(document: Document, entries: Sequence[Entry]) -> str:
    """Return the table of the first case, with the columns that do not depend on the case."""
    case = document["cases"][0]
    cores = document["machine"]["cores"]
    header = ["tool", "computes besides", "threads", "start-up, s", "ns per voxel, 1 thread", "as default"]
    header += ["times RadSynth's, 1 thread", "as default", f"values ({_case_name(case)})"]
    lines = []
    for entry in entries:
        one, default = _run(entry, case, 1), _run(entry, case, "default")
        lines.append(
            [
                entry["title"],
                entry["computes_besides"],
                f"1 to {cores}" if entry["parallel"] else "1",
                f"{entry['startup_seconds']:.1f}",
                _nanoseconds(one),
                _nanoseconds(default),
                _factor(document, entry, case, 1),
                _factor(document, entry, case, "default"),
                "" if _is_reference(entry) else one["verdict"],
            ]
        )
    return f"## {_case_name(case)}\n\n" + markdown_table(header, lines)


def _case_table(document: Document, entries: Sequence[Entry]) -> str:
    """Return the table of nanoseconds per voxel in every case, and their ratio to RadSynth's."""
    header = ["ns per voxel (times RadSynth's)"]
    header += [_case_name(case) for case in document["cases"]] + ["crops", "values, all cases"]
    lines = []
    for entry in entries:
        for threads in (1, "default") if entry["parallel"] else (1,):
            runs = [_run(entry, case, threads) for case in document["cases"]]
            cells = [
                f"{_nanoseconds(run)} ({_factor(document, entry, case, threads)})" if run else "–"
                for case, run in zip(document["cases"], runs, strict=True)
            ]
            edges = sorted({run["shape"][0] for run in runs if run})
            crops = " to ".join(dict.fromkeys(str(edge) for edge in (edges[0], edges[-1])))
            name = f"{entry['title']}, {'1 thread' if threads == 1 else 'as default'}"
            lines.append([name, *cells, crops, "" if _is_reference(entry) else _worst(runs)])
    return markdown_table(header, lines)


def _worst(runs: Sequence[Mapping[str, Any] | None]) -> str:
    """Return the verdict over all cases: the first disagreement, or else the largest difference."""
    found = [run for run in runs if run]
    wrong = [run for run in found if not run["agrees"]]
    if wrong:
        return f"{DIFFERS} {_case_name(wrong[0])}: {wrong[0]['verdict']}"
    return f"agrees to {max(run['largest_difference'] for run in found):.0e}"


def _notes() -> str:
    return (
        "Times RadSynth's: the tool's time per voxel over RadSynth's in the same definition, both with one "
        "thread or both with as many as they take by default (some tools have only one). Start-up: from the "
        f"start of the process until it can map. {DIFFERS}: the values differ from RadSynth's, so that "
        "the time is of something else."
    )


def _definition(entry: Entry) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in entry["versions"].items())
    mirrored = ", ".join(f"{name}={value!r}" for name, value in entry["mirrored_by"].items())
    settings = f" (RadSynth: {mirrored})" if mirrored else ""
    return f"- **{entry['title']}** ({versions}): {entry['definition']}{settings}."


def _run(entry: Entry, case: Mapping[str, int], threads: int | str) -> Mapping[str, Any] | None:
    """Return the run of a case; for a single-threaded tool the default is the run with one thread."""
    threads = threads if entry["parallel"] else 1
    wanted = (case["levels"], case["window"], threads)
    return next((r for r in entry["runs"] if (r["levels"], r["window"], r["threads"]) == wanted), None)


def _ratio(document: Document, entry: Entry, case: Mapping[str, int], threads: int | str) -> float | None:
    """Return the ratio of the tool's time per voxel to that of RadSynth for the same definition."""
    found, reference = _run(entry, case, threads), _run(_reference(document, entry), case, threads)
    if found is None or reference is None:
        return None
    return float(found["ns_per_voxel"] / reference["ns_per_voxel"])


def _reference(document: Document, entry: Entry) -> Entry:
    return next(tool for tool in document["tools"] if tool["name"] == entry["reference"])


def _factor(document: Document, entry: Entry, case: Mapping[str, int], threads: int | str) -> str:
    ratio = _ratio(document, entry, case, threads)
    return "–" if ratio is None else _digits(ratio)


def _nanoseconds(run: Mapping[str, Any] | None) -> str:
    if run is None:
        return "–"
    return f"{_digits(run['ns_per_voxel'])}{'' if run['agrees'] else ' ' + DIFFERS}"


def _digits(value: float) -> str:
    """Format a number with two significant digits below 10, else with three, without decimals."""
    if value < 10:
        return f"{value:.1f}"
    step = 10 ** max(0, len(str(int(value))) - 3)
    return f"{round(value / step) * step:,}"


def _is_reference(entry: Entry) -> bool:
    return bool(entry["name"] == entry["reference"])


def _case_name(case: Mapping[str, int]) -> str:
    return f"{case['levels']} levels, {case['window']}x{case['window']}"


def _plot_row(document: Document, entry: Entry, case: Mapping[str, int]) -> dict[str, Any] | None:
    """Return what the plot shows for a tool, one thread first, or None if it was not measured."""
    one, default = _run(entry, case, 1), _run(entry, case, "default")
    if one is None or default is None:
        return None
    runs = (one, default) if entry["parallel"] else (one,)
    speeds = [1e9 / run["ns_per_voxel"] for run in runs]
    label = _per_second(speeds[0])
    ratio = _ratio(document, entry, case, 1)
    if ratio is not None and not _is_reference(entry):
        ours = _reference(document, entry)["title"]
        label += f"   1/{_digits(ratio)} of {ours}" if ratio >= 1 else f"   {_digits(1 / ratio)} times {ours}"
    if not one["agrees"]:
        label += f"   {DIFFERS} {one['verdict']}"
    colour = _OURS if _is_reference(entry) else _DENSE if entry["name"] == "dense" else _PEER
    return {"title": entry["title"], "speeds": speeds, "label": label, "colour": colour}


def _per_second(speed: float) -> str:
    for unit, name in ((1e6, "million"), (1e3, "thousand")):
        if speed >= unit:
            return f"{_digits(speed / unit)} {name}"
    return _digits(speed)


def _legend(document: Document) -> str:
    cores = counted(document["machine"]["cores"], "core")
    return (
        f"● 1 thread, with numbers   ◇ as many threads as the tool takes by default, on {cores}\n"
        f"{document['machine']['cpu']}; {document['image']['name']}"
    )
