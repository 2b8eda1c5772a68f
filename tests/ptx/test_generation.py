"""Instructions of PTX that C has no operator for, one by one, against values worked by hand."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

from ptx.building import kernel_library, missing_compiler
from ptx.generation import program
from ptx.parsing import NotEmulatedError, parsed

needs_compiler = pytest.mark.skipif(missing_compiler() != "", reason="needs gcc and g++")

HEAD = """
.version 9.0
.target sm_90
.address_size 64
.const .align 4 .b8 table[8] = {1, 0, 0, 0, 254, 255, 255, 255};
.visible .entry kernel(
    .param .u64 kernel_param_0
)
{
    .reg .pred %p<4>;
    .reg .b16 %rs<4>;
    .reg .b32 %r<8>;
    .reg .f32 %f<4>;
    .reg .b64 %rd<8>;
    .reg .f64 %fd<8>;
"""

NAN, INFINITY = "0d7FF8000000000000", "0d7FF0000000000000"

CASES = {
    "mov.u32 %r1, 40; shr.s32 %r2, -8, %r1; cvt.s64.s32 %rd1, %r2;": -1,
    "mov.u32 %r1, 40; shr.u32 %r2, -8, %r1; cvt.u64.u32 %rd1, %r2;": 0,
    "mov.u32 %r1, 33; shl.b32 %r2, 1, %r1; cvt.u64.u32 %rd1, %r2;": 0,
    "mul.wide.s32 %rd1, -3, 5;": -15,
    "mul.wide.u32 %rd1, -3, 5;": (2**32 - 3) * 5,
    "mul.hi.s64 %rd1, -9223372036854775808, 4;": -2,
    "mul.lo.s32 %r1, 65537, 65537; cvt.s64.s32 %rd1, %r1;": 131073,
    "mad.lo.s32 %r1, -2, 3, 4; cvt.s64.s32 %rd1, %r1;": -2,
    "rem.s64 %rd1, -7, 3;": -1,
    "div.s64 %rd1, -7, 3;": -2,
    "div.u32 %r1, -7, 3; cvt.u64.u32 %rd1, %r1;": (2**32 - 7) // 3,
    "min.s16 %rs1, -3, 2; cvt.s64.s16 %rd1, %rs1;": -3,
    "mov.b32 %r1, 65535; cvt.s64.s16 %rd1, %r1;": -1,
    "mov.b64 %rd2, 4294967297; cvt.u16.u64 %rs1, %rd2; cvt.u64.u16 %rd1, %rs1;": 1,
    "bfi.b64 %rd1, 15, 0, 4, 2;": 48,
    "bfi.b64 %rd1, 1, 7, 32, 32;": 2**32 + 7,
    "prmt.b32 %r1, 305419896, 2596069104, 29776; cvt.u64.u32 %rd1, %r1;": 0x9AF0DE78,
    "prmt.b32 %r1, 0, 2147483648, 15; cvt.u64.u32 %rd1, %r1;": 255,
    "mov.b64 %rd1, {%r0, %r0};": 0,
    "mov.b64 {%r1, %r2}, -4294967295; cvt.s64.s32 %rd1, %r2;": -1,
    "mov.f64 %fd1, 0d3FF0000000000000; mov.b64 %rd1, %fd1;": 0x3FF0000000000000,
    "mov.b64 %rd2, 4607182418800017408; mov.b64 %fd1, %rd2; cvt.rzi.s64.f64 %rd1, %fd1;": 1,
    f"cvt.rzi.s32.f64 %r1, {NAN}; cvt.s64.s32 %rd1, %r1;": 0,
    f"cvt.rzi.s32.f64 %r1, {INFINITY}; cvt.s64.s32 %rd1, %r1;": 2**31 - 1,
    "cvt.rzi.u64.f64 %rd1, 0d4004000000000000;": 2,
    "cvt.rzi.u64.f64 %rd1, 0dC004000000000000;": 0,
    f"cvt.rzi.u64.f64 %rd1, {INFINITY};": -1,
    f"setp.lt.f64 %p1, {NAN}, 0d0000000000000000; selp.b64 %rd1, 1, 0, %p1;": 0,
    f"setp.ltu.f64 %p1, {NAN}, 0d0000000000000000; selp.b64 %rd1, 1, 0, %p1;": 1,
    f"setp.ne.f64 %p1, {NAN}, 0d0000000000000000; selp.b64 %rd1, 1, 0, %p1;": 0,
    f"setp.neu.f64 %p1, {NAN}, 0d0000000000000000; selp.b64 %rd1, 1, 0, %p1;": 1,
    f"setp.num.f64 %p1, {NAN}, 0d0000000000000000; not.pred %p2, %p1; selp.b64 %rd1, 1, 0, %p2;": 1,
    f"max.f64 %fd1, {NAN}, 0dC008000000000000; cvt.rzi.s64.f64 %rd1, %fd1;": -3,
    "rcp.rn.f64 %fd1, 0d4008000000000000; mov.b64 %rd1, %fd1;": 0x3FD5555555555555,
    "cvt.rmi.f64.f64 %fd1, 0dBFF8000000000000; cvt.rzi.s64.f64 %rd1, %fd1;": -2,
    "setp.eq.s32 %p1, 1, 1; mov.u64 %rd1, 1; @!%p1 mov.u64 %rd1, 2; @%p1 add.s64 %rd1, %rd1, 4;": 5,
    "ld.const.s32 %rd1, [table+4];": -2,
    "ld.const.u32 %rd1, [table+4];": 2**32 - 2,
    # (1 + 2**-30)**2 - 1, whose last term a product that is rounded first has not.
    "mov.f64 %fd1, 0d3FF0000000400000; fma.rn.f64 %fd2, %fd1, %fd1, 0dBFF0000000000000;"
    "sub.f64 %fd3, %fd2, 0d3E20000000000000; mov.b64 %rd1, %fd3;": 0x3C30000000000000,
    "mov.f64 %fd1, 0d3FF0000000400000; mul.f64 %fd2, %fd1, %fd1; add.f64 %fd2, %fd2, 0dBFF0000000000000;"
    "sub.f64 %fd3, %fd2, 0d3E20000000000000; mov.b64 %rd1, %fd3;": 0,
}  # fmt: skip
"""Instructions that leave a number in %rd1, and the number."""


class Array(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_uint64) for name in ("first", "end", "allocation")),
        *((name, ctypes.c_void_p) for name in ("written", "writer", "reader")),
    ]


class Launch(ctypes.Structure):
    _fields_ = [
        ("grid", ctypes.c_uint32 * 3),
        ("block", ctypes.c_uint32 * 3),
        ("parameters", ctypes.POINTER(ctypes.c_void_p)),
        ("arrays", ctypes.POINTER(Array)),
        ("array_count", ctypes.c_int),
        ("fault", ctypes.c_char_p),
    ]


def ptx_of(bodies):
    """Return a kernel that runs pieces of PTX and writes what each leaves in %rd1."""
    lines = [".reg .b64 %out;", "ld.param.u64 %out, [kernel_param_0];", "mov.b32 %r0, 0;"]
    for place, body in enumerate(bodies):
        lines += [f"{part.strip()};" for part in body.rstrip(";").split(";")]
        lines.append(f"st.global.u64 [%out+{8 * place}], %rd1;")
    return HEAD + "\n".join([*lines, "ret;", "}"])


def run(bodies, folder):
    """Run pieces of PTX with one thread; return what each leaves in %rd1, and the fault."""
    library = folder / "kernel.so"
    library.write_bytes(kernel_library(ptx_of(bodies), "none.ptx"))
    out = np.zeros(len(bodies), np.int64)
    shadows = np.zeros(out.nbytes, np.uint8), *np.zeros((2, out.nbytes), np.uint32)
    first, fault = out.ctypes.data, ctypes.create_string_buffer(400)
    arrays = (Array * 1)(Array(first, first + out.nbytes, first, *(one.ctypes.data for one in shadows)))
    value = ctypes.c_uint64(first)
    parameters = (ctypes.c_void_p * 1)(ctypes.addressof(value))
    one = (ctypes.c_uint32 * 3)(1, 1, 1)
    launch = Launch(one, one, parameters, arrays, 1, ctypes.cast(fault, ctypes.c_char_p))
    ctypes.CDLL(str(library)).run(ctypes.byref(launch))
    return out, fault.value.decode()


@needs_compiler
def test_instructions(tmp_path):
    found, fault = run(CASES, tmp_path)
    assert fault == ""
    assert dict(zip(CASES, found.tolist(), strict=True)) == CASES


@needs_compiler
@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("mov.u64 %rd2, 0; rem.s64 %rd1, 1, %rd2;", "division by zero"),
        (
            ".local .align 4 .b8 own[8]; mov.u64 %rd2, own; st.local.u32 [%rd2], 7;"
            "ld.local.u32 %rd1, [%rd2]; ld.local.u32 %rd1, [%rd2+4];",
            "read of uninitialised local memory",
        ),
        ("ld.const.u32 %rd1, [table+8];", "read out of bounds of constant memory"),
        ("ld.global.v2.u32 {%r1, %r2}, [%out+4];", "misaligned access"),
    ],
)
def test_faults(tmp_path, body, message):
    assert run([body], tmp_path)[1].startswith(message)


@pytest.mark.parametrize(
    "line",
    [
        "atom.global.add.u32 %r1, [%out], 1;",
        "ld.volatile.global.u32 %r1, [%out];",
        "setp.lt.and.s32 %p1, 1, 2, %p2;",
        "ex2.approx.ftz.f32 %f1, %f2;",
        "cvt.rni.s32.f64 %r1, %fd1;",
        "add.cc.u32 %r1, %r2, %r3;",
        "mov.u32 %r1, nothing;",
    ],
)
def test_unknown_instructions_are_refused(line):
    with pytest.raises(NotEmulatedError, match=r"line \d+ of the PTX is not emulated: " + line.split()[0]):
        program(parsed(ptx_of([line])), "none.ptx")


def test_other_modules_than_of_one_kernel_are_refused():
    with pytest.raises(NotEmulatedError, match="needs PTX with one kernel, got 2"):
        parsed(2 * ptx_of([]))
    with pytest.raises(NotEmulatedError, match=r"not emulated: \.global"):
        parsed(".global .align 4 .b8 names[4];\n" + ptx_of([]))
