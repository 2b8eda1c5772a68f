"""The table of `benchmarks/families.py`, and how each tool is described."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from _machine import machine_line

from pipelines.reports.tables import counted, markdown_table

Times = dict[tuple[str, str, str], dict[str, dict[str, Any]]]


def markdown(document: Mapping[str, Any]) -> str:
    """Return the results as Markdown: the first image by family, the others' sums; the tools; the machine."""
    times: Times = {
        (case["image"], case["configuration"], case["family"]): {run["tool"]: run for run in case["runs"]}
        for case in document["cases"]
    }
    parts = [
        f"Microseconds of the processor per voxel (times RadSynth's), medians of {document['turns']} turns. "
        "Goal: RadSynth's microseconds for all families. First map: seconds of the processor.",
        *(
            f"### {image['name']}{' (phantom)' if image['phantom'] else ''}\n\n"
            + _table(document, times, image["name"], by_family=place == 0)
            for place, image in enumerate(document["images"])
        ),
        "\n".join(described(document, tool) for tool in document["tools"]),
        machine_line(document["machine"]),
    ]
    return "\n\n".join(parts)


def described(document: Mapping[str, Any], tool: Mapping[str, Any]) -> str:
    """Return a tool's versions, how its values compare, and why it was not measured to the end."""
    versions = ", ".join(f"{name} {version}" for name, version in tool["versions"].items())
    parts = [tool["problem"], _verdict(document, tool["name"])]
    return f"- **{tool['title']}** ({versions or 'not started'}): {'; '.join(filter(None, parts))}."


def _table(document: Mapping[str, Any], times: Times, image: str, *, by_family: bool) -> str:
    """Return the table of an image: in each configuration the sum of the families, after rows of each."""
    tools = document["tools"]
    rows = []
    families = document["families"]
    for configuration in document["configurations"]:
        cases = [(family, times[image, configuration["name"], family]) for family in families]
        first = document["first_map_seconds"][configuration["name"]]
        if by_family:
            rows += [
                [configuration["name"], family, *_cells(tools, [runs]), "", f"{first[family]:.1f}"]
                for family, runs in cases
            ]
        goal = configuration["goal_us"] or ""
        together = _cells(tools, [runs for _, runs in cases])
        name = f"**all {len(families)}**"
        rows.append([configuration["name"], name, *together, f"{goal}", f"{sum(first.values()):.1f}"])
    headers = ["windows", "family", *(tool["title"] for tool in tools), "goal", "first map, s"]
    return markdown_table(headers, rows)


def _cells(tools: Sequence[Mapping[str, Any]], cases: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a cell for each tool: the sum of its times and how many times the first tool's it is."""
    ours, *theirs = [_sum(tool["name"], cases) for tool in tools]
    return [_short(ours), *(f"{_short(value)} ({_short(value / ours)})" if value else "" for value in theirs)]


def _short(number: float) -> str:
    """Return a number with three digits, or all before the point."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def _sum(tool: str, cases: Sequence[Mapping[str, Any]]) -> float:
    """Return the sum of a tool's times; 0 if one is missing."""
    found = [runs[tool]["us_per_voxel"] for runs in cases if tool in runs]
    return sum(found) if len(found) == len(cases) else 0.0


def _verdict(document: Mapping[str, Any], tool: str) -> str:
    """Return what the checks of a tool's values said, each verdict once, with where it was found."""
    if tool == document["tools"][0]["name"]:
        return "the others are compared with its values"
    found: dict[str, list[str]] = {}
    for case in document["cases"]:
        for run in case["runs"]:
            if run["tool"] == tool:
                agrees = run["verdict"].startswith("agrees")
                where = f"{case['family']}, {case['configuration']}, {case['image']}"
                found.setdefault("agrees" if agrees else run["verdict"], []).append(where)
    agreeing = found.pop("agrees", [])
    others = [f"{verdict} ({'; '.join(where)})" for verdict, where in found.items()]
    limit = f"agrees to {document['tolerance']:.0e} in {counted(len(agreeing), 'case')}"
    return "; ".join([limit, *others])
