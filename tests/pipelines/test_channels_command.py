"""``radsynth channels``: a dataset that nnU-Net accepts, whose maps are those of ``radsynth map``."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
from helpers.commands import assert_refused, radsynth
from helpers.volumes import straight

from pipelines.images.writing import write_volume
from pipelines.maps import channels

CASES = ("P1", "P2")
PARAMS = """\
imageType:
  LoG: {sigma: [2.0]}
  Original: {}
featureClass:
  firstorder: [Mean, Range]
voxelSetting: {kernelRadius: 1}
setting:
  binWidth: 10
  label: 1
"""
CROPPED = PARAMS.replace("label: 1", "label: 2\n  preCrop: true\n  padDistance: 3").replace("2.0", "3.0")
NAMES = [
    f"{image}_firstorder_{feature}"
    for image in ("log-sigma-2-0-mm-3D", "original")
    for feature in ("Mean", "Range")
]


@pytest.fixture
def cohort(tmp_path, rng):
    lines = ["patient,group,image,labels,tissues"]
    for number, case in enumerate(CASES):
        image = straight(rng.integers(0, 90, (6, 14, 12 + number)).astype(np.int16))
        labels = np.zeros(image.array.shape, np.uint8)
        labels[1:5, 2:8, 2:7], labels[1:5, 8:12, 2:7] = 1, 2
        write_volume(image, tmp_path / f"{case}.nii.gz")
        write_volume(replace(image, array=labels), tmp_path / f"{case}_labels.nii.gz")
        lines.append(f"{case},g,{case}.nii.gz,{case}_labels.nii.gz,1=tumour;2=cyst")
    (tmp_path / "cohort.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "one.yaml").write_text(PARAMS)
    (tmp_path / "two.yaml").write_text(CROPPED)
    return tmp_path / "cohort.csv"


@pytest.fixture
def run(cohort, tmp_path):
    def run(*arguments, output="Dataset101_Test"):
        common = ("--params", tmp_path / "one.yaml", "--backend", "cpu")
        return radsynth("channels", cohort, "-o", tmp_path / output, *common, *arguments)

    return run


def array_of(path):
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


def assert_nnunet_accepts(folder):
    """What ``verify_dataset_integrity`` of nnU-Net 2 looks at."""
    content = json.loads((folder / "dataset.json").read_text())
    assert {"labels", "channel_names", "numTraining", "file_ending"} <= content.keys()
    ending, number = content["file_ending"], len(content["channel_names"])
    assert list(content["channel_names"]) == [str(channel) for channel in range(number)]
    labels = sorted(content["labels"].values())
    assert content["labels"]["background"] == 0
    assert labels == list(range(len(labels)))
    images = {path.name for path in (folder / "imagesTr").iterdir()}
    cases = {name[: -len(ending) - 5] for name in images}
    assert len(cases) == content["numTraining"]
    assert images == {f"{case}_{channel:04d}{ending}" for case in cases for channel in range(number)}
    assert {path.name for path in (folder / "labelsTr").iterdir()} == {f"{case}{ending}" for case in cases}
    for case in cases:
        segmentation = sitk.ReadImage(str(folder / "labelsTr" / f"{case}{ending}"))
        assert set(np.unique(sitk.GetArrayFromImage(segmentation))) <= set(labels)
        for channel in range(number):
            image = sitk.ReadImage(str(folder / "imagesTr" / f"{case}_{channel:04d}{ending}"))
            assert np.isfinite(sitk.GetArrayFromImage(image)).all()
            for of in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection"):
                assert getattr(image, of)() == getattr(segmentation, of)()


def test_a_dataset_of_nnunet(run, cohort, tmp_path):
    result = run("--resample", "1,1,0", "--clip", 5, 60, "--image-channel", "CT")
    folder = tmp_path / "Dataset101_Test"
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [str(folder), "2 cases: 2 done"]
    assert_nnunet_accepts(folder)
    content = json.loads((folder / "dataset.json").read_text())
    assert content["labels"] == {"background": 0, "tumour": 1, "cyst": 2}
    assert list(content["channel_names"].values()) == ["CT", *NAMES]
    image = array_of(folder / "imagesTr" / "P1_0000.nii.gz")
    assert (image.min(), image.max()) == (5, 60)
    with (folder / "channels.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["name"] for row in table] == ["CT", *NAMES]
    assert json.loads(table[1]["filter"]) == {"type": "log", "sigma_mm": [2.0]}
    assert json.loads(table[0]["settings"])["clip"] == [5, 60]


def test_maps_are_those_of_one_image_with_the_fill_value(run, cohort, tmp_path):
    """The second file crops to a box around its label; there LoG differs from that of the whole image."""
    assert run("--params", tmp_path / "two.yaml", "--fill", -1).exit_code == 0
    folder = tmp_path / "Dataset101_Test"
    image, mask = (cohort.with_name(f"P2{name}.nii.gz") for name in ("", "_labels"))
    for first, params, names in (
        (1, "one", NAMES),
        (5, "two", [name.replace("2-0", "3-0") for name in NAMES]),
    ):
        options = ("--params", tmp_path / f"{params}.yaml", "--outside", -1, "--backend", "cpu")
        alone = radsynth("map", image, "--mask", mask, "-o", tmp_path / f"{params}.nii.gz", *options)
        assert alone.exit_code == 0, alone.output
        label = 1 if params == "one" else 2
        for number, name in enumerate(names, start=first):
            found = array_of(folder / "imagesTr" / f"P2_{number:04d}.nii.gz")
            np.testing.assert_array_equal(found != -1, array_of(mask) == label)
            if params == "one" or name.startswith("original"):
                stem = f"{params}_{name}"
                np.testing.assert_array_equal(found, array_of(tmp_path / f"{stem}.nii.gz"))


def test_chosen_channels_come_in_their_order(run, tmp_path):
    wanted = [NAMES[3], NAMES[0]]
    assert run("--channel", ",".join(wanted)).exit_code == 0
    content = json.loads((tmp_path / "Dataset101_Test" / "dataset.json").read_text())
    assert list(content["channel_names"].values()) == ["image", *wanted]
    assert run(output="Dataset102_All").exit_code == 0
    for number, other in ((1, 4), (2, 1)):
        np.testing.assert_array_equal(
            array_of(tmp_path / "Dataset101_Test" / "imagesTr" / f"P1_{number:04d}.nii.gz"),
            array_of(tmp_path / "Dataset102_All" / "imagesTr" / f"P1_{other:04d}.nii.gz"),
        )
    refused = run("--channel", "original_firstorder_Meen", output="Dataset103_No")
    assert_refused(
        refused, "no channel 'original_firstorder_Meen' (did you mean 'original_firstorder_Mean'?)"
    )


def test_the_same_map_of_two_files_is_named_after_both(run, tmp_path):
    assert run("--params", tmp_path / "two.yaml").exit_code == 0
    names = json.loads((tmp_path / "Dataset101_Test" / "dataset.json").read_text())["channel_names"]
    assert names["3"] == "one:original_firstorder_Mean"
    assert names["7"] == "two:original_firstorder_Mean"
    assert names["1"] == "log-sigma-2-0-mm-3D_firstorder_Mean"


def test_a_case_that_fails_is_left_out_until_it_is_mended(run, cohort, tmp_path):
    path, folder = cohort.with_name("P1.nii.gz"), tmp_path / "Dataset101_Test"
    whole = path.read_bytes()
    path.write_bytes(whole[:-40])
    result = run()
    assert (result.exit_code, result.stdout.splitlines()[1]) == (3, "2 cases: 1 done; 1 failed")
    assert_nnunet_accepts(folder)
    path.write_bytes(whole)
    result = run()
    assert result.stdout.splitlines()[1] == "2 cases: 2 done, 1 of them before"
    assert_nnunet_accepts(folder)
    assert json.loads((folder / "dataset.json").read_text())["numTraining"] == 2


def test_nothing_is_left_of_other_settings_or_another_image(run, cohort, tmp_path):
    folder = tmp_path / "Dataset101_Test"
    assert run().exit_code == 0
    assert run("--channel", NAMES[0], "--force").exit_code == 0
    assert_nnunet_accepts(folder)
    assert len(list((folder / "imagesTr").iterdir())) == 4
    cohort.with_name("P2.nii.gz").write_bytes(b"")
    assert run("--channel", NAMES[0]).exit_code == 3
    assert_nnunet_accepts(folder)
    assert not [path for path in folder.rglob("*") if "P2" in path.name]


def test_no_file_of_a_case_appears_if_one_cannot_be_written(run, tmp_path, monkeypatch):
    write, written = channels.LightWriter.write, []

    def failing(self, array, temporary):
        written.append(temporary)
        if "P2_0003" in temporary.name:
            msg = "no space"
            raise PermissionError(13, msg)
        write(self, array, temporary)

    monkeypatch.setattr(channels.LightWriter, "write", failing)
    assert run().exit_code == 3
    folder = tmp_path / "Dataset101_Test"
    assert any("P2_0001" in path.name for path in written)
    assert not [path for path in folder.rglob("*") if "P2" in path.name]
    assert_nnunet_accepts(folder)


def test_cases_without_labels_are_tests(run, cohort, tmp_path):
    text = cohort.read_text().replace("labels,tissues", "labels,tissues,mask")
    text = text.replace("P2_labels.nii.gz,1=tumour;2=cyst", ",,P2_labels.nii.gz")
    cohort.write_text(text.replace("P1_labels.nii.gz,1=tumour;2=cyst", "P1_labels.nii.gz,1=tumour;2=cyst,"))
    assert run().exit_code == 0
    folder = tmp_path / "Dataset101_Test"
    assert_nnunet_accepts(folder)
    assert len(list((folder / "imagesTs").iterdir())) == len(NAMES) + 1
    assert not np.isnan(array_of(folder / "imagesTs" / "P2_0001.nii.gz")).any()


def test_other_settings_and_other_cases_are_refused(run, cohort, tmp_path):
    assert run().exit_code == 0
    assert_refused(run("--fill", 3), "made with other settings: fill is 0.0 there, 3.0 here")
    (tmp_path / "one.yaml").write_text(PARAMS.replace("10", "20"))
    assert_refused(run(), "settings.bin_width is 10.0 there, 20.0 here")
    (tmp_path / "one.yaml").write_text(PARAMS)
    cohort.write_text("\n".join(cohort.read_text().splitlines()[:2]) + "\n")
    assert_refused(run(), "holds cases that the cohort does not list: P2; remove their images")


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (("P1,", "P_0001,"), "patient P_0001: a case of nnU-Net"),
        (("P1,", "Jo hn,"), "patient Jo hn: a case of nnU-Net"),
        (("1=tumour", "1=lump"), "patient P2: label 1 is called tumour, for patients before lump"),
        (("1=tumour;2=cyst\nP2", "3=cyst\nP2"), "labels 3 and 2 are both called cyst"),
    ],
)
def test_names_that_nnunet_cannot_take_are_refused(run, cohort, change, line):
    old, new = change
    text = cohort.read_text()
    cohort.write_text(text.replace(old, new, 1))
    assert_refused(run(), line)


def test_what_is_refused_before_anything_is_written(run, tmp_path):
    assert_refused(run(output="Test"), "such as Dataset101_Pancreas; got Test")
    assert_refused(run(output="Dataset000_Test"), "with three digits (not 000)")
    assert_refused(run("--fill", "nan"), "--fill must be a number")
    assert_refused(run("--clip", 4, 2), "--clip must be a lower and a higher intensity, got 4 and 2")
    assert_refused(run("--params", tmp_path / "none.yaml"), "none.yaml")
    (tmp_path / "grid.yaml").write_text(
        "featureClass: {firstorder: [Mean]}\nsetting: {resampledPixelSpacing: [1, 1, 1]}\n"
    )
    assert_refused(run("--params", tmp_path / "grid.yaml"), "give --resample X,Y,Z for all of them")
    assert not (tmp_path / "Dataset101_Test").exists()


def test_a_2d_image_is_a_failure_of_its_case(run, cohort):
    write_volume(
        replace(
            straight(np.ones((5, 5))), spacing_mm=(1.0, 1.0), origin_mm=(0.0, 0.0), direction=(1.0, 0, 0, 1.0)
        ),
        cohort.with_name("P1.nii.gz"),
        force=True,
    )
    result = run()
    assert result.exit_code == 3
    assert "patient P1: nnU-Net's channels need a volume, got the 2D image P1.nii.gz" in result.stderr
