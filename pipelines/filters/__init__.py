"""Filters: images derived from an image, whose features are then computed like those of the image itself."""
