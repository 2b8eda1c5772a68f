"""The family of grey-tone differences on CUDA devices."""
