"""The size-zone family."""
