"""The two places that a NIfTI header may state for its voxels, sform and qform, and what they are.

Readers differ in which one they follow: FSL and nibabel take the sform, ITK and 3D Slicer the qform unless
the sform is marked as scanner coordinates. So a map keeps both forms of its image.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

CODES = {0: "unknown", 1: "scanner", 2: "aligned", 3: "Talairach", 4: "MNI", 5: "template"}
_MM_OF_UNITS = {1: 1e3, 3: 1e-3}
_SPATIAL_UNITS = 0b111
_SAME_DIRECTION = 1e-4
_LARGEST_ITK_SHEAR = 1e-5

Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True)
class NiftiForms:
    """The geometry fields of a NIfTI-1 header, as they are stored.

    Parameters
    ----------
    pixdim : tuple of 4 floats
        Handedness of the qform, then the spacing along x, y and z.
    qform_code, sform_code : int
        What the coordinates refer to, see `CODES`; 0 where the form is not given.
    quaternion, offset : tuples of 3 floats
        Rotation and origin of the qform.
    rows : tuple of 12 floats
        The sform.
    units : int
        Code of the unit of lengths.
    """

    pixdim: tuple[float, ...]
    qform_code: int
    sform_code: int
    quaternion: tuple[float, ...]
    offset: tuple[float, ...]
    rows: tuple[float, ...]
    units: int = 0

    @classmethod
    def read(cls, header: bytes, order: str) -> NiftiForms:
        """Return the fields of a header of this byte order, ``<`` or ``>``."""
        return cls(
            pixdim=struct.unpack_from(f"{order}4f", header, 76),
            qform_code=max(struct.unpack_from(f"{order}h", header, 252)[0], 0),
            sform_code=max(struct.unpack_from(f"{order}h", header, 254)[0], 0),
            quaternion=struct.unpack_from(f"{order}3f", header, 256),
            offset=struct.unpack_from(f"{order}3f", header, 268),
            rows=struct.unpack_from(f"{order}12f", header, 280),
            units=header[123] & _SPATIAL_UNITS,
        )

    def written_into(self, header: bytes, order: str) -> bytes:
        """Return a header with these fields."""
        changed = bytearray(header)
        struct.pack_into(f"{order}4f", changed, 76, *self.pixdim)
        struct.pack_into(f"{order}2h", changed, 252, self.qform_code, self.sform_code)
        struct.pack_into(f"{order}6f", changed, 256, *self.quaternion, *self.offset)
        struct.pack_into(f"{order}12f", changed, 280, *self.rows)
        if self.units:
            changed[123] = changed[123] & ~_SPATIAL_UNITS | self.units
        return bytes(changed)

    @property
    def mm(self) -> float:
        """Millimetres in the header's unit of length."""
        return _MM_OF_UNITS.get(self.units, 1.0)

    @property
    def stated_spacing_mm(self) -> tuple[float, ...]:
        """The spacing along x, y and z that the header states beside the forms."""
        return tuple(edge * self.mm for edge in self.pixdim[1:])

    def matrices(self) -> dict[str, Matrix]:
        """Return the forms that are given, (3, 4), from voxel indices to mm (right, anterior, superior)."""
        forms = {"sform": (self.sform_code, self._sform), "qform": (self.qform_code, self._qform)}
        return {name: matrix() * self.mm for name, (code, matrix) in forms.items() if code > 0}

    def _sform(self) -> Matrix:
        return np.reshape(np.array(self.rows, np.float64), (3, 4))

    def _qform(self) -> Matrix:
        b, c, d = self.quaternion
        a = np.sqrt(max(0.0, 1.0 - b * b - c * c - d * d))
        rotation = np.array(
            [
                [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
                [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
                [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
            ]
        )
        handedness = -1.0 if self.pixdim[0] < 0 else 1.0
        columns = rotation * np.array([*self.pixdim[1:3], handedness * self.pixdim[3]])
        return np.column_stack([columns, self.offset])

    def cropped(self, start: tuple[float, float, float]) -> NiftiForms:
        """Return the forms of a part of the image that starts at this voxel (x, y, z)."""
        rows = self._sform()
        rows[:, 3] += rows[:, :3] @ start
        qform = self._qform()
        offset = qform[:, 3] + qform[:, :3] @ start
        return replace(self, rows=tuple(rows.ravel().tolist()), offset=tuple(offset.tolist()))

    def with_spacing_mm(self, spacing_mm: tuple[float, ...]) -> NiftiForms:
        """Return the forms with another spacing along the first axes."""
        edges = [edge / self.mm for edge in spacing_mm]
        return replace(self, pixdim=(self.pixdim[0], *edges, *self.pixdim[1 + len(edges) :]))

    def readable_in_itk(self, nearest: NiftiForms) -> NiftiForms:
        """Return the forms with a qform if the sform alone has no right angles, which ITK refuses.

        Parameters
        ----------
        nearest : NiftiForms
            What ITK wrote, in mm, for the nearest orthonormal axes.
        """
        if not self.sform_code or self.qform_code or not _is_sheared(self._sform()):
            return self
        offset = tuple(place / self.mm for place in nearest.offset)
        pixdim = (nearest.pixdim[0], *self.pixdim[1:])
        return replace(
            self, qform_code=self.sform_code, quaternion=nearest.quaternion, offset=offset, pixdim=pixdim
        )

    def distance_mm(self, shape: tuple[int, ...]) -> float:
        """Return how far apart the two forms place a corner of an image (Z, Y, X); 0 if one is given."""
        matrices = self.matrices()
        if len(matrices) < 2:
            return 0.0
        corners = corners_of(shape)
        places = [matrix[:, :3] @ corners + matrix[:, 3:] for matrix in matrices.values()]
        return float(np.linalg.norm(places[0] - places[1], axis=0).max())


@dataclass(frozen=True)
class Place:
    """Spacing, origin and direction of a form, in the order and signs of ITK."""

    spacing_mm: tuple[float, ...]
    origin_mm: tuple[float, ...]
    direction: tuple[float, ...]

    def is_at(self, origin_mm: tuple[float, ...], direction: tuple[float, ...]) -> bool:
        """Whether another place has this origin and direction."""
        near = 1e-3 * min(self.spacing_mm)
        return np.allclose(self.origin_mm, origin_mm, rtol=0, atol=near) and np.allclose(
            self.direction, direction, rtol=0, atol=_SAME_DIRECTION
        )


def _is_sheared(matrix: Matrix) -> bool:
    cosines = matrix[:, :3] / np.linalg.norm(matrix[:, :3], axis=0)
    return not np.allclose(cosines.T @ cosines, np.eye(3), rtol=0, atol=_LARGEST_ITK_SHEAR)


def place_of(matrix: Matrix) -> Place:
    """Return the place of a form, with the nearest orthonormal directions."""
    spacing = np.linalg.norm(matrix[:, :3], axis=0)
    left, _, right = np.linalg.svd(matrix[:, :3] / spacing)
    to_itk = np.array([[-1.0], [-1.0], [1.0]])
    direction, origin = (left @ right) * to_itk, matrix[:, 3] * to_itk[:, 0]
    return Place(tuple(spacing.tolist()), tuple(origin.tolist()), tuple(direction.ravel().tolist()))


def shear_voxels(matrix: Matrix, shape: tuple[int, ...]) -> float:
    """Return by how many voxels the nearest orthonormal axes move a voxel of an image (Z, Y, X), at most."""
    place = place_of(matrix)
    to_itk = np.array([[-1.0], [-1.0], [1.0]])
    straight = np.reshape(place.direction, (3, 3)) * to_itk * np.array(place.spacing_mm)
    moved = (matrix[:, :3] - straight) @ corners_of(shape)
    return float(np.linalg.norm(moved, axis=0).max() / min(place.spacing_mm))


def corners_of(shape: tuple[int, ...]) -> Matrix:
    """Return the corner voxels (x, y, z) of an image (Z, Y, X) or (Y, X), (3, 8)."""
    last = [edge - 1 for edge in (*reversed(shape), 1, 1)[:3]]
    return np.array(np.meshgrid(*[(0, end) for end in last])).reshape(3, -1).astype(float)
