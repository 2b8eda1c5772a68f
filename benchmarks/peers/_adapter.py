"""The adapters' side of the protocol: one process per tool, which makes the maps for `benchmarks/peers.py`.

An adapter imports its tool and writes one line of JSON with the tool's versions to standard output. Then it
answers every request on standard input, ``{"levels_file", "levels", "window", "threads", "map_file"}``,
with one line: the seconds of a map. The tool's own output goes to standard error. The process lives for a
whole benchmark, so that the tools can take turns without restarting, and start-up is never part of a map's
time.

This file and the adapters run in the tool's environment: they import only numpy and the tool.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

Levels = npt.NDArray[np.uint8]
Mapper = Callable[[], Any]
Prepare = Callable[[Levels, int, int, "int | None"], Mapper]

LEAST_SECONDS = 0.2
"""Seconds of a turn, in which a faster map is repeated: its mean is used, not one call with cold caches."""


def serve(
    prepare: Prepare,
    versions: dict[str, str],
    *,
    parallel: bool = False,
    read: Callable[[Any], npt.NDArray[np.floating]] = np.asarray,
) -> None:
    """Answer requests until standard input ends.

    Parameters
    ----------
    prepare : callable (levels, number_of_levels, window, threads) -> mapper
        Converts a (Y, X) uint8 array of levels to the tool's form, which is not timed. The mapper it
        returns is timed: it computes the map, in the tool's unit and convention. `threads` is None for the
        tool's default.
    versions : dict
        Names and versions of the tool and its libraries.
    parallel : bool
        Whether the tool can use several threads for one map, and respects `threads`.
    read : callable (result of the mapper) -> (Y, X) array
        Converts the map to an array, which is not timed.
    """
    subject, mapper = None, None

    def reply(request: dict[str, Any]) -> dict[str, Any]:
        nonlocal subject, mapper
        wanted = [request[key] for key in ("levels_file", "levels", "window", "threads")]
        if mapper is None or wanted != subject:
            mapper = prepare(np.load(request["levels_file"]), *wanted[1:])
            subject = wanted
        result, seconds = repeated(mapper, time.perf_counter)
        if request["map_file"]:
            np.save(request["map_file"], read(result))
        return {"seconds": seconds}

    converse({"versions": versions, "parallel": parallel}, reply)


def converse(greeting: dict[str, Any], reply: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Say hello, and answer requests until standard input ends."""
    # The tool may print, but from here on only the answers reach the real standard output.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    print(json.dumps(greeting), file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(reply(json.loads(line))), file=answers, flush=True)


def repeated(mapper: Mapper, clock: Callable[[], float]) -> tuple[Any, float]:
    """Return a map and the seconds of one, from as many calls as `LEAST_SECONDS` hold."""
    start, calls, seconds = clock(), 0, 0.0
    while seconds < LEAST_SECONDS:
        result = mapper()
        calls, seconds = calls + 1, clock() - start
    return result, seconds / calls


def windows(levels: Levels, window: int) -> Iterator[tuple[int, int, Levels]]:
    """Yield row, column and the window around every pixel, clipped at the border of the image."""
    radius = window // 2
    for row in range(levels.shape[0]):
        band = levels[max(row - radius, 0) : row + radius + 1]
        for column in range(levels.shape[1]):
            yield row, column, band[:, max(column - radius, 0) : column + radius + 1]
