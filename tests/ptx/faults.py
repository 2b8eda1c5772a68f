"""What the emulated driver found wrong, asked of it by the process that uses it."""

from __future__ import annotations

import ctypes

_LENGTH = 1000
"""Bytes that are enough for the text of a fault."""


def why_not_emulated() -> str:
    """Return why the CUDA driver that this process gets is not the emulator, or an empty string."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        return f"no CUDA driver was found ({error})"
    if not hasattr(driver, "emulator_take_fault"):
        return "the CUDA driver that was found is another one than the emulator"
    return ""


def take_faults() -> list[str]:
    """Let the driver finish all work; return the faults since the last call, after which it works again."""
    driver = ctypes.CDLL("libcuda.so.1")
    text, found = ctypes.create_string_buffer(_LENGTH), []
    while driver.emulator_take_fault(text, _LENGTH):
        found.append(text.value.decode())
    return found
