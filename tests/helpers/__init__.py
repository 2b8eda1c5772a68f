"""What several test modules share: files to read, stores, the command line."""

from pathlib import Path

TESTS = str(Path(__file__).parents[1])
"""Folder to put on the path of a script that imports these helpers."""
