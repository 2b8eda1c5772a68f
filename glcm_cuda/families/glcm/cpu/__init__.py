"""Co-occurrence features on the CPU."""
