"""The grey-level co-occurrence matrix."""
