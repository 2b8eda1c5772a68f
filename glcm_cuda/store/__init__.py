"""Patch stores: training samples with exact values, in HDF5."""
