"""The size-zone family on the CPU."""
