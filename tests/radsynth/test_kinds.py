"""Every kind of image: the axes, the geometry and the values of its maps, on anisotropic, oblique images."""

from __future__ import annotations

import subprocess
import sys

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

import radsynth
from glcm_cuda import GLCMSettings, entropy_map, feature_maps

SHAPE = (4, 7, 9)  # z, y, x
SPACING = (0.7, 0.9, 3.0)  # x, y, z
SETTINGS = radsynth.Settings(levels=8, window=3)


@pytest.fixture
def array(rng):
    return rng.integers(0, 100, SHAPE).astype(np.int16)


@pytest.fixture
def inside(rng):
    """Return a mask that is another under every exchange of axes."""
    mask = np.zeros(SHAPE, np.uint8)
    mask[1:3, 2:6, 1:8] = rng.random((2, 4, 7)) < 0.8
    return mask


def oblique(array) -> sitk.Image:
    """Return an array as an image that is turned about all axes."""
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(SPACING)
    image.SetOrigin((-30.0, 12.5, 101.0))
    image.SetDirection(sitk.Euler3DTransform((0, 0, 0), 0.3, -0.2, 0.5).GetMatrix())
    return image


def in_nibabel(image: sitk.Image, kind=nibabel.Nifti1Image, dtype=np.int16):
    """Return an image of SimpleITK as nibabel would read it from a file."""
    cosines = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = cosines, image.GetOrigin()
    affine[:2] *= -1
    return kind(sitk.GetArrayFromImage(image).T.astype(dtype), affine)


def expected(array, mask=None, features="joint_entropy", **fields):
    settings = GLCMSettings(**{"levels": 8, "window": 3, **fields})
    maps = feature_maps(array, features, settings, mask=mask, backend="cpu", spacing=SPACING[::-1])
    return maps[features] if isinstance(features, str) else maps


def test_simpleitk_keeps_its_geometry(array, inside):
    image = oblique(array)
    made = radsynth.map(image, mask=oblique(inside), settings=SETTINGS)
    assert made.GetPixelID() == sitk.sitkFloat32
    assert [made.GetSize(), made.GetSpacing(), made.GetOrigin(), made.GetDirection()] == [
        image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection(),
    ]  # fmt: skip
    np.testing.assert_array_equal(sitk.GetArrayFromImage(made), expected(array, inside))


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image, nibabel.MGHImage])
def test_nibabel_keeps_class_affine_and_header(array, inside, kind):
    image, mask = (in_nibabel(oblique(values), kind) for values in (array, inside))
    if kind is not nibabel.MGHImage:
        image.set_sform(image.affine, code=4)
        image.header["descrip"], image.header["cal_max"] = b"a volume", 90
    made = radsynth.map(image, mask=mask, settings=SETTINGS)
    assert type(made) is kind
    assert made.get_data_dtype().newbyteorder("=") == np.float32
    np.testing.assert_array_equal(made.affine, image.affine)
    np.testing.assert_array_equal(np.asanyarray(made.dataobj), expected(array, inside).T)
    if kind is not nibabel.MGHImage:
        assert [int(made.header[name]) for name in ("sform_code", "cal_max")] == [4, 0]
        assert made.header["descrip"] == image.header["descrip"]


def test_nibabel_and_simpleitk_agree_where_a_file_was_read_by_both(array, inside, tmp_path):
    radsynth.write(oblique(array), tmp_path / "image.nii.gz")
    radsynth.write(in_nibabel(oblique(inside)), tmp_path / "mask.nii.gz")
    by_nibabel = nibabel.load(tmp_path / "image.nii.gz")
    made = radsynth.map(by_nibabel, mask=tmp_path / "mask.nii.gz", settings=SETTINGS)
    nibabel.save(made, tmp_path / "map.nii.gz")
    again = radsynth.read(tmp_path / "map.nii.gz")
    path = str(tmp_path / "image.nii.gz")
    in_itk = radsynth.map(path, mask=nibabel.load(tmp_path / "mask.nii.gz"), settings=SETTINGS)
    assert isinstance(in_itk, sitk.Image)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(again), sitk.GetArrayFromImage(in_itk))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(in_itk), expected(array, inside))
    for one in (again, in_itk):
        np.testing.assert_allclose(one.GetDirection(), oblique(array).GetDirection(), atol=1e-6)
        np.testing.assert_allclose(one.GetOrigin(), oblique(array).GetOrigin(), atol=1e-4)


def test_arrays_are_z_y_x(array, inside):
    made = radsynth.map(array, mask=inside, settings=SETTINGS)
    assert isinstance(made, np.ndarray)
    assert made.dtype == np.float32
    np.testing.assert_array_equal(made, expected(array, inside))
    np.testing.assert_array_equal(radsynth.map(array[0], settings=SETTINGS), expected(array[0]))


def test_the_plane_of_windows_is_that_of_x_and_y_for_every_kind(array):
    """The same voxels in another order of axes must not change the plane."""
    image, volume = oblique(array), expected(array)
    assert not np.array_equal(volume, expected(array.T).T)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(radsynth.map(image, settings=SETTINGS)), volume)
    in_ijk = radsynth.map(in_nibabel(image), settings=SETTINGS)
    np.testing.assert_array_equal(np.asanyarray(in_ijk.dataobj).T, volume)


def test_spacing_counts_along_the_axes_of_the_array(array):
    name = "firstorder_TotalEnergy"
    volume = expected(array, features=name)
    for image, spacing in ((array, SPACING[::-1]), (oblique(array), None)):
        made = radsynth.map(image, name, spacing=spacing, settings=SETTINGS)
        values = made if spacing else sitk.GetArrayFromImage(made)
        np.testing.assert_array_equal(values, volume)
    flat = radsynth.map(array[0], name, spacing=(0.9, 0.7), settings=SETTINGS)
    np.testing.assert_allclose(flat, volume[0] / 3, rtol=1e-6)


def test_a_numpy_mask_on_an_image_of_simpleitk(array, inside):
    made = radsynth.map(oblique(array), mask=inside, settings=SETTINGS)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(made), expected(array, inside))


def test_a_nibabel_image_of_two_dimensions(array):
    image = nibabel.Nifti1Image(array[0].T, np.diag([2.0, 3.0, 1.0, 1.0]))
    made = radsynth.map(image, settings=SETTINGS)
    np.testing.assert_array_equal(np.asanyarray(made.dataobj), expected(array[0]).T)


@pytest.mark.parametrize(
    ("wrong", "error", "words"),
    [
        ([[1, 2], [3, 4]], TypeError, "image must be a path, .* or a NumPy array, got builtins.list"),
        (None, TypeError, "image must be a path, .*got builtins.NoneType"),
        ("nothing.nii", FileNotFoundError, "image nothing.nii does not exist"),
        (np.zeros((2, 3, 4, 5)), ValueError, r"image must be an array \(z, y, x\) or \(y, x\), got shape"),
        (np.zeros((20, 30, 3), np.uint8), ValueError, "image must be .* got the shape of a colour image"),
        (np.ma.masked_less(np.arange(12).reshape(3, 4), 5), TypeError, "image must not be a masked array"),
        (np.zeros((0, 4)), ValueError, "image must not be empty"),
        (np.full((3, 4), np.nan), ValueError, "the image must hold finite intensities"),
        (np.zeros((3, 4), complex), TypeError, "image must hold one real number per voxel, got dtype"),
        (sitk.Image((4, 4), sitk.sitkVectorUInt8, 3), TypeError, r"image must hold .* 3 \(a colour or"),
        (sitk.Image((4, 4), sitk.sitkComplexFloat32), TypeError, "image must hold .* complex"),
        (sitk.Image((4, 4, 4, 2), sitk.sitkUInt8), ValueError, "image must be 2D or 3D, got 4D"),
        (nibabel.Nifti1Image(np.zeros((3, 4, 5, 2)), np.eye(4)), ValueError, r"image.slicer\[\.\.\., 0\]"),
        (
            nibabel.Nifti1Image(np.zeros((3, 4, 5), [(c, "u1") for c in "RGB"]), np.eye(4)),
            TypeError,
            "image must hold one real number per voxel, got colours",
        ),
    ],
)
def test_unfit_images_are_refused_by_name(wrong, error, words):
    with pytest.raises(error, match=words) as caught:
        radsynth.map(wrong)
    assert "\n" not in str(caught.value)


def test_unfit_masks_are_refused_by_name(array, inside):
    image = oblique(array)
    shifted = oblique(inside)
    shifted.SetOrigin((0.0, 12.5, 101.0))
    cases = [
        (image, shifted, ValueError, "mask must lie on the image's grid, got origin"),
        (in_nibabel(image), in_nibabel(shifted), ValueError, "mask must lie on the image's grid, got origin"),
        (image, in_nibabel(shifted), ValueError, "mask must lie on the image's grid, got origin"),
        (image, inside[:2], ValueError, r"mask must have the image's shape, \(4, 7, 9\) along z, y and x"),
        (image, inside * 0, ValueError, "mask must have non-zero voxels"),
        (image, np.where(inside, np.nan, 0), ValueError, "mask must hold finite numbers"),
        (
            in_nibabel(image),
            inside,
            TypeError,
            "mask must be of the image's kind, a nibabel image, got a Num",
        ),
        (array, oblique(inside), TypeError, "mask must be of the image's kind, a NumPy array, got a Simple"),
        (array, [0, 1], TypeError, "mask must be a path, .*got builtins.list"),
    ]
    for one, mask, error, words in cases:
        with pytest.raises(error, match=words):
            radsynth.map(one, mask=mask)


def test_labels_are_chosen_or_taken_together(array, inside, caplog):
    labels = inside * 2
    labels[1] //= 2
    one = radsynth.map(array, mask=labels, label=1, settings=SETTINGS)
    np.testing.assert_array_equal(one, expected(array, labels == 1))
    both = radsynth.map(array, mask=labels, settings=SETTINGS)
    np.testing.assert_array_equal(both, expected(array, inside))
    assert "mask: labels 1, 2 are taken together" in caplog.text
    for label, error, words in (
        (3, ValueError, "no voxel of label 3; labels present: 1, 2"),
        (1.0, TypeError, "label must be an integer"),
    ):
        with pytest.raises(error, match=words):
            radsynth.map(array, mask=labels, label=label)
    with pytest.raises(ValueError, match="label needs a mask"):
        radsynth.map(array, label=1)


def test_the_engine_points_to_the_door(array):
    for image in (oblique(array), in_nibabel(oblique(array))):
        with pytest.raises(TypeError, match=r"image must be an array, got .*; use radsynth\.map") as caught:
            entropy_map(image)
        assert "\n" not in str(caught.value)


def test_importing_is_quick_and_loads_nothing_heavy():
    heavy = ("tensorflow", "keras", "torch", "nibabel", "pandas", "SimpleITK", "numba", "matplotlib", "click")
    code = f"import radsynth, sys; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
def test_mapping_does_not_import_other_kinds():
    code = (
        "import numpy, radsynth, sys; radsynth.map(numpy.arange(64).reshape(4, 4, 4), backend='cpu')\n"
        "print({'tensorflow', 'keras', 'torch', 'nibabel', 'pandas'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
