"""Feature maps as a DICOM Parametric Map: one object that says what it was made from and how."""

from __future__ import annotations

import contextlib
import json
import logging
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from glcm_cuda.base.files import replacing
from glcm_cuda.families.feature import Feature
from glcm_cuda.families.glcm.features import FEATURES
from glcm_cuda.families.registry import feature_named
from pipelines.images.dicom.multiframe import frames_of, geometry_of
from pipelines.images.dicom.phases import normal_of
from pipelines.images.dicom.series import Choice
from pipelines.images.provenance import sidecar_path
from pipelines.images.volume import Volume
from pipelines.images.writing import check_map_path, named_after, refuse_input_as_output, refuse_output

_log = logging.getLogger(__name__)

SUFFIX = ".dcm"

_SCHEME = "99RADSYNTH"
"""Of features that the IBSI has no code for, and of settings."""

_IBSI_UID = "1.2.840.10008.2.16.13"
_IDENTIFIERS = ("StudyInstanceUID", "FrameOfReferenceUID")

_MAY_BE_EMPTY = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
)
"""What an object must have of patient and study, if only without a value (type 2)."""

_SETTINGS = {
    "levels": ("grey levels", ("1", "no units")),
    "window": ("edge of the window", ("{voxel}", "voxels")),
    "distance": ("distance of the pairs", ("{voxel}", "voxels")),
}
"""Of the settings, those that every mapping names in codes; all of them are in the record."""

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
    it, and is a new series. Each feature has its real-world value mapping, with IBSI code and unit, levels,
    window and distance, and `provenance` is kept as JSON in ImageComments, from where `read_parametric_map`
    takes it: of the standard attributes for text on a whole image it is the one that is long enough.

    Frames lie feature by feature, and of each feature along the normal of the slices, so that readers that
    take frames as they come have them where they belong.

    Parameters
    ----------
    maps : mapping of str to float32 array of the volume's shape
        By feature. DICOM keeps no NaN: it becomes a number below all values, named by FloatPixelPaddingValue.
    volume : Volume
        With the files that it was read from.
    path : Path
        The file, .dcm.
    provenance : mapping
        See `provenance.provenance`.
    force : bool
        Replace a file that exists.

    Raises
    ------
    ValueError
        If there is no map, or one of another shape or of an unknown feature, the path has another suffix, the
        record is too long, or the image's files are no DICOM images that can be referred to.
    FileExistsError
        If the file exists and `force` is False.
    """
    _check_maps(maps, volume, path)
    refuse_output(path, force=force)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # odd values in headers that are passed on as they are
        sources = [_source(source) for source in volume.sources]
        _mend(sources[0], volume.spacing_mm[2])
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
    from pipelines.images.dicom.headers import header_of

    if choice.allow_gaps:
        msg = "a Parametric Map says where each slice lies, and --allow-gaps leaves that open; write .nii.gz"
        raise ValueError(msg)
    _refuse_no_sources(path, volume)
    _refuse_no_identifiers(volume.sources[0], header_of(volume.sources[0]))


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
    """Return the object, its frames with NaN where the padding is, and the record."""
    import pydicom

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            dataset = pydicom.dcmread(path)
            record = json.loads(dataset.ImageComments)
            values = np.array(dataset.pixel_array, np.float32)
        except (pydicom.errors.InvalidDicomError, AttributeError, ValueError):
            raise _not_ours(path) from None
    if "FloatPixelData" not in dataset or not isinstance(record, dict):
        raise _not_ours(path)
    padding = dataset.get("FloatPixelPaddingValue")
    if padding is not None:
        values[values == np.float32(padding)] = np.nan
    return dataset, values.reshape((-1, dataset.Rows, dataset.Columns)), record


def _feature_of(path: Path, dataset: Any, group: Any) -> str:
    """Return the feature that a frame's quantity names."""
    shared = dataset.SharedFunctionalGroupsSequence[0]
    mapping = (group.get("RealWorldValueMappingSequence") or shared.RealWorldValueMappingSequence)[0]
    code = mapping.QuantityDefinitionSequence[0].ConceptCodeSequence[0].CodeValue
    found = next((feature.name for feature in FEATURES if _code(feature)[0] == code), None)
    if found is None:
        raise _not_ours(path)
    return found


def _not_ours(path: Path) -> ValueError:
    return ValueError(
        f"{path} must be a DICOM Parametric Map of radsynth, got another object or a damaged one"
    )


def _check_maps(maps: Mapping[str, npt.NDArray[np.float32]], volume: Volume, path: Path) -> None:
    if path.suffix != SUFFIX:
        msg = f"a Parametric Map's name must end in {SUFFIX}, got {path.name}"
        raise ValueError(msg)
    _refuse_no_sources(path, volume)
    if len(volume.origin_mm) != 3:
        msg = f"{path} needs a place in the patient, got a 2D image without one; write .nii.gz or .nrrd"
        raise ValueError(msg)
    if not maps:
        msg = f"{path} must hold the map of at least one feature, got none"
        raise ValueError(msg)
    for name, array in maps.items():
        if array.shape != volume.array.shape:
            msg = f"map of {name} must have the image's shape {volume.array.shape}, got {array.shape}"
            raise ValueError(msg)


def _refuse_no_sources(path: Path, volume: Volume) -> None:
    if not volume.sources:
        msg = f"{path} must be made from a DICOM image on its own grid, got another; write .nii.gz or .nrrd"
        raise ValueError(msg)


def _refuse_no_identifiers(path: Path, source: Any) -> None:
    lacking = [keyword for keyword in _IDENTIFIERS if not source.get(keyword)]
    if lacking:
        msg = f"{path} lacks {' and '.join(lacking)}: nothing can refer to it; write .nii.gz"
        raise ValueError(msg)


def _source(path: Path) -> Any:
    """Return the header of a file that the map was made from."""
    import pydicom

    header: Any = {}
    with contextlib.suppress(pydicom.errors.InvalidDicomError):  # said below, as of files without pixels
        header = pydicom.dcmread(path, stop_before_pixels=True)
    if "Rows" not in header:
        msg = f"{path} must be a DICOM image, got another file; write .nii.gz"
        raise ValueError(msg)
    _refuse_no_identifiers(path, header)
    return header


def _mend(header: Any, distance_mm: float) -> None:
    """Give the image what highdicom takes for granted: without it there would be no map.

    What patient and study lack, or have malformed, gets no value; a slice without thickness that of the
    distance; and what every frame of a multi-frame image has of its own, but the same, becomes shared.
    """
    from pydicom.dataset import Dataset

    for keyword in _MAY_BE_EMPTY:
        if header.get(keyword) is None:
            setattr(header, keyword, "")
    for keyword in _malformed(header):
        _log.warning("%s of the image is malformed: the Parametric Map has it without a value", keyword)
        setattr(header, keyword, "")
    if "PerFrameFunctionalGroupsSequence" not in header:
        header.SliceThickness = header.get("SliceThickness") or distance_mm
        return
    if "SharedFunctionalGroupsSequence" not in header:
        header.SharedFunctionalGroupsSequence = [Dataset()]
    shared, first = header.SharedFunctionalGroupsSequence[0], header.PerFrameFunctionalGroupsSequence[0]
    for name in ("PlaneOrientationSequence", "PixelMeasuresSequence"):
        if name not in shared:
            setattr(shared, name, first[name].value)


def _malformed(header: Any) -> list[str]:
    """Return which attributes have a value that DICOM does not allow and highdicom refuses."""
    from pydicom.valuerep import DA, TM

    kinds: dict[str, Callable[[str], Any]] = {
        "PatientBirthDate": DA,
        "StudyDate": DA,
        "StudyTime": TM,
        "PatientSex": ("", "F", "M", "O").index,
    }
    found = []
    for keyword, kind in kinds.items():
        try:
            kind(str(header.get(keyword) or ""))
        except ValueError:
            found.append(keyword)
    return found


def _parametric_map(
    maps: Mapping[str, npt.NDArray[np.float32]],
    volume: Volume,
    sources: list[Any],
    provenance: Mapping[str, Any],
) -> Any:
    import highdicom as hd

    import glcm_cuda

    features = [feature_named(name) for name in maps]
    values, padding = _padded(np.stack([_stack(array) for array in maps.values()], axis=-1))
    comment = json.dumps(dict(provenance), separators=(",", ":"))
    if len(comment) > _MOST_COMMENT:
        msg = f"the record of the settings must fit in {_MOST_COMMENT} characters, got {len(comment)}"
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
        window_center=0.0,  # highdicom wants one; `_show` knows better
        window_width=1.0,
        content_label="GLCM",
        content_description=_description(features, provenance),
    )
    dataset.SeriesDescription = _description(features, provenance)
    dataset.ImageComments = comment
    if padding is not None:
        # dciodvfy wants the limit of a range too, although there is but one number.
        dataset.FloatPixelPaddingValue = dataset.FloatPixelPaddingRangeLimit = padding
    _arrange(dataset, values)
    _tell_features_apart(dataset, len(features))
    _show(dataset, [_window(array) for array in maps.values()])
    _complete(dataset, sources[0])
    return dataset


def _arrange(dataset: Any, values: npt.NDArray[np.float32]) -> None:
    """Put the frames in order: feature by feature, each along the normal of the slices.

    highdicom sorts by x, then y, then z, which is against the normal of many an oblique or sagittal series.
    Readers that compute the place of the first slice and take the frames as they come (dcmqi, and with it 3D
    Slicer) would have such maps back to front.
    """
    from pydicom.sequence import Sequence as Items

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
    """Make the feature a dimension of the frames where there are several."""
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence as Items

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
    """Give each feature its own window of grey values: their ranges have nothing in common."""
    shared, groups = dataset.SharedFunctionalGroupsSequence[0], dataset.PerFrameFunctionalGroupsSequence
    if len(windows) == 1:
        shared.FrameVOILUTSequence = windows
        return
    del shared.FrameVOILUTSequence
    slices = len(groups) // len(windows)
    for number, group in enumerate(groups):
        group.FrameVOILUTSequence = [windows[number // slices]]


def _window(array: npt.NDArray[np.float32]) -> Any:
    """Return the window that shows most of the values."""
    from pydicom.dataset import Dataset
    from pydicom.valuerep import DSfloat

    values = array[np.isfinite(array)]
    low, high = np.percentile(values, _SHOWN_PERCENTILES) if values.size else (0.0, 1.0)
    window = Dataset()
    window.WindowCenter = DSfloat((low + high) / 2, auto_format=True)
    window.WindowWidth = DSfloat(max(high - low, 1e-3), auto_format=True)
    window.VOILUTFunction = "LINEAR_EXACT"  # LINEAR knows no width below one
    return window


def _complete(dataset: Any, source: Any) -> None:
    """Leave out free text on the patient and what DICOM does not allow, and add what highdicom leaves out."""
    if "PatientComments" in dataset:
        del dataset.PatientComments
    if not re.fullmatch(r"\d{3}[DWMY]", str(dataset.get("PatientAge", ""))) and "PatientAge" in dataset:
        del dataset.PatientAge
    dataset.ContentCreatorName = ""
    dataset.CodingSchemeIdentificationSequence = _schemes()
    dataset.SharedFunctionalGroupsSequence[0].FrameAnatomySequence = [_anatomy(source)]


def _schemes() -> list[Any]:
    from pydicom.dataset import Dataset

    ibsi, ours = Dataset(), Dataset()
    ibsi.CodingSchemeDesignator, ibsi.CodingSchemeUID = "IBSI", _IBSI_UID
    ibsi.CodingSchemeRegistry = "HL7"
    ibsi.CodingSchemeName = "Image Biomarker Standardisation Initiative"
    ours.CodingSchemeDesignator, ours.CodingSchemeName = _SCHEME, "RadSynth"
    ours.CodingSchemeResponsibleOrganization = "RadSynth"
    return [ibsi, ours]


def _anatomy(source: Any) -> Any:
    """Return where in the body the frames are, "tissue" if the image does not say: dcmqi needs something."""
    import highdicom as hd
    from pydicom.dataset import Dataset

    given = _given(source, "FrameAnatomySequence")
    side = given.get("FrameLaterality") or source.get("ImageLaterality") or source.get("Laterality")
    anatomy = Dataset()
    anatomy.FrameLaterality = side if side in ("R", "L", "B") else "U"
    region = given.get("AnatomicRegionSequence") or [hd.sr.CodedConcept("85756007", "SCT", "Tissue")]
    anatomy.AnatomicRegionSequence = list(region)
    return anatomy


def _given(source: Any, group: str) -> Any:
    """Return what has the attributes of a functional group: its shared item, otherwise the image itself."""
    shared = (source.get("SharedFunctionalGroupsSequence") or [{}])[0]
    return (shared.get(group) or [source])[0]


def _stack(array: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return np.asarray(array, np.float32).reshape((-1, *array.shape[-2:]))


def _padded(values: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.float32], float | None]:
    """Return the values with a number in place of NaN, and that number: one just below all others.

    A viewer that knows nothing of padding then shows it as dark as the lowest value.
    """
    missing = np.isnan(values)
    if not missing.any():
        return values, None
    lowest = np.float32(np.nanmin(values, initial=0.0))
    # Of numbers beyond 2**24 the next float32 lies further off than one.
    padding = min(np.floor(lowest) - np.float32(1), np.nextafter(lowest, np.float32(-np.inf)))
    return np.where(missing, padding, values), float(padding)


def _positions(volume: Volume) -> list[Any]:
    import highdicom as hd

    number = 1 if volume.array.ndim == 2 else len(volume.array)
    step = _axis(volume, 2) * volume.spacing_mm[2] if number > 1 else np.zeros(3)
    origin = np.array(volume.origin_mm)
    places = (origin + index * step for index in range(number))
    return [hd.PlanePositionSequence("PATIENT", [float(number) for number in place]) for place in places]


def _orientation(volume: Volume) -> Any:
    import highdicom as hd

    return hd.PlaneOrientationSequence("PATIENT", [*_axis(volume, 0).tolist(), *_axis(volume, 1).tolist()])


def _measures(volume: Volume, source: Any) -> Any:
    import highdicom as hd

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
    import highdicom as hd

    unit, meaning = _UNITS.get(_unit(feature, provenance), _NO_UNIT)
    code, scheme, name = _code(feature)
    mapping = hd.pm.RealWorldValueMapping(
        lut_label=feature.name[:16],
        lut_explanation=f"GLCM {name} ({code})",
        unit=hd.sr.CodedConcept(unit, "UCUM", meaning),
        # The padding is in the range too: readers that apply the mapping refuse what lies beyond.
        value_range=(float(values.min(initial=0)), float(values.max(initial=0))),
        slope=1.0,
        intercept=0.0,
        quantity_definition=hd.sr.CodedConcept(code, scheme, name),
    )
    for setting in _SETTINGS:
        mapping.QuantityDefinitionSequence.append(_parameter(setting, provenance["settings"][setting]))
    return mapping


def _parameter(setting: str, value: Any) -> Any:
    """Return a setting as a quantity has it: a number with its unit, or of several numbers their text."""
    import highdicom as hd
    from pydicom.dataset import Dataset

    meaning, (unit, unit_meaning) = _SETTINGS[setting]
    item = Dataset()
    item.ConceptNameCodeSequence = [hd.sr.CodedConcept(setting, _SCHEME, meaning)]
    if isinstance(value, int):
        item.ValueType, item.NumericValue = "NUMERIC", value
        item.MeasurementUnitsCodeSequence = [hd.sr.CodedConcept(unit, "UCUM", unit_meaning)]
    else:
        item.ValueType, item.TextValue = "TEXT", ", ".join(str(number) for number in value)
    return item


def _unit(feature: Feature, provenance: Mapping[str, Any]) -> str:
    from glcm_cuda.settings import GLCMSettings
    from pipelines.reports.names import unit_of

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
