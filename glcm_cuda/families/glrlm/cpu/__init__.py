"""The run-length family on the CPU."""
