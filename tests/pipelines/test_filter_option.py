"""``--filter`` of ``radsynth map`` and ``roi``, and image types of parameter files."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from helpers.commands import assert_refused, radsynth

from glcm_cuda import GLCMSettings, feature_maps
from glcm_cuda.roi import roi_features
from pipelines.filters.contract import Scope
from pipelines.filters.specification import filter_of
from pipelines.images.preprocessing import preprocess_part
from pipelines.images.reading import read_image
from pipelines.images.volume import Volume, geometry_differences
from pipelines.images.writing import write_volume
from pipelines.shell.parameter_file import read_parameter_file

pytest.importorskip("pywt", reason="the extra `filters`")
pytest.importorskip("skimage", reason="the extra `filters`")

CLASSES = "featureClass: {glcm: [Contrast]}\n"
GEOMETRY = (0.7, 0.8, 3.0), (5.0, -6.0, 7.5), (0.0, 1.0, 0.0, 0.0, 0.0, -1.0, -1.0, 0.0, 0.0)


@pytest.fixture
def volume(rng):
    return Volume(rng.integers(0, 200, (6, 12, 10)).astype(np.int16), *GEOMETRY)


@pytest.fixture
def image(tmp_path, volume):
    write_volume(volume, tmp_path / "image.nrrd")
    return tmp_path / "image.nrrd"


@pytest.fixture
def inside(volume):
    inside = np.zeros(volume.array.shape, bool)
    inside[1:5, 2:9, 3:8] = True
    return inside


@pytest.fixture
def mask(tmp_path, inside):
    write_volume(Volume(inside.astype(np.uint8), *GEOMETRY), tmp_path / "mask.nrrd")
    return tmp_path / "mask.nrrd"


def derived(text, volume, scope):
    return {one.name: one.volume.array for one in filter_of(text).images(volume, scope)}


def test_every_derived_image_has_maps_with_levels_of_its_own(tmp_path, image, volume):
    output = tmp_path / "maps.nrrd"
    filters = ("--filter", "log:sigma=1,2", "--filter", "wavelet:haar", "--filter", "original")
    result = radsynth("map", image, "-o", output, "--backend", "cpu", *filters, "--feature", "contrast,f9")
    assert result.exit_code == 0, result.output
    *paths, summary = result.stdout.splitlines()
    assert summary.startswith("6x12x10 voxels, 7 images, 2 features, ")
    expected = {
        **derived("log:sigma=1,2", volume, Scope(flat=True)),
        **derived("wavelet:haar", volume, Scope(flat=True)),
        "original": volume.array,
    }
    assert "wavelet-LH" in expected
    assert len(paths) == 2 * len(expected)
    for name, array in expected.items():
        maps = feature_maps(array, ["contrast", "joint_entropy"], backend="cpu")
        for feature, full in (("contrast", "Contrast"), ("joint_entropy", "JointEntropy")):
            path = tmp_path / f"maps_{name}_glcm_{full}.nrrd"
            assert str(path) in paths
            found = read_image(path)
            np.testing.assert_array_equal(found.array, maps[feature])
            np.testing.assert_allclose(found.spacing_mm, volume.spacing_mm)
            record = json.loads(path.with_name(f"{path.name}.json").read_text())
            assert record["filter"]["image"] == name
            assert record["bins"]["low"] == pytest.approx(array.min())
    assert record["filter"] == {"image": "original", "type": "original"}


def test_one_image_and_one_feature_have_the_name_of_the_output(tmp_path, image):
    result = radsynth("map", image, "-o", tmp_path / "m.nrrd", "--filter", "square", "--backend", "cpu")
    assert result.exit_code == 0, result.output
    record = json.loads((tmp_path / "m.nrrd.json").read_text())
    assert record["filter"] == {"image": "square", "type": "square"}


@pytest.mark.parametrize("options", [(), ("--unmasked-window", "--range-over", "crop")])
def test_patterns_are_computed_where_windows_reach(tmp_path, image, mask, volume, inside, options):
    output = tmp_path / "m.nrrd"
    given = (
        "--preset",
        "pyradiomics",
        "--bin-width",
        "1",
        "--filter",
        "lbp-3d",
        "--backend",
        "cpu",
        *options,
    )
    result = radsynth("map", image, "--mask", mask, "-o", output, *given)
    assert result.exit_code == 0, result.output
    settings = GLCMSettings.from_dict(
        json.loads((tmp_path / "m_lbp-3D-k_glcm_JointEntropy.nrrd.json").read_text())["settings"]
    )
    for name, array in derived("lbp-3d", volume, Scope()).items():
        found = read_image(tmp_path / f"m_{name}_glcm_JointEntropy.nrrd").array
        expected = feature_maps(array, ["joint_entropy"], settings, mask=inside, backend="cpu")
        np.testing.assert_array_equal(found[inside], expected["joint_entropy"][inside])


def test_a_parameter_file_with_image_types_runs(tmp_path, image, mask, volume, inside):
    params = tmp_path / "p.yaml"
    params.write_text(
        "imageType: {Original: {}, LoG: {sigma: [2], binWidth: 3}, LBP2D: {binWidth: 1, force2D: true}}\n"
        "setting: {binWidth: 20}\nfeatureClass: {glrlm: [RunEntropy]}\n"
    )
    output = tmp_path / "m.nrrd"
    result = radsynth("map", image, "--mask", mask, "-o", output, "--params", params, "--backend", "cpu")
    assert result.exit_code == 0, result.output
    base = GLCMSettings.preset("pyradiomics").to_dict()
    expected = {
        "original": (volume.array, {"bin_width": 20.0}),
        "log-sigma-2-mm-3D": (
            derived("log:2", volume, Scope())["log-sigma-2-0-mm-3D"],
            {"bin_width": 3.0},
        ),
        "lbp-2D": (derived("lbp-2d", volume, Scope())["lbp-2D"], {"bin_width": 1.0, "dimensions": 2}),
    }
    for name, (array, own) in expected.items():
        settings = GLCMSettings.from_dict({**base, "dimensions": 3, **own})
        maps = feature_maps(array, ["glrlm_RunEntropy"], settings, mask=inside, backend="cpu")
        found = read_image(tmp_path / f"m_{name}_glrlm_RunEntropy.nrrd").array
        np.testing.assert_array_equal(found[inside], maps["glrlm_RunEntropy"][inside])


@pytest.mark.parametrize(
    "setting",
    [
        "resampledPixelSpacing: [1.1, 1.3, 0], interpolator: sitkLinear, padDistance: 2",
        "preCrop: true, padDistance: 1",
    ],
)
def test_filters_work_on_the_box_that_pyradiomics_crops(tmp_path, image, mask, volume, inside, setting):
    """Maps lie on the whole image all the same, or with --crop on the box that windows reach."""
    inside[:, :, 5:] = False
    write_volume(Volume(inside.astype(np.uint8), *GEOMETRY), mask, force=True)
    params = tmp_path / "p.yaml"
    params.write_text(
        f"imageType: {{Original: {{}}, Square: {{}}, Wavelet: {{}}}}\n"
        f"setting: {{binCount: 8, {setting}}}\nfeatureClass: {{glcm: [Contrast]}}\n"
    )
    file = read_parameter_file(params)
    part, moved = preprocess_part(volume, inside, file.steps, file.crop)
    assert part.volume.array.size < part.whole.array.size
    given = (image, "--mask", mask, "--params", params)
    result = radsynth("map", *given, "-o", tmp_path / "m.nrrd", "--backend", "cpu")
    assert result.exit_code == 0, result.output
    edges = "x".join(map(str, part.whole.array.shape))
    assert result.stdout.splitlines()[-1].startswith(f"{edges} voxels, 10 images, 1 feature, ")
    preview = tmp_path / "p.png"
    options = ("-o", tmp_path / "c.nrrd", "--backend", "cpu", "--crop", "--preview", preview)
    assert radsynth("map", *given, *options).exit_code == 0
    assert preview.exists()
    result = radsynth("roi", *given, "-o", tmp_path / "t.csv")
    assert result.exit_code == 0, result.output
    (row,) = csv.DictReader((tmp_path / "t.csv").read_text().splitlines())
    for text, name in (("square", "square"), ("wavelet", "wavelet-HLL"), ("original", "original")):
        values = derived(text, part.volume, Scope())[name]
        settings = GLCMSettings.from_dict(
            {**GLCMSettings.preset("pyradiomics").to_dict(), "levels": 8, "bin_width": None}
        )
        expected = feature_maps(values, ["contrast"], settings, mask=moved, backend="cpu")["contrast"]
        found = read_image(tmp_path / f"m_{name}_glcm_Contrast.nrrd")
        assert not geometry_differences(replace(part.whole, array=found.array), found)
        np.testing.assert_array_equal(found.array[part.box][moved], expected[moved])
        assert not found.array[part.box][~moved].any()
        assert np.count_nonzero(found.array) == np.count_nonzero(expected[moved])
        cropped = read_image(tmp_path / f"c_{name}_glcm_Contrast.nrrd")
        box = tuple(
            slice(*edges)
            for edges in json.loads((tmp_path / f"c_{name}_glcm_Contrast.nrrd.json").read_text())["crop"]
        )
        np.testing.assert_array_equal(cropped.array, found.array[box])
        assert not geometry_differences(found.cropped(box), cropped)
        region = roi_features(values, ["contrast"], settings, mask=moved)
        assert float(row[f"{name}_glcm_Contrast"]) == region["contrast"]


def test_windows_beyond_the_box_of_filters_are_refused(tmp_path, image, mask):
    params = tmp_path / "p.yaml"
    params.write_text("imageType: {Square: {}}\nsetting: {preCrop: true, padDistance: 2}\n" + CLASSES)
    given = ("map", image, "--mask", mask, "--params", params, "-o", tmp_path / "m.nrrd", "--window", 7)
    assert_refused(
        radsynth(*given), "windows reach 3 voxels around the mask, filters work on 2 (padDistance)"
    )


def test_columns_of_regions_begin_with_the_image(tmp_path, image, mask, volume, inside):
    output = tmp_path / "t.csv"
    filters = ("--filter", "original", "--filter", "gradient")
    given = ("--feature", "contrast,ngtdm_Busyness", "--aggregation", "3d-mean,3d-merge")
    result = radsynth("roi", image, "--mask", mask, "-o", output, *filters, *given)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[1] == "2 images: 2 features of 140 voxels; 3d-mean, 3d-merge"
    first, second = csv.DictReader(output.read_text().splitlines())
    assert (first["aggregation"], second["aggregation"]) == ("3d-mean", "3d-merge")
    for name, array in (("original", volume.array), *derived("gradient", volume, Scope()).items()):
        settings = GLCMSettings(dimensions=3, range_over="mask")
        values = roi_features(array, ["contrast"], settings, mask=inside)
        assert float(first[f"{name}_glcm_Contrast"]) == values["contrast"]
        assert float(first[f"{name}_range_high"]) == array[inside].max()
        assert f"{name}_ngtdm_Busyness" in first
    record = json.loads(output.with_name("t.csv.json").read_text())
    assert list(record["images"]) == ["original", "gradient"]
    assert record["images"]["gradient"]["filter"]["use_spacing"] is True
    assert record["source"] == "image.nrrd"


def test_every_feature_of_a_region_has_a_column(tmp_path, image, mask):
    result = radsynth("roi", image, "--mask", mask, "-o", tmp_path / "t.csv", "--filter", "log:1")
    assert result.exit_code == 0, result.output
    columns = (tmp_path / "t.csv").read_text().splitlines()[0].split(",")
    assert len(columns) == len(set(columns)) == 6 + 3 + 137


@pytest.mark.parametrize("command", ["map", "roi"])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--filter", "lgo:2"), "--filter lgo:2: no filter 'lgo' (did you mean 'log'?)"),
        (("--filter", "wavelet:cof1"), "no wavelet 'cof1' (did you mean 'coif1'?)"),
        (
            ("--filter", "wavelet:mexh"),
            "no wavelet 'mexh'; the discrete wavelets are bior1.1 to bior6.8, coif1",
        ),
        (("--filter", "log:sigma=40"), "log with sigma 40 mm needs at least 59 voxels along x, 0.7 mm apart"),
        (("--filter", "square", "--filter", "square"), "two filters give an image the name square"),
        (("--filter", "lbp-2d", "--bin-width", "25"), "lbp-2D has values from 0 to 9, one level with a bin"),
    ],
)
def test_refused_in_one_line_and_nothing_written(tmp_path, image, mask, command, options, message):
    output = tmp_path / "out" / ("t.csv" if command == "roi" else "m.nrrd")
    backend = ("--backend", "cpu") if command == "map" else ()
    result = radsynth(command, image, "--mask", mask, "-o", output, *options, *backend)
    assert_refused(result, message)
    assert not output.parent.exists() or not list(output.parent.iterdir())


@pytest.mark.parametrize(
    ("name", "header"),
    [
        (
            "i.nrrd",
            "NRRD0004\ntype: short\ndimension: 3\nsizes: 10 12 6\nendian: little\nencoding: raw\n{}\n",
        ),
        (
            "i.mha",
            "ObjectType = Image\nNDims = 3\nDimSize = 10 12 6\nElementType = MET_SHORT\n"
            "{}ElementDataFile = LOCAL\n",
        ),
    ],
)
def test_filters_in_mm_need_a_spacing(tmp_path, volume, name, header):
    path, output = tmp_path / name, tmp_path / "m.nrrd"
    path.write_bytes(header.format("").encode() + volume.array.tobytes())
    line = "needs the spacing of voxels in mm, which the image's header does not state"
    for text in ("log:2", "gradient", "ibsi-log:2"):
        assert_refused(radsynth("map", path, "-o", output, "--filter", text), line)
    assert_refused(radsynth("map", path, "-o", output, "--resample", "1"), f"resampling {line}")
    result = radsynth("map", path, "-o", output, "--filter", "gradient:use_spacing=no")
    assert result.exit_code == 0, result.output
    stated = "spacings: 1 1 2\n" if name == "i.nrrd" else "ElementSpacing = 1 1 2\n"
    path.write_bytes(header.format(stated).encode() + volume.array.tobytes())
    assert radsynth("map", path, "-o", tmp_path / "l.nrrd", "--filter", "gradient").exit_code == 0


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "wavelet:coif1",
            "wavelet coif1 reaches over 6 voxels, the image has 2 along z; it is repeated beyond",
        ),
        (
            "lbp-2d:radius=5.5",
            "lbp-2D reaches over 13 voxels, the image has 12 along y; samples beyond it are 0",
        ),
        ("lbp-3d", "lbp-3D reaches over 3 voxels, the image has 2 along z; samples beyond it are 0"),
        (
            "ibsi-mean:size=5",
            "ibsi-mean reaches over 5 voxels, the image has 2 along z; beyond it: boundary mir",
        ),
        ("ibsi-laws:kernels=L3L3L3,energy=2", "ibsi-laws reaches over 5 voxels, the image has 2 along z"),
        ("ibsi-wavelet:haar,level=2", "ibsi-wavelet reaches over 4 voxels, the image has 2 along z"),
        ("square", ""),
        ("gradient", ""),
    ],
)
def test_images_that_are_thinner_than_a_kernel_are_told(tmp_path, volume, text, line, caplog):
    thin = replace(volume, array=volume.array[:2])
    filter_of(text).check(thin, Scope())
    assert caplog.text.count("reaches over") == bool(line)
    assert line in caplog.text


def test_maps_before_a_refused_image_are_not_kept(tmp_path, image, mask):
    options = ("--filter", "original", "--filter", "lbp-3d", "--bin-width", "60", "--backend", "cpu")
    result = radsynth("map", image, "--mask", mask, "-o", tmp_path / "out" / "m.nrrd", *options)
    assert result.exit_code == 2
    assert "Error: lbp-3D-m1 has values from 0 to " in result.stderr
    assert list((tmp_path / "out").iterdir()) == []


def test_existing_maps_are_not_replaced(tmp_path, image):
    existing = tmp_path / "m_gradient_glcm_JointEntropy.nrrd"
    existing.write_text("mine")
    options = ("--filter", "square", "--filter", "gradient")
    assert_refused(radsynth("map", image, "-o", tmp_path / "m.nrrd", *options), f"{existing.name} exists")
    assert existing.read_text() == "mine"
    assert not (tmp_path / "m_square_glcm_JointEntropy.nrrd").exists()


def test_filtered_images_have_no_parametric_map(tmp_path, image):
    result = radsynth("map", image, "-o", tmp_path / "m.dcm", "--filter", "square")
    assert_refused(result, "maps of filtered images cannot be a Parametric Map, got m.dcm; write .nii.gz")


def test_a_volume_filter_of_a_2d_image_is_refused(tmp_path, rng):
    flat = Volume(rng.integers(0, 9, (12, 10)).astype(np.int16), (1.0, 1.0), (0.0, 0.0), (1.0, 0.0, 0.0, 1.0))
    write_volume(flat, tmp_path / "flat.nrrd")
    result = radsynth("map", tmp_path / "flat.nrrd", "-o", tmp_path / "m.nrrd", "--filter", "lbp-3d")
    assert_refused(result, "lbp-3D needs a volume, got a 2D image")


def test_image_types_of_one_table_need_one_aggregation(tmp_path, image, mask):
    params = tmp_path / "p.yaml"
    params.write_text("imageType: {Original: {}, LBP2D: {binWidth: 1, force2D: true}}\n" + CLASSES)
    options = ("--mask", mask, "-o", tmp_path / "t.csv", "--params", params)
    result = radsynth("roi", image, *options)
    assert_refused(result, "image types ask for different aggregations (2.5d-mean, 3d-mean)")
    result = radsynth("roi", image, *options, "--aggregation", "3d-mean")
    assert result.exit_code == 0, result.output
