"""Reading, preparing and writing medical images."""
