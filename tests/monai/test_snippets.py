"""The blocks of docs/python.md that need MONAI or PyTorch."""

from __future__ import annotations

import nibabel
import numpy as np
import torch
from helpers.snippets import before_adapters, python_of
from monai import transforms

import radsynth

PAGE = "docs/python.md"


def test_the_examples_of_monai_and_pytorch_run(tmp_path):
    rng = np.random.default_rng(0)
    pair = {}
    for name, array in (("image", rng.integers(0, 99, (9, 8, 5))), ("mask", np.ones((9, 8, 5)))):
        pair[name] = tmp_path / f"{name}.nii.gz"
        nibabel.save(nibabel.Nifti1Image(array.astype(np.int16), np.eye(4)), pair[name])
    names = {**vars(transforms), "radsynth": radsynth}
    names |= {"fake": torch.rand(1, 1, 9, 9, requires_grad=True), "real": torch.rand(1, 1, 9, 9)}
    parts = python_of(PAGE)
    results = []
    for part in parts[len(before_adapters(parts)) :]:
        if part.startswith("Compose("):
            results.append(eval(compile(part, PAGE, "eval"), names)(pair))
        else:
            exec(compile(part, PAGE, "exec"), names)
    (result,) = results
    assert result["image_texture"].shape == (2, 9, 8, 5)
    names["loss"].backward()
    assert names["fake"].grad.abs().sum() > 0
