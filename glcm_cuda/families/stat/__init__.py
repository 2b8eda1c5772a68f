"""Statistics of the intensities of a region that IBSI has and pyradiomics lacks."""
