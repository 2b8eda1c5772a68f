"""DICOM Parametric Maps: every voxel back where it was, every setting recorded, valid, nobody lost."""

from __future__ import annotations

import json
import shutil
import subprocess
import zipfile

import highdicom as hd
import numpy as np
import pydicom
import pytest
import SimpleITK
from click.testing import CliRunner
from test_dicom import write_series
from test_phases import group, write_enhanced
from test_regions import series  # noqa: F401 (a fixture)

from glcm_cuda import GLCMSettings, feature_maps
from pipelines.archives import opened
from pipelines.dicom import Choice
from pipelines.imaging import read_image
from pipelines.map import command
from pipelines.parametric_map import read_parametric_map
from pipelines.synthesize import command as synthesize_command

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

SMALL = ("--window", 3, "--levels", 8, "--backend", "cpu")


def make(source, output, *options):
    arguments = [source, "-o", output, *options]
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def test_values_positions_and_settings_come_back(series, tmp_path):  # noqa: F811
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


def test_the_object_belongs_to_the_image_and_is_new(series, tmp_path):  # noqa: F811
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


def test_voxels_without_a_value_are_padding(series, tmp_path):  # noqa: F811
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


def test_what_is_refused_before_anything_is_computed(series, tmp_path, rng):  # noqa: F811
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(np.ones((3, 9, 9), np.int16)), str(tmp_path / "i.nii"))
    write_series(tmp_path / "lone", rng)
    (tmp_path / "old.dcm").write_text("precious")
    for source, output, message in (
        (tmp_path / "i.nii", "m.dcm", "m.dcm must be made from a DICOM image on its own grid, got another"),
        (tmp_path / "lone", "m.dcm", "lacks FrameOfReferenceUID: nothing can refer to it"),
        (series, "old.dcm", "old.dcm exists"),
        (
            series,
            "gaps.dcm",
            "says where each slice lies, and --allow-gaps leaves that open",
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


def test_what_is_no_map_of_ours_is_refused(series):  # noqa: F811
    with pytest.raises(ValueError, match="must be a DICOM Parametric Map of radsynth, got another object"):
        read_parametric_map(next(series.iterdir()))


def test_a_parametric_map_is_no_image(series, tmp_path):  # noqa: F811
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
    result = make(source, output, "--backend", "cpu", "--feature", "entropy", "--feature", "idm", *options)
    assert result.exit_code == 0, result.output
    maps, found, _ = read_parametric_map(output)
    with opened(source) as place:
        volume = read_image(place, Choice(phase=phase))
    for name, exact in feature_maps(volume.array, tuple(maps), backend="cpu").items():
        np.testing.assert_array_equal(maps[name], exact)
    for field in ("spacing_mm", "origin_mm", "direction"):
        np.testing.assert_allclose(getattr(found, field), getattr(volume, field), atol=1e-5)
    assert errors_of(output) == []


def test_an_archive_is_named_as_the_source(series, tmp_path):  # noqa: F811
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


def test_synthetic_maps_say_that_they_are(series, tmp_path):  # noqa: F811
    import keras

    from surrogate import NetworkSettings, build_model

    keras.utils.set_random_seed(0)
    glcm = GLCMSettings(levels=8, window=3)
    network = NetworkSettings(architecture="equality", hidden=(4,))
    build_model(glcm, network, ("joint_entropy", "contrast")).save(tmp_path / "m.keras")

    def synthesize(*options):
        arguments = [series, "--model", tmp_path / "m.keras", *options]
        return CliRunner().invoke(synthesize_command, [str(argument) for argument in arguments])

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
