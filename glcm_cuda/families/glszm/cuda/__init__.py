"""The size-zone family on CUDA devices."""
