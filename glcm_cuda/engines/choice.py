"""Choice of the backend: the CPU, or the CUDA devices if they can be used."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import logging
import os
from typing import Literal

Backend = Literal["auto", "cpu", "cuda"]

_log = logging.getLogger(__name__)

_COMPILERS = ("nvvm", "nvrtc", "nvjitlink")
"""Libraries of CUDA's toolkit that compile and link kernels; drivers do not bring them."""


def available_backends() -> tuple[str, ...]:
    """Return the backends that can run here: ``("cpu",)`` or ``("cpu", "cuda")``."""
    return ("cpu",) if why_no_cuda() else ("cpu", "cuda")


def resolve_backend(backend: str) -> Literal["cpu", "cuda"]:
    """Return the backend to use; the log says which one "auto" chose, and why if it is not CUDA.

    Parameters
    ----------
    backend : {"auto", "cpu", "cuda"}
        "auto" chooses CUDA if a device can be used.

    Raises
    ------
    ValueError
        If `backend` is none of these.
    RuntimeError
        If ``backend="cuda"`` and no CUDA device can be used.
    """
    if backend not in ("auto", "cpu", "cuda"):
        msg = f"backend must be one of ('auto', 'cpu', 'cuda'), got {backend!r}"
        raise ValueError(msg)
    if backend == "cpu":
        return "cpu"
    reason = why_no_cuda()
    if reason and backend == "cuda":
        msg = f"backend 'cuda' cannot be used: {reason}; use backend 'cpu'"
        raise RuntimeError(msg)
    if not reason:
        if backend == "auto":
            _log.info("backend auto chose cuda")
        return "cuda"
    # A driver without a usable device is a fault that the user can fix; a machine without a driver is normal.
    _log.log(logging.WARNING if _has_driver() else logging.INFO, "backend auto chose cpu: %s", reason)
    return "cpu"


@functools.cache
def why_no_cuda() -> str:
    """Return why no CUDA device can be used and what to do about it, or "" if one can."""
    if not _has_driver():
        return "no CUDA driver was found (on a machine with a GPU, install NVIDIA's driver)"
    try:
        from numba import cuda
    except ImportError as error:
        return f"numba.cuda cannot be imported ({error}; install radsynth[cuda])"
    try:
        if not cuda.is_available():
            fault = cuda.cuda_error()  # none where the driver works
            return f"the CUDA driver found no device ({fault})" if fault else _no_compiler("libnvvm")
        from glcm_cuda.engines.cuda.engine import probe

        probe()
    except Exception as error:
        first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
        if any(library in first_line.lower() for library in _COMPILERS):
            return _no_compiler(first_line)
        return (
            f"a CUDA kernel failed to run ({first_line}; update the driver and radsynth[cuda], free memory)"
        )
    return ""


def _no_compiler(what: str) -> str:
    """Return the message that CUDA's compiler is missing, and what of it."""
    return (
        f"CUDA's compiler was not found ({what}; install radsynth[cuda], or set CUDA_HOME to the folder of a "
        "CUDA toolkit, such as /usr/local/cuda)"
    )


def _has_driver() -> bool:
    """Return whether a CUDA driver may be present, without importing Numba, which takes half a second."""
    if any(os.environ.get(name, "0") != "0" for name in ("NUMBA_ENABLE_CUDASIM", "NUMBA_CUDA_DRIVER")):
        return True
    for library in ("libcuda.so.1", "libcuda.so", "/usr/lib/wsl/lib/libcuda.so.1", "nvcuda.dll"):
        with contextlib.suppress(OSError):
            ctypes.CDLL(library)
            return True
    return False
