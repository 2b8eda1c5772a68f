"""The run-length family on CUDA devices."""
