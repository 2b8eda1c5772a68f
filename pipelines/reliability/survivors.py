"""The maps that survive, as a parameter file that ``--params`` accepts."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from glcm_cuda import GLCMSettings
from glcm_cuda.families.feature import Feature
from pipelines.images.masks import ALL_LABELS, MaskChoice
from pipelines.shell.parameter_file import read_parameter_file

_WIDTH = 100

_OPTIONS = {
    "symmetric": ("--asymmetric", "--symmetric"),
    "masked_window": ("--unmasked-window", "--masked-window"),
    "ngtdm_isolated": ("--no-ngtdm-isolated", "--ngtdm-isolated"),
}
"""Settings whose option has no value: those of False and True."""


def write_survivors(
    path: Path, features: Sequence[Feature], settings: GLCMSettings, choice: MaskChoice
) -> list[str]:
    """Write a parameter file of features and settings; return the options that must be given beside it.

    Parameters
    ----------
    path : Path
        YAML to write.
    features : sequence of Feature
        At least one.
    settings : GLCMSettings
        Of the maps. pyradiomics has no word for some of them, such as the range over the image: these are
        options, which the head of the file states.
    choice : MaskChoice
        Which voxels of the mask were judged; those of a segment are an option.
    """
    text = yaml.safe_dump(_content(features, settings, choice), sort_keys=False)
    path.write_text(text, encoding="utf-8")
    options = list(_options(read_parameter_file(path).settings, settings))
    if choice.segment is not None:
        options.append(f"--segment {shlex.quote(choice.segment)}")
    head = "Maps that survived radsynth stability. The same maps come from: " + " ".join(
        ["radsynth map IMAGE --mask MASK -o MAPS.nii.gz --params", path.name, *options]
    )
    lines = textwrap.wrap(head, _WIDTH, break_long_words=False, break_on_hyphens=False)
    path.write_text("".join(f"# {line}\n" for line in lines) + text, encoding="utf-8")
    return options


def _content(features: Sequence[Feature], settings: GLCMSettings, choice: MaskChoice) -> dict[str, Any]:
    classes: dict[str, list[str]] = {}
    for feature in features:
        classes.setdefault(feature.family, []).append(feature.pyradiomics)
    width = settings.bin_width
    setting: dict[str, Any] = {
        **({"binCount": settings.levels} if width is None else {"binWidth": width}),
        "distances": list(settings.distances),
        "symmetricalGLCM": settings.symmetric,
        "gldm_a": settings.gldm_a,
        "minimumROIDimensions": 1,
    }
    if settings.dimensions == 2:
        setting |= {"force2D": True, "force2Ddimension": settings.slice_axis}
    if settings.aggregate == "merge":
        setting["weightingNorm"] = "no_weighting"
    if settings.intensity_shift.is_integer():
        setting["voxelArrayShift"] = int(settings.intensity_shift)
    if choice.segment is None:
        labels = ALL_LABELS if choice.label is None else choice.label
        setting["label"] = list(labels) if isinstance(labels, tuple) else labels
    voxel = {"kernelRadius": max(settings.radii), "maskedKernel": settings.masked_window, "initValue": "nan"}
    return {
        "imageType": {"Original": {}},
        "featureClass": classes,
        "setting": setting,
        "voxelSetting": voxel,
    }


def _unused(settings: GLCMSettings) -> set[str]:
    """Return settings that others make void: the number of levels, and where the range is taken."""
    void = set() if settings.bin_width is None else {"levels"}
    return void if settings.intensity_range is None else {*void, "range_over"}


def _options(told: GLCMSettings, wanted: GLCMSettings) -> Iterator[str]:
    """Yield the options that turn the settings of the file into those that are wanted."""
    of_file, fields = told.to_dict(), wanted.to_dict()
    for name, value in fields.items():
        unused = value is None or name in _unused(wanted)
        if value == of_file[name] or unused:
            continue
        if name in _OPTIONS:
            yield _OPTIONS[name][value]
            continue
        numbers = value if isinstance(value, (tuple, list)) else (value,)
        if name in ("intensity_range", "percentiles"):
            yield f"--{name.removeprefix('intensity_')} {' '.join(f'{number:g}' for number in numbers)}"
        else:
            yield f"--{name.replace('_', '-')} {','.join(map(str, numbers))}"
