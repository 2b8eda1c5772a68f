"""How much the features of one window depend on the convention.

    python benchmarks/conventions.py

A block of integers, whose middle slice is the 5x5 window below, and an MR slice from pydicom are mapped
with every preset and with single changes of the preset radsynth. The table, in Markdown, gives the features
at the centre of the window, and for the slice the mean joint entropy in a disc and its mean absolute
difference from radsynth's. Nothing is random; docs/conventions.md contains the table.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom import examples

from glcm_cuda import GLCMSettings, entropy_map, feature_maps, quantize
from glcm_cuda.settings import PRESETS

WINDOW = np.array(
    [
        [96, 98, 103, 120, 131],
        [97, 96, 118, 133, 140],
        [103, 118, 131, 141, 131],
        [118, 127, 140, 141, 160],
        [127, 131, 141, 160, 175],
    ]
)
BLOCK = np.stack([np.roll(WINDOW, shift, axis=0) for shift in range(-2, 3)])
"""The window with two slices on either side, whose rows are rolled; 2D windows see only the middle slice."""

FEATURES = ("joint_entropy", "contrast", "joint_average", "correlation", "mcc")
BYTES = (0.0, 256.0)
RADIUS = 60
"""Of the disc in the middle of the MR slice, in pixels."""

CHANGES: dict[str, dict[str, Any]] = {
    "not symmetric": {"symmetric": False},
    "merged": {"aggregate": "merge"},
    "merged, not symmetric": {"aggregate": "merge", "symmetric": False},
    "natural logarithm": {"log_base": "e"},
    "logarithm to base 10": {"log_base": 10},
    "lowest level 0": {"first_level": 0},
    "8 levels": {"levels": 8},
    "16 levels": {"levels": 16},
    "32 levels": {"levels": 32},
    "128 levels": {"levels": 128},
    "256 levels": {"levels": 256},
    "64 levels, pyradiomics' edges": {"bin_edges": "pyradiomics"},
    "bin width 25, IBSI": {"bin_width": 25.0},
    "bin width 25, pyradiomics": {"bin_width": 25.0, "bin_edges": "pyradiomics"},
    "percentiles 1 to 99": {"percentiles": (1.0, 99.0)},
    "mean ± 1 standard deviation": {"deviations": 1.0},
    "distance 2, scaled": {"distance": 2},
    "distance 2, all": {"distance": 2, "directions": "all"},
    "distances 1 and 2, scaled": {"distance": (1, 2)},
    "window 3x3": {"window": 3},
}
MASKED: dict[str, dict[str, Any]] = {
    "mask, nothing else": {},
    "mask, unmasked window": {"masked_window": False},
    "mask, bins over the mask": {"range_over": "mask"},
    "mask, bins over the crop": {"range_over": "crop"},
    "mask, bins over the crop, unmasked window": {"range_over": "crop", "masked_window": False},
}
"""Settings used with a mask: the window without its corners."""


def main() -> None:
    everything = np.ones(BLOCK.shape, np.uint8)
    no_corners = everything.copy()
    no_corners[:, ::4, ::4] = 0
    image = examples.overlay.pixel_array
    disc = disc_of(image.shape)
    reference = entropy_map(image, mask=disc, backend="cpu")

    def row(name: str, settings: GLCMSettings, mask: npt.NDArray[np.uint8]) -> None:
        maps = feature_maps(BLOCK, FEATURES, settings, mask=mask, backend="cpu")
        cells = [f"{maps[feature][2, 2, 2]:.4g}" for feature in FEATURES[1:]]
        cells.insert(0, f"{maps['joint_entropy'][2, 2, 2]:.4f}")
        if settings.dimensions == 3:
            cells += ["", ""]
        else:
            entropy = entropy_map(as_needed(image, settings), settings, mask=disc, backend="cpu")
            inside = disc != 0
            difference = np.abs(entropy - reference)[inside]
            cells += [f"{np.nanmean(entropy[inside]):.4f}", f"{np.nanmean(difference):.4f}"]
        print(f"| {name} | {' | '.join(cells)} |")

    print(f"| settings | {' | '.join(name.replace('_', ' ') for name in FEATURES)} | MR, mean | MR, moved |")
    print("|---|" + "--:|" * (len(FEATURES) + 2))
    for name in PRESETS:
        row(f"`{name}`", GLCMSettings.preset(name), everything)
        if name == "pyradiomics":
            flat = dataclasses.replace(GLCMSettings.preset(name), dimensions=2)
            row("`pyradiomics`, 2D", flat, everything)
            row("`pyradiomics`, 2D, 5x5", dataclasses.replace(flat, window=5), everything)
    for name, fields in CHANGES.items():
        row(name, GLCMSettings(**fields), everything)
    for name, fields in MASKED.items():
        row(name, GLCMSettings(**fields), no_corners)


def disc_of(shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    """Return a mask of a disc in the middle."""
    rows, columns = np.indices(shape)
    distance2 = (rows - shape[0] // 2) ** 2 + (columns - shape[1] // 2) ** 2
    disc: npt.NDArray[np.uint8] = (distance2 <= RADIUS**2).astype(np.uint8)
    return disc


def as_needed(image: npt.NDArray[Any], settings: GLCMSettings) -> npt.NDArray[Any]:
    """Return the image, in 256 equal bins if the settings expect 8-bit levels."""
    if settings.intensity_range != BYTES:
        return image
    return quantize(image, GLCMSettings(levels=256))


if __name__ == "__main__":
    main()
