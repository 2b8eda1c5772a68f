"""Filters as the IBSI defines them in its second part; the library of pyradiomics' image types is beside."""
