"""Feature maps as a DICOM Parametric Map: one object that says what it was made from and how."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from glcm_cuda.features import FEATURES, Feature, feature_named
from glcm_cuda.files import replacing

from .dicom import Choice
from .imaging import (
    Volume,
    check_map_path,
    named_after,
    refuse_input_as_output,
    refuse_output,
    sidecar_path,
)
from .multiframe import frames_of, geometry_of

SUFFIX = ".dcm"

_SCHEME = "99RADSYNTH"
"""Of features that the IBSI has no code for."""

_UNITS = {"bits": ("bit", "bit"), "nats": ("{nat}", "nat"), "hartleys": ("{hartley}", "hartley")}
_NO_UNIT = ("1", "no units")
_MOST_COMMENT = 10_240
"""Characters that ImageComments may have (value representation LT)."""

_SERIES_NUMBER = 9001
_SHOWN_PERCENTILES = (0.5, 99.5)


def map_paths(output: Path, features: Sequence[str]) -> dict[str, Path]:
    """Return where the map of each feature goes: a file for each, named after it, or one object for all."""
    if len(features) == 1 or output.suffix == SUFFIX:
        return dict.fromkeys(features, output)
    return {feature: named_after(output, feature) for feature in features}


def check_map_output(path: Path, *inputs: Path, force: bool) -> None:
    """Refuse where a map is to go before anything is computed: no format of ours, there already, an input.

    Raises as `imaging.check_map_path` and `imaging.refuse_input_as_output`.
    """
    refuse_input_as_output(path, *inputs)
    if path.suffix == SUFFIX:
        refuse_output(path, force=force)
        return
    refuse_input_as_output(sidecar_path(path), *inputs)
    check_map_path(path, force=force)


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
    it, and is a new series. Each feature has its real-world value mapping, with IBSI code and unit, and
    `provenance` is kept as JSON in ImageComments, from where `read_parametric_map` takes it.

    Parameters
    ----------
    maps : mapping of str to float32 array of the volume's shape
        By feature. DICOM keeps no NaN: it becomes a number below all values, named by FloatPixelPaddingValue.
    volume : Volume
        With the files that it was read from.
    path : Path
        The file.
    provenance : mapping
        See `imaging.provenance`.
    force : bool
        Replace a file that exists.

    Raises
    ------
    ValueError
        If the record is too long; `check_sources` refuses images that cannot be referred to.
    FileExistsError
        If the file exists and `force` is False.
    """
    import pydicom

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # odd values in headers that are passed on as they are
        sources = [pydicom.dcmread(source, stop_before_pixels=True) for source in volume.sources]
        dataset = _parametric_map(maps, volume, sources, provenance)
        with replacing(path, force=force) as temporary:
            dataset.save_as(temporary)


def check_sources(path: Path, volume: Volume, choice: Choice) -> None:
    """Refuse an image that a Parametric Map cannot refer to, before anything is computed.

    Raises
    ------
    ValueError
        If it was not DICOM, lacks the identifiers of study or frame of reference, or has slices missing.
    """
    from .headers import header_of

    if choice.allow_gaps:
        msg = "a Parametric Map says where each slice lies, and --allow-gaps leaves that open; write .nii.gz"
        raise ValueError(msg)
    if not volume.sources:
        msg = f"{path} must be made from a DICOM image on its own grid, got another; write .nii.gz or .nrrd"
        raise ValueError(msg)
    source = header_of(volume.sources[0])
    lacking = [keyword for keyword in ("StudyInstanceUID", "FrameOfReferenceUID") if not source.get(keyword)]
    if lacking:
        msg = f"{volume.sources[0]} lacks {' and '.join(lacking)}: nothing can refer to it; write .nii.gz"
        raise ValueError(msg)


def read_parametric_map(path: Path) -> tuple[dict[str, npt.NDArray[np.float32]], Volume, dict[str, Any]]:
    """Return the maps of a Parametric Map that `write_parametric_map` wrote, by feature.

    Returns
    -------
    (maps, volume, provenance)
        `volume.array` is the first map; padding is NaN again.

    Raises
    ------
    ValueError
        If the file is none of ours.
    """
    import pydicom

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = pydicom.dcmread(path)
        if "FloatPixelData" not in dataset or "ImageComments" not in dataset:
            msg = f"{path} must be a DICOM Parametric Map of radsynth, got another object"
            raise ValueError(msg)
        values = np.array(dataset.pixel_array, np.float32).reshape((-1, dataset.Rows, dataset.Columns))
    padding = dataset.get("FloatPixelPaddingValue")
    if padding is not None:
        values[values == np.float32(padding)] = np.nan
    frames = [header for _, header in frames_of(path, dataset)]
    features = [_feature_of(dataset, group) for group in dataset.PerFrameFunctionalGroupsSequence]
    names = list(dict.fromkeys(features))
    chosen = {name: [i for i, feature in enumerate(features) if feature == name] for name in names}
    positions = {
        name: np.array([frames[i].ImagePositionPatient for i in indices], float)
        for name, indices in chosen.items()
    }
    across, down = np.reshape(np.array(frames[0].ImageOrientationPatient, float), (2, 3))
    along = np.cross(across, down)
    order = {name: np.argsort(places @ along) for name, places in positions.items()}
    maps = {name: values[np.array(indices)[order[name]]] for name, indices in chosen.items()}
    first = positions[names[0]][order[names[0]]]
    spacing, direction = geometry_of(path, first)
    volume = Volume(maps[names[0]], spacing, tuple(first[0].tolist()), direction, (path,))
    return maps, volume, json.loads(dataset.ImageComments)


def _parametric_map(
    maps: Mapping[str, npt.NDArray[np.float32]],
    volume: Volume,
    sources: list[Any],
    provenance: Mapping[str, Any],
) -> Any:
    import highdicom as hd

    import glcm_cuda

    features = [feature_named(name) for name in maps]
    values = np.stack([_stack(array) for array in maps.values()], axis=-1)
    padded, padding = _padded(values)
    comment = json.dumps(dict(provenance))
    if len(comment) > _MOST_COMMENT:
        msg = f"the record of the settings must fit in {_MOST_COMMENT} characters, got {len(comment)}"
        raise ValueError(msg)
    low, high = np.nanpercentile(values, _SHOWN_PERCENTILES) if np.isfinite(values).any() else (0.0, 1.0)
    dataset = hd.pm.ParametricMap(
        source_images=sources,
        pixel_array=padded,
        plane_positions=_positions(volume),
        plane_orientation=_orientation(volume),
        pixel_measures=_measures(volume),
        series_instance_uid=hd.UID(),
        series_number=_SERIES_NUMBER,
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer="RadSynth",
        manufacturer_model_name="radsynth",
        software_versions=glcm_cuda.__version__,
        device_serial_number="none",
        # A map of a head shows the outline of a face as the image does.
        contains_recognizable_visual_features=True,
        real_world_value_mappings=[
            [_mapping(feature, padded[..., place], provenance)] for place, feature in enumerate(features)
        ],
        window_center=float(low + high) / 2,
        window_width=max(float(high - low), 1e-3),
        content_label="GLCM",
        content_description=_description(features, provenance),
    )
    dataset.SeriesDescription = _description(features, provenance)
    dataset.ImageComments = comment
    if padding is not None:
        dataset.FloatPixelPaddingValue = dataset.FloatPixelPaddingRangeLimit = padding
    _mend(dataset, sources[0])
    return dataset


def _mend(dataset: Any, source: Any) -> None:
    """Leave out free text on the patient and what DICOM does not allow; say if laterality is not known."""
    if "PatientComments" in dataset:
        del dataset.PatientComments
    if not re.fullmatch(r"\d{3}[DWMY]", str(dataset.get("PatientAge", ""))) and "PatientAge" in dataset:
        del dataset.PatientAge
    if "Laterality" not in dataset:
        dataset.Laterality = source.get("Laterality") or ""


def _stack(array: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return array.reshape((-1, *array.shape[-2:]))


def _padded(values: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.float32], float | None]:
    """Return the values with a number in place of NaN, and that number: one just below all others.

    A viewer that knows nothing of padding then shows it as dark as the lowest value.
    """
    missing = np.isnan(values)
    if not missing.any():
        return values, None
    padding = float(np.floor(np.nanmin(values, initial=0.0)) - 1)
    return np.where(missing, np.float32(padding), values), padding


def _positions(volume: Volume) -> list[Any]:
    import highdicom as hd

    number = 1 if volume.array.ndim == 2 else len(volume.array)
    step = _axis(volume, 2) * volume.spacing_mm[2] if number > 1 else np.zeros(3)
    origin = np.array([*volume.origin_mm, 0.0][:3])
    places = (origin + index * step for index in range(number))
    return [hd.PlanePositionSequence("PATIENT", [float(number) for number in place]) for place in places]


def _orientation(volume: Volume) -> Any:
    import highdicom as hd

    return hd.PlaneOrientationSequence("PATIENT", [*_axis(volume, 0).tolist(), *_axis(volume, 1).tolist()])


def _measures(volume: Volume) -> Any:
    import highdicom as hd

    columns, rows, *distance = volume.spacing_mm
    thickness = distance[0] if distance else 1.0
    return hd.PixelMeasuresSequence(
        pixel_spacing=[rows, columns], slice_thickness=thickness, spacing_between_slices=thickness
    )


def _axis(volume: Volume, number: int) -> npt.NDArray[np.float64]:
    """Return the direction of an axis of the image (0 for x) in the patient."""
    edge = volume.array.ndim if volume.array.ndim == 2 else 3
    return np.array(np.reshape(volume.direction, (edge, edge))[:, number], np.float64)


def _mapping(feature: Feature, values: npt.NDArray[np.float32], provenance: Mapping[str, Any]) -> Any:
    import highdicom as hd

    unit, meaning = _UNITS.get(_unit(feature, provenance), _NO_UNIT)
    code, scheme, name = _code(feature)
    return hd.pm.RealWorldValueMapping(
        lut_label=feature.name[:16],
        lut_explanation=f"GLCM {name} ({code})",
        unit=hd.sr.CodedConcept(unit, "UCUM", meaning),
        # The padding is in the range too: readers that apply the mapping refuse what lies beyond.
        value_range=(float(values.min(initial=0)), float(values.max(initial=0))),
        slope=1.0,
        intercept=0.0,
        quantity_definition=hd.sr.CodedConcept(code, scheme, name),
    )


def _unit(feature: Feature, provenance: Mapping[str, Any]) -> str:
    from glcm_cuda.settings import GLCMSettings

    from .imaging import unit_of

    return unit_of(feature.name, GLCMSettings.from_dict(provenance["settings"])) or ""


def _code(feature: Feature) -> tuple[str, str, str]:
    """Return code, coding scheme and meaning of a feature."""
    if feature.ibsi:
        name, identifier = feature.ibsi[0]
        return identifier, "IBSI", name
    return feature.name, _SCHEME, feature.name.replace("_", " ")


def _description(features: list[Feature], provenance: Mapping[str, Any]) -> str:
    settings = provenance["settings"]
    what = features[0].name.replace("_", " ") if len(features) == 1 else f"{len(features)} features"
    kind = "Synthetic GLCM" if str(provenance["kind"]).startswith("synthetic") else "GLCM"
    return f"{kind} {what}, {settings['levels']} levels, window {settings['window']}"[:64]


def _feature_of(dataset: Any, group: Any) -> str:
    """Return the feature that a frame's quantity names."""
    shared = dataset.SharedFunctionalGroupsSequence[0]
    mapping = (group.get("RealWorldValueMappingSequence") or shared.RealWorldValueMappingSequence)[0]
    code = mapping.QuantityDefinitionSequence[0].ConceptCodeSequence[0].CodeValue
    return next(feature.name for feature in FEATURES if _code(feature)[0] == code)
