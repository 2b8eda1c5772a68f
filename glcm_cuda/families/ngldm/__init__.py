"""Features of dependences that IBSI has and pyradiomics lacks."""
