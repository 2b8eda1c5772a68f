"""The adapters' side of `benchmarks/families.py`: maps of a family, and the processor's time for them.

A request is ``{"image_file", "family", "features", "dimensions", "radius", "bin_width", "maps_file"}``. The
file holds ``image``, a (Z, Y, X) array of intensities, and ``mask``, which says where maps are wanted; it
does not cut windows. See `_adapter` for the rest; this file, too, imports only numpy.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from _adapter import converse, repeated

Maps = dict[str, npt.NDArray[np.floating]]


class Job(NamedTuple):
    """What is mapped."""

    image: npt.NDArray[Any]
    mask: npt.NDArray[np.uint8]
    family: str
    features: list[str]
    dimensions: int
    radius: int
    bin_width: float


def serve(
    prepare: Callable[[Job], Callable[[], Any]],
    read: Callable[[Any, Job], Maps],
    versions: dict[str, str],
) -> None:
    """Answer requests until standard input ends.

    Parameters
    ----------
    prepare : callable (job) -> mapper
        Converts the arrays to the tool's form, which is not timed. The mapper it returns is timed.
    read : callable (result of the mapper, job) -> dict
        Returns the values at the mask's voxels by pyradiomics' names of the features; not timed.
    versions : dict
        Names and versions of the tool and its libraries.
    """
    subject, mapper, job = None, None, None

    def reply(request: dict[str, Any]) -> dict[str, Any]:
        nonlocal subject, mapper, job
        wanted = {key: value for key, value in request.items() if key != "maps_file"}
        if wanted != subject:
            with np.load(wanted["image_file"]) as arrays:
                fields = {key: value for key, value in wanted.items() if key != "image_file"}
                job = Job(image=arrays["image"], mask=arrays["mask"], **fields)
            subject, mapper = wanted, prepare(job)
        result, seconds = repeated(mapper, time.process_time)
        if request["maps_file"]:
            np.savez(request["maps_file"], **read(result, job))
        return {"seconds": seconds}

    converse({"versions": versions, "parallel": False}, reply)
