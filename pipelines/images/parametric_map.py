"""Feature maps as a DICOM Parametric Map: one object with its own provenance."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom

from glcm_cuda.base.files import replacing
from glcm_cuda.base.steps import step
from pipelines.images.dicom.attributes import DAMAGED, text_of
from pipelines.images.dicom.codes import feature_of_code
from pipelines.images.dicom.headers import header_of
from pipelines.images.dicom.multiframe import frames_of, geometry_of, is_enhanced
from pipelines.images.dicom.planes import normal_of
from pipelines.images.dicom.series import Choice
from pipelines.images.dicom.source_headers import complete_header, refuse_no_identifiers, source_header
from pipelines.images.output_paths import PARAMETRIC_MAP_SUFFIX, refuse_output
from pipelines.images.volume import Volume

_MOST_BYTES = 2**32 - 2
"""Most bytes of an attribute's value, such as Float Pixel Data."""


@step("writing")
def write_parametric_map(
    maps: Mapping[str, npt.NDArray[np.float32]],
    volume: Volume,
    path: Path,
    provenance: Mapping[str, Any],
    *,
    force: bool = False,
) -> None:
    """Write maps of one or more features of a DICOM image as one Parametric Map.

    The object belongs to the patient, study and frame of reference of the image, references every slice of
    it, and is a new series. Each feature has a real-world value mapping with its IBSI code and unit, and with
    levels, window and distance. `provenance` is stored as JSON in ImageComments, the only standard attribute
    for text about an image that is long enough; `read_parametric_map` reads it from there.

    Frames are ordered by feature, then along the normal of the slices, so that readers that ignore positions
    show them in the right order.

    Parameters
    ----------
    maps : mapping of str to float32 array of the volume's shape
        By feature. DICOM cannot store NaN: it becomes a number below all values, FloatPixelPaddingValue.
    volume : Volume
        The image, with the files that it was read from.
    path : Path
        The file, .dcm.
    provenance : mapping
        See `provenance.provenance`.
    force : bool
        Replace a file that exists.

    Raises
    ------
    ValueError
        If there is no map, or a map has another shape or an unknown feature; if the path has another suffix,
        the record is too long, or the image was not read from DICOM images that an object can refer to.
    FileExistsError
        If the file exists and `force` is False.
    """
    from pipelines.images.dicom.parametric_object import parametric_map_object  # highdicom is slow to load

    _check_maps(maps, volume, path)
    refuse_output(path, force=force)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # odd values in headers are passed on unchanged
        sources = [source_header(source) for source in volume.sources]
        try:
            complete_header(sources[0], volume.spacing_mm[2])
            dataset = parametric_map_object(maps, volume, sources, provenance)
        except DAMAGED as error:
            msg = (
                f"{volume.sources[0]}: a Parametric Map cannot take over the header of this image ({error}); "
                "write .nii.gz"
            )
            raise ValueError(msg) from error
        with replacing(path, force=force) as temporary:
            dataset.save_as(temporary)


def check_sources(path: Path, volume: Volume, choice: Choice) -> None:
    """Refuse an image that a Parametric Map cannot refer to, before anything is computed.

    Raises
    ------
    ValueError
        If it was not DICOM, lacks the identifier of its study or frame of reference, or may lack slices.
    """
    if choice.allow_gaps:
        msg = "a Parametric Map states where each slice lies, which --allow-gaps leaves open; write .nii.gz"
        raise ValueError(msg)
    _refuse_no_sources(path, volume)
    headers = [header_of(source) for source in volume.sources]
    refuse_no_identifiers(volume.sources[0], headers[0])
    if len(headers) > 1 and is_enhanced(volume.sources[0], headers[0]):
        msg = (
            f"{path}: a Parametric Map refers to one enhanced file or to single-frame files, got "
            f"{len(headers)} enhanced files; write .nii.gz"
        )
        raise ValueError(msg)
    if len({text_of(header, "SOPInstanceUID") for header in headers} - {""}) < len(headers):
        msg = (
            f"{path}: a Parametric Map refers to each slice by its SOPInstanceUID, but slices of the image "
            "share one or have none; write .nii.gz"
        )
        raise ValueError(msg)


def check_size(path: Path, maps: int, voxels: int) -> None:
    """Refuse more maps than one object can hold, before anything is computed.

    Parameters
    ----------
    path : Path
        The object, for the message.
    maps, voxels : int
        Number of maps, and of the voxels of each.

    Raises
    ------
    ValueError
        If their values take more bytes than the length of an attribute can say.
    """
    if 4 * maps * voxels > _MOST_BYTES:
        fitting = _MOST_BYTES // (4 * voxels)
        msg = (
            f"{path}: a Parametric Map holds less than 4 GiB, {fitting} maps of {voxels} voxels, got {maps}; "
            "ask for fewer features, or write .nii.gz"
        )
        raise ValueError(msg)


def read_parametric_map(path: Path) -> tuple[dict[str, npt.NDArray[np.float32]], Volume, dict[str, Any]]:
    """Return the maps of a Parametric Map that `write_parametric_map` wrote, by feature.

    Returns
    -------
    (maps, volume, provenance)
        `volume.array` is the first map; padding is turned back into NaN.

    Raises
    ------
    ValueError
        If the file was not written by `write_parametric_map`.
    """
    dataset, values, record = _read(path)
    frames = [header for _, header in frames_of(path, dataset)]
    features = [_feature_of(path, dataset, group) for group in dataset.PerFrameFunctionalGroupsSequence]
    positions = np.array([frame.ImagePositionPatient for frame in frames], float)
    order = np.argsort(positions @ normal_of(frames[0].ImageOrientationPatient), kind="stable")
    chosen = {name: [i for i in order if features[i] == name] for name in dict.fromkeys(features)}
    maps = {name: values[indices] for name, indices in chosen.items()}
    first, *_ = chosen
    places = positions[chosen[first]]
    spacing, direction = geometry_of(path, places)
    if len(places) == 1:
        measures = dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
        spacing = (*spacing[:2], float(measures.SpacingBetweenSlices))
    volume = Volume(maps[first], spacing, tuple(places[0].tolist()), direction, (path,))
    return maps, volume, record


def _read(path: Path) -> tuple[Any, npt.NDArray[np.float32], dict[str, Any]]:
    """Return the object, its frames with NaN in place of padding, and the record."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            dataset = pydicom.dcmread(path)
            record = json.loads(dataset.ImageComments)
            values = np.array(dataset.pixel_array, np.float32)
        except (pydicom.errors.InvalidDicomError, AttributeError, ValueError, RecursionError):
            raise _not_ours(path) from None
    if "FloatPixelData" not in dataset or not isinstance(record, dict):
        raise _not_ours(path)
    padding = dataset.get("FloatPixelPaddingValue")
    if padding is not None:
        values[values == np.float32(padding)] = np.nan
    return dataset, values.reshape((-1, dataset.Rows, dataset.Columns)), record


def _feature_of(path: Path, dataset: Any, group: Any) -> str:
    """Return the feature of a frame, by the code of its quantity."""
    shared = dataset.SharedFunctionalGroupsSequence[0]
    mapping = (group.get("RealWorldValueMappingSequence") or shared.RealWorldValueMappingSequence)[0]
    code = mapping.QuantityDefinitionSequence[0].ConceptCodeSequence[0].CodeValue
    feature = feature_of_code(code)
    if feature is None:
        raise _not_ours(path)
    return feature


def _not_ours(path: Path) -> ValueError:
    return ValueError(
        f"{path} must be a DICOM Parametric Map written by radsynth, got another object or a damaged one"
    )


def _check_maps(maps: Mapping[str, npt.NDArray[np.float32]], volume: Volume, path: Path) -> None:
    if path.suffix != PARAMETRIC_MAP_SUFFIX:
        msg = f"a Parametric Map's name must end in {PARAMETRIC_MAP_SUFFIX}, got {path.name}"
        raise ValueError(msg)
    _refuse_no_sources(path, volume)
    if len(volume.origin_mm) != 3:
        msg = f"{path} needs a position in the patient, got a 2D image without one; write .nii.gz or .nrrd"
        raise ValueError(msg)
    if not maps:
        msg = f"{path} must hold at least one feature map, got none"
        raise ValueError(msg)
    for name, array in maps.items():
        if array.shape != volume.array.shape:
            msg = f"map of {name} must have the image's shape {volume.array.shape}, got {array.shape}"
            raise ValueError(msg)


def _refuse_no_sources(path: Path, volume: Volume) -> None:
    if not volume.sources:
        msg = (
            f"{path} must be made from a DICOM image on its original grid, got another; "
            "write .nii.gz or .nrrd"
        )
        raise ValueError(msg)
