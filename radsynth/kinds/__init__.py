"""Kinds of images: how each becomes a volume, and how maps become images of the kind."""
