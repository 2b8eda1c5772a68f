"""Vector registers in the CPU backend's loop over tiles, read from its assembly.

    python benchmarks/vector_width.py [--window EDGE] [--listing FILE]

Counts the instructions of the loop by the widest register that they use: zmm 512 bits, ymm 256 bits, xmm
128 bits or one floating-point number. With ``NUMBA_CPU_NAME=skylake-avx512`` and
``NUMBA_CPU_FEATURES=+avx512f,+avx512bw,+avx512vl,+avx512dq,+avx2,+fma`` it shows, on any machine, the code
for a processor with AVX-512. `--listing` writes the assembly to a file.
"""

from __future__ import annotations

import argparse
import re
from collections import Counter
from pathlib import Path

from numba import njit, types

from glcm_cuda import GLCMSettings
from glcm_cuda.families.glcm import vectors
from glcm_cuda.families.glcm.cpu import lanes

_WIDTHS = (("zmm", "512 bits"), ("ymm", "256 bits"), ("xmm", "128 bits, or one number"))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--window", type=int, default=5, help="edge of the window (5)")
    parser.add_argument("--listing", type=Path, help="file for the assembly")
    arguments = parser.parse_args()
    assembly = tile_loop(GLCMSettings(window=arguments.window))
    if arguments.listing:
        arguments.listing.write_text(assembly)
    counts = Counter(widest_register(line) for line in assembly.splitlines())
    compares = len(re.findall(r"\n\tvpcmpeqw", assembly))
    print(f"window {arguments.window}: {compares} vector comparisons of 16-bit codes, {vectors.LANES} lanes")
    for register, meaning in _WIDTHS:
        print(f"{counts[register]:6} instructions on {register} registers ({meaning})")


def tile_loop(settings: GLCMSettings) -> str:
    """Return the assembly of the loop that `lanes` uses for these settings; it is compiled but not run."""
    map_tiles = njit(nogil=True, error_model="numpy")(
        lanes.compiled(settings).py_func
    )  # assembly is not cached
    numbers = [types.Array(kind, dimensions, "C") for kind, dimensions in (
        (types.int16, 3), (types.int32, 2), (types.float64, 2), (types.int64, 1), (types.float32, 3),
    )]  # fmt: skip
    levels, offsets, tables, log_table, out = numbers
    first = types.UniTuple(types.int64, 2)  # of the block; of the grid of tiles
    signature = (levels, offsets, first, types.boolean, tables, log_table, types.float64, out)
    map_tiles.compile((*signature, first, types.int64, types.int64))
    return str(map_tiles.inspect_asm(map_tiles.signatures[0]))


def widest_register(line: str) -> str:
    """Return the widest register type in a line of assembly, or nothing."""
    return next((register for register, _ in _WIDTHS if register in line), "")


if __name__ == "__main__":
    main()
