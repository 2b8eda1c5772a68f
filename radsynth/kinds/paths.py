"""Files and folders; what is made of them is an image of SimpleITK."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import SimpleITK

from pipelines.images.reading import read_image
from pipelines.images.volume import Volume
from radsynth.kinds.kind import Map, Spacing, refuse_spacing
from radsynth.kinds.sitk import placed


class PathKind:
    """Paths of images of every format that `pipelines.images.reading` reads."""

    name = "a path"
    takes_arrays = True

    def owns(self, image: object) -> bool:
        """Whether this is a path."""
        return isinstance(image, (str, os.PathLike))

    def is_placed(self, image: object) -> bool:
        """True: images in files have a place."""
        return True

    def volumes(self, image: str | os.PathLike[str], name: str, spacing: Spacing) -> tuple[Volume, ...]:
        """Return the image of a file or folder."""
        refuse_spacing(spacing, "an image in a file")
        return (read_image(Path(image)),)

    def image(
        self, maps: Sequence[Map], volumes: Sequence[Volume], source: object, *, moved: bool
    ) -> SimpleITK.Image:
        """Return a map as an image of SimpleITK."""
        return placed(maps[0], volumes[0])
