"""Synthetic breast volumes with tissue labels: who the phantoms are and what they look like.

Nothing here comes from a patient. The anatomy is a handful of curves and filtered noise, made to look like
fat-suppressed, post-contrast MR of both breasts in an axial plane, front at the top.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Array = npt.NDArray[np.float32]

TISSUES = {1: "fatty", 2: "glandular", 3: "lesion"}
GROUPS = {"benign": 10, "malignant": 10, "normal": 4}
FATTY, GLANDULAR, LESION = 1, 2, 3
FIELD_OF_VIEW_MM = 350.0
SLICE_THICKNESS_MM = 3.0


@dataclass(frozen=True)
class _Grid:
    """Coordinates in mm: z from the middle slice, y from the front, x from the midline."""

    z: Array
    y: Array
    x: Array
    spacing_mm: tuple[float, float, float]

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.z.shape[0], self.y.shape[1], self.x.shape[2]


@dataclass(frozen=True)
class _Anatomy:
    """What differs between patients; lengths in mm, intensities before gain and bias."""

    chest_y: float
    breast_x: float
    breast_width: float
    breast_depth: float
    skin: float
    density: float
    fat: float
    gland: float
    gland_texture: float
    lesion: float
    lesion_radius: float
    lesion_side: int
    lesion_place: tuple[float, float]
    bias: float
    noise: float
    gain: float


def phantom_patients() -> list[tuple[str, str]]:
    """Return (patient, group) of the whole cohort, in its order."""
    return [
        (f"phantom-{group}-{number:02d}", group)
        for group, count in GROUPS.items()
        for number in range(1, count + 1)
    ]


def phantom_volume(
    patient: str, *, size: int = 512, slices: int = 8, seed: int = 0, acquisition: int = 0
) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.uint8]]:
    """Return one synthetic patient.

    Parameters
    ----------
    patient : str
        One of `phantom_patients`; with `seed` it fixes the anatomy and the noise, whatever other
        patients are made.
    size : int
        Rows and columns of a slice, over 350 mm.
    slices : int
        Slices of 3 mm.
    seed : int
        Not negative.
    acquisition : int
        Others than 0 repeat the scan: the same anatomy and coil, other noise.

    Returns
    -------
    image : (slices, size, size) int16 array
        Arbitrary units, 0 and up.
    labels : (slices, size, size) uint8 array
        0 background (air, skin, chest), 1 fatty, 2 glandular, 3 lesion.

    Raises
    ------
    ValueError
        If there is no such patient.
    """
    cohort = phantom_patients()
    names = [name for name, _ in cohort]
    if patient not in names:
        msg = f"patient must be one of {names[0]} to {names[-1]}, got {patient!r}"
        raise ValueError(msg)
    number = names.index(patient)
    rng = np.random.default_rng([seed, number])
    anatomy = _drawn_anatomy(rng, cohort[number][1])
    grid = _grid(size, slices)
    signal, labels = _tissues(rng, grid, anatomy, cohort[number][1])
    noise = rng if acquisition == 0 else np.random.default_rng([seed, number, acquisition])
    return _acquired(rng, noise, grid, anatomy, signal), labels


def _drawn_anatomy(rng: np.random.Generator, group: str) -> _Anatomy:
    # The widest lesions are the malignant ones; none is so small that it vanishes in 128 x 128.
    radius = rng.uniform(9.0, 13.0) if group == "benign" else rng.uniform(12.0, 19.0)
    return _Anatomy(
        chest_y=rng.uniform(190.0, 215.0),
        breast_x=rng.uniform(74.0, 84.0),
        breast_width=rng.uniform(60.0, 74.0),
        breast_depth=rng.uniform(80.0, 125.0),
        skin=rng.uniform(1.8, 3.0),
        density=rng.uniform(0.12, 0.45),
        fat=rng.uniform(110.0, 170.0),
        gland=rng.uniform(280.0, 420.0),
        gland_texture=rng.uniform(15.0, 60.0),
        lesion=rng.uniform(520.0, 800.0),
        lesion_radius=radius,
        lesion_side=int(rng.choice((-1, 1))),
        lesion_place=(rng.uniform(-0.35, 0.35), rng.uniform(0.35, 0.62)),
        bias=rng.uniform(0.05, 0.2),
        noise=rng.uniform(5.0, 14.0),
        gain=rng.uniform(0.7, 1.5),
    )


def _grid(size: int, slices: int) -> _Grid:
    edge = FIELD_OF_VIEW_MM / size
    across = (np.arange(size, dtype=np.float32) + 0.5) * edge
    return _Grid(
        z=((np.arange(slices, dtype=np.float32) - (slices - 1) / 2) * SLICE_THICKNESS_MM)[:, None, None],
        y=across[None, :, None],
        x=(across - FIELD_OF_VIEW_MM / 2)[None, None, :],
        spacing_mm=(SLICE_THICKNESS_MM, edge, edge),
    )


def _tissues(
    rng: np.random.Generator, grid: _Grid, anatomy: _Anatomy, group: str
) -> tuple[Array, npt.NDArray[np.uint8]]:
    """Signal without bias and noise, and tissue labels."""
    breast, place = _breasts(rng, grid, anatomy)
    radius = _body_radius(grid, anatomy)
    body = breast | (radius < 1.0)
    skin = body & _near_air(body, grid, anatomy.skin)
    interior = breast & ~skin & (radius > 0.95)
    signal = np.where(body, _fat(rng, grid, anatomy), np.float32(4.0))
    gland = _gland(rng, grid, anatomy, interior, place)
    signal += gland * (_gland_signal(rng, grid, anatomy) - signal)
    signal += np.where(interior, _vessels(rng, grid), 0.0)
    chest = (radius < 0.95) & body & ~skin
    signal = np.where(chest, _chest(rng, grid, anatomy, radius), signal)
    signal = np.where(skin, np.float32(0.8 * anatomy.gland), signal)
    labels = np.where(interior, np.uint8(FATTY), np.uint8(0))
    labels[interior & (gland > 0.5)] = GLANDULAR
    if group != "normal":
        share, enhanced = _lesion(rng, grid, anatomy, malignant=group == "malignant")
        share = np.where(interior, share, 0.0)
        signal += share * (enhanced - signal)
        labels[share > 0.5] = LESION
    return signal.astype(np.float32), labels


def _breasts(rng: np.random.Generator, grid: _Grid, anatomy: _Anatomy) -> tuple[npt.NDArray[np.bool_], Array]:
    """Where the breasts are, and the distance from the gland's centre in units of the gland."""
    across = np.abs(grid.x) - anatomy.breast_x
    forward = (anatomy.chest_y - grid.y) / anatomy.breast_depth
    width = anatomy.breast_width * np.sqrt(np.clip(1.0 - (grid.z / 90.0) ** 2, 0.2, 1.0))
    outline = np.abs(across / width) ** 2.2 + np.where(forward < 0.0, forward / 0.7, forward) ** 2
    nipple = (across / 5.0) ** 2 + ((forward - 1.0) * anatomy.breast_depth / 8.0) ** 2 + (grid.z / 6.0) ** 2
    breast = (outline + 0.05 * _field(rng, grid, 60.0) < 1.0) | (nipple < 1.0)
    place = np.sqrt((across / (0.75 * width)) ** 2 + ((forward - 0.5) / 0.5) ** 2)
    return breast, np.asarray(place, np.float32)


def _body_radius(grid: _Grid, anatomy: _Anatomy) -> Array:
    """Elliptic radius of the chest: 1 at its skin."""
    centre = anatomy.chest_y + 128.0
    radius = np.sqrt((grid.x / 172.0) ** 2 + ((grid.y - centre) / 133.0) ** 2)
    return np.asarray(np.broadcast_to(radius, grid.shape), np.float32)


def _near_air(body: npt.NDArray[np.bool_], grid: _Grid, thickness: float) -> npt.NDArray[np.bool_]:
    """Where the air is nearer than the skin is thick, in the plane of the slice."""
    edge = grid.spacing_mm[1]
    depth = np.stack([ndimage.distance_transform_edt(plane, sampling=edge) for plane in body])
    return np.asarray(depth <= max(thickness, edge))


def _fat(rng: np.random.Generator, grid: _Grid, anatomy: _Anatomy) -> Array:
    """Dim, gently uneven, with thin septa."""
    septa = np.exp(-((_field(rng, grid, 14.0) / 0.07) ** 2))
    texture = 0.05 * _field(rng, grid, 25.0) + 0.06 * _field(rng, grid, 5.0) + 0.35 * septa
    return np.asarray(anatomy.fat * (1.0 + texture), np.float32)


def _gland(
    rng: np.random.Generator,
    grid: _Grid,
    anatomy: _Anatomy,
    interior: npt.NDArray[np.bool_],
    place: Array,
) -> Array:
    """Share of glandular tissue, 0 to 1: fronds around the centre of each breast."""
    score = -1.2 * place + 0.55 * _field(rng, grid, 16.0) + 0.25 * _field(rng, grid, 5.0)
    threshold = np.quantile(score[interior], 1.0 - anatomy.density)
    share = 1.0 / (1.0 + np.exp(np.clip(-(score - threshold) / 0.12, -30.0, 30.0)))
    return np.asarray(np.where(interior, share, 0.0), np.float32)


def _gland_signal(rng: np.random.Generator, grid: _Grid, anatomy: _Anatomy) -> Array:
    """Lobules and ducts: ridges over blobs."""
    blobs = _field(rng, grid, 9.0)
    ridges = 1.0 - 2.0 * np.abs(_field(rng, grid, 6.0))
    return np.asarray(anatomy.gland + anatomy.gland_texture * (0.6 * blobs + 0.7 * ridges), np.float32)


def _vessels(rng: np.random.Generator, grid: _Grid) -> Array:
    """Short bright lines."""
    line = np.exp(-((_field(rng, grid, 30.0) / 0.03) ** 2))
    return np.asarray(380.0 * line * (_field(rng, grid, 35.0) > 0.9), np.float32)


def _chest(rng: np.random.Generator, grid: _Grid, anatomy: _Anatomy, radius: Array) -> Array:
    """Muscle with ribs, lungs, heart."""
    behind = grid.y - anatomy.chest_y
    angle = np.arctan2(grid.x, 128.0 - behind)
    muscle = 210.0 * (1.0 + 0.08 * _field(rng, grid, 6.0) + 0.05 * np.sin(radius * 150.0))
    along_rib = np.clip(4.0 * np.cos(9.0 * angle + grid.z / 9.0), 0.0, 1.0)
    rib = along_rib * np.exp(-(((radius - 0.81) / 0.035) ** 4))
    lung = 35.0 + 12.0 * _field(rng, grid, 8.0)
    signal = np.where(radius > 0.75, muscle - 120.0 * rib, lung)
    heart = ((grid.x - 32.0) / 52.0) ** 2 + ((behind - 95.0) / 48.0) ** 2 + 0.1 * _field(rng, grid, 30.0)
    blood = 560.0 + 60.0 * _field(rng, grid, 12.0)
    return np.asarray(np.where((heart < 1.0) & (radius < 0.75), blood, signal), np.float32)


def _lesion(
    rng: np.random.Generator, grid: _Grid, anatomy: _Anatomy, *, malignant: bool
) -> tuple[Array, Array]:
    """Share of the lesion, 0 to 1, and the signal inside it."""
    sideways, forward = anatomy.lesion_place
    x = grid.x - anatomy.lesion_side * (anatomy.breast_x + sideways * anatomy.breast_width)
    y = grid.y - (anatomy.chest_y - forward * anatomy.breast_depth)
    flattening, tilt = rng.uniform(0.75, 1.0), rng.uniform(0.0, np.pi)
    along = x * np.cos(tilt) + y * np.sin(tilt)
    across = (y * np.cos(tilt) - x * np.sin(tilt)) / flattening
    radius = np.sqrt(along**2 + across**2 + (0.8 * grid.z) ** 2) / anatomy.lesion_radius
    edge = _spiculated(rng, grid, np.arctan2(y, x), radius) if malignant else radius
    softness = max(0.08, 0.5 * grid.spacing_mm[1] / anatomy.lesion_radius)
    share = 1.0 / (1.0 + np.exp(np.clip((edge - 1.0) / (0.5 * softness), -30.0, 30.0)))
    inside = _heterogeneous(rng, grid, edge) if malignant else _smooth(rng, grid)
    return share.astype(np.float32), (anatomy.lesion * inside).astype(np.float32)


def _spiculated(rng: np.random.Generator, grid: _Grid, angle: Array, radius: Array) -> Array:
    """Radius shortened along rays, so that the lesion reaches out there, and lobulated elsewhere."""
    reach = np.zeros_like(angle)
    for ray in rng.uniform(-np.pi, np.pi, int(rng.integers(9, 15))):
        apart = np.angle(np.exp(1j * (angle - ray)))
        # A spicule keeps its width in mm: its angle narrows with the radius.
        width = 0.16 / np.maximum(radius, 0.5)
        reach = np.maximum(reach, rng.uniform(0.3, 0.9) * np.exp(-((apart / width) ** 2)))
    return np.asarray(radius / (1.0 + reach) + 0.12 * _field(rng, grid, 6.0), np.float32)


def _heterogeneous(rng: np.random.Generator, grid: _Grid, edge: Array) -> Array:
    """Bright rim, uneven inside, a dimmer core."""
    rim = np.exp(-(((edge - 0.8) / 0.22) ** 2))
    core = np.exp(-((edge / 0.55) ** 4))
    uneven = rng.uniform(0.03, 0.09) * _field(rng, grid, 4.0) + 0.08 * _field(rng, grid, 10.0)
    inside = 0.8 + 0.25 * rim - rng.uniform(0.1, 0.45) * core + uneven
    return np.asarray(np.clip(inside, 0.25, 1.5), np.float32)


def _smooth(rng: np.random.Generator, grid: _Grid) -> Array:
    """Even, with dark septa."""
    septa = np.exp(-((_field(rng, grid, 12.0) / 0.06) ** 2))
    return np.asarray(0.85 + 0.04 * _field(rng, grid, 9.0) - 0.2 * septa, np.float32)


def _acquired(
    rng: np.random.Generator, noise: np.random.Generator, grid: _Grid, anatomy: _Anatomy, signal: Array
) -> npt.NDArray[np.int16]:
    """Blurred by the point spread, shaded by the coil, with Rician noise, in whole numbers."""
    blurred = ndimage.gaussian_filter(signal, (0.0, 0.45, 0.45))
    coil = 1.12 - 0.3 * grid.y / FIELD_OF_VIEW_MM
    shaded = blurred * coil * np.exp(anatomy.bias * _field(rng, grid, 140.0))
    real = shaded + anatomy.noise * noise.standard_normal(grid.shape, np.float32)
    imaginary = anatomy.noise * noise.standard_normal(grid.shape, np.float32)
    magnitude = anatomy.gain * np.hypot(real, imaginary)
    return np.asarray(np.clip(np.rint(magnitude), 0, np.iinfo(np.int16).max), np.int16)


def _field(rng: np.random.Generator, grid: _Grid, scale_mm: float) -> Array:
    """Gaussian random field, mean 0 and deviation 1, that varies over `scale_mm`.

    Smoothed where it is coarse and enlarged from there: a wide filter on the full grid is slow.
    """
    step = np.maximum(scale_mm / 4.0, grid.spacing_mm)
    extent = np.array(grid.shape) * grid.spacing_mm
    coarse = np.ceil(extent / step).astype(int) + 1
    sigma = scale_mm / 2.5 / step
    margin = np.ceil(3.0 * sigma).astype(int)
    white = rng.standard_normal(coarse + 2 * margin, np.float32)
    smooth = ndimage.gaussian_filter(white, sigma)
    inner = tuple(slice(edge, edge + length) for edge, length in zip(margin, coarse, strict=True))
    field = np.asarray(smooth[inner] / _deviation_after(sigma), np.float32)
    for axis, (length, spacing) in enumerate(zip(grid.shape, grid.spacing_mm, strict=True)):
        field = _enlarged(field, axis, length, spacing / step[axis])
    return field


def _deviation_after(sigma: npt.NDArray[np.float64]) -> float:
    """Standard deviation of white noise after the filter: the root of its squared weights' sum."""
    deviation = 1.0
    for width in sigma:
        reach = int(4.0 * width + 0.5)
        weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / width) ** 2)
        deviation *= float(np.sqrt(np.sum(weights**2)) / np.sum(weights))
    return deviation


def _enlarged(array: Array, axis: int, length: int, step: float) -> Array:
    """Array sampled linearly every `step` along an axis."""
    at = np.arange(length, dtype=np.float32) * np.float32(step)
    low = np.minimum(at.astype(int), array.shape[axis] - 2)
    shape = [1, 1, 1]
    shape[axis] = length
    share = (at - low).astype(np.float32).reshape(shape)
    between = np.take(array, low, axis) * (1.0 - share) + np.take(array, low + 1, axis) * share
    return np.asarray(between, np.float32)
