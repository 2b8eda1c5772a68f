"""DICOM Parametric Maps: every voxel back where it was, every setting recorded, valid, nobody lost."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import zipfile
from dataclasses import replace

import highdicom as hd
import numpy as np
import pydicom
import pytest
import SimpleITK
from helpers.commands import assert_refused, radsynth
from helpers.dicom import group, write_enhanced, write_series, write_slice

from glcm_cuda import GLCMSettings, feature_maps
from glcm_cuda.families.registry import NAMES
from pipelines.images.archives import opened
from pipelines.images.dicom.series import Choice
from pipelines.images.parametric_map import read_parametric_map, write_parametric_map
from pipelines.images.reading import read_image

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

SMALL = ("--window", 3, "--levels", 8, "--backend", "cpu")


RECORD = {"kind": "GLCM feature map", "settings": GLCMSettings(distance=(1, 2)).to_dict()}


def numbered(volume):
    """Return a map that has every voxel tell its place."""
    return np.arange(volume.array.size, dtype=np.float32).reshape(volume.array.shape)


def place_of(volume, z, y, x):
    """Return where SimpleITK puts a voxel."""
    cosines = np.reshape(volume.direction, (3, 3))
    return np.array(volume.origin_mm) + cosines @ (np.array([x, y, z]) * volume.spacing_mm)


def assert_voxels_where_they_were(made, feature, volume, values):
    """By the frames' own attributes alone: (row, column, frame) as PS3.3 C.7.6.2.1.1 places them."""
    shared = made.SharedFunctionalGroupsSequence[0]
    orientation = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float)
    down, across = np.array(shared.PixelMeasuresSequence[0].PixelSpacing, float)
    found = {}
    for frame_group, frame in zip(made.PerFrameFunctionalGroupsSequence, made.pixel_array, strict=True):
        mapping = (
            frame_group if "RealWorldValueMappingSequence" in frame_group else shared
        ).RealWorldValueMappingSequence
        if mapping[0].LUTLabel != feature:
            continue
        corner = np.array(frame_group.PlanePositionSequence[0].ImagePositionPatient, float)
        for y, x in np.ndindex(frame.shape):
            place = corner + orientation[:3] * across * x + orientation[3:] * down * y
            found[tuple(place.round(4) + 0.0)] = frame[y, x]
    expected = {
        tuple(place_of(volume, *voxel).round(4) + 0.0): values[voxel] for voxel in np.ndindex(values.shape)
    }
    assert found == expected


def make(source, output, *options):
    return radsynth("map", source, "-o", output, *options)


def test_values_positions_and_settings_come_back(series, tmp_path):
    names = ("joint_entropy", "contrast", "mcc")
    options = [part for name in names for part in ("--feature", name)]
    result = make(series, tmp_path / "m.dcm", *SMALL, *options)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[0] == str(tmp_path / "m.dcm")
    maps, found, record = read_parametric_map(tmp_path / "m.dcm")
    volume = read_image(series)
    settings = GLCMSettings(window=3, levels=8)
    for name, exact in feature_maps(volume.array, names, settings, backend="cpu").items():
        np.testing.assert_array_equal(maps[name], exact)
    for field in ("spacing_mm", "origin_mm", "direction"):
        np.testing.assert_allclose(getattr(found, field), getattr(volume, field), atol=1e-6)
    assert record["settings"] == settings.to_dict()
    assert record["features"] == list(names)
    assert record["intensity_range"] == [volume.array.min(), volume.array.max()]
    assert record["source"] == "series"


def test_the_object_belongs_to_the_image_and_is_new(series, tmp_path):
    assert make(series, tmp_path / "m.dcm", *SMALL).exit_code == 0
    made = pydicom.dcmread(tmp_path / "m.dcm")
    sources = [pydicom.dcmread(path) for path in series.iterdir()]
    for keyword in ("PatientID", "StudyInstanceUID", "FrameOfReferenceUID"):
        assert made[keyword].value == sources[0][keyword].value
    assert made.SeriesInstanceUID != sources[0].SeriesInstanceUID
    referenced = {
        item.ReferencedSOPInstanceUID
        for group in made.ReferencedSeriesSequence
        for item in group.ReferencedInstanceSequence
    }
    assert referenced == {source.SOPInstanceUID for source in sources}
    shared, frame = made.SharedFunctionalGroupsSequence[0], made.PerFrameFunctionalGroupsSequence[0]
    groups = frame if "RealWorldValueMappingSequence" in frame else shared
    mapping = groups.RealWorldValueMappingSequence[0]
    assert mapping.MeasurementUnitsCodeSequence[0].CodeValue == "bit"
    quantity = mapping.QuantityDefinitionSequence[0].ConceptCodeSequence[0]
    assert (quantity.CodeValue, quantity.CodingSchemeDesignator) == ("TU9B", "IBSI")
    assert made.SeriesDescription == "GLCM joint entropy, 8 levels, window 3"


def test_voxels_without_a_value_are_padding(series, tmp_path):
    volume = read_image(series)
    inside = np.zeros(volume.array.shape, np.uint8)
    inside[1, 1:4, 1:4] = 1
    mask = SimpleITK.GetImageFromArray(inside)
    mask.SetSpacing(volume.spacing_mm)
    mask.SetOrigin(volume.origin_mm)
    mask.SetDirection(volume.direction)
    SimpleITK.WriteImage(mask, str(tmp_path / "mask.nrrd"))
    assert make(series, tmp_path / "m.dcm", *SMALL, "--mask", tmp_path / "mask.nrrd").exit_code == 0
    maps, _, record = read_parametric_map(tmp_path / "m.dcm")
    assert (np.isfinite(maps["joint_entropy"]) == inside).all()
    assert record["outside"] == "NaN"
    made = pydicom.dcmread(tmp_path / "m.dcm")
    assert made.FloatPixelPaddingValue < np.nanmin(maps["joint_entropy"])
    # Another reader's values, and where they lie; it takes the slices from the other end.
    other = hd.imread(tmp_path / "m.dcm").get_volume().flip_spatial(0)
    np.testing.assert_array_equal(other.array[inside > 0], maps["joint_entropy"][inside > 0])
    axes = np.reshape(volume.direction, (3, 3)) * volume.spacing_mm
    np.testing.assert_allclose(other.affine[:3, :3], axes[:, ::-1], atol=1e-6)
    np.testing.assert_allclose(other.affine[:3, 3], volume.origin_mm, atol=1e-6)
    cropped = make(series, tmp_path / "c.dcm", *SMALL, "--mask", tmp_path / "mask.nrrd", "--crop")
    assert cropped.exit_code == 0, cropped.output
    part, found, record = read_parametric_map(tmp_path / "c.dcm")
    box = tuple(slice(*edges) for edges in record["crop"])
    np.testing.assert_array_equal(part["joint_entropy"], maps["joint_entropy"][box])
    np.testing.assert_allclose(found.origin_mm, volume.cropped(box).origin_mm, atol=1e-6)


def test_what_is_refused_before_anything_is_computed(series, tmp_path, rng):
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(np.ones((3, 9, 9), np.int16)), str(tmp_path / "i.nii"))
    write_series(tmp_path / "lone", rng)
    (tmp_path / "old.dcm").write_text("precious")
    for source, output, message in (
        (
            tmp_path / "i.nii",
            "m.dcm",
            "m.dcm must be made from a DICOM image on its original grid, got another",
        ),
        (tmp_path / "lone", "m.dcm", "lacks FrameOfReferenceUID, so no object can refer to it"),
        (series, "old.dcm", "old.dcm exists"),
        (
            series,
            "gaps.dcm",
            "states where each slice lies, which --allow-gaps leaves open",
        ),
    ):
        options = ("--allow-gaps",) if output == "gaps.dcm" else ()
        result = make(source, tmp_path / output, *SMALL, *options)
        assert result.exit_code == 2
        assert message in result.stderr
        assert result.stderr.count("\n") == 1
    assert not (tmp_path / "m.dcm").exists()
    assert (tmp_path / "old.dcm").read_text() == "precious"
    assert make(series, tmp_path / "old.dcm", *SMALL, "--force").exit_code == 0


def test_a_header_that_no_object_takes_over_is_refused(series, tmp_path):
    for path in series.iterdir():
        header = pydicom.dcmread(path)
        header.SOPClassUID = "1.2.3"
        header.save_as(path)
    result = make(series, tmp_path / "m.dcm", *SMALL)
    assert_refused(result, "a Parametric Map cannot take over the header of this image (")
    assert result.stderr.endswith("write .nii.gz\n")
    assert not (tmp_path / "m.dcm").exists()


def test_what_is_no_map_of_ours_is_refused(series, tmp_path):
    (tmp_path / "text").write_text("no DICOM")
    volume = read_image(series)
    write_parametric_map({"contrast": numbered(volume)}, volume, tmp_path / "m.dcm", RECORD)
    made = pydicom.dcmread(tmp_path / "m.dcm")
    made.ImageComments = "a remark"
    made.save_as(tmp_path / "remark.dcm")
    made.ImageComments = "{}"
    quantity = (
        made.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence[0].QuantityDefinitionSequence
    )
    quantity[0].ConceptCodeSequence[0].CodeValue = "ADC"
    made.save_as(tmp_path / "adc.dcm")
    others = (next(series.iterdir()), tmp_path / "text", tmp_path / "remark.dcm", tmp_path / "adc.dcm")
    for path in others:
        with pytest.raises(
            ValueError, match="must be a DICOM Parametric Map written by radsynth, got another object"
        ):
            read_parametric_map(path)


def test_what_cannot_be_written_is_refused_in_one_line(series, tmp_path):
    volume = read_image(series)
    values = numbered(volume)
    (tmp_path / "text").write_text("no DICOM")
    (tmp_path / "old.dcm").write_text("precious")
    write_slice(tmp_path / "lone", np.ones((6, 5)), (0, 0, 0))
    flat = replace(volume, array=volume.array[0], origin_mm=(0.0, 0.0))
    one = {"contrast": values}
    for maps, image, name, message in (
        ({}, volume, "m.dcm", "must hold at least one feature map, got none"),
        (
            {"contrast": values[:2]},
            volume,
            "m.dcm",
            r"map of contrast must have the image's shape \(4, 6, 5\), got",
        ),
        ({"sharpness": values}, volume, "m.dcm", "no feature 'sharpness'"),
        (one, volume, "m.nii", "name must end in .dcm, got m.nii"),
        (one, replace(volume, sources=()), "m.dcm", "must be made from a DICOM image on its original grid"),
        (
            one,
            replace(volume, sources=(tmp_path / "text",)),
            "m.dcm",
            "text must be a DICOM image, got another",
        ),
        (one, replace(volume, sources=(tmp_path / "lone",)), "m.dcm", "lone lacks FrameOfReferenceUID"),
        (
            {"contrast": values[0]},
            flat,
            "m.dcm",
            "needs a position in the patient, got a 2D image without one",
        ),
    ):
        with pytest.raises(ValueError, match=message) as caught:
            write_parametric_map(maps, image, tmp_path / name, RECORD)
        assert "\n" not in str(caught.value)
        assert not (tmp_path / name).exists()
    with pytest.raises(ValueError, match=r"must have at most 10240 characters, got \d+"):
        write_parametric_map(one, volume, tmp_path / "m.dcm", RECORD | {"more": "x" * 10_240})
    with pytest.raises(FileExistsError, match=r"old\.dcm exists"):
        write_parametric_map(one, volume, tmp_path / "old.dcm", RECORD)
    assert (tmp_path / "old.dcm").read_text() == "precious"
    write_parametric_map(one, volume, tmp_path / "old.dcm", RECORD, force=True)
    assert not list(tmp_path.glob(".tmp-*"))


@pytest.mark.parametrize(
    "orientation",
    [
        (0.96, 0.28, 0, 0, 0, -1),
        (1, 0, 0, 0, 1, 0),
        (0, 1, 0, 0, 0, -1),
        (0.6, 0, 0.8, 0, 1, 0),
        (-1, 0, 0, 0, 1, 0),
    ],
)
@pytest.mark.parametrize("descending", [False, True])
def test_voxels_lie_where_they_lay(tmp_path, rng, orientation, descending):
    normal = np.cross(orientation[:3], orientation[3:])
    (tmp_path / "s").mkdir()
    for index in range(4):
        place = np.array([1.0, 2.0, 3.0]) + 2.5 * index * normal
        pixels = rng.integers(0, 1000, (6, 5))
        write_slice(
            tmp_path / "s" / str(index), pixels, place, orientation=orientation, FrameOfReferenceUID="1.2.9"
        )
    volume = read_image(tmp_path / "s")
    if descending:  # the same voxels, from the last slice to the first
        cosines = np.reshape(volume.direction, (3, 3)) * (1, 1, -1)
        origin = tuple(place_of(volume, 3, 0, 0).tolist())
        volume = replace(
            volume, array=volume.array[::-1], origin_mm=origin, direction=tuple(cosines.ravel().tolist())
        )
    values = numbered(volume)
    missing = np.where(values == 7, np.float32(np.nan), values)
    write_parametric_map({"contrast": values, "idm": missing}, volume, tmp_path / "m.dcm", RECORD)
    made = pydicom.dcmread(tmp_path / "m.dcm")
    assert_voxels_where_they_were(made, "contrast", volume, values)
    # Frames follow each other along the normal, which readers that go by their order need.
    groups = made.PerFrameFunctionalGroupsSequence
    corners = np.array([group.PlanePositionSequence[0].ImagePositionPatient for group in groups], float)
    np.testing.assert_allclose(np.diff(corners @ normal), [2.5, 2.5, 2.5, -7.5, 2.5, 2.5, 2.5], atol=1e-9)
    indices = [list(group.FrameContentSequence[0].DimensionIndexValues) for group in groups]
    assert indices == [[feature, place] for feature in (1, 2) for place in (1, 2, 3, 4)]
    maps, found, _ = read_parametric_map(tmp_path / "m.dcm")
    step = -1 if descending else 1
    np.testing.assert_array_equal(maps["contrast"][::step], values)
    np.testing.assert_array_equal(maps["idm"][::step], missing)
    np.testing.assert_allclose(
        place_of(found, 3 if descending else 0, 1, 2), place_of(volume, 0, 1, 2), atol=1e-9
    )


def test_a_slice_keeps_its_thickness_and_distance(tmp_path):
    about = {"FrameOfReferenceUID": "1.2.9", "SliceThickness": 4, "SpacingBetweenSlices": 5}
    write_slice(tmp_path / "s", np.ones((6, 5)), (1, 2, 3), **about)
    volume = read_image(tmp_path / "s")
    write_parametric_map({"contrast": numbered(volume)}, volume, tmp_path / "m.dcm", RECORD)
    measures = pydicom.dcmread(tmp_path / "m.dcm").SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert measures.SliceThickness == 4
    _, found, _ = read_parametric_map(tmp_path / "m.dcm")
    assert found.spacing_mm == pytest.approx(volume.spacing_mm)


@pytest.mark.parametrize("lowest", [0.0, 3.5, -0.25, -(2.0**24), -5e8])
def test_padding_is_no_value(series, tmp_path, lowest):
    volume = read_image(series)
    values = numbered(volume) + np.float32(lowest)
    values[0, 0, 0], values[3, 5, 4] = lowest, np.nan
    write_parametric_map({"cluster_shade": values}, volume, tmp_path / "m.dcm", RECORD)
    maps, _, _ = read_parametric_map(tmp_path / "m.dcm")
    np.testing.assert_array_equal(maps["cluster_shade"], values)


def test_a_map_without_any_value(series, tmp_path):
    volume = read_image(series)
    nothing = np.full(volume.array.shape, np.nan, np.float32)
    write_parametric_map({"contrast": nothing}, volume, tmp_path / "m.dcm", RECORD)
    assert np.isnan(read_parametric_map(tmp_path / "m.dcm")[0]["contrast"]).all()
    assert errors_of(tmp_path / "m.dcm") == []


def test_each_feature_says_what_it_is(series, tmp_path):
    for name in ("003-", "004-"):  # two slices suffice
        (series / name).unlink()
    volume = read_image(series)
    maps = {name: numbered(volume) / 1000 + place for place, name in enumerate(NAMES)}
    write_parametric_map(maps, volume, tmp_path / "m.dcm", RECORD)
    found, _, record = read_parametric_map(tmp_path / "m.dcm")
    assert tuple(found) == NAMES
    for name in NAMES:
        np.testing.assert_array_equal(found[name], maps[name])
    assert record == json.loads(json.dumps(RECORD))
    made = pydicom.dcmread(tmp_path / "m.dcm")
    firsts = made.PerFrameFunctionalGroupsSequence[:: len(volume.array)]
    mappings = [group.RealWorldValueMappingSequence[0] for group in firsts]
    assert len({mapping.LUTLabel for mapping in mappings}) == len(NAMES)
    units = {
        name: mapping.MeasurementUnitsCodeSequence[0].CodeValue
        for name, mapping in zip(NAMES, mappings, strict=True)
    }
    entropies = ("joint_entropy", "sum_entropy", "difference_entropy", "firstorder_Entropy")
    entropies += ("glrlm_RunEntropy", "glszm_ZoneEntropy", "gldm_DependenceEntropy")
    assert {name for name, unit in units.items() if unit == "bit"} == set(entropies)
    arbitrary = {name for name, unit in units.items() if unit == "[arb'U]"}
    assert len(arbitrary) == 14
    assert {"firstorder_Mean", "firstorder_TotalEnergy"} < arbitrary
    assert not {"firstorder_Skewness", "firstorder_Uniformity", "contrast"} & arbitrary
    assert (made.ContentLabel, made.SeriesDescription) == (
        "TEXTURE", "93 texture features, 64 levels, window 5"
    )  # fmt: skip
    explanations = [mapping.LUTExplanation for mapping in mappings]
    assert explanations[NAMES.index("glrlm_RunEntropy")] == "GLRLM run entropy (HJ9O)"
    assert all(text.endswith(")") for text in explanations)
    _, levels, window, distance = mappings[0].QuantityDefinitionSequence
    assert (levels.ConceptNameCodeSequence[0].CodeValue, levels.NumericValue) == ("levels", 64)
    assert window.NumericValue == 5
    assert distance.TextValue == "1, 2"
    schemes = [item.CodingSchemeDesignator for item in made.CodingSchemeIdentificationSequence]
    assert schemes == ["IBSI", "99RADSYNTH"]
    centers = [group.FrameVOILUTSequence[0].WindowCenter for group in firsts]
    np.testing.assert_allclose(centers, np.arange(len(NAMES)) + 0.0295, atol=1e-3)
    assert errors_of(tmp_path / "m.dcm") == []


@pytest.mark.parametrize(
    ("attributes", "malformed"),
    [
        ({}, []),
        ({"PatientName": "Müller^Jürgen", "SpecificCharacterSet": "ISO_IR 100"}, []),
        ({"PatientSex": "female", "StudyTime": "12:00", "PatientAge": "64"}, ["StudyTime", "PatientSex"]),
        ({"PatientBirthDate": "19600230", "StudyDate": "soon"}, ["PatientBirthDate", "StudyDate"]),
    ],
)
@pytest.mark.filterwarnings("ignore:Invalid value for VR")
def test_patients_with_little_or_odd_data(tmp_path, rng, caplog, attributes, malformed):
    write_series(tmp_path / "s", rng, FrameOfReferenceUID="1.2.9", **attributes)
    volume = read_image(tmp_path / "s")
    with caplog.at_level(logging.WARNING, logger="pipelines"):
        write_parametric_map({"contrast": numbered(volume)}, volume, tmp_path / "m.dcm", RECORD)
    said = [record.message for record in caplog.records if record.name.startswith("pipelines")]
    assert [message.split(" ")[0] for message in said] == malformed
    assert not any(value in message for value in attributes.values() for message in said)
    made = pydicom.dcmread(tmp_path / "m.dcm")
    assert made.PatientID == "nobody"
    assert str(made.PatientName) == attributes.get("PatientName", "")
    assert not any(made[keyword].value for keyword in malformed)
    assert errors_of(tmp_path / "m.dcm") == []


def test_where_in_the_body_is_what_the_image_says(series, tmp_path):
    for path in series.iterdir():
        header = pydicom.dcmread(path)
        breast = pydicom.Dataset()
        breast.CodeValue, breast.CodingSchemeDesignator, breast.CodeMeaning = "76752008", "SCT", "Breast"
        header.AnatomicRegionSequence, header.Laterality = [breast], "L"
        header.save_as(path)
    volume = read_image(series)
    write_parametric_map({"contrast": numbered(volume)}, volume, tmp_path / "m.dcm", RECORD)
    anatomy = pydicom.dcmread(tmp_path / "m.dcm").SharedFunctionalGroupsSequence[0].FrameAnatomySequence[0]
    assert (anatomy.FrameLaterality, anatomy.AnatomicRegionSequence[0].CodeMeaning) == ("L", "Breast")


def test_a_parametric_map_is_no_image(series, tmp_path):
    assert make(series, tmp_path / "m.dcm", *SMALL).exit_code == 0
    with pytest.raises(ValueError, match=r"m\.dcm must be a DICOM image, got an object of modality"):
        read_image(tmp_path / "m.dcm")


def errors_of(path):
    """Return what the validator of dicom3tools finds wrong."""
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy (Debian's dicom3tools) is not installed")
    run = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False)
    return [line for line in (run.stdout + run.stderr).splitlines() if line.startswith("Error")]


@pytest.mark.parametrize(
    ("image", "phase"),
    [
        ("breast_ucsf/UCSF-BR-06_dicom_3phases_plus_SEG.zip", 2),
        ("other_mr/CMB-CRC_SCAN_001_T2_12slices_dicom.zip", None),
        ("other_mr/datalad_T1_oblique_24slices_dicom.zip", None),
        ("other_mr/MR-SIEMENS-DICOM-WithOverlays.dcm", None),
    ],
)
def test_real_images_there_and_back(data_dir, tmp_path, image, phase):
    options = () if phase is None else ("--phase", phase)
    source, output = data_dir / image, tmp_path / "m.dcm"
    result = make(source, output, "--backend", "cpu", "--feature", "TU9B", "--feature", "idm", *options)
    assert result.exit_code == 0, result.output
    maps, found, _ = read_parametric_map(output)
    with opened(source) as place:
        volume = read_image(place, Choice(phase=phase))
    for name, exact in feature_maps(volume.array, tuple(maps), backend="cpu").items():
        np.testing.assert_array_equal(maps[name], exact)
    for field in ("spacing_mm", "origin_mm", "direction"):
        np.testing.assert_allclose(getattr(found, field), getattr(volume, field), atol=1e-5)
    assert errors_of(output) == []


def test_more_than_an_attribute_can_hold_is_refused(series, tmp_path, monkeypatch):
    voxels = read_image(series).array.size
    monkeypatch.setattr("pipelines.images.parametric_map._MOST_BYTES", 4 * voxels * 5 + 1)
    line = f"a Parametric Map holds less than 4 GiB, 5 maps of {voxels} voxels, got 16; ask for fewer"
    assert_refused(make(series, tmp_path / "m.dcm", *SMALL, "--feature", "glrlm"), line)
    assert not (tmp_path / "m.dcm").exists()


def test_maps_of_two_families_in_one_object(series, tmp_path):
    result = make(series, tmp_path / "m.dcm", *SMALL, "--feature", "RunEntropy,TU9B,RunVariance")
    assert result.exit_code == 0, result.output
    maps, _, record = read_parametric_map(tmp_path / "m.dcm")
    assert list(maps) == record["features"] == ["glrlm_RunEntropy", "joint_entropy", "glrlm_RunVariance"]
    assert record["kind"] == "texture feature maps"
    made = pydicom.dcmread(tmp_path / "m.dcm")
    mapping = made.PerFrameFunctionalGroupsSequence[0].RealWorldValueMappingSequence[0]
    assert (mapping.LUTLabel, mapping.LUTExplanation) == ("glrlm HJ9O", "GLRLM run entropy (HJ9O)")


def test_an_archive_is_named_as_the_source(series, tmp_path):
    with zipfile.ZipFile(tmp_path / "s.zip", "w") as archive:
        for path in series.iterdir():
            archive.write(path, path.name)
    assert make(tmp_path / "s.zip", tmp_path / "m.dcm", *SMALL).exit_code == 0
    record = json.loads(pydicom.dcmread(tmp_path / "m.dcm").ImageComments)
    assert record["source"] == "s.zip"


def test_a_phase_of_a_multi_frame_image(tmp_path, rng):
    frames = [group((0, 0, 5.0 * (index // 2)), phase=index % 2 + 1) for index in range(6)]
    source = write_enhanced(tmp_path / "e.dcm", rng.integers(0, 1000, (6, 16, 15)), frames)
    dataset = pydicom.dcmread(source)
    dataset.FrameOfReferenceUID = "1.2.99"
    names = ("PatientName", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "AccessionNumber")
    for name in (*names, "StudyID", "ReferringPhysicianName"):
        setattr(dataset, name, "")
    dataset.save_as(source)
    result = make(source, tmp_path / "m.dcm", *SMALL, "--phase", 2)
    assert result.exit_code == 0, result.output
    maps, found, _ = read_parametric_map(tmp_path / "m.dcm")
    volume = read_image(source, Choice(phase=2))
    exact = feature_maps(volume.array, "joint_entropy", GLCMSettings(window=3, levels=8), backend="cpu")
    np.testing.assert_array_equal(maps["joint_entropy"], exact["joint_entropy"])
    assert found.spacing_mm == pytest.approx(volume.spacing_mm)
    referenced = pydicom.dcmread(tmp_path / "m.dcm").ReferencedSeriesSequence[0].ReferencedInstanceSequence
    assert [item.ReferencedSOPInstanceUID for item in referenced] == [dataset.SOPInstanceUID]
    assert errors_of(tmp_path / "m.dcm") == []


def test_frames_that_each_say_how_they_lie(tmp_path, rng):
    frames = [group((0, 0, 5.0 * index)) for index in range(3)]
    source = write_enhanced(tmp_path / "e.dcm", rng.integers(0, 1000, (3, 6, 5)), frames)
    dataset = pydicom.dcmread(source)
    (shared,) = dataset.SharedFunctionalGroupsSequence
    for frame in dataset.PerFrameFunctionalGroupsSequence:
        frame.PlaneOrientationSequence = shared.PlaneOrientationSequence
        frame.PixelMeasuresSequence = shared.PixelMeasuresSequence
    del dataset.SharedFunctionalGroupsSequence
    dataset.FrameOfReferenceUID = "1.2.99"
    dataset.save_as(source)
    volume = read_image(source)
    values = numbered(volume)
    write_parametric_map({"contrast": values}, volume, tmp_path / "m.dcm", RECORD)
    assert_voxels_where_they_were(pydicom.dcmread(tmp_path / "m.dcm"), "contrast", volume, values)
    assert errors_of(tmp_path / "m.dcm") == []


def test_synthetic_maps_say_that_they_are(series, tmp_path):
    import keras

    from surrogate import NetworkSettings, build_model

    keras.utils.set_random_seed(0)
    glcm = GLCMSettings(levels=8, window=3)
    network = NetworkSettings(architecture="equality", hidden=(4,))
    build_model(glcm, network, ("joint_entropy", "contrast")).save(tmp_path / "m.keras")

    def synthesize(*options):
        return radsynth("synthesize", series, "--model", tmp_path / "m.keras", *options)

    result = synthesize("-o", tmp_path / "s.dcm")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[0] == str(tmp_path / "s.dcm")
    assert synthesize("-o", tmp_path / "s.nrrd").exit_code == 0
    maps, _, record = read_parametric_map(tmp_path / "s.dcm")
    for name, values in maps.items():
        np.testing.assert_array_equal(values, read_image(tmp_path / f"s_{name}.nrrd").array)
    assert record["kind"] == "synthetic GLCM entropy map (network prediction)"
    assert record["features"] == ["joint_entropy", "contrast"]
    assert record["others"]["contrast"]["kind"] == "synthetic GLCM contrast map (network prediction)"
    assert record["others"]["contrast"]["spot_check"] != record["spot_check"]
    made = pydicom.dcmread(tmp_path / "s.dcm")
    assert made.SeriesDescription == "Synthetic GLCM 2 features, 8 levels, window 3"
    exists = synthesize("-o", tmp_path / "s.dcm")
    assert exists.exit_code == 2
    assert "s.dcm exists" in exists.stderr
