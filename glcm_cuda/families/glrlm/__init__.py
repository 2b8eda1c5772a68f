"""The run-length family."""
