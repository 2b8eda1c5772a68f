"""Texture families, their features, and the contract between a family and an engine."""
