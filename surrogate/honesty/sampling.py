"""Which voxels of a synthetic map are checked: in a mask, by tissue, or apart from the flat background."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from glcm_cuda.settings import GLCMSettings

VOXELS = 2000
"""Voxels that are checked: enough to know the share with an error above any bound to about 2 %."""

CANDIDATES = 20_000
"""Voxels among which the background is sought: of a part with 1 in 10 of them, `VOXELS` are found."""

_MOST_AROUND = 121 * CANDIDATES
"""Voxels around all candidates: with large windows there are fewer candidates, which bounds the memory."""

_FEWEST = 100
"""Voxels inside texture below which those near its edge are taken too."""

_APART = 0.8
"""Largest ratio of the mean local entropies of background and the rest, if there are these two."""

BACKGROUND = "background"

Voxels = tuple[npt.NDArray[np.int64], ...]
"""Indices (z, y, x), (N,) each."""


@dataclass(frozen=True)
class Part:
    """Voxels of one part of an image, all different and with whole windows, in random order.

    Parameters
    ----------
    name : str
        Name of the part: "mask", a tissue, "background" and "texture", or "image" for all of it.
    voxels : tuple of (N,) int64 arrays
        Indices (z, y, x).
    label : int, optional
        Label of a tissue.
    """

    name: str
    voxels: Voxels
    label: int | None = None

    @property
    def is_background(self) -> bool:
        """Whether this is the flat part of an image, whose variation no map needs to follow."""
        return self.name == BACKGROUND


def part_of_mask(
    mask: npt.NDArray[np.bool_], settings: GLCMSettings, rng: np.random.Generator
) -> tuple[Part, ...]:
    """Return up to `VOXELS` random voxels of a (Z, Y, X) mask; none if no window in it is whole."""
    voxels = _drawn(mask, settings.radius, VOXELS, rng)
    return (Part("mask", voxels),) if voxels[0].size else ()


def parts_by_tissue(
    labels: npt.NDArray[np.integer],
    names: Mapping[int, str],
    settings: GLCMSettings,
    rng: np.random.Generator,
) -> tuple[Part, ...]:
    """Return random voxels of every (Z, Y, X) label but 0, in equal numbers as far as there are so many.

    `names` are those of the labels; a label without one is called "label N".
    """
    present = [int(label) for label in np.unique(labels) if label]
    parts = []
    for label in present:
        voxels = _drawn(labels == label, settings.radius, VOXELS // len(present), rng)
        parts.append(Part(names.get(label, f"label {label}"), voxels, label))
    return tuple(part for part in parts if part.voxels[0].size)


def parts_by_texture(
    levels: npt.NDArray[np.unsignedinteger], settings: GLCMSettings, rng: np.random.Generator
) -> tuple[Part, ...]:
    """Return random voxels inside texture and of the rest; if there is no background, of the whole image.

    Most voxels of an image are background as a rule, and any map follows the step from there to the body: a
    sample of the whole image says little about the map where it is looked at.

    Parameters
    ----------
    levels : (Z, Y, X) array
        Grey levels.
    settings : GLCMSettings
        Settings of the map.
    rng : numpy Generator
        Source of chance.

    Returns
    -------
    tuple of Part
        Up to `VOXELS` each.
    """
    number = max(2 * VOXELS, min(CANDIDATES, _MOST_AROUND // (2 * settings.edge + 1) ** 2))
    voxels = random_voxels(levels.shape, settings.radius, number, rng)
    textured = _inside_texture(levels, voxels, settings)
    if textured.all():
        return (Part("image", _first(voxels)),)
    background = Part(BACKGROUND, _first(tuple(axis[~textured] for axis in voxels)))
    return Part("texture", _first(tuple(axis[textured] for axis in voxels))), background


def _inside_texture(
    levels: npt.NDArray[np.unsignedinteger], voxels: Voxels, settings: GLCMSettings
) -> npt.NDArray[np.bool_]:
    """Tell voxels inside texture from those in the flat background and those whose windows reach into it.

    Near the edge a map follows the step to the background, which says nothing of the texture beside it.
    """
    entropy = local_entropy(surroundings(levels, voxels, settings.edge))
    textured = is_textured(entropy)
    if textured.all():
        return textured
    threshold, beside = entropy[~textured].max(), settings.radius + 1
    inside = textured.copy()
    for rows in (-beside, beside):
        for columns in (-beside, beside):
            z, y, x = (axis[inside] for axis in voxels)
            moved = (z, y + rows, x + columns)
            inside[inside] = local_entropy(surroundings(levels, moved, settings.edge)) > threshold
    return inside if np.count_nonzero(inside) >= _FEWEST else textured


def surroundings(
    levels: npt.NDArray[np.unsignedinteger], voxels: Voxels, radius: int
) -> npt.NDArray[np.unsignedinteger]:
    """Return the (N, w, w) squares around voxels, moved into the slice where they reach over its border.

    `w` is ``2 * radius + 1``, or less in a smaller slice.
    """
    radius = min(radius, (min(levels.shape[1:]) - 1) // 2)
    z, y, x = voxels
    rows, columns = (
        np.clip(axis, radius, length - radius - 1)
        for axis, length in zip((y, x), levels.shape[1:], strict=True)
    )
    return windows_at(levels, (z, rows, columns), radius)


def local_entropy(windows: npt.NDArray[np.unsignedinteger]) -> npt.NDArray[np.float64]:
    """Return the entropy of the grey levels in (N, w, w) windows, in bits, (N,)."""
    number = len(windows)
    codes = windows.reshape(number, -1).astype(np.int64)
    most = int(codes.max(initial=0)) + 1
    codes += most * np.arange(number)[:, None]
    shares = np.bincount(codes.ravel(), minlength=most * number).reshape(number, most) / codes.shape[1]
    entropy: npt.NDArray[np.float64] = -np.sum(shares * np.log2(np.where(shares > 0, shares, 1)), axis=1)
    return entropy


def is_textured(entropy: npt.NDArray[np.floating]) -> npt.NDArray[np.bool_]:
    """Tell voxels in texture from those in a flat background, by their local entropy.

    The threshold is the one that leaves the least variance within the two classes. There is a background if
    the mean of the lower class is well below that of the upper one; without one, all count as textured, since
    the classes of a single peak are its two halves.

    Parameters
    ----------
    entropy : (N,) array
        Local entropies, finite; N is at least 1.

    Returns
    -------
    (N,) bool array

    References
    ----------
    Otsu 1979, A threshold selection method from gray-level histograms.
    """
    ordered = np.sort(entropy.astype(np.float64))
    below = np.arange(1, ordered.size)
    sums = np.cumsum(ordered)
    low, high = sums[:-1] / below, (sums[-1] - sums[:-1]) / (ordered.size - below)
    between = below * (ordered.size - below) * (high - low) ** 2
    if not between.size or not between.max() > 0:
        return np.ones(entropy.shape, np.bool_)
    best = int(between.argmax())
    if low[best] > _APART * high[best]:
        return np.ones(entropy.shape, np.bool_)
    textured: npt.NDArray[np.bool_] = entropy > ordered[best]
    return textured


def random_voxels(shape: tuple[int, ...], radius: int, most: int, rng: np.random.Generator) -> Voxels:
    """Return up to `most` different random voxels of an image whose windows are whole, in random order."""
    inner = (shape[0], shape[1] - 2 * radius, shape[2] - 2 * radius)
    number = int(np.prod(inner))
    return _moved(rng.choice(number, min(most, number), replace=False), inner, radius)


def windows_at(
    levels: npt.NDArray[np.unsignedinteger], voxels: Voxels, radius: int
) -> npt.NDArray[np.unsignedinteger]:
    """Return the (N, w, w) windows around voxels of (Z, Y, X) levels."""
    z, y, x = voxels
    edge = 2 * radius + 1
    windows = np.lib.stride_tricks.sliding_window_view(levels, (edge, edge), axis=(1, 2))
    return windows[z, y - radius, x - radius]


def _drawn(part: npt.NDArray[np.bool_], radius: int, most: int, rng: np.random.Generator) -> Voxels:
    """Return up to `most` random voxels of a part of the image whose windows are whole."""
    rows, columns = part.shape[1:]
    inner = part[:, radius : rows - radius, radius : columns - radius]
    members = np.flatnonzero(inner)
    return _moved(rng.choice(members, min(most, members.size), replace=False), inner.shape, radius)


def _moved(flat: npt.NDArray[np.int64], inner: tuple[int, ...], radius: int) -> Voxels:
    """Return the indices in the image of voxels that are numbered in its inner part."""
    z, y, x = np.unravel_index(flat, inner)
    return z, y + radius, x + radius


def _first(voxels: Voxels) -> Voxels:
    return tuple(axis[:VOXELS] for axis in voxels)
