"""What commands say while they run: levels, the log file, JSON, seconds by step, help in two layers."""

from __future__ import annotations

import itertools
import json
import logging
import os
import re
import subprocess
import sys

import click
import numpy as np
import pytest
import SimpleITK
from click.testing import CliRunner
from helpers.commands import assert_refused, radsynth
from numba import njit

from glcm_cuda.base import cache
from glcm_cuda.base.files import replacing
from glcm_cuda.base.steps import step
from pipelines.__main__ import COMMANDS
from pipelines.shell import messages
from pipelines.shell.options import Command, FilePath
from pipelines.shell.usage import words_of


@click.command(cls=Command)
@click.argument("path", type=FilePath())
@click.option("-o", "--output", type=FilePath())
@click.option("--range", "limits", type=float, nargs=2)
@click.option("--distance", multiple=True)
@click.option("--symmetric/--asymmetric", default=None)
@click.option("--force", is_flag=True)
def command(path, output, **_):
    log = logging.getLogger("pipelines.maps.exact")
    with step("outer"), step("inner"):
        log.info("info")
    log.warning("warning\nof %s", path.name)
    if output is not None:
        with replacing(output, force=True) as temporary:
            temporary.write_text("out")
        click.echo(output)
    if path.name == "bad":
        msg = "path is bad"
        raise ValueError(msg)


def run(*arguments):
    return CliRunner().invoke(command, [str(argument) for argument in arguments], prog_name="radsynth try")


@pytest.mark.parametrize(
    ("option", "lines"),
    [
        ((), ["info", "warning of in"]),
        (("-q",), ["warning of in"]),
        (("--verbose",), ["radsynth 0.1.0: radsynth try in", "info", "inner: 0.00 s", "outer: 0.00 s"]),
    ],
)
def test_levels(option, lines):
    result = run("in", *option)
    assert result.exit_code == 0
    assert result.stderr.splitlines()[: len(lines)] == lines
    assert ("took 0.0" in result.stderr) == ("--verbose" in option)


def test_verbose_and_quiet_exclude_each_other():
    result = run("in", "-v", "-q")
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: --verbose and --quiet are mutually exclusive")


def test_a_slow_run_says_what_took_the_time(monkeypatch):
    monkeypatch.setattr(messages, "TOLD_AFTER_SECONDS", 0.0)
    monkeypatch.setattr(messages.time, "perf_counter", itertools.count(0, 5).__next__)
    assert re.fullmatch(r"took \d+.00 s: inner .*, outer .*, other .*", run("in").stderr.splitlines()[-1])


def test_steps_are_counted_without_those_inside_them(caplog, monkeypatch):
    times = iter([0.0, 1.0, 4.0, 6.0])  # of the outer step, the inner one, its end, the outer's end
    monkeypatch.setattr("glcm_cuda.base.steps.time.perf_counter", times.__next__)
    with caplog.at_level(logging.DEBUG, "glcm_cuda"), step("outer"), step("inner"):
        pass
    assert [record.step for record in caplog.records] == [("inner", 3.0), ("outer", 3.0)]


def test_a_log_file_grows_and_holds_every_level(tmp_path):
    log = tmp_path / "run.log"
    run("in", "--log-file", log, "-q")
    result = run("bad", "--log-file", log)
    assert result.exit_code == 2
    lines = log.read_text().splitlines()
    words = [line.split(" ", 1)[1] for line in lines]
    assert words[0] == "DEBUG radsynth 0.1.0: radsynth try in"
    assert words.count("INFO info") == 2
    assert words[-1] == "ERROR path is bad"


def test_no_other_file_is_taken_for_a_log(tmp_path):
    image = tmp_path / "image.nii"
    image.write_bytes(b"\x00voxels")
    for log, line in (
        (image, "image.nii exists and is no log of radsynth"),
        (tmp_path / "none" / "run.log", "No such file or directory"),
        (tmp_path, "is a directory"),
    ):
        assert_refused(run("in", "--log-file", log), line)
    assert image.read_bytes() == b"\x00voxels"


def test_json_is_all_that_is_printed(tmp_path):
    out = tmp_path / "Smith" / "out.txt"
    result = run("in", "-o", out, "--json", "--range", "-1", "nan")
    told = json.loads(result.stdout)
    assert told["written"] == [str(out)]
    assert told["output"] == [str(out)]
    assert told["warnings"] == ["warning of in"]
    assert told["options"] | {"force": False, "limits": [-1.0, "nan"]} == told["options"]
    assert set(told["seconds"]["steps"]) == {"inner", "outer"}
    assert told["seconds"]["total"] >= 0
    assert (told["exit_code"], told["error"]) == (0, None)
    assert told["command"] == "radsynth try in --output out.txt --range -1.0 nan"


@pytest.mark.parametrize(
    ("arguments", "code", "error"),
    [(("bad",), 2, "path is bad"), ((), 2, "Missing argument 'PATH'"), (("in", "--no"), 2, "--no")],
)
def test_errors_in_json(arguments, code, error):
    result = run(*arguments, "--json")
    told = json.loads(result.stdout)
    assert result.exit_code == told["exit_code"] == code
    assert error in told["error"]
    assert error in result.stderr


def test_an_interruption_in_json():
    @click.command(cls=Command)
    def interrupted():
        raise KeyboardInterrupt

    assert json.loads(CliRunner().invoke(interrupted, ["--json"]).stdout)["exit_code"] == 130


def test_the_command_in_records_names_no_folder():
    found = []

    @click.command(cls=Command, params=command.params)
    @click.pass_context
    def record(ctx, **_):
        found.append(words_of(ctx))

    arguments = ["/a/Smith/in.nii", "-o", "/b/out.nii", "--distance", "1", "--distance", "2", "--asymmetric"]
    CliRunner().invoke(record, [*arguments, "--force", "-q"], prog_name="radsynth map")
    assert found == [
        ["radsynth", "map", "in.nii", "--output", "out.nii", "--distance", "1", "--distance", "2",
         "--asymmetric", "--force"]
    ]  # fmt: skip


def test_the_command_is_in_sidecars(tmp_path, rng):
    image = SimpleITK.GetImageFromArray(rng.integers(0, 50, (12, 12)).astype(np.int16))
    folder = tmp_path / "Smith"
    folder.mkdir()
    SimpleITK.WriteImage(image, folder / "i.nii")
    SimpleITK.WriteImage(image > 10, folder / "m.nii")
    calls = {
        "m.nii.gz": ("map", "--levels", 8),
        "t.csv": ("roi", "--feature", "ngtdm", "--mask", folder / "m.nii"),
    }
    for name, (command_name, *options) in calls.items():
        result = radsynth(command_name, folder / "i.nii", "-o", tmp_path / name, *options, "--json")
        told = json.loads(result.stdout)
        sidecar = json.loads((tmp_path / f"{name}.json").read_text())
        assert sidecar["command"].startswith(f"radsynth {command_name} i.nii ")
        assert f" --output {name}" in sidecar["command"]
        assert "Smith" not in json.dumps(sidecar)
        assert told["records"] == {str(tmp_path / name): sidecar}
        assert {"reading", "checksums"} <= told["seconds"]["steps"].keys()


def test_compiling_is_told_once(monkeypatch, caplog):
    def doubled(value):
        return 2 * value

    doubled.__module__ = "glcm_cuda.families"
    monkeypatch.setattr(cache.COMPILING, "told", False)
    compiled = njit(doubled)
    with caplog.at_level(logging.DEBUG, "glcm_cuda"):
        assert (compiled(2), compiled(2.0), compiled(2)) == (4, 4.0, 4)
    told = [record for record in caplog.records if record.levelno == logging.INFO]
    assert [record.getMessage() for record in told] == ["compiling code for this machine: once, it is kept"]
    assert sum(hasattr(record, "compiled") for record in caplog.records) == 2


@pytest.mark.parametrize("name", COMMANDS)
def test_help_in_two_layers(name):
    short = radsynth(name, "--help").stdout
    full = radsynth(name, "--help-all").stdout
    if name != "cohort":
        assert all(option in full for option in ("--verbose", "--quiet", "--log-file", "--json"))
        assert "more options with --help-all" in " ".join(short.split())
    assert "--log-file FILE" not in short


def test_the_help_of_map_hides_what_is_rare():
    short, full = (radsynth("map", asked).stdout for asked in ("--help", "--help-all"))
    assert all(f"  {option} " in short for option in ("--mask", "--window", "--levels", "--n4"))
    for rare in ("--gldm-a", "--first-level", "--correct-tilt", "--outside"):
        assert f"{rare} " not in short
        assert f"{rare} " in full
    assert "Settings of single families:" in full
    assert len(short) < 0.7 * len(full)


@pytest.mark.parametrize(
    ("words", "expected"), [("radsynth ma", "map"), ("radsynth map --prev", "--preview")]
)
def test_shell_completion(words, expected):
    """As bash asks for it."""
    script = "from pipelines.__main__ import main; main(prog_name='radsynth')"
    asked = {
        "_RADSYNTH_COMPLETE": "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(words.count(" ")),
    }
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=os.environ | asked, check=True
    )
    assert done.stdout == f"plain,{expected}\n"
    assert done.stderr == ""
