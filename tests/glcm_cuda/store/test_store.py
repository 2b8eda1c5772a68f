"""Patch stores: what goes in comes out, whatever happens in between."""

from __future__ import annotations

import dataclasses
import errno
import signal
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from helpers import TESTS
from helpers.stores import COUNT, PATIENTS, SETTINGS, case, source, write, writer

from glcm_cuda import GLCMSettings
from glcm_cuda.store import layout, sink
from glcm_cuda.store.layout import CaseRecord
from glcm_cuda.store.patches import Samples
from glcm_cuda.store.reading import PatchStore


def content(path):
    """Everything in an HDF5 file: attributes, and the values of every data set."""
    with h5py.File(path) as file:
        found = dict(file.attrs)
        file.visititems(
            lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None
        )
    return found


def assert_same_content(path, other):
    one, two = content(path), content(other)
    assert one.keys() == two.keys()
    for name, value in one.items():
        np.testing.assert_array_equal(value, two[name], err_msg=name)


@pytest.fixture
def finished(tmp_path):
    return write(tmp_path / "store.h5")


# What comes out


def test_rows_come_back_in_the_order_of_the_cases(finished):
    with PatchStore(finished) as patches:
        assert len(patches) == 3 * COUNT
        assert patches.patients == list(PATIENTS)
        for index, patient in enumerate(PATIENTS):
            record, samples = case(patient)
            assert patches.cases[index] == dataclasses.replace(record, start=index * COUNT)
            rows = patches.read(index * COUNT, (index + 1) * COUNT)
            for name, values in samples._asdict().items():
                np.testing.assert_array_equal(getattr(rows, name), values)
                assert getattr(rows, name).dtype == values.dtype


def test_attributes_explain_the_store(finished):
    with PatchStore(finished) as patches:
        assert patches.settings == SETTINGS
        assert patches.attributes["format"] == "radsynth-patches"
        assert patches.attributes["format_version"] == 1
        assert patches.attributes["seed"] == 1
        assert patches.attributes["samples_per_case"] == COUNT
        assert patches.attributes["unit"] == "bits"
        assert '"numpy"' in patches.attributes["versions"]


def test_layout_is_that_of_the_docs(finished):
    with h5py.File(finished) as file:
        assert {name: file[name].dtype for name in file if name != "cases"} == {
            "patches": "u1",
            "entropy": "f4",
            "case": "u2",
            "slice": "i4",
            "row": "i4",
            "column": "i4",
            "label": "u1",
        }
        assert file["case"][:].tolist() == np.repeat(range(3), COUNT).tolist()
        assert sorted(file["cases"]) == sorted(field.name for field in dataclasses.fields(CaseRecord))
        assert file["patches"].chunks == (3 * COUNT, 5, 5)
        assert (file["patches"].compression, file["patches"].compression_opts) == ("gzip", 1)
        assert file["patches"].shuffle


def test_chunks_hold_2000_rows(tmp_path, rng):
    record, samples = case("A", count=2001)
    samples = Samples(*(np.resize(values, (2001, *values.shape[1:])) for values in samples))
    writing = writer(tmp_path / "store.h5")
    writing.add(dataclasses.replace(record, count=2001), samples)
    with h5py.File(writing.finish([record])) as file:
        assert file["patches"].chunks == (2000, 5, 5)
        assert file["entropy"].chunks == (2000,)


def test_two_runs_give_the_same_content(finished, tmp_path):
    assert_same_content(finished, write(tmp_path / "again.h5"))


def test_joining_streams_blocks(finished, tmp_path, monkeypatch):
    monkeypatch.setattr(layout, "_BLOCK_ROWS", 7)
    sizes = []
    read = PatchStore.read
    monkeypatch.setattr(
        PatchStore, "read", lambda self, start, stop: sizes.append(stop - start) or read(self, start, stop)
    )
    assert_same_content(finished, write(tmp_path / "again.h5"))
    assert max(sizes) == 7


@pytest.mark.parametrize(("start", "stop"), [(-1, 5), (3, 2), (0, 3 * COUNT + 1)])
def test_rows_out_of_range_are_refused(finished, start, stop):
    with (
        PatchStore(finished) as patches,
        pytest.raises(ValueError, match="rows must be a range within 0 to 900"),
    ):
        patches.read(start, stop)


# Interruptions

_KILLED = """
import os, signal, sys
sys.path.insert(0, {tests!r})
from glcm_cuda.store.sink import Sink
from helpers.stores import PATIENTS, case, source, writer
writing = writer({path!r})
write_all, budget = Sink._write_all, {budget}
def killing(self, view):
    global budget
    budget -= len(view)
    if budget < 0:
        write_all(self, view[: len(view) // 2])
        os.kill(os.getpid(), signal.SIGKILL)
    write_all(self, view)
for patient in PATIENTS:
    if patient == {last!r}:
        Sink._write_all = killing
    writing.add(*case(patient))
if {last!r} is None:
    Sink._write_all = killing
writing.finish([source(patient) for patient in PATIENTS])
"""


@pytest.mark.parametrize(
    ("last", "kept"), [("C", 2), (None, 3)], ids=["while writing a case", "while joining the cases"]
)
def test_a_killed_run_resumes_to_the_same_content(finished, tmp_path, last, kept):
    path = tmp_path / "killed" / "store.h5"
    script = _KILLED.format(path=str(path), last=last, budget=4000, tests=TESTS)
    ended = subprocess.run([sys.executable, "-c", script], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert not path.exists()
    resumed = writer(path)
    assert [resumed.has(source(patient)) for patient in PATIENTS] == [True] * kept + [False] * (3 - kept)
    for patient in PATIENTS[kept:]:
        resumed.add(*case(patient))
    resumed.finish([source(patient) for patient in PATIENTS])
    assert_same_content(path, finished)
    assert list(path.parent.iterdir()) == [path], "parts and remains of the killed run are removed"


def test_order_of_adding_does_not_matter(finished, tmp_path):
    path = tmp_path / "other.h5"
    writing = writer(path)
    for patient in reversed(PATIENTS):
        writing.add(*case(patient))
    writing.finish([source(patient) for patient in PATIENTS])
    assert_same_content(path, finished)


@pytest.mark.parametrize(
    "changes", [{"seed": 2}, {"samples_per_case": 7}, {"settings": GLCMSettings(levels=32)}]
)
def test_parts_of_other_runs_are_not_mixed_in(tmp_path, changes):
    path = tmp_path / "store.h5"
    writer(path).add(*case("A"))
    other = writer(path, **changes)
    assert not other.has(source("A"))
    with pytest.raises(ValueError, match="patient A was not added"):
        other.finish([source("A")])
    other.add(*case("A", other.settings))
    assert other.has(source("A"))
    assert not writer(path).has(source("A")), "the part was replaced"


@pytest.mark.parametrize(("name", "value"), [("modality", "MR"), ("tissues", "1=fat")])
def test_a_store_of_before_lacks_later_columns(tmp_path, name, value):
    writing = writer(tmp_path / "store.h5")
    record, samples = case("A")
    writing.add(dataclasses.replace(record, **{name: value}), samples)
    path = writing.finish([source("A")])
    with PatchStore(path) as opened:
        assert [getattr(found, name) for found in opened.cases] == [value]
    with h5py.File(path, "r+") as file:
        del file[f"cases/{name}"]
    with PatchStore(path) as opened:
        assert [getattr(found, name) for found in opened.cases] == [""]


@pytest.mark.parametrize("phantom", [False, True])
def test_a_store_keeps_what_is_a_phantom(tmp_path, phantom):
    writing = writer(tmp_path / "store.h5")
    record, samples = case("phantom_x")
    record = dataclasses.replace(record, phantom=phantom)
    writing.add(record, samples)
    assert writing.has(record.source)
    assert not writing.has(dataclasses.replace(record.source, phantom=not phantom))
    with PatchStore(writing.finish([record.source])) as opened:
        assert [found.phantom for found in opened.cases] == [phantom]
        assert opened.is_phantom is phantom


def test_in_an_older_store_the_name_tells_a_phantom(tmp_path):
    writing = writer(tmp_path / "store.h5")
    for patient in ("phantom-benign-01", "A"):
        writing.add(*case(patient))
    path = writing.finish([source("phantom-benign-01"), source("A")])
    with h5py.File(path, "r+") as file:
        del file["cases/phantom"]
    with PatchStore(path) as opened:
        assert [found.phantom for found in opened.cases] == [True, False]
        assert not opened.is_phantom


def test_parts_of_other_software_are_not_mixed_in(tmp_path, monkeypatch):
    writer(tmp_path / "store.h5").add(*case("A"))
    monkeypatch.setattr("glcm_cuda.store.writing.__version__", "0.0.9")
    assert not writer(tmp_path / "store.h5").has(source("A"))


@pytest.mark.parametrize("field", ["group", "image", "sha256", "labels_sha256"])
def test_a_changed_source_is_not_there(tmp_path, field):
    writing = writer(tmp_path / "store.h5")
    writing.add(*case("A"))
    assert writing.has(source("A"))
    assert not writing.has(dataclasses.replace(source("A"), **{field: "other"}))


def test_a_damaged_part_counts_as_missing(tmp_path):
    writing = writer(tmp_path / "store.h5")
    writing.add(*case("A"))
    (part,) = (tmp_path / "store.h5.parts").iterdir()
    part.write_bytes(part.read_bytes()[:1000])
    assert not writing.has(source("A"))


_FULL = """
import resource, signal, sys
sys.path.insert(0, {tests!r})
from helpers.stores import PATIENTS, case, source, writer
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
def limit(bytes):
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes, resource.RLIM_INFINITY))
writing = writer({path!r}, force=True)
if {stage!r} == "add":
    limit(3000)
try:
    for patient in PATIENTS:
        writing.add(*case(patient))
    limit(3000)
    writing.finish([source(patient) for patient in PATIENTS])
except OSError as error:
    print(error.errno, error.filename)
"""


@pytest.mark.parametrize("stage", ["add", "finish"])
def test_a_full_disk_leaves_everything_as_it_was(tmp_path, stage):
    path = tmp_path / "store.h5"
    path.write_text("precious")
    script = _FULL.format(path=str(path), stage=stage, tests=TESTS)
    ended = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    code, _, name = ended.stdout.strip().partition(" ")
    assert code == "27"
    assert name.startswith(str(path))
    assert path.read_text() == "precious"
    parts = tmp_path / "store.h5.parts"
    assert parts.exists() == (stage == "finish"), "without a case in it the folder goes too"
    assert stage == "add" or len(list(parts.iterdir())) == 3
    assert writer(path, force=True).has(source("A")) == (stage == "finish")


@pytest.mark.parametrize("room", range(0, 50, 7))
def test_a_disk_that_fills_at_any_moment_is_an_oserror(tmp_path, monkeypatch, room):
    write_all = sink.Sink._write_all
    left = iter(range(room))

    def filling(self, view):
        if next(left, None) is None:
            raise OSError(errno.ENOSPC, "No space left on device")
        write_all(self, view)

    monkeypatch.setattr(sink.Sink, "_write_all", filling)
    with pytest.raises(OSError, match="No space left on device") as caught:
        writer(tmp_path / "store.h5").add(*case("A"))
    assert caught.value.errno == errno.ENOSPC
    assert not list(tmp_path.rglob("*.h5"))


# Refusals of the writer


def test_an_existing_store_is_refused_and_replaced_by_force(finished):
    before = finished.read_bytes()
    with pytest.raises(FileExistsError, match=r"store.h5 exists; give --force"):
        writer(finished)
    assert finished.read_bytes() == before
    write(finished, patients=("A",), force=True)
    with PatchStore(finished) as patches:
        assert patches.patients == ["A"]


def test_a_store_that_appears_meanwhile_is_kept(tmp_path):
    path = tmp_path / "store.h5"
    writing = writer(path)
    writing.add(*case("A"))
    path.write_text("precious")
    with pytest.raises(FileExistsError, match="exists"):
        writing.finish([source("A")])
    assert path.read_text() == "precious"


def test_three_dimensional_windows_are_refused(tmp_path):
    with pytest.raises(ValueError, match="2D windows: dimensions must be 2, got 3"):
        writer(tmp_path / "store.h5", GLCMSettings(dimensions=3))


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        (
            {"patches": np.zeros((COUNT, 3, 3), np.uint8)},
            ValueError,
            r"patches must have shape \(300, 5, 5\)",
        ),
        (
            {"entropy": np.zeros(COUNT - 1, np.float32)},
            ValueError,
            r"entropy must have shape \(300,\), got \(299,\)",
        ),
        ({"entropy": np.full(COUNT, np.nan, np.float32)}, ValueError, "entropy must be finite"),
        ({"entropy": np.zeros(COUNT)}, TypeError, "entropy must be float32, got float64"),
        ({"label": np.full(COUNT, 256)}, TypeError, "label must be uint8, got int64"),
        ({"patches": np.full((COUNT, 5, 5), 16, np.uint8)}, ValueError, "levels must be below 16, got 16"),
    ],
)
def test_unfit_samples_are_refused(tmp_path, changes, error, words):
    record, samples = case("A")
    with pytest.raises(error, match=words):
        writer(tmp_path / "store.h5").add(record, samples._replace(**changes))


def test_a_case_without_samples_is_refused(tmp_path):
    record, samples = case("A")
    empty = Samples(*(values[:0] for values in samples))
    with pytest.raises(ValueError, match="at least one sample, got 0"):
        writer(tmp_path / "store.h5").add(dataclasses.replace(record, count=0), empty)


@pytest.mark.parametrize(
    ("patients", "words"),
    [
        ((), "1 to 65536 cases, got 0"),
        (("A", "A"), "a patient twice"),
        (("A", "D"), "patient D was not added"),
    ],
)
def test_unfit_lists_of_cases_are_refused(tmp_path, patients, words):
    writing = writer(tmp_path / "store.h5")
    writing.add(*case("A"))
    with pytest.raises(ValueError, match=words):
        writing.finish([source(patient) for patient in patients])


# Refusals of the reader


def test_missing_store(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"none.h5 does not exist; create it with `radsynth groundtruth`"
    ):
        PatchStore(tmp_path / "none.h5")


@pytest.mark.parametrize("size", [0, 100, 5000])
def test_truncated_store(finished, size):
    finished.write_bytes(finished.read_bytes()[:size])
    with pytest.raises(ValueError, match=r"store.h5 is not a complete HDF5 file \(truncated"):
        PatchStore(finished)


def _retag(file):
    file.attrs["format_version"] = 2


def _foreign(file):
    del file.attrs["format"]


def _without_column(file):
    del file["label"], file["cases/sha256"]


def _without_settings(file):
    del file.attrs["settings"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_retag, "has format 2, expected 1; rerun groundtruth"),
        (_foreign, "HDF5 file but not a patch store"),
        (_without_column, "lacks label, cases/sha256; rerun"),
        (_without_settings, "lacks the attribute settings"),
    ],
)
def test_other_files_are_refused(finished, change, words):
    with h5py.File(finished, "r+") as file:
        change(file)
    with pytest.raises(ValueError, match=words):
        PatchStore(finished)


def _soft_link(file):
    file.move("entropy", "elsewhere")
    file["entropy"] = h5py.SoftLink("/elsewhere")


def _external_link(file):
    other = Path(file.filename).with_name("other.h5")
    other.write_bytes(Path(file.filename).read_bytes())
    del file["label"]
    file["label"] = h5py.ExternalLink(str(other), "label")


def _cases_elsewhere(file):
    other = Path(file.filename).with_name("other.h5")
    other.write_bytes(Path(file.filename).read_bytes())
    del file["cases"]
    file["cases"] = h5py.ExternalLink(str(other), "cases")


def _external_values(file):
    secret = Path(file.filename).with_name("secret")
    secret.write_bytes(bytes(900))
    del file["label"]
    file.create_dataset("label", (900,), np.uint8, external=[(str(secret), 0, 900)])


def _virtual_values(file):
    layout = h5py.VirtualLayout((900,), np.uint8)
    layout[:] = h5py.VirtualSource("other.h5", "label", (900,))
    del file["label"]
    file.create_virtual_dataset("label", layout)


def _huge_chunks(file):
    del file["patches"]
    file.create_dataset("patches", (900, 5, 5), np.uint8, chunks=(1 << 23, 5, 5), maxshape=(None, 5, 5))


def _more_than_it_holds(file):
    del file["label"]
    file.create_dataset("label", (1 << 40,), np.uint8, chunks=(2000,))


def _group_for_values(file):
    del file["label"]
    file.create_group("label")


def _values_for_the_group(file):
    del file["cases"]
    file["cases"] = np.zeros(3)


def _text_for_numbers(file):
    del file["entropy"]
    file["entropy"] = ["one"] * 900


def _one_number(file):
    del file["entropy"]
    file["entropy"] = np.float32(1)


def _flat_patches(file):
    del file["patches"]
    file["patches"] = np.zeros(900, np.uint8)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_soft_link, "entropy is a link to another place"),
        (_external_link, "label is a link to another place"),
        (_cases_elsewhere, "cases is a link to another place"),
        (_external_values, "label keeps its values in another file"),
        (_virtual_values, "label keeps its values in another file"),
        (_huge_chunks, r"patches has chunks of 209715200 bytes, the limit is 134217728"),
        (_more_than_it_holds, "label claims 1099511627776 bytes of values but holds 0"),
        (_group_for_values, "label is not a dataset"),
        (_values_for_the_group, "cases is not a group"),
        (_text_for_numbers, r"entropy has values of type object and shape \(900,\)"),
        (_one_number, r"entropy has values of type float32 and shape \(\)"),
        (_flat_patches, r"patches has shape \(900,\), but the windows are 5x5"),
    ],
)
def test_a_store_holds_its_own_bytes_in_the_objects_of_groundtruth(finished, change, words):
    with h5py.File(finished, "r+") as file:
        change(file)
    with pytest.raises(ValueError, match=rf"^patch store .*store.h5 is damaged.*: {words}; rerun groundt"):
        PatchStore(finished)


@pytest.mark.parametrize("seed", range(20))
def test_a_store_with_damaged_bytes_is_refused_or_read(finished, seed):
    rng = np.random.default_rng(seed)
    content = bytearray(finished.read_bytes())
    for place in rng.integers(0, len(content), 20):
        content[place] = rng.integers(256)
    finished.write_bytes(content)
    message = ""
    try:
        with PatchStore(finished) as patches:
            patches.read(0, len(patches))
    except ValueError as error:
        message = str(error)
    assert "\n" not in message


# Verification


@pytest.mark.parametrize(
    "settings",
    [
        SETTINGS,
        GLCMSettings(window=3, levels=8, aggregate="merge", log_base="e"),
        GLCMSettings(window=7, distance=2, symmetric=False, levels=256),
    ],
)
def test_a_sound_store_is_verified(tmp_path, settings):
    with PatchStore(write(tmp_path / "store.h5", settings=settings)) as patches:
        assert patches.verify(count=100) == 100
        assert patches.verify(count=10**6) == 3 * COUNT


def _other_value(file):
    file["entropy"][500] = np.nextafter(file["entropy"][500], np.float32(9))


def _other_patch(file):
    file["patches"][500] = np.arange(25).reshape(5, 5) % 16


def _too_high_level(file):
    file["patches"][899, 0, 0] = 16


def _other_case(file):
    file["case"][299] = 1


def _other_start(file):
    file["cases/start"][1] = 299


def _missing_case(file):
    for name in file["cases"]:
        values = file[f"cases/{name}"][:2]
        del file[f"cases/{name}"]
        file[f"cases/{name}"] = values


def _short_column(file):
    values = file["row"][:-1]
    del file["row"]
    file["row"] = values


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_other_value, "1 of 900 recomputed values differ, the first at row 500: stored"),
        (_other_patch, "1 of 900 recomputed values differ, the first at row 500"),
        (_too_high_level, "levels must be below 16, got 16"),
        (_other_case, "rows 0 to 900 do not match the table of cases"),
    ],
)
def test_damage_is_found(finished, change, words):
    with h5py.File(finished, "r+") as file:
        change(file)
    with PatchStore(finished) as patches, pytest.raises(ValueError, match=words):
        patches.verify(count=900)


def _bad_settings(file):
    file.attrs["settings"] = '{"levels": '


def _settings_out_of_range(file):
    file.attrs["settings"] = '{"levels": 1}'


def _uneven_cases(file):
    values = file["cases/group"][:2]
    del file["cases/group"]
    file["cases/group"] = values


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_other_start, "the table of cases must cover the 900 rows without gaps"),
        (_missing_case, "must cover the 900 rows"),
        (_short_column, "datasets must have equal lengths.*'row': 899"),
        (_bad_settings, "its settings cannot be read"),
        (_settings_out_of_range, r"its settings cannot be read \(levels must be from 2"),
        (_uneven_cases, "its table of cases cannot be read"),
    ],
)
def test_damage_is_found_on_opening(finished, change, words):
    with h5py.File(finished, "r+") as file:
        change(file)
    with pytest.raises(
        ValueError, match=rf"patch store .*store.h5 is damaged: .*{words}.*; rerun groundtruth"
    ):
        PatchStore(finished)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_entropies_that_are_not_finite_are_refused_when_read(finished, value):
    with h5py.File(finished, "r+") as file:
        file["entropy"][500] = value
    with PatchStore(finished) as patches:
        assert len(patches.read(0, 500).entropy) == len(patches.read_entropy(501, 900)) + 101
        for read in (patches.read, patches.read_entropy):
            with pytest.raises(
                ValueError, match=r"store.h5 holds NaN or infinite entropies \(row 500\); rerun"
            ):
                read(400, 600)


def test_entropies_alone_are_those_of_the_rows(finished):
    with PatchStore(finished) as patches:
        np.testing.assert_array_equal(patches.read_entropy(250, 700), patches.read(250, 700).entropy)
        with pytest.raises(ValueError, match="rows must be a range within 0 to 900, got 5 to 901"):
            patches.read_entropy(5, 901)
