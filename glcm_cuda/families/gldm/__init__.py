"""The dependence family."""
