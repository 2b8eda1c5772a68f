"""Which voxels become training samples, and what is kept of each."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

MAX_LABEL = 255
BACKGROUND = 0


class Samples(NamedTuple):
    """Training samples of one case, or rows of a store; one entry per sample in every field."""

    patches: npt.NDArray[np.uint8]
    """(n, w, w) grey levels of the window around the voxel."""
    entropy: npt.NDArray[np.float32]
    """(n,) exact entropy of the voxel, in the unit of the settings' logarithm."""
    slice: npt.NDArray[np.int32]
    """(n,) index of the voxel along Z."""
    row: npt.NDArray[np.int32]
    """(n,) index of the voxel along Y."""
    column: npt.NDArray[np.int32]
    """(n,) index of the voxel along X."""
    label: npt.NDArray[np.uint8]
    """(n,) tissue label of the voxel; 0 where there is none."""


def sample_voxels(
    labels: npt.NDArray[np.integer] | None,
    shape: tuple[int, int, int],
    radius: int,
    count: int,
    rng: np.random.Generator,
) -> npt.NDArray[np.int64]:
    """Voxels to learn from: random, in equal shares per tissue, in random order.

    Only voxels whose whole in-plane window lies inside the image are drawn, none twice. Every label
    present gets an equal share of `count`. What a tissue is too small to give is shared among the
    other tissues, but the background (label 0) never gets more than its equal share, unless it is
    all there is.

    Parameters
    ----------
    labels : (Z, Y, X) array of integers in [0, 255], or None
        Tissue labels; None means background everywhere.
    shape : (Z, Y, X)
        Shape of the image.
    radius : int
        Voxels between the centre of the window and its edge.
    count : int
        Samples wanted; fewer are returned where the tissues hold fewer voxels.
    rng : numpy Generator
        Source of chance; equal states give equal voxels.

    Returns
    -------
    (n, 3) int64 array
        Indices (z, y, x), ``n <= count``.

    Raises
    ------
    TypeError, ValueError
        If the labels are not integers from 0 to 255 in the image's shape, if no whole window fits in
        the image, or if `count` is less than 1.
    """
    if count < 1:
        msg = f"the number of samples must be at least 1, got {count}"
        raise ValueError(msg)
    interior = _interior_labels(labels, shape, radius)
    tissues = np.flatnonzero(np.bincount(interior.ravel(), minlength=MAX_LABEL + 1))
    members = {int(tissue): np.flatnonzero(interior == tissue) for tissue in tissues}
    shares = _shares({tissue: len(voxels) for tissue, voxels in members.items()}, count)
    drawn = [rng.choice(members[tissue], share, replace=False) for tissue, share in shares.items()]
    flat = rng.permutation(np.concatenate(drawn))
    z, y, x = np.unravel_index(flat, interior.shape)
    return np.stack([z, y + radius, x + radius], axis=1)


def take_samples(
    levels: npt.NDArray[np.uint8],
    entropy: npt.NDArray[np.float32],
    labels: npt.NDArray[np.integer] | None,
    voxels: npt.NDArray[np.int64],
    radius: int,
) -> Samples:
    """Patches, exact values and labels at the voxels that `sample_voxels` chose.

    Parameters
    ----------
    levels : (Z, Y, X) uint8 array
        Grey levels.
    entropy : (Z, Y, X) float32 array
        The exact map of these levels.
    labels : (Z, Y, X) array of integers in [0, 255], or None
        Tissue labels; None means 0 everywhere.
    voxels : (n, 3) array
        Indices (z, y, x) at least `radius` away from the border of the slice.
    radius : int
        Voxels between the centre of the window and its edge.

    Returns
    -------
    Samples
        One per voxel, in the order of `voxels`.
    """
    z, y, x = voxels.T
    window = (2 * radius + 1, 2 * radius + 1)
    windows = np.lib.stride_tricks.sliding_window_view(levels, window, axis=(1, 2))
    return Samples(
        patches=windows[z, y - radius, x - radius],
        entropy=entropy[z, y, x],
        slice=z.astype(np.int32),
        row=y.astype(np.int32),
        column=x.astype(np.int32),
        label=np.zeros(len(z), np.uint8) if labels is None else labels[z, y, x].astype(np.uint8),
    )


def _interior_labels(
    labels: npt.NDArray[np.integer] | None, shape: tuple[int, int, int], radius: int
) -> npt.NDArray[np.integer]:
    """Labels of the voxels whose whole window lies inside the image."""
    _, rows, columns = shape
    if min(rows, columns) <= 2 * radius:
        edge = 2 * radius + 1
        msg = f"image must hold a whole {edge}x{edge} window, got slices of {rows}x{columns} voxels"
        raise ValueError(msg)
    if labels is None:
        labels = np.zeros(shape, np.uint8)
    _check_labels(labels, shape)
    return labels[:, radius : rows - radius, radius : columns - radius]


def _check_labels(labels: npt.NDArray[np.integer], shape: tuple[int, int, int]) -> None:
    if labels.dtype.kind not in "iu":
        msg = f"labels must be integers, got dtype {labels.dtype}"
        raise TypeError(msg)
    if labels.shape != shape:
        msg = f"labels must have the image's shape {shape}, got {labels.shape}"
        raise ValueError(msg)
    low, high = labels.min(), labels.max()
    if low < BACKGROUND or high > MAX_LABEL:
        msg = f"labels must be from {BACKGROUND} to {MAX_LABEL}, got {low} to {high}"
        raise ValueError(msg)


def _shares(sizes: dict[int, int], count: int) -> dict[int, int]:
    """Share out the samples: equally, but no more than a tissue holds; see `sample_voxels`."""
    equal = count // len(sizes)
    limits = dict(sizes)
    if BACKGROUND in sizes and len(sizes) > 1:
        limits[BACKGROUND] = min(sizes[BACKGROUND], equal)
    shares: dict[int, int] = {}
    # Smallest first: what one cannot give is left for those that can.
    for tissue in sorted(limits, key=lambda tissue: (limits[tissue], tissue)):
        remaining = len(limits) - len(shares)
        shares[tissue] = min(limits[tissue], (count - sum(shares.values())) // remaining)
    return dict(sorted(shares.items()))
