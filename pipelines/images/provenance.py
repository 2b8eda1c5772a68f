"""Provenance of outputs: how they were made, from what, and in which unit."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import glcm_cuda
from glcm_cuda import GLCMSettings
from glcm_cuda.base.steps import step
from pipelines.images.dicom.headers import files_below
from pipelines.images.formats import metaimage, nrrd
from pipelines.reports.command_line import command_line
from pipelines.reports.names import feature_names, map_kind, unit_of

_BLOCK = 1 << 20


def provenance(
    *,
    source: str | os.PathLike[str],
    settings: GLCMSettings,
    intensity_range: tuple[float, float],
    backend: str,
    feature: str = "joint_entropy",
    **details: Any,
) -> dict[str, Any]:
    """Return the provenance of a map, as its sidecar records it.

    Parameters
    ----------
    source : path
        The image. Only its name and SHA-256 are recorded: folders often carry names of people.
    settings : GLCMSettings
        Settings of the map.
    intensity_range : (float, float)
        Lowest and highest edge of the bins in the image's unit.
    backend : str
        Engine that computed the map.
    feature : str
        Feature of the map.
    details
        Further entries, of types that JSON has.
    """
    return {
        "kind": map_kind(feature),
        "unit": unit_of(feature, settings),
        "feature": feature_names(feature),
        **source_record(source),
        "settings": settings.to_dict(),
        "intensity_range": list(intensity_range),
        "backend": backend,
        **details,
        **made_by(),
    }


def source_record(path: str | os.PathLike[str], name: str = "source") -> dict[str, Any]:
    """Return the name of an input, without its folder, and its SHA-256."""
    return {name: shown_name(path), f"{name}_sha256": sha256_of(path)}


def shown_name(path: str | os.PathLike[str]) -> str:
    """Return the name of a file as text; bytes that are no UTF-8 are escaped."""
    return os.fsencode(Path(path).name).decode("utf-8", "backslashreplace")


def made_by() -> dict[str, Any]:
    """Return the command, the versions of the software and the date, as sidecars record them.

    The command has names of files, without their folders; there is none where a program calls the library.
    """
    line = command_line()
    return {
        **({} if line is None else {"command": line}),
        "software": {
            "radsynth": glcm_cuda.__version__,
            "python": platform.python_version(),
            **_versions("numpy", "numba", "SimpleITK"),
        },
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _versions(*names: str) -> dict[str, str]:
    versions = {}
    for name in names:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "not installed"
    return versions


@step("checksums")
def sha256_of(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file, or of all files below a folder in the order of their names.

    The data files of an .mhd or .nhdr header are included.
    """
    path = Path(path)
    digest = hashlib.sha256()
    for part in files_of(path):
        with part.open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
    return digest.hexdigest()


def files_of(path: Path) -> list[Path]:
    """Return the files of an input: all files of a folder, or a header (.mhd, .nhdr) and its data."""
    if path.is_dir():
        return list(files_below(path))
    try:
        if path.suffix.lower() == ".mhd":
            return [path, *metaimage.data_files(path)]
        if nrrd.is_nrrd(path):
            return [path, *nrrd.data_files(path)]
    except ValueError:  # reading it says what is wrong
        pass
    return [path]


def sidecar_path(path: str | os.PathLike[str]) -> Path:
    """Return the path of an output's sidecar, the JSON file with its provenance: ``<path>.json``."""
    path = Path(path)
    return path.with_name(f"{path.name}.json")


def write_sidecar(path: Path, provenance: dict[str, Any]) -> None:
    """Write the provenance of an output as JSON."""
    path.write_text(json.dumps(provenance, indent=2) + "\n", encoding="utf-8")
