"""The DICOM object of a Parametric Map: built by highdicom, then completed for common readers."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import highdicom as hd
import numpy as np
import numpy.typing as npt
from pydicom import Dataset
from pydicom.sequence import Sequence as Items
from pydicom.valuerep import DSfloat

import glcm_cuda
from glcm_cuda.families.feature import Feature
from glcm_cuda.families.registry import feature_named
from pipelines.images.dicom.codes import (
    SCHEME,
    SETTINGS,
    coding_schemes,
    feature_code,
    feature_label,
    unit_code,
)
from pipelines.images.dicom.planes import normal_of
from pipelines.images.volume import Volume
from pipelines.reports.names import family_title

_MOST_COMMENT = 10_240
"""Characters that ImageComments may have (value representation LT)."""

_SERIES_NUMBER = 9001
_SHOWN_PERCENTILES = (0.5, 99.5)
_MIXED = "texture"
"""What features of several families are."""


def parametric_map_object(
    maps: Mapping[str, npt.NDArray[np.float32]],
    volume: Volume,
    sources: list[Any],
    provenance: Mapping[str, Any],
) -> Any:
    """Return the Parametric Map of some maps, ready to be saved.

    Parameters
    ----------
    maps, volume, provenance
        See `pipelines.images.parametric_map.write_parametric_map`.
    sources : list of headers
        Of the files that the image was read from, the first one completed (`complete_header`).

    Raises
    ------
    ValueError
        If the record is too long.
    """
    features = [feature_named(name) for name in maps]
    values, padding = _padded(np.stack([_stack(array) for array in maps.values()], axis=-1))
    comment = json.dumps(dict(provenance), separators=(",", ":"))
    if len(comment) > _MOST_COMMENT:
        msg = f"the record of the settings must have at most {_MOST_COMMENT} characters, got {len(comment)}"
        raise ValueError(msg)
    dataset = hd.pm.ParametricMap(
        source_images=sources,
        pixel_array=values,
        plane_positions=_positions(volume),
        plane_orientation=_orientation(volume),
        pixel_measures=_measures(volume, sources[0]),
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
            [_mapping(feature, values[..., place], provenance)] for place, feature in enumerate(features)
        ],
        window_center=0.0,  # highdicom needs a window; `_show` replaces it
        window_width=1.0,
        content_label=_content(features).upper(),
        content_description=_description(features, provenance),
    )
    dataset.SeriesDescription = _description(features, provenance)
    dataset.ImageComments = comment
    if padding is not None:
        # dciodvfy requires the limit of the range too, although it holds a single number.
        dataset.FloatPixelPaddingValue = dataset.FloatPixelPaddingRangeLimit = padding
    _arrange(dataset, values)
    _tell_features_apart(dataset, len(features))
    _show(dataset, [_window(array) for array in maps.values()])
    _complete(dataset, sources[0])
    return dataset


def _arrange(dataset: Any, values: npt.NDArray[np.float32]) -> None:
    """Order the frames by feature, then along the normal of the slices.

    highdicom sorts by x, then y, then z, which runs against the normal in many oblique and sagittal series.
    Readers that use the position of the first slice alone (dcmqi, and so 3D Slicer) would show such maps back
    to front.
    """
    slices, rows, columns, features = values.shape
    frames = np.frombuffer(dataset.FloatPixelData, "<f4").reshape((features, slices, rows, columns))
    groups = dataset.PerFrameFunctionalGroupsSequence
    normal = normal_of(
        dataset.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0].ImageOrientationPatient
    )
    positions = [group.PlanePositionSequence[0].ImagePositionPatient for group in groups[:slices]]
    order = np.argsort(np.array(positions, float) @ normal, kind="stable")
    dataset.FloatPixelData = np.ascontiguousarray(frames[:, order]).tobytes()
    dataset.PerFrameFunctionalGroupsSequence = Items(
        [groups[feature * slices + place] for feature in range(features) for place in order]
    )
    for number, group in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        group.FrameContentSequence[0].DimensionIndexValues = [number % slices + 1]


def _tell_features_apart(dataset: Any, features: int) -> None:
    """Make the feature a dimension of the frames if there are several."""
    if features == 1:
        return
    index = Dataset()
    index.DimensionOrganizationUID = dataset.DimensionIndexSequence[0].DimensionOrganizationUID
    index.DimensionIndexPointer = 0x00409210  # LUT Label
    index.FunctionalGroupPointer = 0x00409096  # Real World Value Mapping Sequence
    index.DimensionDescriptionLabel = "Feature"
    dataset.DimensionIndexSequence = Items([index, *dataset.DimensionIndexSequence])
    groups = dataset.PerFrameFunctionalGroupsSequence
    slices = len(groups) // features
    for number, group in enumerate(groups):
        place = [number // slices + 1, number % slices + 1]
        group.FrameContentSequence[0].DimensionIndexValues = place


def _show(dataset: Any, windows: list[Any]) -> None:
    """Give each feature its own display window, since their ranges differ."""
    shared, groups = dataset.SharedFunctionalGroupsSequence[0], dataset.PerFrameFunctionalGroupsSequence
    if len(windows) == 1:
        shared.FrameVOILUTSequence = windows
        return
    del shared.FrameVOILUTSequence
    slices = len(groups) // len(windows)
    for number, group in enumerate(groups):
        group.FrameVOILUTSequence = [windows[number // slices]]


def _window(array: npt.NDArray[np.float32]) -> Any:
    """Return the display window that covers most of the values."""
    values = array[np.isfinite(array)]
    low, high = np.percentile(values, _SHOWN_PERCENTILES) if values.size else (0.0, 1.0)
    window = Dataset()
    window.WindowCenter = DSfloat((low + high) / 2, auto_format=True)
    window.WindowWidth = DSfloat(max(high - low, 1e-3), auto_format=True)
    window.VOILUTFunction = "LINEAR_EXACT"  # LINEAR does not allow a width below one
    return window


def _complete(dataset: Any, source: Any) -> None:
    """Remove comments on the patient and invalid values, and add what highdicom leaves out."""
    if "PatientComments" in dataset:
        del dataset.PatientComments
    if not re.fullmatch(r"\d{3}[DWMY]", str(dataset.get("PatientAge", ""))) and "PatientAge" in dataset:
        del dataset.PatientAge
    dataset.ContentCreatorName = ""
    dataset.CodingSchemeIdentificationSequence = coding_schemes()
    dataset.SharedFunctionalGroupsSequence[0].FrameAnatomySequence = [_anatomy(source)]


def _anatomy(source: Any) -> Any:
    """Return the body region of the frames; "tissue" if the image does not say, since dcmqi requires one."""
    given = _given(source, "FrameAnatomySequence")
    side = given.get("FrameLaterality") or source.get("ImageLaterality") or source.get("Laterality")
    anatomy = Dataset()
    anatomy.FrameLaterality = side if side in ("R", "L", "B") else "U"
    region = given.get("AnatomicRegionSequence") or [hd.sr.CodedConcept("85756007", "SCT", "Tissue")]
    anatomy.AnatomicRegionSequence = list(region)
    return anatomy


def _given(source: Any, group: str) -> Any:
    """Return the holder of a functional group's attributes: its shared item, or else the image itself."""
    shared = (source.get("SharedFunctionalGroupsSequence") or [{}])[0]
    return (shared.get(group) or [source])[0]


def _stack(array: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return np.asarray(array, np.float32).reshape((-1, *array.shape[-2:]))


def _padded(values: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.float32], float | None]:
    """Return the values with a number in place of NaN, and that number, which is just below all others.

    A viewer that ignores padding then shows it as dark as the lowest value.
    """
    missing = np.isnan(values)
    if not missing.any():
        return values, None
    lowest = np.float32(np.nanmin(values, initial=0.0))
    # Beyond 2**24, neighbouring float32 numbers are more than one apart.
    padding = min(np.floor(lowest) - np.float32(1), np.nextafter(lowest, np.float32(-np.inf)))
    return np.where(missing, padding, values), float(padding)


def _positions(volume: Volume) -> list[Any]:
    number = 1 if volume.array.ndim == 2 else len(volume.array)
    step = _axis(volume, 2) * volume.spacing_mm[2] if number > 1 else np.zeros(3)
    origin = np.array(volume.origin_mm)
    places = (origin + index * step for index in range(number))
    return [hd.PlanePositionSequence("PATIENT", [float(number) for number in place]) for place in places]


def _orientation(volume: Volume) -> Any:
    return hd.PlaneOrientationSequence("PATIENT", [*_axis(volume, 0).tolist(), *_axis(volume, 1).tolist()])


def _measures(volume: Volume, source: Any) -> Any:
    columns, rows, distance = volume.spacing_mm
    given = _given(source, "PixelMeasuresSequence")
    return hd.PixelMeasuresSequence(
        pixel_spacing=[rows, columns],
        slice_thickness=float(given.get("SliceThickness") or distance),
        spacing_between_slices=distance,
    )


def _axis(volume: Volume, number: int) -> npt.NDArray[np.float64]:
    """Return the direction of an axis of the image (0 for x) in the patient."""
    return np.array(np.reshape(volume.direction, (3, 3))[:, number], np.float64)


def _mapping(feature: Feature, values: npt.NDArray[np.float32], provenance: Mapping[str, Any]) -> Any:
    unit, meaning = unit_code(feature, provenance)
    code, scheme, name = feature_code(feature)
    mapping = hd.pm.RealWorldValueMapping(
        lut_label=feature_label(feature),
        lut_explanation=_explanation(feature, name, code),
        unit=hd.sr.CodedConcept(unit, "UCUM", meaning),
        # The range includes the padding: readers that apply the mapping refuse values outside it.
        value_range=(float(values.min(initial=0)), float(values.max(initial=0))),
        slope=1.0,
        intercept=0.0,
        quantity_definition=hd.sr.CodedConcept(code, scheme, name),
    )
    for setting in SETTINGS:
        mapping.QuantityDefinitionSequence.append(_parameter(setting, provenance["settings"][setting]))
    return mapping


def _explanation(feature: Feature, name: str, code: str) -> str:
    """Return family, name and code in the 64 characters that there are (value representation LO)."""
    code = f" ({code})"
    return f"{family_title(feature.family)} {name}"[: 64 - len(code)] + code


def _parameter(setting: str, value: Any) -> Any:
    """Return a setting as an item of a quantity: a number with its unit, or several numbers as text."""
    meaning, (unit, unit_meaning) = SETTINGS[setting]
    item = Dataset()
    item.ConceptNameCodeSequence = [hd.sr.CodedConcept(setting, SCHEME, meaning)]
    if isinstance(value, int):
        item.ValueType, item.NumericValue = "NUMERIC", value
        item.MeasurementUnitsCodeSequence = [hd.sr.CodedConcept(unit, "UCUM", unit_meaning)]
    else:
        item.ValueType, item.TextValue = "TEXT", ", ".join(str(number) for number in value)
    return item


def _description(features: list[Feature], provenance: Mapping[str, Any]) -> str:
    settings = provenance["settings"]
    first, number, content = features[0], len(features), _content(features)
    name = first.name.replace("_", " ") if first.family == "glcm" else first.pyradiomics
    what = f"{content} {name if number == 1 else f'{number} features'}"
    what = f"{number} texture features" if content == _MIXED else what
    method = "Synthetic " if str(provenance["kind"]).startswith("synthetic") else ""
    return f"{method}{what}, {settings['levels']} levels, window {settings['window']}"[:64]


def _content(features: list[Feature]) -> str:
    """Return the family of features, or what features of several families are."""
    families = {feature.family for feature in features}
    return family_title(families.pop()) if len(families) == 1 else _MIXED
