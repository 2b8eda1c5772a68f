"""The dependence family on CUDA devices."""
