"""Registers, memory and instructions of the kernels, without a GPU.

    pip install nvidia-cuda-nvdisasm
    python benchmarks/kernel_counts.py

Compiles the kernel of every direction to machine code and disassembles it. For 2D windows the instructions
per voxel are counted: per voxel and direction, a march runs its outer loop once, and in it the inner loop
once for every row of the window. All branches are counted, even if only one of them can run, so these are
upper bounds. For the kernels of the other features the innermost loop is counted, which compares a pair
with earlier ones or, without ranks, adds up the pairs.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

from _kernel_variants import SIGNATURE, VARIANTS
from cuda.core import Linker, LinkerOptions, ObjectCode
from numba import cuda, types
from numba.cuda.typing.typeof import typeof

from glcm_cuda import GLCMSettings
from glcm_cuda.families.glcm.cuda.entropy_kernels import March, count_kernel, marches
from glcm_cuda.families.glcm.cuda.feature_kernels import feature_kernel, walk_of
from glcm_cuda.families.registry import features_named
from glcm_cuda.families.stage import Task
from glcm_cuda.levels.bins import bins_of_levels

ARCHITECTURES = ((7, 5), (8, 0), (9, 0), (12, 0))
READ = (9, 0)
_INSTRUCTION = r"\s+/\*[0-9a-f]{4,}\*/\s+(?!NOP)\S"
WIDE = GLCMSettings(levels=1000)
CASES = {
    "5x5": (GLCMSettings(), contextlib.nullcontext),
    "5x5, more than 256 levels": (WIDE, contextlib.nullcontext),
    "5x5 without names": (GLCMSettings(), lambda: mock.patch.object(March, "named", False)),
    "7x7": (GLCMSettings(window=7), contextlib.nullcontext),
    "11x11": (GLCMSettings(window=11), contextlib.nullcontext),
    "5x5, merged": (GLCMSettings(aggregate="merge"), contextlib.nullcontext),
    "5x5x5": (GLCMSettings(dimensions=3), contextlib.nullcontext),
}
FEATURE_CASES: dict[str, tuple[str | tuple[str, ...], bool, bool]] = {
    "contrast": ("contrast", True, False),
    "joint energy": ("joint_energy", True, False),
    "all but MCC": ("glcm", True, False),
    "all but MCC, not symmetric": ("glcm", False, False),
    "all but MCC, merged": ("glcm", True, True),
}
"""Features, whether the matrix is symmetric, and whether directions are merged."""

COUNTED = (
    ("glcm", "mcc"),
    ("glrlm", "matrix"),
    ("glszm", "matrix"),
    ("gldm", "matrix"),
    ("ngtdm", "differences"),
)
"""Families and stages that count window after window."""


def main() -> None:
    head = "".join(f"{f'sm_{major}{minor}':>8}" for major, minor in ARCHITECTURES)
    print(f"{'registers, the most of all directions':40}{head}{'instructions':>14}{'comparisons':>13}")
    print(f"{'':40}{'':{8 * len(ARCHITECTURES)}}{'per voxel':>14}{'per voxel':>13}")
    for name, (settings, way) in CASES.items():
        with way():
            every = marches(settings, settings is WIDE)
            codes = {march: [machine_code(march, at) for at in ARCHITECTURES] for march in set(every)}
            logs = zip(*([log for _, log in linked_codes] for linked_codes in codes.values()), strict=True)
            registers = [max(map(registers_of, of_one)) for of_one in logs]
            flat = settings.dimensions == 2 and settings.aggregate == "mean"
            read = ARCHITECTURES.index(READ)
            instructions = flat and sum(instructions_in(march, codes[march][read][0]) for march in every)
        numbers = "".join(f"{number:8}" for number in registers)
        print(f"{name:40}{numbers}{instructions or '':>14}{sum(map(comparisons, every)):>13,}", flush=True)
    print("\ninstructions per voxel of one direction, 5 rows of 4 pairs")
    march = marches(GLCMSettings())[0]
    print(f"{'marching, all that a map needs':44}{instructions_in(march, machine_code(march, READ)[0]):6}")
    for name, variant in VARIANTS.items():
        code, _ = linked(variant(), SIGNATURE, READ)
        count = sum(bool(re.match(_INSTRUCTION, line)) for line in disassembled(code).splitlines())
        print(f"{name + ', counts alone':44}{count:6}")
    print(f"\n{'registers of the other kernels':40}{head}{'innermost loop':>16}")
    for name, (kernel, signature) in other_kernels().items():
        codes = [linked(kernel, signature, at) for at in ARCHITECTURES]
        registers = [registers_of(log) for _, log in codes]
        loops = loops_of(disassembled(codes[ARCHITECTURES.index(READ)][0]))
        innermost = min(loop["size"] for loop in loops if loop["loads"])
        print(f"{name:40}{''.join(f'{number:8}' for number in registers)}{innermost:>16}", flush=True)


def other_kernels() -> dict[str, tuple[Callable[..., None], tuple[types.Type, ...]]]:
    """Return the kernels of all features except joint entropy, and the types of their arguments."""
    found = {}
    for name, (names, symmetric, merge) in FEATURE_CASES.items():
        chosen = [feature for feature in features_named(names) if feature.stage == "sums"]
        walk = walk_of(list(enumerate(chosen)), symmetric, merge)
        found[name] = feature_kernel(walk), feature_signature()
    for family, stage in COUNTED:
        for kernel, signature in counted_kernels(family, stage):
            found[f"{family}, {stage}, {kernel.__name__}"] = kernel, signature
    return found


def counted_kernels(
    family: str, stage: str, settings: GLCMSettings | None = None, number_of_levels: int = 64
) -> Iterator[tuple[Callable[..., None], tuple[types.Type, ...]]]:
    """Yield the kernels of a stage that counts window after window, and the types of their arguments."""
    features = tuple(feature for feature in features_named(family) if feature.stage == stage)
    chosen, bins = list(enumerate(features)), bins_of_levels(number_of_levels)
    task = Task(settings or GLCMSettings(), bins, features)
    made = importlib.import_module(f"glcm_cuda.families.{family}.cuda.stages").STAGES[stage](task, chosen)
    whole, real = types.int64, types.float64
    levels, sums = array(types.int32 if bins.wide else types.int16, 3), array(real, 3)
    memory = array(types.int32, 2), array(real, 2)
    yield made.count_kernel(), (levels, *[whole] * 5, typeof(made.plan), *memory, sums)
    planes = tuple(range(len(made.counted.formulas)))
    yield made.mean_kernel(planes), (sums, whole, whole, array(types.float32, 4))


def comparisons(march: March) -> int:
    """Return the comparisons per voxel, of the pairs that enter a window with all pairs before them."""
    mine = march.group[march.me]
    row = mine.columns
    found = mine.rows * (row * (row - 1) // 2) + mine.rows * (mine.rows - 1) // 2 * row * row
    for k, other in enumerate(march.group):
        planes = march.planes - 1 - other.late + (k < march.me)
        found += mine.rows * row * planes * other.rows * other.columns
    return found


def registers_of(log: str) -> int:
    """Return the registers of a kernel from the linker's log; raise an error if it uses local memory."""
    if not re.search(r"\b0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads", log):
        msg = f"the kernel uses local memory: {log}"
        raise RuntimeError(msg)
    found = re.search(r"Used (\d+) registers", log)
    assert found
    return int(found[1])


def machine_code(march: March, architecture: tuple[int, int]) -> tuple[bytes, str]:
    """Return the machine code of a counting kernel and the linker's log."""
    return linked(count_kernel(march), signature_of(march), architecture)


def array(kind: types.Type, dimensions: int) -> types.Array:
    """Return the type of a contiguous array."""
    return types.Array(kind, dimensions, "C")


def feature_signature(level: types.Type = types.int16) -> tuple[types.Type, ...]:
    """Return the types of a feature kernel's arguments."""
    whole, table = types.int64, array(types.int64, 1)
    way = types.UniTuple(whole, 3)
    return (
        array(level, 1), way, array(types.int32, 2), way, table, table, array(whole, 2),
        whole, whole, types.float64, whole, whole, whole, array(types.float32, 4),
    )  # fmt: skip


def signature_of(march: March) -> tuple[types.Type, ...]:
    """Return the types of a counting kernel's arguments."""
    whole, table = types.int64, array(types.int64, 1)
    totals = array(types.int64 if march.merge else types.float64, 1)
    return (
        array(types.uint32, 1), whole, table, table, types.boolean, types.boolean, totals,
        array(types.int32, 1), array(types.int32 if march.wide else types.int16, 3), whole, whole,
        types.float64, array(types.float32, 3),
    )  # fmt: skip


def linked(kernel: Callable[..., None], signature: Any, architecture: tuple[int, int]) -> tuple[bytes, str]:
    """Return a kernel's machine code and the linker's log.

    It is linked as `cuda.jit` links it on a device: from what NVVM writes for optimisation at link time. Code
    that is compiled to PTX first and then assembled is other code.
    """
    device = SimpleNamespace(compute_capability=architecture)  # the functions that kernels call look it up
    with mock.patch("numba.cuda.dispatcher.get_current_device", return_value=device):
        code, _ = cuda.compile(kernel, signature, cc=architecture, device=False, abi="numba", output="ltoir")
    options = LinkerOptions(
        arch=f"sm_{architecture[0]}{architecture[1]}{'a' if architecture >= (9, 0) else ''}",
        link_time_optimization=True,
        verbose=True,
        ptxas_options=["-v"],
    )
    linker = Linker(ObjectCode.from_ltoir(code), options=options)
    try:
        return bytes(linker.link("cubin").code), linker.get_info_log()
    finally:
        linker.close()


def instructions_in(march: March, code: bytes) -> int:
    """Return the instructions per voxel of a direction, counted in the loops of its machine code."""
    loops = sorted(loops_of(disassembled(code)), key=lambda loop: loop["size"])
    inner = next(loop for loop in loops if loop["loads"])
    outer = loops[-1]
    return int(outer["size"] + (march.planes - 1) * inner["size"])


def disassembled(code: bytes) -> str:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "kernel.cubin"
        file.write_bytes(code)
        command = [disassembler(), "-c", str(file)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def loops_of(listing: str) -> list[dict[str, Any]]:
    """Return the length of every loop and its number of loads from global memory."""
    labels: dict[str, int] = {}
    lines: list[str] = []
    found = []
    for line in listing.splitlines():
        if label := re.match(r"(\.L_\w+):", line):
            labels[label[1]] = len(lines)
        elif re.match(_INSTRUCTION, line):
            lines.append(line)
            back = re.search(r"BRA .*`\((\.L_\w+)\)", line)
            if back and labels.get(back[1], len(lines)) < len(lines) - 1:
                body = lines[labels[back[1]] :]
                found.append({"size": len(body), "loads": sum("LDG" in one for one in body)})
    return found


def disassembler() -> str:
    """Return the path of nvdisasm, from PATH or from NVIDIA's Python package."""
    if program := shutil.which("nvdisasm"):
        return program
    package = importlib.util.find_spec("nvidia")
    for place in package.submodule_search_locations or [] if package else []:
        for file in Path(place).glob("*/bin/nvdisasm"):
            return str(file)
    msg = "nvdisasm was not found; pip install nvidia-cuda-nvdisasm"
    raise SystemExit(msg)


if __name__ == "__main__":
    main()
