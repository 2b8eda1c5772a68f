"""From a cohort's images to a verified store, by the command and by its functions."""

from __future__ import annotations

import errno
import json
from functools import partial

import h5py
import numpy as np
import pytest
import SimpleITK as sitk
from helpers.commands import radsynth
from helpers.dicom import write_series

from glcm_cuda import GLCMSettings, PatchStore, entropy_map, quantize
from glcm_cuda.store import sink
from pipelines.cohorts.cohort import read_cohort
from pipelines.images.provenance import sha256_of
from pipelines.images.reading import read_image
from pipelines.maps import exact_cohort
from pipelines.maps.exact_cohort import exact_case, map_path, write_store
from pipelines.maps.store_plan import Plan

PLAN = Plan(settings=GLCMSettings(), seed=3, samples_per_case=90, backend="cpu")


def save(path, array, spacing=(0.7, 0.7, 2.0)):
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing[: array.ndim])
    sitk.WriteImage(image, str(path))


@pytest.fixture
def cohort(tmp_path):
    """Three patients: with labels, without, and with a single slice."""
    rng = np.random.default_rng(5)
    for name, shape in {"p1": (3, 16, 18), "p2": (2, 12, 14), "p3": (20, 20)}.items():
        save(tmp_path / f"{name}.nii.gz", rng.integers(0, 900, shape).astype(np.int16))
    labels = np.zeros((3, 16, 18), np.uint8)
    labels[:, 3:9, 3:15], labels[1, 9:13, 4:12] = 1, 3
    save(tmp_path / "p1_labels.nii.gz", labels)
    path = tmp_path / "cohort.csv"
    path.write_text(
        "patient,group,image,labels,tissues\np1,malignant,p1.nii.gz,p1_labels.nii.gz,1=fat;3=lesion\n"
        "p2,benign,p2.nii.gz,,\np3,normal,p3.nii.gz,,\n"
    )
    return path


def content(path):
    with h5py.File(path) as file:
        found = dict(file.attrs)
        file.visititems(
            lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None
        )
    return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in found.items()}


run = partial(radsynth, "groundtruth")


def read_array(path):
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


# The store


def test_store_holds_the_engine_s_values(cohort, tmp_path):
    cases = read_cohort(cohort)
    line = write_store(cases, tmp_path / "s.h5", PLAN)
    assert line == "3 cases, 270 samples of 5x5 voxels at 64 levels; 270 recomputed and found equal"
    with PatchStore(tmp_path / "s.h5") as patches:
        assert patches.settings == PLAN.settings
        for case, record in zip(cases, patches.cases, strict=True):
            image = read_array(case.image)
            image = image.reshape((-1, *image.shape[-2:]))
            rows = patches.read(record.start, record.start + record.count)
            at = (rows.slice, rows.row, rows.column)
            np.testing.assert_array_equal(rows.entropy, entropy_map(image, backend="cpu")[at])
            np.testing.assert_array_equal(rows.patches[:, 2, 2], quantize(image)[at])
            assert record.intensity_range == (image.min(), image.max())
            assert record.shape == image.shape
            assert (record.patient, record.group) == (case.patient, case.group)
            assert (record.image, record.sha256) == (case.image.name, sha256_of(case.image))
        assert patches.cases[0].labels_sha256 == sha256_of(cases[0].labels)
        assert patches.cases[1].labels_sha256 == ""
        assert [record.tissues for record in patches.cases] == ["1=fat;3=lesion", "", ""]


def test_tissues_have_equal_shares(cohort, tmp_path):
    write_store(read_cohort(cohort), tmp_path / "s.h5", PLAN)
    with PatchStore(tmp_path / "s.h5") as patches:
        labels, counts = np.unique(patches.read(0, 90).label, return_counts=True)
    assert (labels.tolist(), counts.tolist()) == ([0, 1, 3], [30, 30, 30])


def test_samples_depend_on_nothing_but_the_case_and_the_plan(cohort, tmp_path):
    cases = read_cohort(cohort)
    write_store(cases[::-1], tmp_path / "s.h5", PLAN)
    with PatchStore(tmp_path / "s.h5") as patches:
        assert patches.patients == ["p3", "p2", "p1"]
        for name, values in exact_case(cases[0], PLAN).samples._asdict().items():
            np.testing.assert_array_equal(getattr(patches.read(180, 270), name), values)


def test_seed_chooses_the_samples(cohort):
    case = read_cohort(cohort)[1]
    one, two = (exact_case(case, Plan(settings=PLAN.settings, seed=seed, backend="cpu")) for seed in (0, 1))
    assert not np.array_equal(one.samples.row, two.samples.row)


# Interruptions


def interrupted(cohort, path, monkeypatch, **options):
    """Run until the third patient, where the user interrupts."""

    def exact_two(case, plan):
        if case.patient == "p3":
            raise KeyboardInterrupt
        return exact_case(case, plan)

    with monkeypatch.context() as patch:
        patch.setattr(exact_cohort, "exact_case", exact_two)
        with pytest.raises(KeyboardInterrupt):
            write_store(read_cohort(cohort), path, PLAN, **options)


def count_computed(monkeypatch):
    """List the patients that are computed from now on."""
    computed = []
    monkeypatch.setattr(
        exact_cohort, "exact_case", lambda case, plan: computed.append(case.patient) or exact_case(case, plan)
    )
    return computed


def test_an_interrupted_run_resumes_to_the_same_content(cohort, tmp_path, monkeypatch):
    write_store(read_cohort(cohort), tmp_path / "whole.h5", PLAN)
    interrupted(cohort, tmp_path / "s.h5", monkeypatch)
    assert not (tmp_path / "s.h5").exists()
    computed = count_computed(monkeypatch)
    write_store(read_cohort(cohort), tmp_path / "s.h5", PLAN)
    assert computed == ["p3"]
    assert content(tmp_path / "s.h5") == content(tmp_path / "whole.h5")
    assert not (tmp_path / "s.h5.parts").exists()


def test_a_case_that_fails_does_not_stop_the_rest(cohort, tmp_path, monkeypatch, caplog):
    cases = read_cohort(cohort)
    whole = cases[1].image.read_bytes()
    cases[1].image.write_bytes(whole[:-100])
    line = r"^patient p2: .* is truncated or damaged.*; the other 2 are done and kept$"
    with pytest.raises(ValueError, match=line):
        write_store(cases, tmp_path / "s.h5", PLAN)
    assert not (tmp_path / "s.h5").exists()
    cases[0].labels.write_bytes(b"")
    with (
        caplog.at_level("WARNING"),
        pytest.raises(ValueError, match=r"2 of 3 patients failed.*: p1, p2; the"),
    ):
        write_store(cases, tmp_path / "s.h5", PLAN)
    assert [record.message.split(":")[0] for record in caplog.records] == ["patient p1", "patient p2"]
    cases[1].image.write_bytes(whole)
    computed = count_computed(monkeypatch)
    write_store(cases[1:], tmp_path / "s.h5", PLAN)
    assert computed == ["p2"], "p3 was done by the run that failed"


def test_a_phase_of_a_folder_of_dicom_is_a_case(tmp_path, rng):
    (tmp_path / "series").mkdir()
    for number, time in enumerate(("101010", "101020")):
        write_series(tmp_path / "series" / str(number), rng, ContentTime=time)
    rows = [f"p{phase},benign,series,,,{phase}" for phase in (1, 2)]
    (tmp_path / "c.csv").write_text("\n".join(["patient,group,image,labels,series,phase", *rows]) + "\n")
    cases = read_cohort(tmp_path / "c.csv")
    write_store(cases, tmp_path / "s.h5", PLAN, maps=tmp_path / "maps")
    with PatchStore(tmp_path / "s.h5") as patches:
        assert [case.image for case in patches.cases] == ["series, phase 1", "series, phase 2"]
        assert {case.modality for case in patches.cases} == {"MR"}
    for case in cases:
        expected = entropy_map(read_image(case.image, case.choice).array, backend="cpu")
        np.testing.assert_array_equal(read_array(map_path(tmp_path / "maps", case.patient)), expected)
    (tmp_path / "c.csv").write_text("patient,group,image,labels,phase\np,benign,series,,two\n")
    with pytest.raises(ValueError, match="line 2: phase must be empty or a whole number from 1, got 'two'"):
        read_cohort(tmp_path / "c.csv")


def test_a_changed_image_is_computed_anew(cohort, tmp_path, monkeypatch):
    interrupted(cohort, tmp_path / "s.h5", monkeypatch)
    save(tmp_path / "p2.nii.gz", np.eye(12, dtype=np.int16)[None])
    computed = count_computed(monkeypatch)
    write_store(read_cohort(cohort), tmp_path / "s.h5", PLAN)
    assert computed == ["p2", "p3"]


# Maps


def test_maps_are_written_whole_with_geometry_and_provenance(cohort, tmp_path):
    cases = read_cohort(cohort)
    write_store(cases, tmp_path / "s.h5", PLAN, maps=tmp_path / "maps")
    for case in cases:
        path = map_path(tmp_path / "maps", case.patient)
        assert path.name == f"{case.patient}_entropy_exact.nii.gz"
        image = read_array(case.image)
        np.testing.assert_array_equal(read_array(path), entropy_map(image, backend="cpu"))
        written, original = (sitk.ReadImage(str(name)) for name in (path, case.image))
        assert written.GetSpacing() == original.GetSpacing()
        origin = json.loads((tmp_path / "maps" / f"{path.name}.json").read_text())
        assert origin["source_sha256"] == sha256_of(case.image)
        assert origin["patient"] == case.patient
        assert origin["backend"] == "cpu"


def test_maps_resume_too(cohort, tmp_path, monkeypatch):
    maps = tmp_path / "maps"
    interrupted(cohort, tmp_path / "s.h5", monkeypatch, maps=maps)
    map_path(maps, "p1").unlink()
    computed = count_computed(monkeypatch)
    write_store(read_cohort(cohort), tmp_path / "s.h5", PLAN, maps=maps)
    assert computed == ["p1", "p3"]
    assert all(map_path(maps, name).exists() for name in ("p1", "p2", "p3"))


def test_other_maps_are_refused_before_work_begins(cohort, tmp_path, monkeypatch):
    other = map_path(tmp_path / "maps", "p2")
    other.parent.mkdir()
    other.write_text("precious")
    computed = count_computed(monkeypatch)
    with pytest.raises(FileExistsError, match=r"p2_entropy_exact.nii.gz exists; give --force"):
        write_store(read_cohort(cohort), tmp_path / "s.h5", PLAN, maps=other.parent)
    assert (other.read_text(), computed) == ("precious", [])
    write_store(read_cohort(cohort), tmp_path / "s.h5", PLAN, maps=other.parent, force=True)
    assert read_array(other).shape == (2, 12, 14)


def test_maps_never_replace_an_image_nor_lie_in_a_series(cohort, tmp_path):
    image = tmp_path / "p2_entropy_exact.nii.gz"
    image.write_bytes((tmp_path / "p2.nii.gz").read_bytes())
    cohort.write_text(cohort.read_text().replace("p2.nii.gz", image.name))
    before = image.read_bytes()
    with pytest.raises(ValueError, match=r"p2_entropy_exact.nii.gz is an input and must not be overwritten"):
        write_store(read_cohort(cohort), tmp_path / "s.h5", PLAN, maps=tmp_path, force=True)
    assert image.read_bytes() == before
    (tmp_path / "series").mkdir()
    cohort.write_text(cohort.read_text().replace(image.name, "series"))
    with pytest.raises(ValueError, match="must not lie in the input folder"):
        write_store(read_cohort(cohort), tmp_path / "s.h5", PLAN, maps=tmp_path / "series", force=True)


# Bad input


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (
            np.zeros((3, 4, 30), np.int16),
            "patient p2: image must hold a whole 5x5 window, got slices of 4x30",
        ),
        (np.full((2, 12, 14), np.nan, np.float32), "patient p2: the image must hold finite intensities"),
    ],
)
def test_an_unfit_image_names_the_patient(cohort, tmp_path, array, words):
    save(tmp_path / "p2.nrrd", array)
    cohort.write_text(cohort.read_text().replace("p2.nii.gz", "p2.nrrd"))
    with pytest.raises(ValueError, match=words):
        write_store(read_cohort(cohort), tmp_path / "s.h5", PLAN)
    assert not (tmp_path / "s.h5").exists()


def test_labels_of_another_geometry_name_the_patient(cohort, tmp_path):
    save(tmp_path / "p1_labels.nii.gz", np.ones((3, 16, 17), np.uint8))
    with pytest.raises(ValueError, match=r"patient p1: labels .* must lie on the image's grid"):
        write_store(read_cohort(cohort), tmp_path / "s.h5", PLAN)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"seed": -1}, "seed must not be negative, got -1"),
        ({"samples_per_case": 0}, "samples per case must be at least 1, got 0"),
        (
            {"settings": GLCMSettings(range_over="mask")},
            'range_over must be "image" in a patch store, got "mask"',
        ),
        ({"settings": GLCMSettings(range_over="crop")}, 'range_over must be "image" .* got "crop"'),
        (
            {"settings": GLCMSettings(bin_width=2.5)},
            "the same number of levels for all cases, got bin_width=2.5",
        ),
        ({"settings": GLCMSettings(levels=257)}, "a patch store holds at most 256 levels, got 257"),
        ({"settings": GLCMSettings(slice_axis=1)}, "slice_axis must be 0, got 1"),
        ({"settings": GLCMSettings(dimensions=3)}, "dimensions must be 2, got 3"),
    ],
)
def test_unfit_plan(fields, words):
    with pytest.raises(ValueError, match=words):
        Plan(**{"settings": PLAN.settings, **fields})


# The command


def test_command_writes_store_and_maps(cohort, tmp_path):
    path = tmp_path / "s.h5"
    options = ("--samples-per-case", 50, "--seed", 2, "--levels", 16, "--window", 3, "--backend", "cpu")
    result = run(cohort, "-o", path, *options, "--maps", tmp_path / "maps")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [
        str(path),
        "3 cases, 150 samples of 3x3 voxels at 16 levels; 150 recomputed and found equal",
    ]
    with PatchStore(path) as patches:
        assert patches.settings == GLCMSettings(levels=16, window=3)
        assert (patches.attributes["seed"], patches.attributes["samples_per_case"]) == (2, 50)
    assert len(list((tmp_path / "maps").glob("*_entropy_exact.nii.gz"))) == 3


@pytest.mark.parametrize("name", ["s.csv", "s", "s.h5.gz"])
def test_command_refuses_other_suffixes(cohort, tmp_path, name):
    result = run(cohort, "-o", tmp_path / name)
    assert result.exit_code == 2
    assert f"Error: -o must end in .h5 or .hdf5, got {name}" in result.stderr
    assert not (tmp_path / name).exists()


def test_command_refuses_a_folder_as_cohort(tmp_path):
    result = run(tmp_path, "-o", tmp_path / "s.h5")
    assert result.exit_code == 2
    assert "COHORT must be a CSV file, got a folder" in result.stderr


def test_help_says_which_settings_are_refused():
    words = " ".join(run("--help").output.split())
    assert "--dimensions 3, --slice-axis, --bin-width and --range-over mask or crop are refused" in words
    assert "--range-over image|cohort" in words
    assert "Example: radsynth groundtruth runs/demo/phantom/cohort.csv -o runs/demo/store.h5" in words


def test_one_case_is_singular(cohort, tmp_path):
    (case, *_) = read_cohort(cohort)
    assert write_store([case], tmp_path / "s.h5", PLAN).startswith("1 case, 90 samples of 5x5")


def test_command_refuses_an_existing_store(cohort, tmp_path):
    (tmp_path / "s.h5").write_text("precious")
    result = run(cohort, "-o", tmp_path / "s.h5")
    assert result.exit_code == 2
    assert "s.h5 exists; give --force" in result.stderr
    assert (tmp_path / "s.h5").read_text() == "precious"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--window", 4), "window must be odd, got 4"),
        (("--levels", 300), "a patch store holds at most 256 levels, got 300"),
        (("--dimensions", 3), "dimensions must be 2, got 3"),
        (("--range-over", "mask"), 'range_over must be "image" in a patch store, got "mask"'),
        (("--preset", "ibsi"), "give a fixed range or --range-over cohort instead"),
        (("--bin-width", 5), "the same number of levels for all cases, got bin_width=5; give levels instead"),
        (("--unmasked-window",), "No such option '--unmasked-window'"),
        (
            ("--range-over", "cohort", "--range", 0, 9),
            "--range-over cohort and --range are mutually exclusive",
        ),
        (("--range-over", "cohort", "--deviations", 2), "--range-over cohort and --deviations are mut"),
        (("--range-over", "cohort", "--percentiles", 1, 99), "--range-over cohort and --percentiles are mut"),
    ],
)
def test_command_refuses_unfit_settings(cohort, tmp_path, options, words):
    result = run(cohort, "-o", tmp_path / "s.h5", *options)
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: ")
    assert words in result.stderr
    assert not (tmp_path / "s.h5").exists()


def test_command_on_a_full_disk(cohort, tmp_path, monkeypatch):
    def full(self, view):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(sink.Sink, "_write_all", full)
    result = run(cohort, "-o", tmp_path / "s.h5", "--backend", "cpu")
    assert result.exit_code == 2
    assert "No space left on device" in result.stderr
    assert "s.h5" in result.stderr
    assert not (tmp_path / "s.h5.parts").exists()
    assert not (tmp_path / "s.h5").exists()


# One range for a cohort


def test_range_over_the_cohort(cohort, tmp_path):
    save(tmp_path / "p2.nii.gz", np.linspace(-50, 400, 2 * 12 * 14).reshape(2, 12, 14).astype(np.int16))
    path = tmp_path / "s.h5"
    arguments = ("--range-over", "cohort", "--samples-per-case", 40, "--backend", "cpu")
    result = run(cohort, "-o", path, *arguments, "--maps", tmp_path / "maps")
    assert result.exit_code == 0, result.output
    images = [read_array(case.image) for case in read_cohort(cohort)]
    found = (-50.0, float(max(image.max() for image in images)))
    assert f"intensity range of the cohort: -50 to {found[1]:g}" in result.stderr
    with PatchStore(path) as patches:
        assert patches.settings == GLCMSettings(intensity_range=found)
        assert {record.intensity_range for record in patches.cases} == {found}
    expected = entropy_map(images[1], GLCMSettings(intensity_range=found), backend="cpu")
    np.testing.assert_array_equal(read_array(map_path(tmp_path / "maps", "p2")), expected)


def test_the_range_of_a_cohort_names_the_patient(cohort, tmp_path):
    save(tmp_path / "p2.nrrd", np.full((2, 12, 14), np.nan, np.float32))
    cohort.write_text(cohort.read_text().replace("p2.nii.gz", "p2.nrrd"))
    result = run(cohort, "-o", tmp_path / "s.h5", "--range-over", "cohort")
    assert result.exit_code == 2
    assert "Error: patient p2: the image must hold finite intensities" in result.stderr


def test_a_cohort_of_one_intensity_has_no_range(cohort, tmp_path):
    for name in ("p1", "p2", "p3"):
        save(tmp_path / f"{name}.nii.gz", np.full((2, 12, 14), 7, np.int16))
    with pytest.raises(ValueError, match="a cohort must have more than one intensity, got only 7"):
        exact_cohort.cohort_range(read_cohort(cohort))


def test_a_store_that_exists_is_refused_before_the_range_is_looked_for(cohort, tmp_path, monkeypatch):
    (tmp_path / "s.h5").write_text("precious")
    monkeypatch.setattr(exact_cohort, "cohort_range", lambda cases: pytest.fail("read the cohort"))
    result = run(cohort, "-o", tmp_path / "s.h5", "--range-over", "cohort")
    assert "s.h5 exists; give --force" in result.stderr


def test_several_distances_and_percentiles(cohort, tmp_path):
    arguments = ("--distance", "1,2", "--percentiles", 1, 99, "--samples-per-case", 40, "--backend", "cpu")
    result = run(cohort, "-o", tmp_path / "s.h5", *arguments)
    assert result.exit_code == 0, result.output
    with PatchStore(tmp_path / "s.h5") as patches:
        assert patches.settings == GLCMSettings(distance=(1, 2), percentiles=(1.0, 99.0))


# Real images


def test_real_breast_with_its_tissue_mask(data_dir, tmp_path):
    folder = data_dir / "breast_ucsf"
    path = tmp_path / "cohort.csv"
    path.write_text(
        "patient,group,image,labels\n"
        f"UCSF-BR-06,malignant,{folder}/UCSF-BR-06_post1.nii.gz,{folder}/UCSF-BR-06_tissue_mask.nii.gz\n"
    )
    write_store(read_cohort(path), tmp_path / "s.h5", Plan(settings=GLCMSettings(), samples_per_case=2000))
    with PatchStore(tmp_path / "s.h5") as patches:
        samples = patches.read(0, 2000)
        assert np.bincount(samples.label).tolist() == [1000, 1000]
        assert patches.cases[0].intensity_range == (0.0, 219.0)
        assert 0 <= samples.entropy.min() < samples.entropy.max() <= 5.162
        assert patches.verify(2000) == 2000
