"""``radsynth download``: the query on the index that idc-index carries, the fetch against a stand-in."""

from __future__ import annotations

import csv
import shutil
import sys
from functools import partial

import pytest
from helpers.commands import radsynth

pytest.importorskip("idc_index_data")

from pipelines.cohorts import downloads
from pipelines.cohorts.downloads import query

QUERY = ("--collection", "ispy2", "--description", "PE2", "--modality", "mr", "--license", "cc by")


run = partial(radsynth, "download")


@pytest.fixture
def fetched(monkeypatch):
    """Replace the network: a series is as many files as the index says; return those asked for."""
    asked = []
    images = dict(zip(*query("ispy2", "PE2")[["series", "images"]].to_numpy().T, strict=True))

    def download_series(series, folder):
        asked.append(series)
        for number in range(images[series]):
            (folder / f"{number}.dcm").write_text(series)

    monkeypatch.setattr(downloads, "download_series", download_series)
    return asked


def test_series_are_listed_with_licence_and_citation():
    result = run(*QUERY, "--limit", 3)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert len(lines) == 5
    assert all("MR" in line and "PE2" in line and "CC BY 4.0" in line for line in lines[:3])
    assert lines[3].startswith("3 series of ")
    assert lines[4] == "ispy2: CC BY 4.0; cite https://doi.org/10.7937/tcia.d8z0-9t85 (3 series)"


def test_what_is_asked_for_is_what_is_found():
    found = query("ispy2", "PE2", "MR", "CC BY", limit=30)
    assert found.description.str.contains("PE2", case=False).all()
    patient = found.patient[0]
    assert set(query("ispy2", patients=[patient]).patient) == {patient}
    assert found.patient.is_monotonic_increasing


def test_series_are_fetched_to_their_places_with_lists(fetched, tmp_path):
    result = run(*QUERY, "--limit", 2, "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert result.stdout.index("cite https") < result.stdout.index(str(tmp_path / "out"))
    with (tmp_path / "out" / "download.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["series"] for row in rows] == fetched
    for row in rows:
        files = list((tmp_path / "out" / row["folder"]).iterdir())
        assert len(files) == int(row["images"])
    assert "CC BY 4.0; cite https://doi.org" in (tmp_path / "out" / "LICENCES.txt").read_text()
    assert not (tmp_path / "out" / ".unfinished").exists()


def test_the_same_command_continues(fetched, tmp_path, monkeypatch):
    whole = downloads.download_series

    def broken(series, folder):
        if fetched:
            fetched.append(series)
            (folder / "0.dcm").write_text("half")
            raise ConnectionError("no route to host\nand more")
        whole(series, folder)

    monkeypatch.setattr(downloads, "download_series", broken)
    result = run(*QUERY, "--limit", 3, "-o", tmp_path / "out")
    assert result.exit_code == 2
    assert f"2 of 3 series could not be downloaded (first: {fetched[1]}: no route to host)" in result.stderr
    assert len(list((tmp_path / "out" / "ispy2").glob("*/*"))) == 1
    monkeypatch.setattr(downloads, "download_series", whole)
    asked = fetched[:]
    assert run(*QUERY, "--limit", 3, "-o", tmp_path / "out").exit_code == 0
    assert fetched[len(asked) :] == asked[1:]


def test_a_series_that_came_in_part_is_not_there(fetched, tmp_path, monkeypatch):
    monkeypatch.setattr(downloads, "download_series", lambda series, folder: (folder / "0.dcm").touch())
    result = run(*QUERY, "--limit", 1, "-o", tmp_path / "out")
    assert result.exit_code == 2
    assert "files arrived; check the network connection" in result.stderr
    assert not list((tmp_path / "out" / "ispy2").glob("*/*"))


def test_a_full_disk_is_told_before_anything_is_fetched(fetched, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=1_000_000)
    monkeypatch.setattr(downloads.shutil, "disk_usage", lambda _: usage)
    result = run(*QUERY, "--limit", 1, "-o", tmp_path / "out")
    assert result.exit_code == 2
    assert "MB and 1 MB are free; free some space or select fewer series" in result.stderr
    assert fetched == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--collection", "ispy3"), "the Imaging Data Commons has no collection 'ispy3' (did you mean 'ispy"),
        (
            ("--collection", "ispy2", "--description", "("),
            "must be a regular expression, got '('",
        ),
        (("--collection", "ispy2", "--modality", "CT"), "series of ispy2 match; relax the filters"),
    ],
)
def test_bad_queries_are_one_line(arguments, message):
    result = run(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_folder_of_something_else_is_left_alone(fetched, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("years of work")
    result = run(*QUERY, "--limit", 1, "-o", tmp_path / "thesis")
    assert result.exit_code == 2
    assert "is not empty and holds no earlier run" in result.stderr
    assert fetched == []


def test_without_idc_index_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "idc_index", None)
    result = run("--collection", "ispy2")
    assert result.exit_code == 2
    assert "download needs idc-index, which is not installed: pip install 'radsynth[idc]'" in result.stderr
