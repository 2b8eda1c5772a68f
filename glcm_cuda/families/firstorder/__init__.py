"""First-order statistics of intensities, and of levels."""
