"""An emulator of CUDA devices: runs the PTX that `cuda.jit` links on the CPU, under an unmodified numba-cuda.

docs/ptx.md says how it works and what it cannot show.
"""
