"""The family of zones by their distance from the border of a region."""
