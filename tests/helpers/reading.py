"""What may come of a damaged image."""

from __future__ import annotations

from pathlib import Path

from pipelines.images.reading import read_image


def read_or_refused_in_a_line(path: Path) -> None:
    """Hold that an image is read, or refused by a ValueError of one line."""
    message = ""
    try:
        read_image(path)
    except ValueError as error:
        message = str(error)
    assert "\n" not in message
