"""The phantom cohort: proportions, labels, seeds, names, and its folder."""

from __future__ import annotations

import csv
import itertools
from collections import Counter
from functools import partial

import numpy as np
import pytest
from helpers.commands import radsynth

from glcm_cuda import entropy_map
from pipelines.cohorts import phantom_images, phantoms
from pipelines.cohorts.phantom_images import phantom_patients, phantom_volume
from pipelines.cohorts.phantoms import write_phantom
from pipelines.images.masks import read_labels
from pipelines.images.reading import read_image

PATIENTS = phantom_patients()


@pytest.fixture(scope="module")
def cohort():
    return {patient: phantom_volume(patient, size=128, slices=2) for patient, _ in PATIENTS}


def test_the_cohort_has_the_proportions_of_the_paper():
    assert Counter(group for _, group in PATIENTS) == {"benign": 10, "malignant": 10, "normal": 4}
    assert len({patient for patient, _ in PATIENTS}) == 24
    assert all(patient.startswith(f"phantom-{group}-") for patient, group in PATIENTS)
    assert PATIENTS[0][0] == "phantom-benign-01"


@pytest.mark.parametrize(("patient", "group"), PATIENTS)
def test_tissues_are_there_and_ordered_as_in_breasts(cohort, patient, group):
    image, labels = cohort[patient]
    assert (image.shape, image.dtype) == ((2, 128, 128), np.int16)
    assert (labels.shape, labels.dtype) == ((2, 128, 128), np.uint8)
    assert image.min() >= 0
    counts = Counter(labels.ravel().tolist())
    assert set(counts) == ({0, 1, 2} if group == "normal" else {0, 1, 2, 3})
    assert counts[1] > 1000
    assert counts[2] > 500
    if group != "normal":
        assert counts[3] >= 50
    means = [image[labels == tissue].mean() for tissue in sorted(counts)[1:]]
    assert means == sorted(means)  # fat, gland, enhancing lesion
    air = image[:, :10, :10]
    assert air.mean() < means[0] / 2
    assert air.std() > 0  # Rician noise


def test_patients_vary_and_so_do_their_tissues(cohort):
    entropies = {patient: entropy_map(image, backend="cpu") for patient, (image, _) in cohort.items()}
    fat = [entropies[patient][cohort[patient][1] == 1].mean() for patient, _ in PATIENTS]
    gland = [entropies[patient][cohort[patient][1] == 2].mean() for patient, _ in PATIENTS]
    assert np.std(fat) > 0.1
    assert np.all(np.array(gland) > fat)
    sizes = [np.count_nonzero(cohort[patient][1]) for patient, _ in PATIENTS]
    assert np.std(sizes) / np.mean(sizes) > 0.05
    for one, two in itertools.pairwise(patient for patient, _ in PATIENTS):
        assert not np.array_equal(cohort[one][0], cohort[two][0])


def test_a_patient_depends_on_the_seed_and_nothing_else(cohort):
    image, labels = phantom_volume("phantom-malignant-07", size=128, slices=2)
    np.testing.assert_array_equal(image, cohort["phantom-malignant-07"][0])
    np.testing.assert_array_equal(labels, cohort["phantom-malignant-07"][1])
    other, _ = phantom_volume("phantom-malignant-07", size=128, slices=2, seed=1)
    assert not np.array_equal(other, image)


@pytest.mark.parametrize(("size", "slices"), [(64, 1), (64, 3), (200, 1)])
def test_other_sizes(size, slices):
    for patient in ("phantom-benign-08", "phantom-malignant-02"):
        image, labels = phantom_volume(patient, size=size, slices=slices)
        assert image.shape == labels.shape == (slices, size, size)
        assert set(np.unique(labels)) == {0, 1, 2, 3}


def test_fields_have_mean_0_and_deviation_1(rng):
    grid = phantom_images._grid(256, 4)
    for scale in (2.0, 6.0, 20.0):
        fields = [phantom_images._field(rng, grid, scale) for _ in range(4)]
        assert abs(np.mean(fields)) < 0.15
        assert 0.6 < np.std(fields) < 1.1  # linear interpolation takes some of it


def test_an_unknown_patient_is_refused():
    with pytest.raises(
        ValueError, match="patient must be one of phantom-benign-01 to phantom-normal-04, got 'x'"
    ):
        phantom_volume("x")


run = partial(radsynth, "phantom")


def test_the_command_writes_the_whole_cohort(tmp_path):
    folder = tmp_path / "cohort"
    result = run("-o", folder, "--size", 64, "--slices", 2, "--seed", 3)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [
        str(folder / "cohort.csv"),
        "24 phantom patients (10 benign, 10 malignant, 4 normal), 2x64x64 voxels, seed 3",
    ]
    with (folder / "cohort.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["patient"], row["group"]) for row in rows] == PATIENTS
    for row in rows:
        assert row["image"] == f"images/{row['patient']}.nii.gz"
        assert row["labels"] == f"labels/{row['patient']}_labels.nii.gz"
        assert (row["phantom"], row["tissues"]) == ("true", "1=fatty;2=glandular;3=lesion")
    volume = read_image(folder / rows[12]["image"])
    image, labels = phantom_volume(rows[12]["patient"], size=64, slices=2, seed=3)
    np.testing.assert_array_equal(volume.array, image)
    np.testing.assert_array_equal(read_labels(folder / rows[12]["labels"], volume), labels)
    np.testing.assert_allclose(volume.spacing_mm, (350 / 64, 350 / 64, 3.0), rtol=1e-6)
    assert "not patients" in (folder / "README.txt").read_text()
    assert sorted(path.name for path in folder.iterdir()) == ["README.txt", "cohort.csv", "images", "labels"]
    assert [path.name for path in tmp_path.iterdir()] == ["cohort"]
    assert all("phantom" in path.name for part in ("images", "labels") for path in (folder / part).iterdir())


@pytest.fixture
def quick(monkeypatch):
    """Make patients of nothing."""
    zeros = np.zeros((1, 64, 64), np.int16)
    monkeypatch.setattr(phantoms, "phantom_volume", lambda *_, **__: (zeros, zeros.astype(np.uint8)))


def test_an_existing_cohort_needs_force(tmp_path, quick):
    assert run("-o", tmp_path / "cohort").exit_code == 0
    (tmp_path / "cohort" / "cohort.csv").write_text("old")
    result = run("-o", tmp_path / "cohort")
    assert result.exit_code == 2
    assert "cohort exists and is not empty; give --force to replace it" in result.stderr
    assert (tmp_path / "cohort" / "cohort.csv").read_text() == "old"
    assert run("-o", tmp_path / "cohort", "--force").exit_code == 0
    assert (tmp_path / "cohort" / "cohort.csv").read_text() != "old"


def test_an_empty_folder_is_filled(tmp_path, quick):
    (tmp_path / "cohort").mkdir()
    assert run("-o", tmp_path / "cohort").exit_code == 0


@pytest.mark.parametrize("force", [[], ["--force"]])
def test_a_folder_with_other_things_is_never_replaced(tmp_path, quick, force):
    (tmp_path / "thesis.tex").write_text("mine")
    result = run("-o", tmp_path, *force)
    assert result.exit_code == 2
    assert (
        "exists and is not empty" in result.stderr
        or "got also thesis.tex; choose another folder" in result.stderr
    )
    assert (tmp_path / "thesis.tex").read_text() == "mine"


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path, quick):
    (tmp_path / "file").write_text("mine")
    result = run("-o", tmp_path / "file", "--force")
    assert result.exit_code == 2
    assert "file must be a folder, got a file" in result.stderr
    result = run("-o", tmp_path / "file" / "cohort")
    assert result.exit_code == 2
    assert f"cannot write into {tmp_path / 'file'}: it is a file; choose another folder" in result.stderr


@pytest.mark.parametrize("arguments", [("--size", 32), ("--slices", 0), ("--seed", -1)])
def test_numbers_out_of_range_are_refused(tmp_path, arguments):
    result = run("-o", tmp_path / "cohort", *arguments)
    assert result.exit_code == 2
    assert "is not in the range" in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_failure_leaves_nothing(tmp_path, monkeypatch):
    def fail(*_, **__):
        msg = "No space left on device"
        raise OSError(msg)

    monkeypatch.setattr(phantoms, "phantom_volume", fail)
    with pytest.raises(OSError, match="No space left"):
        write_phantom(tmp_path / "cohort", size=64)
    assert list(tmp_path.iterdir()) == []
