"""Shared by the benchmarks: the description of the machine, and the writing of results."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.evaluation.machine import describe_machine
from pipelines.reports.figures import DPI
from pipelines.reports.tables import counted

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RESULTS = Path(__file__).parent / "results"
FIGURES = Path(__file__).parents[1] / "docs" / "figures"

_VECTOR_EXTENSIONS = (
    "sse4_2",
    "avx",
    "avx2",
    "fma",
    "avx512f",
    "avx512bw",
    "avx512vl",
    "avx512_vbmi",
    "avx512_vpopcntdq",
    "asimd",
    "sve",
)
_VERSIONS = ("python", "radsynth", "numba", "numpy")


def machine() -> dict[str, Any]:
    """Return what times depend on: processor and vector extensions, cores, memory, load, versions."""
    found = describe_machine()
    return {
        "cpu": found["cpu"],
        "vector_extensions": _vector_extensions(),
        "cores": found["cores"],
        "memory_gib": found["memory_gib"],
        "load_average_before": found["load_average_before"],
        "versions": {name: found["versions"][name] for name in _VERSIONS},
    }


def machine_line(described: Mapping[str, Any]) -> str:
    """Return the machine in one sentence."""
    versions = ", ".join(f"{name} {version}" for name, version in described["versions"].items())
    extensions = " ".join(described["vector_extensions"]) or "unknown vector extensions"
    return (
        f"{described['cpu']} ({extensions}), {counted(described['cores'], 'core')} in use, "
        f"{described['memory_gib']} GiB memory, load average before {described['load_average_before']}; "
        f"{versions}."
    )


def write_json(document: Mapping[str, Any], path: Path) -> None:
    """Write results as JSON; the folder is created."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure; the folder is created."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=DPI, metadata={"Software": "radsynth"})


def _vector_extensions() -> list[str]:
    """Return the known vector extensions that the processor has, as far as the system reports them."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    flags = next((line.split() for line in lines if line.lower().startswith(("flags", "features"))), [])
    return [name for name in _VECTOR_EXTENSIONS if name in flags]
