"""The intensity histogram: statistics of the levels of a region."""
