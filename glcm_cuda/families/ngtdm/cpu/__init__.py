"""The family of grey-tone differences on the CPU."""
