"""Ground floor of the engine: files, threads, blocks, checks."""
