"""Lowest layer of the engine: files, threads, blocks, checks."""
