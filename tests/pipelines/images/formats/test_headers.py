"""Headers of NRRD and MetaImage files that lie, lead elsewhere, or would end the process in ITK."""

from __future__ import annotations

import bz2
import gzip
import time
import zlib

import numpy as np
import pytest
import SimpleITK
from helpers.commands import assert_refused, radsynth
from helpers.reading import read_or_refused_in_a_line

from pipelines.images.masks import MaskChoice, read_mask
from pipelines.images.provenance import files_of
from pipelines.images.reading import read_image
from pipelines.images.volume import Volume

VOXELS = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
DATA = VOXELS.tobytes()
META = {
    "ObjectType": "Image",
    "NDims": "3",
    "BinaryData": "True",
    "CompressedData": "False",
    "TransformMatrix": "1 0 0 0 1 0 0 0 1",
    "Offset": "1 2 3",
    "ElementSpacing": "0.7 0.8 2",
    "DimSize": "4 3 2",
    "ElementType": "MET_UCHAR",
    "ElementDataFile": "LOCAL",
}
NRRD = {"type": "uchar", "dimension": "3", "sizes": "4 3 2", "encoding": "raw"}


def meta(path, data=DATA, **changes):
    fields = META | changes
    fields["ElementDataFile"] = fields.pop("ElementDataFile")  # must be the last
    text = "".join(f"{name} = {value}\n" for name, value in fields.items() if value is not None)
    path.write_bytes(text.encode() + data)
    return path


def nrrd(path, data=DATA, extra="", **changes):
    fields = {name.replace("_", " "): value for name, value in (NRRD | changes).items()}
    text = "".join(f"{name}: {value}\n" for name, value in fields.items() if value is not None)
    path.write_bytes(b"NRRD0004\n" + text.encode() + extra.encode() + b"\n" + data)
    return path


def assert_one_line_refusal(path, words):
    with pytest.raises(ValueError, match=words) as caught:
        read_image(path)
    assert "\n" not in str(caught.value)


def test_sound_headers_are_read(tmp_path):
    for path in (meta(tmp_path / "a.mha"), nrrd(tmp_path / "a.nrrd")):
        np.testing.assert_array_equal(read_image(path).array, VOXELS)
    volume = read_image(tmp_path / "a.mha")
    assert (volume.spacing_mm, volume.origin_mm) == ((0.7, 0.8, 2.0), (1.0, 2.0, 3.0))


# Geometry and intensities that ITK would read as something else


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"DistanceUnits": "um"}, 'states lengths in "um", expected "mm"'),
        ({"ElementToIntensityFunctionSlope": "2"}, "ElementToIntensityFunctionSlope 2, which is not applied"),
        ({"ElementToIntensityFunctionOffset": "-1"}, "ElementToIntensityFunctionOffset -1, which is not"),
        ({"TransformMatrix": "1 0 0 0.5 1 0 0 0 1"}, r"has a sheared direction: .* by up to \d\.\d+ voxels"),
    ],
)
def test_a_metaimage_that_itk_misreads_is_refused(tmp_path, changes, words):
    assert_one_line_refusal(meta(tmp_path / "a.mha", **changes), words)


@pytest.mark.parametrize(
    "changes",
    [
        {"DistanceUnits": "mm"},
        {"ElementToIntensityFunctionSlope": "1", "ElementToIntensityFunctionOffset": "0"},
    ],
)
def test_a_metaimage_that_states_what_is_usual_is_read(tmp_path, changes):
    np.testing.assert_array_equal(read_image(meta(tmp_path / "a.mha", **changes)).array, VOXELS)


SPACE = {"space": "LPS", "space_directions": "(1,0,0) (0,2,0) (0,0,3)", "space_origin": "(1,2,3)"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"space_units": '"um" "um" "um"'}, 'states lengths in "um", expected "mm"'),
        (
            {"space_directions": "(1,0,0) (0.5,1,0) (0,0,1)"},
            r"has a sheared direction: .* \d\.\d+ voxels",
        ),
        ({"space": None}, "its header has no valid space;"),
        (
            {"space_directions": "(1,0,0) (0,1,0) none"},
            "must be 2D or 3D, got 4x3x2 with an axis",
        ),
        ({"type": "short", "sizes": "4 3 1"}, "its header has no valid endian;"),
    ],
)
def test_a_nrrd_that_itk_misreads_is_refused(tmp_path, changes, words):
    assert_one_line_refusal(nrrd(tmp_path / "a.nrrd", **SPACE | changes), words)


def test_a_little_shear_of_a_nrrd_is_straightened_and_told(tmp_path, caplog):
    """Two degrees, which move the farthest corner by 0.2 voxels."""
    path = nrrd(tmp_path / "a.nrrd", **SPACE | {"space_directions": "(1,0,0) (0.07,2,0) (0,0,3)"})
    volume = read_image(path)
    direction = np.reshape(volume.direction, (3, 3))
    np.testing.assert_allclose(direction.T @ direction, np.eye(3), atol=1e-12)
    assert "the axes of its direction are not orthonormal" in caplog.text


@pytest.mark.parametrize("matrix", ["2 0 0 0 3 0 0 0 4", "0 2 0 -3 0 0 0 0 4"])
def test_directions_of_other_lengths_are_part_of_the_spacing(tmp_path, caplog, matrix):
    path = meta(tmp_path / "a.mha", TransformMatrix=matrix, Offset="7 8 9", ElementSpacing="1 1 2")
    volume = read_image(path)
    assert volume.spacing_mm == (2.0, 3.0, 8.0)
    image = SimpleITK.ReadImage(str(path))
    last = [int(edge) - 1 for edge in image.GetSize()]
    place = np.reshape(volume.direction, (3, 3)) @ (np.array(volume.spacing_mm) * last) + volume.origin_mm
    np.testing.assert_allclose(place, image.TransformIndexToPhysicalPoint(last))
    assert "with them the spacing is not 1x1x2 mm but 2x3x8 mm" in caplog.text


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("NDims", "-1"),
        ("NDims", "0"),
        ("NDims", "-1BinaryData = True"),
        ("NDims", "three"),
        ("NDims", "99999999999999999999"),
        ("DimSize", "4 3"),
        ("DimSize", "4 3 -2"),
        ("DimSize", "4 3 0"),
        ("DimSize", "4 3 x"),
        ("DimSize", None),
        ("ElementType", "MET_STRING"),
        ("ElementType", None),
        ("TransformMatrix", "1 0 0"),
        ("TransformMatrix", "nan 0 0 0 1 0 0 0 1"),
        ("Offset", "1 2"),
        ("ElementSpacing", "1 1 0"),
        ("ElementSpacing", "1 1 inf"),
        ("CompressedData", "perhaps"),
        ("HeaderSize", "4"),  # ITK would read the header as voxels
        ("ElementNumberOfChannels", "-3"),
        ("ElementDataFile", ""),
        ("ObjectType", "Mesh"),
    ],
)
def test_a_damaged_metaimage_header_is_refused_before_itk_reads_it(tmp_path, field, value):
    path = meta(tmp_path / "a.mha", **{field: value})
    assert_one_line_refusal(path, rf"a\.mha is truncated or damaged: its header has no valid {field};")


def test_a_header_line_twice_or_without_a_name_is_refused(tmp_path):
    path = meta(tmp_path / "a.mha")
    for line in (b"NDims = 2\n", b"no separator\n", b"= 3\n"):
        (tmp_path / "b.mha").write_bytes(line + path.read_bytes())
        assert_one_line_refusal(tmp_path / "b.mha", "is truncated or damaged: its header has no valid")


@pytest.mark.parametrize("seed", range(60))
def test_mutated_headers_are_refused_or_read(tmp_path, seed):
    rng = np.random.default_rng(seed)
    path = (meta, nrrd)[seed % 2](tmp_path / ("a.mha", "a.nrrd")[seed % 2])
    content = bytearray(path.read_bytes())
    header = content.index(VOXELS.tobytes())
    for place in rng.integers(10, header, 3):
        content[place] = rng.choice(list(b"0123456789-= \n.eEx%/"))
    path.write_bytes(content)
    read_or_refused_in_a_line(path)


# Sizes


@pytest.mark.parametrize("encoding", ["raw", "gzip", "ascii", "hex"])
def test_a_nrrd_that_promises_more_than_it_holds_is_refused_at_once(tmp_path, encoding):
    path = nrrd(tmp_path / "a.nrrd", gzip.compress(bytes(24)), sizes="2000 2000 2000", encoding=encoding)
    start = time.perf_counter()
    assert_one_line_refusal(
        path, r"a\.nrrd is truncated or damaged: the file is shorter than it says, \d+ byt"
    )
    assert time.perf_counter() - start < 1


@pytest.mark.parametrize("changes", [{}, {"CompressedData": "True"}, {"BinaryData": "False"}])
def test_a_metaimage_that_promises_more_than_it_holds_is_refused_at_once(tmp_path, changes):
    path = meta(tmp_path / "a.mha", zlib.compress(bytes(24)), DimSize="2000 2000 2000", **changes)
    start = time.perf_counter()
    assert_one_line_refusal(
        path, r"a\.mha is truncated or damaged: the file is shorter than it says, \d+ byt"
    )
    assert time.perf_counter() - start < 1


def test_a_nifti_that_promises_more_than_it_holds_is_refused_at_once(tmp_path):
    path = tmp_path / "a.nii"
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(VOXELS), str(path))
    content = bytearray(path.read_bytes())
    content[42:48] = np.array([2000] * 3, "<i2").tobytes()
    path.write_bytes(content)
    assert_one_line_refusal(path, "its header states 8000000000 bytes of voxels, got 24")


def test_compressed_voxels_that_are_damaged_are_refused(tmp_path):
    data = bytearray(gzip.compress(VOXELS.tobytes()))
    data[-6] ^= 0xFF  # in the checksum
    assert_one_line_refusal(
        nrrd(tmp_path / "a.nrrd", bytes(data), encoding="gzip"), "compressed voxels cannot"
    )


@pytest.mark.parametrize("field", ["type", "space", "encoding", "kinds", "space units", "made up"])
def test_a_field_as_long_as_no_field_is_refused(tmp_path, field):
    """ITK's reader would end the process."""
    path = nrrd(tmp_path / "a.nrrd", **{field.replace(" ", "_"): "a" * 3000})
    assert_one_line_refusal(path, rf"its header has no valid {field} \(it has 30\d\d characters\)")


def test_long_texts_in_a_header_are_read(tmp_path):
    path = nrrd(tmp_path / "a.nrrd", extra=f"content: {'y' * 3000}\nkey:={'x' * 3000}\n")
    np.testing.assert_array_equal(read_image(path).array, VOXELS)


def test_bzip2_is_refused_by_name(tmp_path):
    path = nrrd(tmp_path / "a.nrrd", bz2.compress(VOXELS.tobytes()), encoding="bzip2")
    assert_one_line_refusal(
        path, r"a\.nrrd is compressed with bzip2, which is not read here; save it with gzip"
    )


# Detached headers


DETACHED = ["data.raw", "below/data.raw", "./data.raw", "below/../data.raw"]


@pytest.fixture
def folder(tmp_path):
    """A folder with data, and a secret beside it."""
    (tmp_path / "secret").write_bytes(bytes(24))
    folder = tmp_path / "image"
    (folder / "below").mkdir(parents=True)
    for name in ("data.raw", "below/data.raw"):
        (folder / name).write_bytes(VOXELS.tobytes())
    return folder


@pytest.mark.parametrize("name", DETACHED)
def test_data_beside_or_below_the_header_are_read(folder, name):
    for path in (
        meta(folder / "a.mhd", b"", ElementDataFile=name),
        nrrd(folder / "a.nhdr", b"", data_file=name),
    ):
        np.testing.assert_array_equal(read_image(path).array, VOXELS)
        assert len(files_of(path)) == 2


@pytest.mark.parametrize("name", ["{outside}", "../secret", "below/../../secret", "link", "linked/secret"])
def test_data_outside_the_folder_are_not_read(folder, name):
    (folder / "link").symlink_to(folder.parent / "secret")
    (folder / "linked").symlink_to(folder.parent)
    name = name.format(outside=folder.parent / "secret")
    for path in (
        meta(folder / "a.mhd", b"", ElementDataFile=name),
        nrrd(folder / "a.nhdr", b"", data_file=name),
        meta(folder / "b.mhd", f"{name}\n".encode(), ElementDataFile="LIST"),
        nrrd(folder / "b.nhdr", b"", extra=f"data file: LIST\n{name}"),
    ):
        assert_one_line_refusal(
            path, r"names .*(secret|link) for its voxels, which is outside the header's fold"
        )


@pytest.mark.parametrize("name", ["none.raw", "x" * 400, "a\0b"])
def test_data_that_are_missing_are_named(folder, name):
    for path in (
        meta(folder / "a.mhd", b"", ElementDataFile=name),
        nrrd(folder / "a.nhdr", b"", data_file=name),
    ):
        assert_one_line_refusal(path, "is incomplete: its data file .* is missing; copy both files")


def test_data_in_several_files_are_read_and_counted(folder):
    for index in range(2):
        (folder / f"slice{index}.raw").write_bytes(VOXELS[index].tobytes())
    for path in (
        meta(folder / "a.mhd", b"slice0.raw\nslice1.raw\n", ElementDataFile="LIST"),
        meta(folder / "b.mhd", b"", ElementDataFile="slice%d.raw 0 1 1"),
        nrrd(folder / "a.nhdr", b"", data_file="slice%d.raw 0 1 1"),
        nrrd(folder / "b.nhdr", b"", extra="data file: LIST\nslice0.raw\nslice1.raw"),
    ):
        np.testing.assert_array_equal(read_image(path).array, VOXELS)
        assert len(files_of(path)) == 3
    (folder / "slice1.raw").write_bytes(bytes(5))
    assert_one_line_refusal(folder / "a.mhd", "shorter than it says, 24 bytes of voxels expected, got 17")


@pytest.mark.parametrize(
    "pattern", ["%s.raw 0 1 1", "%n%d.raw 0 1", "%99d.raw 0 1 1 1", "s%d.raw 0 999999999 1", "s%d.raw 1 0 1"]
)
def test_patterns_that_are_no_numbered_files_are_refused(folder, pattern):
    assert_one_line_refusal(
        meta(folder / "a.mhd", b"", ElementDataFile=pattern), r"a\.mhd (names|is incomplete)"
    )


def test_other_formats_never_reach_itk(tmp_path, monkeypatch):
    (tmp_path / "a.vtk").write_text("# vtk DataFile Version 3.0\n")
    monkeypatch.setattr(SimpleITK, "ImageFileReader", None)
    assert_one_line_refusal(tmp_path / "a.vtk", r"a\.vtk must be a readable NIfTI, NRRD, MHA or DICOM image")


# Segmentations of 3D Slicer in layers


def layered(path, layers, **changes):
    """Write a segmentation whose two segments overlap, each with label 1 in a layer of its own."""
    names = "".join(
        f"Segment{index}_Name:={name}\nSegment{index}_LabelValue:=1\nSegment{index}_Layer:={index}\n"
        for index, name in enumerate(("Tumour", "Edema"))
    )
    return nrrd(
        path,
        np.stack(layers, axis=-1).astype(np.uint8).tobytes(),
        extra="space: left-posterior-superior\nspace directions: none (1,0,0) (0,1,0) (0,0,1)\n"
        f"space origin: (0,0,0)\n{names}",
        **{"dimension": "4", "sizes": "2 4 3 2", "kinds": "list domain domain domain", **changes},
    )


def test_the_segment_asked_for_is_found_by_layer_and_label(tmp_path):
    layers = [VOXELS > 5, VOXELS < 9]
    path = layered(tmp_path / "a.seg.nrrd", layers)
    volume = Volume(VOXELS, (1.0,) * 3, (0.0,) * 3, (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0))
    for name, layer in zip(("tumour", "Edema"), layers, strict=True):
        np.testing.assert_array_equal(read_mask(path, volume, MaskChoice(segment=name)), layer)
    listed = r"Tumour \(label 1 in layer 0\), Edema \(label 1 in layer 1\); choose one by name with --segment"
    for choice, got in (
        (MaskChoice(), "no --segment, which means 2"),
        (MaskChoice(label=1), "--mask-label 1, which means 2"),
        (MaskChoice(segment="1"), "--segment 1, which means 2"),
        (MaskChoice(segment="bone"), "--segment bone, which means 0"),
    ):
        with pytest.raises(ValueError, match=rf"has segments in layers, .*: {listed}, got {got}"):
            read_mask(path, volume, choice)


def test_a_layer_that_is_not_there_is_refused(tmp_path):
    path = layered(tmp_path / "a.seg.nrrd", [VOXELS > 5, VOXELS < 9])
    path.write_bytes(path.read_bytes().replace(b"Segment1_Layer:=1", b"Segment1_Layer:=7"))
    volume = Volume(VOXELS, (1.0,) * 3, (0.0,) * 3, (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0))
    with pytest.raises(ValueError, match="has 2 layers, its segments name layer 7"):
        read_mask(path, volume, MaskChoice(segment="edema"))


def test_a_command_refuses_in_one_line_and_writes_nothing(tmp_path):
    path = meta(tmp_path / "a.mha", NDims="-1")
    assert_refused(radsynth("map", path, "-o", tmp_path / "map.nii"), "its header has no valid NDims")
    assert [file.name for file in tmp_path.iterdir()] == ["a.mha"]
