"""Tensors of PyTorch and MONAI: axes, metadata, channels; the transforms in MONAI and TorchIO."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
import torch
import torchio
from monai.data import MetaTensor
from monai.transforms import Compose, EnsureChannelFirstd, LoadImaged

import radsynth
from radsynth.adapters.monai import TextureMap, TextureMapd

SETTINGS = radsynth.Settings(levels=8, window=3)
AFFINE = np.array([[0.6, -0.3, 0.4, -30.0], [0.4, 0.8, -0.3, 12.0], [-0.2, 0.3, 2.9, 100.0], [0, 0, 0, 1.0]])


def right_angled(affine):
    """Return the nearest affine whose axes are at right angles, with its lengths."""
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    left, _, right = np.linalg.svd(affine[:3, :3] / lengths)
    straight = affine.copy()
    straight[:3, :3] = left @ right * lengths
    return straight


@pytest.fixture
def files(tmp_path):
    """Write an oblique, anisotropic image and its mask; return their paths and arrays (i, j, k)."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 100, (9, 7, 4)).astype(np.int16)
    mask = np.zeros(image.shape, np.uint8)
    mask[2:8, 1:5, 1:3] = 1
    paths = {}
    for name, array in (("image", image), ("mask", mask)):
        paths[name] = tmp_path / f"{name}.nii.gz"
        nibabel.save(nibabel.Nifti1Image(array, right_angled(AFFINE)), paths[name])
    return paths, image, mask


def expected(image, mask=None, features="joint_entropy"):
    """Return the map (i, j, k) of an array (i, j, k)."""
    inside = None if mask is None else mask.T
    return radsynth.map(image.T, features, mask=inside, settings=SETTINGS).T


def load(paths):
    return Compose([LoadImaged(list(paths)), EnsureChannelFirstd(list(paths))])(paths)


def test_a_plain_tensor_is_mapped_channel_by_channel(files):
    _, image, _ = files
    tensor = torch.from_numpy(np.stack([image, image[::-1]]))
    made = radsynth.map(tensor, settings=SETTINGS)
    assert type(made) is torch.Tensor
    assert (made.dtype, made.shape) == (torch.float32, tensor.shape)
    np.testing.assert_array_equal(made[0], expected(image))
    np.testing.assert_array_equal(made[1], expected(image[::-1]))


def test_masks_of_one_channel_hold_for_all(files):
    _, image, mask = files
    tensor = torch.from_numpy(np.stack([image, image]))
    made = radsynth.map(tensor, mask=torch.from_numpy(mask)[None], settings=SETTINGS)
    for channel in made:
        np.testing.assert_array_equal(channel, expected(image, mask))


def test_a_meta_tensor_keeps_its_metadata_and_place(files):
    paths, image, mask = files
    loaded = load(paths)
    made = radsynth.map(loaded["image"], mask=loaded["mask"], settings=SETTINGS)
    assert isinstance(made, MetaTensor)
    np.testing.assert_array_equal(made.affine, loaded["image"].affine)
    assert made.meta["filename_or_obj"] == loaded["image"].meta["filename_or_obj"]
    np.testing.assert_array_equal(made[0], expected(image, mask))
    again = radsynth.map(loaded["image"], mask=paths["mask"], settings=SETTINGS)
    np.testing.assert_array_equal(made, again)
    shifted = loaded["mask"].clone()
    shifted.affine[0, 3] += 5
    with pytest.raises(ValueError, match="mask must lie on the image's grid, got origin"):
        radsynth.map(loaded["image"], mask=shifted)


def test_the_spacing_is_along_h_w_and_d(files):
    _, image, _ = files
    made = radsynth.map(
        torch.from_numpy(image)[None], "firstorder_TotalEnergy", spacing=(2, 3, 5), settings=SETTINGS
    )
    np.testing.assert_allclose(made[0], 30 * expected(image, features="firstorder_TotalEnergy"), rtol=1e-6)


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((5, 6, 7), r"image must be a tensor \(C, H, W, D\), got shape \(5, 6, 7\); add the channel"),
        ((5, 6), "image must be a tensor"),
        ((1, 1, 5, 6, 7), "give the images of the batch one by one"),
    ],
)
def test_tensors_without_channel_or_with_a_batch_are_refused(shape, words):
    with pytest.raises(ValueError, match=words):
        radsynth.map(torch.zeros(shape))


def test_masks_of_other_kinds_are_refused(files):
    _, image, mask = files
    tensor = torch.from_numpy(image)[None]
    with pytest.raises(TypeError, match="mask must be of the image's kind, a torch tensor"):
        radsynth.map(tensor, mask=mask)
    with pytest.raises(ValueError, match="mask must have 1 channel or the image's 1, got 2"):
        radsynth.map(tensor, mask=torch.ones(2, *image.shape))
    with pytest.raises(TypeError, match="image must hold one real number"):
        radsynth.map(tensor.to(torch.complex64))


def test_transforms_name_unfit_arguments():
    for make, words in (
        (lambda: TextureMap(3), "features must be a name or several, got 3"),
        (lambda: TextureMapd("image", filters=3), "filters must be specifications, got 3"),
        (lambda: TextureMap()(np.zeros((1, 2, 3, 4))), r"data must be a tensor \(C, H, W, D\), got ndarray"),
    ):
        with pytest.raises(TypeError, match=words):
            make()
    with pytest.raises(ValueError, match="image must be a tensor"):
        TextureMap()(torch.zeros(3, 4, 5))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.bool, torch.float64])
def test_types_of_tensors(files, dtype):
    _, image, _ = files
    tensor = torch.from_numpy(image)[None].to(dtype)
    made = radsynth.map(tensor.requires_grad_(dtype.is_floating_point), settings=SETTINGS)
    np.testing.assert_array_equal(made[0], expected(tensor[0].detach().float().numpy()))


def test_the_transform_gives_features_as_channels(files):
    paths, image, mask = files
    loaded = load(paths)
    made = TextureMap(["joint_entropy", "contrast"], SETTINGS)(loaded["image"], loaded["mask"])
    assert isinstance(made, MetaTensor)
    assert made.shape == (2, *image.shape)
    inside = mask != 0
    for channel, name in zip(made, ("joint_entropy", "contrast"), strict=True):
        np.testing.assert_array_equal(channel[inside], expected(image, mask, name)[inside])
        assert (np.asarray(channel)[~inside] == 0).all()
    np.testing.assert_array_equal(made.affine, loaded["image"].affine)


def test_the_dictionary_transform_in_a_pipeline(files):
    paths, image, mask = files
    pipeline = Compose(
        [
            LoadImaged(["image", "mask"]),
            EnsureChannelFirstd(["image", "mask"]),
            TextureMapd(["image", "other"], levels=8, window=3, mask_key="mask", output_postfix="texture",
                        outside=-1, allow_missing_keys=True),
        ]
    )  # fmt: skip
    result = pipeline(paths)
    assert set(result) == {"image", "mask", "image_texture"}
    np.testing.assert_array_equal(result["image"][0], image)
    wanted = np.where(mask, expected(image, mask), -1)
    np.testing.assert_array_equal(result["image_texture"][0], wanted)
    replaced = TextureMapd("image", settings=SETTINGS)(result)
    np.testing.assert_array_equal(replaced["image"][0], expected(image))
    with pytest.raises(KeyError):
        TextureMapd("none")(result)


def test_filters_of_every_channel(files):
    _, image, mask = files
    keywords = {"filters": ["original", "log:sigma=2,3"], "settings": SETTINGS}
    tensor, spacing = torch.from_numpy(np.stack([image, image[::-1]])), (1, 2, 3)
    made = radsynth.map(tensor, "contrast", mask=torch.from_numpy(mask)[None], spacing=spacing, **keywords)
    for channel, array in enumerate((image, image[::-1])):
        alone = radsynth.map(array.T, "contrast", mask=mask.T, spacing=spacing[::-1], **keywords)
        assert list(alone) == list(made)
        for key, values in alone.items():
            np.testing.assert_array_equal(made[key][channel], values.T)


def test_filters_in_the_dictionary_transform(files):
    paths, image, _ = files
    loaded = load(paths)
    made = TextureMapd("image", ["joint_entropy", "contrast"], SETTINGS, filters=("square", "original"))(
        loaded
    )
    assert made["image"].shape == (4, *image.shape)
    np.testing.assert_array_equal(made["image"][3], expected(image, features="contrast"))


def test_in_torchio(files):
    paths, image, _ = files
    subject = torchio.Subject(image=torchio.ScalarImage(paths["image"]))
    made = torchio.MonaiAdapter(TextureMapd("image", settings=SETTINGS))(subject)
    np.testing.assert_array_equal(made["image"].data[0], expected(image))
    np.testing.assert_allclose(made["image"].affine, right_angled(AFFINE), atol=1e-5)
