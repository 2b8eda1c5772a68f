"""Co-occurrence features on CUDA devices."""
