"""benchmark on a tiny image: what it measures, says and refuses."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import SimpleITK
from helpers.commands import radsynth

from glcm_cuda import GLCMSettings, entropy_map
from pipelines.evaluation import timing as subject
from pipelines.evaluation.timing_report import markdown, verdicts

SIZE = 16


@pytest.fixture(autouse=True)
def small_phantom(monkeypatch):
    monkeypatch.setattr(subject, "PHANTOM_SIZE", 64)


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    path = tmp_path_factory.mktemp("image") / "knee.nii.gz"
    array = np.random.default_rng(0).integers(0, 900, (3, SIZE, SIZE)).astype(np.int16)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(array), str(path))
    return path


benchmark = partial(radsynth, "benchmark")


@pytest.fixture(scope="module")
def measured(image, tmp_path_factory):
    out = tmp_path_factory.mktemp("measured") / "out"
    result = benchmark("-o", out, "--image", image, "--slices", "2", "--repeats", "3")
    assert result.exit_code == 0, result.output
    return out, result


def test_every_output_is_there_and_the_markdown_is_named_last(measured):
    out, result = measured
    assert sorted(p.name for p in out.iterdir()) == [f"benchmark.{s}" for s in ("csv", "json", "md", "png")]
    assert result.stdout.splitlines()[-1] == str(out / "benchmark.md")
    assert (out / "benchmark.md").read_text() in result.stdout


def test_json_holds_every_repeat_and_the_machine(measured):
    document = json.loads((measured[0] / "benchmark.json").read_text())
    assert (document["phantom"], document["image"], document["shape"]) == (
        False,
        "knee.nii.gz",
        [2, SIZE, SIZE],
    )
    assert document["largest_difference_of_exact_maps"] <= 1e-6
    assert {timing["kind"] for timing in document["timings"]} >= {"exact", "dense"}
    assert all(len(timing["seconds"]) == 3 for timing in document["timings"])
    machine = document["machine"]
    assert machine["cores"] >= 1
    assert machine["cpu"]
    assert machine["versions"]["numpy"] == np.__version__


def test_numbers_follow_from_the_median(measured):
    document = json.loads((measured[0] / "benchmark.json").read_text())
    with (measured[0] / "benchmark.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    dense = next(t for t in document["timings"] if t["kind"] == "dense" and t["device"] == "cpu")
    for row, timing in zip(rows, document["timings"], strict=True):
        median = sorted(timing["seconds"])[1]
        assert row["method"] == timing["name"]
        assert float(row["median_seconds"]) == pytest.approx(median, rel=1e-5)
        assert float(row["seconds_per_512_slice"]) == pytest.approx(median / 2 * (512 / SIZE) ** 2, rel=1e-5)
        assert float(row["seconds_per_patient"]) == pytest.approx(median / 2 * 3, rel=1e-5)
        assert float(row["voxels_per_second"]) == pytest.approx(2 * SIZE * SIZE / median, rel=1e-5)
        expected = sorted(dense["seconds"])[1] / median
        assert float(row["times_faster_than_dense_cpu"]) == pytest.approx(expected, rel=1e-5)


def test_markdown_says_what_is_assumed(measured):
    text = (measured[0] / "benchmark.md").read_text()
    assert "3 slices of 16x16, as in this image" in text
    assert "scaled by the number of voxels" in text
    assert "No surrogate was timed" in text
    assert "hantom" not in text


def test_the_default_is_a_phantom_and_called_so(tmp_path):
    result = benchmark("-o", tmp_path / "out", "--repeats", "1")
    assert result.exit_code == 0, result.output
    assert all(path.name.startswith("phantom_benchmark.") for path in (tmp_path / "out").iterdir())
    assert result.stdout.startswith("# Benchmark on a phantom")
    assert json.loads((tmp_path / "out" / "phantom_benchmark.json").read_text())["phantom"] is True


def test_methods_take_turns(image, monkeypatch):
    calls = []

    def method(kind, name):
        def run(array):
            calls.append(name)
            return entropy_map(array, backend="cpu")

        return subject.Method(kind, "cpu", name, run)

    monkeypatch.setattr(subject, "exact_methods", lambda _: [method("exact", "A")])
    monkeypatch.setattr(subject, "dense_methods", lambda _: [method("dense", "B")])
    subject.measure(subject.image_slices(image, 1), None, repeats=2)
    assert calls == ["A", "B"] * 3


def wrong_dense(change):
    def run(array):
        return change(entropy_map(array, backend="cpu"))

    return lambda _: [subject.Method("dense", "cpu", "Wrong", run)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda entropy: entropy + np.float32(1e-3), "Wrong and Exact, CPU.* must agree to 1e-06, got a dif"),
        (lambda entropy: np.where(entropy > 3, np.nan, entropy), "have NaN at different voxels"),
    ],
)
def test_maps_that_disagree_are_not_timed(image, monkeypatch, change, message):
    monkeypatch.setattr(subject, "dense_methods", wrong_dense(change))
    with pytest.raises(ValueError, match=message):
        subject.measure(subject.image_slices(image, 1), None, repeats=1)


def result_with(exact, surrogate, device="cpu", size=512):
    timings = [
        subject.Timing("exact", device, "Exact", 1.0, [exact]),
        subject.Timing("surrogate", device, "Surrogate", 1.0, [surrogate], pearson=0.987654),
    ]
    for kind in ("exact", "dense"):
        timings.append(subject.Timing(kind, "cpu", kind, 1.0, [100.0]))
    slices = subject.Slices(np.zeros((1, size, size)), "knee.nii.gz", 30)
    machine = dict.fromkeys(("cpu", "cores", "memory_gib", "gpu", "system", "load_average_before"), "x")
    machine["versions"] = {"numpy": "0"}
    return subject.Benchmark(slices, GLCMSettings(), "m.keras", 1, timings, 0.0, machine)


@pytest.mark.parametrize(
    ("exact", "surrogate", "device", "words"),
    [
        (0.02, 3.0, "cpu", "CPU the exact engine is 150 times as fast as the surrogate"),
        (3.0, 0.5, "cpu", "CPU the surrogate is 6.00 times as fast as the exact engine"),
        (0.002, 0.01, "gpu", "GPU the exact engine is 5.00 times as fast as the surrogate"),
    ],
)
def test_the_verdict_is_computed_from_the_numbers(exact, surrogate, device, words):
    result = result_with(exact, surrogate, device)
    (verdict,) = verdicts(result)
    assert words in verdict
    assert "r = 0.9877" in verdict
    assert verdict in markdown(result)


def test_small_slices_are_told_as_measured_and_the_rest_as_extrapolated():
    result = result_with(0.5, 2.0, size=128)
    (verdict,) = verdicts(result)
    assert (
        "exact 0.500 s, surrogate 2.00 s per 128x128 slice as measured (extrapolated to the paper" in verdict
    )
    assert "exact 8.00 s, surrogate 32.0 s per 512x512 slice)" in verdict
    assert "are rough extrapolations" in markdown(result)
    assert "extrapolat" not in markdown(result_with(0.5, 2.0, size=256))


def test_one_repeat_is_singular():
    text = markdown(result_with(0.5, 2.0))
    assert "; 1 repeat." in text
    assert "1 slice of 512x512" in text


def test_a_file_is_no_output_folder(image, tmp_path):
    (tmp_path / "file").write_text("precious")
    result = benchmark("-o", tmp_path / "file", "--image", image, "--force")
    assert result.exit_code == 2
    assert "Error: -o must be a folder, got a file: " in result.stderr
    assert (tmp_path / "file").read_text() == "precious"


def test_no_verdict_across_devices():
    result = result_with(0.02, 3.0)
    result.timings[0].device = "gpu"
    (verdict,) = verdicts(result)
    assert "CPU the surrogate is 33.3 times as fast" in verdict


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--slices", "4"), "knee.nii.gz has 3 slices, but --slices asks for 4"),
        (("--repeats", "0"), "0 is not in the range"),
        (("--image", "nowhere.nii"), "nowhere.nii does not exist"),
    ],
)
def test_bad_input_gives_one_line_and_no_output(image, tmp_path, arguments, message):
    given = () if "--image" in arguments else ("--image", image)
    result = benchmark("-o", tmp_path / "out", *given, *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_an_existing_output_needs_force_and_another_folder_is_never_replaced(measured, image, tmp_path):
    arguments = ("--image", image, "--repeats", "1")
    result = benchmark("-o", measured[0], *arguments)
    assert result.exit_code == 2
    assert "exists; give --force" in result.stderr
    (tmp_path / "thesis.txt").write_text("years of work")
    result = benchmark("-o", tmp_path, *arguments, "--force")
    assert result.exit_code == 2
    assert "not an earlier output" in result.stderr
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "benchmark.json").write_text("{}")
    assert benchmark("-o", tmp_path / "old", *arguments, "--force").exit_code == 0
    assert (tmp_path / "old" / "benchmark.md").exists()


WITH_MODEL = """
import sys
import keras
from click.testing import CliRunner
from glcm_cuda import GLCMSettings
from pipelines.benchmark import command
from surrogate import NetworkSettings, build_model
settings = GLCMSettings(levels=32)
folder, image = sys.argv[1:]
keras.utils.set_random_seed(0)
build_model(settings, NetworkSettings(filters=(8, 8, 8, 8))).save(f"{folder}/m.keras")
arguments = ["-o", f"{folder}/out", "--image", image, "--model", f"{folder}/m.keras", "--repeats", "1"]
result = CliRunner().invoke(command, arguments)
assert result.exit_code == 0, result.output
"""


@pytest.mark.slow
def test_a_model_is_timed_with_its_own_settings(image, tmp_path):
    command = [sys.executable, "-c", WITH_MODEL, str(tmp_path), str(image)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    document = json.loads((tmp_path / "out" / "benchmark.json").read_text())
    assert document["glcm"]["levels"] == 32
    (surrogate,) = (row for row in document["methods"] if row["kind"] == "surrogate")
    assert -1 <= surrogate["pearson"] <= 1
    assert "CPU the" in (tmp_path / "out" / "benchmark.md").read_text()
