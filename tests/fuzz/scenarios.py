"""Sound inputs of every kind that we read, small, each with the commands that read it."""

from __future__ import annotations

import gzip
import json
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from helpers.commands import radsynth
from helpers.dicom import group, write_enhanced, write_series, write_slice
from helpers.regions import ABOUT, corners, two_masks, write_segmentation, write_structures
from helpers.stores import write_store

SHAPE = (4, 6, 5)

Writer = Callable[[Path, np.random.Generator], object]
"""Writes the sound inputs of a scenario into a folder."""

PARAMS = """\
imageType:
  Original: {}
featureClass:
  glcm: [JointEntropy, Contrast]
setting:
  binWidth: 25
  distances: [1, 2]
  symmetricalGLCM: true
  label: 1
  force2D: true
"""


@dataclass(frozen=True)
class Scenario:
    """Inputs, commands on them, and the files that are damaged.

    Parameters
    ----------
    write : callable (folder, rng)
        Writes the sound inputs.
    commands : tuple of str
        Arguments of ``radsynth``, of which one line is drawn; ``IN`` and ``OUT`` are the folders.
    victims : tuple of str
        Patterns of the files to damage.
    weight : int
        How often the scenario is drawn, against the others.
    keras : bool
        Whether the command imports Keras, which takes memory and time.
    keeps : bool
        Whether a command that fails may leave files: the finished cases of a cohort.
    """

    write: Writer
    commands: tuple[str, ...]
    victims: tuple[str, ...]
    weight: int = 4
    keras: bool = False
    keeps: bool = False


def _image(rng: np.random.Generator) -> sitk.Image:
    image = sitk.GetImageFromArray(rng.integers(0, 500, SHAPE).astype(np.int16))
    image.SetSpacing((0.7, 0.8, 2.5))
    image.SetOrigin((1.0, -2.0, 30.0))
    image.SetDirection((0, 1, 0, 1, 0, 0, 0, 0, -1))
    return image


def _mask(rng: np.random.Generator, image: sitk.Image) -> sitk.Image:
    mask = sitk.GetImageFromArray((rng.random(SHAPE) < 0.7).astype(np.uint8))
    mask.CopyInformation(image)
    return mask


def _pair(suffix: str, *, compressed: bool = False) -> Writer:
    def write(folder: Path, rng: np.random.Generator) -> None:
        image = _image(rng)
        sitk.WriteImage(image, str(folder / f"image{suffix}"), compressed)
        sitk.WriteImage(_mask(rng, image), str(folder / f"mask{suffix}"), compressed)

    return write


def _ascii_nrrd(folder: Path, rng: np.random.Generator) -> None:
    numbers = " ".join(map(str, rng.integers(0, 500, 120)))
    (folder / "image.nrrd").write_text(
        "NRRD0004\n# by hand\ntype: short\ndimension: 3\nspace: right-anterior-superior\nsizes: 5 6 4\n"
        "space directions: (0.7,0,0) (0,0.8,0) (0,0,2)\nspace origin: (1,2,3)\nencoding: ascii\n"
        f"who:=nobody\n\n{numbers}\n"
    )


def _segmentation_nrrd(folder: Path, rng: np.random.Generator) -> None:
    """Write an image and a segmentation of 3D Slicer in two layers."""
    image = _image(rng)
    sitk.WriteImage(image, str(folder / "image.nrrd"))
    layers = sitk.GetImageFromArray((rng.random((*SHAPE, 2)) < 0.5).astype(np.uint8), isVector=True)
    layers.CopyInformation(image)
    for number, name in enumerate(("Tumour", "Liver")):
        for field, value in (("Name", name), ("LabelValue", "1"), ("Layer", str(number))):
            layers.SetMetaData(f"Segment{number}_{field}", value)
    sitk.WriteImage(layers, str(folder / "mask.seg.nrrd"))


def _dseg(folder: Path, rng: np.random.Generator) -> None:
    image = _image(rng)
    sitk.WriteImage(image, str(folder / "image.nii.gz"))
    sitk.WriteImage(_mask(rng, image), str(folder / "sub_dseg.nii.gz"))
    (folder / "sub_dseg.tsv").write_text("index\tname\n1\tTumour\n2\tLiver\n")


def _one_slice(folder: Path, rng: np.random.Generator) -> None:
    write_slice(folder / "slice.dcm", rng.integers(0, 500, (6, 5)), (1, 2, 3))


def _series(folder: Path, rng: np.random.Generator) -> None:
    write_series(folder / "series", rng, RescaleSlope=2, RescaleIntercept=-10, **ABOUT)


def _phases(folder: Path, rng: np.random.Generator) -> None:
    for phase in (1, 2):
        for place in range(3):
            write_slice(
                folder / f"{phase}-{place}.dcm",
                rng.integers(0, 500, (6, 5)),
                (1, 2 + 2.5 * place, 3),
                orientation=(1, 0, 0, 0, 0, -1),
                TemporalPositionIdentifier=phase,
                AcquisitionTime=f"1200{phase}0",
                InstanceNumber=phase * 3 + place,
            )


def _enhanced(folder: Path, rng: np.random.Generator) -> None:
    groups = [group((0, 0, 2 * place), phase=phase, slope=2) for phase in (1, 2) for place in range(3)]
    write_enhanced(folder / "enhanced.dcm", rng.integers(0, 500, (6, 6, 5)), groups)


def _with_segmentation(folder: Path, rng: np.random.Generator) -> None:
    _series(folder, rng)
    write_segmentation(folder / "seg.dcm", folder / "series", two_masks())


def _with_structures(folder: Path, rng: np.random.Generator) -> None:
    _series(folder, rng)
    drawn = [corners((0.6, 3.4), (0.6, 4.4), place) for place in (0, 1, 2)]
    write_structures(folder / "structures.dcm", folder / "series", drawn)


def _pack(path: Path, folder: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder))
    shutil.rmtree(folder)


def _zipped(inner: Writer) -> Writer:
    def write(folder: Path, rng: np.random.Generator) -> None:
        (folder / "packed").mkdir()
        inner(folder / "packed", rng)
        _pack(folder / "study.zip", folder / "packed")

    return write


def _zip_of_one_nifti(folder: Path, rng: np.random.Generator) -> None:
    sitk.WriteImage(_image(rng), str(folder / "image.nii"))


def _cohort(folder: Path, rng: np.random.Generator) -> None:
    rows = ["patient,group,image,labels,series,phase"]
    for name in ("A", "B"):
        image = _image(rng)
        sitk.WriteImage(image, str(folder / f"{name}.nii"))
        sitk.WriteImage(_mask(rng, image), str(folder / f"{name}_labels.nrrd"))
        rows.append(f"{name},benign,{name}.nii,{name}_labels.nrrd,,")
    (folder / "cohort.csv").write_text("\n".join(rows) + "\n")


def _with_params(folder: Path, rng: np.random.Generator) -> None:
    _pair(".nrrd")(folder, rng)
    (folder / "params.yaml").write_text(PARAMS)


def _with_standard(folder: Path, rng: np.random.Generator) -> None:
    _pair(".nii")(folder, rng)
    standard = {
        "kind": "radsynth intensity standard",
        "percentiles": [1, 10, 20, 30, 40, 50, 60, 70, 80, 90, 99],
        "landmarks": [float(number) for number in range(0, 110, 10)],
        "images": 2,
    }
    (folder / "standard.json").write_text(json.dumps(standard, indent=2))


def _store(folder: Path, rng: np.random.Generator) -> None:
    write_store(folder / "store.h5", {"A": 40, "B": 40})


def _model(folder: Path, rng: np.random.Generator) -> None:
    """Write an image and an untrained model with a card."""
    import keras

    from glcm_cuda import GLCMSettings
    from surrogate import NetworkSettings, build_model

    sitk.WriteImage(_image(rng), str(folder / "image.nii"))
    keras.utils.set_random_seed(1)
    build_model(GLCMSettings(levels=8), NetworkSettings(filters=(4, 4, 4, 4))).save(folder / "model.keras")


def _run(folder: Path, rng: np.random.Generator) -> None:
    """Write a cohort, a finished training on it, and its synthetic maps."""
    _cohort(folder, rng)
    for line in (
        f"groundtruth {folder}/cohort.csv -o {folder}/store.h5 --samples-per-case 50 --levels 8",
        f"train {folder}/store.h5 -o {folder}/run --epochs 1 --patience 0 --batch 50 --augment 0",
        f"synthesize {folder}/cohort.csv -o {folder}/run/synthetic --model {folder}/run",
    ):
        result = radsynth(*line.split())
        assert result.exit_code == 0, result.output


def _compressed_twice(folder: Path, rng: np.random.Generator) -> None:
    """Write DICOM files that gzip has packed beside ones that it has not."""
    _series(folder, rng)
    for file in sorted((folder / "series").iterdir())[:1]:
        file.with_suffix(".gz").write_bytes(gzip.compress(file.read_bytes()))


_MAP = "map IN/{0} -o OUT/map.nii.gz --force"
_MASKED = "map IN/image{0} --mask IN/mask{0} -o OUT/map.nrrd --feature joint_entropy --feature contrast"
_ROI = "roi IN/image{0} --mask IN/mask{0} -o OUT/table.csv --feature joint_entropy --force"
_ALL = "map IN/image{0} --mask IN/mask{0} -o OUT/map.nrrd --feature all"
_LIST = "inspect IN/{0}"


def _single(suffix: str, *, compressed: bool = False, victims: tuple[str, ...] | None = None) -> Scenario:
    return Scenario(
        _pair(suffix, compressed=compressed),
        (
            _MAP.format(f"image{suffix}"),
            *(line.format(suffix) for line in (_MASKED, _MASKED, _ROI, _ROI, _ALL)),
            _LIST.format(""),
        ),
        victims or (f"*{suffix}",),
    )


SCENARIOS: dict[str, Scenario] = {
    "nifti": _single(".nii"),
    "nifti-gz": _single(".nii.gz"),
    "nrrd": _single(".nrrd"),
    "nrrd-gz": _single(".nrrd", compressed=True),
    "nrrd-ascii": Scenario(_ascii_nrrd, (_MAP.format("image.nrrd"), "inspect IN/image.nrrd"), ("*.nrrd",), 2),
    "nhdr": _single(".nhdr", victims=("*.nhdr", "*.nhdr", "*.raw*")),
    "mha": _single(".mha"),
    "mha-zlib": _single(".mha", compressed=True),
    "mhd": _single(".mhd", victims=("*.mhd", "*.mhd", "*.raw")),
    "seg-nrrd": Scenario(
        _segmentation_nrrd,
        ("map IN/image.nrrd --mask IN/mask.seg.nrrd --segment Tumour -o OUT/map.nrrd",),
        ("mask.seg.nrrd",),
        2,
    ),
    "dseg": Scenario(
        _dseg,
        ("map IN/image.nii.gz --mask IN/sub_dseg.nii.gz --segment Tumour -o OUT/map.nrrd",),
        ("*.tsv",),
        1,
    ),
    "dicom-slice": Scenario(_one_slice, (_MAP.format("slice.dcm"), _LIST.format("slice.dcm")), ("*.dcm",)),
    "dicom-series": Scenario(
        _series,
        (
            _MAP.format("series"),
            "map IN/series -o OUT/map.dcm",
            "map IN/series -o OUT/map.mha --allow-gaps",
            _LIST.format("series"),
        ),
        ("series/*",),
        10,
    ),
    "dicom-phases": Scenario(_phases, ("map IN -o OUT/map.nrrd --phase 2", _LIST.format("")), ("*.dcm",), 6),
    "dicom-gz": Scenario(
        _compressed_twice, (_LIST.format("series"), _MAP.format("series") + " --allow-gaps"), ("series/*",), 1
    ),
    "enhanced": Scenario(
        _enhanced,
        ("map IN/enhanced.dcm -o OUT/map.nrrd --phase 1", _LIST.format("enhanced.dcm")),
        ("*.dcm",),
        6,
    ),
    "seg": Scenario(
        _with_segmentation,
        ("roi IN/series --mask IN/seg.dcm --segment 1 -o OUT/table.csv --feature contrast", _LIST.format("")),
        ("seg.dcm",),
        6,
    ),
    "rtstruct": Scenario(
        _with_structures,
        ("roi IN/series --mask IN/structures.dcm -o OUT/table.csv --feature contrast", _LIST.format("")),
        ("structures.dcm",),
        6,
    ),
    "zip-series": Scenario(
        _zipped(_series), (_MAP.format("study.zip"), _LIST.format("study.zip")), ("study.zip",), 6
    ),
    "zip-nifti": Scenario(
        _zipped(_zip_of_one_nifti), (_MAP.format("study.zip"), _LIST.format("study.zip")), ("study.zip",)
    ),
    "cohort": Scenario(
        _cohort,
        (
            "cohort preprocess IN/cohort.csv -o OUT/prepared --normalize zscore",
            "cohort standard IN/cohort.csv -o OUT/standard.json",
            "groundtruth IN/cohort.csv -o OUT/store.h5 --samples-per-case 20 --levels 8",
        ),
        ("cohort.csv", "cohort.csv", "*.nii", "*.nrrd"),
        4,
        keeps=True,
    ),
    "params": Scenario(
        _with_params,
        (
            "map IN/image.nrrd --mask IN/mask.nrrd --params IN/params.yaml -o OUT/map.nrrd",
            "roi IN/image.nrrd --mask IN/mask.nrrd --params IN/params.yaml -o OUT/table.csv",
        ),
        ("params.yaml",),
    ),
    "standard": Scenario(
        _with_standard,
        ("map IN/image.nii -o OUT/map.nrrd --standardize IN/standard.json",),
        ("standard.json",),
        2,
    ),
    "store": Scenario(
        _store,
        ("train IN/store.h5 -o OUT/run --folds 1 --epochs 1 --patience 0 --batch 40 --augment 0",),
        ("store.h5",),
        2,
        keras=True,
        keeps=True,
    ),
    "run": Scenario(
        _run,
        (
            "evaluate IN/run -o OUT/evaluation",
            "synthesize IN/cohort.csv -o OUT/synthetic --model IN/run",
        ),
        ("run/*.json", "run/*.csv", "run/synthetic/*.csv", "run/synthetic/*.json"),
        2,
        keras=True,
        keeps=True,
    ),
    "model": Scenario(
        _model,
        ("synthesize IN/image.nii -o OUT/map.nrrd --model IN/model.keras",),
        ("model.keras",),
        2,
        keras=True,
    ),
}
