"""The backends: they know blocks of a volume, not textures."""
