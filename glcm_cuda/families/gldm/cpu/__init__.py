"""The dependence family on the CPU."""
