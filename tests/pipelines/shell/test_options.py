"""Errors in one line, shared options, the list of commands, help without heavy imports."""

from __future__ import annotations

import errno
import io
import logging
import os
import signal
import subprocess
import sys
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace

import click
import pytest
from click.testing import CliRunner
from helpers.commands import assert_refused, radsynth

from glcm_cuda import GLCMSettings
from glcm_cuda.base.files import replacing
from glcm_cuda.families.registry import FEATURES
from glcm_cuda.settings import PRESETS
from pipelines.__main__ import COMMANDS, main
from pipelines.shell import options, settings
from pipelines.shell import progress as progress_module

HEAVY = ("SimpleITK", "keras", "tensorflow", "numba", "pandas", "matplotlib", "scipy", "h5py", "pydicom")


def run_raising(error):
    @click.command(cls=options.Command)
    def command():
        raise error

    return CliRunner().invoke(command, [])


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("levels must be\n  from 2 to 256, got 1"), "Error: levels must be from 2 to 256, got 1"),
        (ValueError("no label '\x1b[2J\0'"), r"Error: no label '\x1b[2J\x00'"),
        (ValueError("no file " + "a" * 3000), f"Error: no file {'a' * 256}...{'a' * 128}"),
        (TypeError("no number"), "Error: no number"),
        (ValueError(), "Error: ValueError"),
        (FileNotFoundError("image a.nii does not exist"), "Error: image a.nii does not exist"),
        (FileExistsError("b exists; give --force"), "Error: b exists; give --force"),
        (
            OSError(errno.ENOSPC, "No space left on device", "/out/map.nii"),
            "Error: No space left on device: /out/map.nii; free some disk space and run again",
        ),
        (
            OSError(errno.ENOSPC, "write failed"),
            "Error: No space left on device: write failed; free some disk space and run again",
        ),
        (
            OSError(errno.EFBIG, "File too large", "/out/map.nii"),
            "Error: File too large: /out/map.nii; "
            "free some disk space, or raise the file size limit, and run again",
        ),
        (
            FileNotFoundError(errno.ENOENT, "No such file or directory", b"x"),
            "Error: No such file or directory: x",
        ),
        (ModuleNotFoundError("No module named 'tensorflow'"), "Error: No module named 'tensorflow'"),
        (RuntimeError("backend 'cuda' cannot be used"), "Error: backend 'cuda' cannot be used"),
        (MemoryError(), "Error: not enough memory: try a smaller image, or fewer images at a time"),
        (MemoryError("Unable to allocate 9 GiB"), "Error: not enough memory: Unable to allocate 9 GiB"),
    ],
)
def test_expected_errors_are_one_line_and_exit_code_2(error, line):
    result = run_raising(error)
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", f"{line}\n")


def test_a_fault_of_the_program_keeps_its_traceback():
    result = run_raising(KeyError("bug"))
    assert isinstance(result.exception, KeyError)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("map", "i.nii", "--levels", "8", "-o", "m.nii", "--levels", "9"), "--levels is given 2 times"),
        (("map", "i.nii", "-o", "m.nii", "--output", "n.nii"), "--output is given 2 times"),
        (
            ("map", "-o", "m.nii", "i.nii", "--symmetric", "--asymmetric"),
            "--symmetric/--asymmetric is given 2",
        ),
        (("map", "-o", "m.nii", "i.nii", *("--range", "0", "9") * 3), "--range is given 3 times"),
        (("roi", "i.nii", "--mask", "m.nii", "--mask", "n.nii", "-o", "f.csv"), "--mask is given 2 times"),
        (
            ("train", "s.h5", "-o", "run", "--seed", "1", "--seed", "1"),
            "--seed is given 2 times; give it once",
        ),
        (("cohort", "scan", "f", "-o", "c.csv", "-o", "d.csv"), "--output is given 2 times"),
    ],
)
def test_an_option_that_is_given_again_is_refused(tmp_path, monkeypatch, arguments, line):
    """Rather than overruled; click keeps the last."""
    monkeypatch.chdir(tmp_path)
    result = radsynth(*arguments)
    assert_refused(result, line)
    assert list(tmp_path.iterdir()) == []


def test_options_with_several_values_and_flags_may_be_repeated():
    for repeated in (
        ("--feature", "contrast", "--feature", "idm"),
        ("--force", "--force"),
        ("--distance", 1) * 2,
    ):
        result = radsynth("map", "none.nii", "-o", "m.nii", *repeated)
        assert "none.nii does not exist" in result.stderr or "distance must be" in result.stderr


def test_an_interruption_ends_with_130():
    result = run_raising(KeyboardInterrupt())
    assert result.exit_code == 130
    assert result.stderr == "Interrupted: finished outputs are complete, unfinished ones were removed\n"


def test_a_signal_to_end_cleans_up_and_ends_with_143(tmp_path):
    @click.command(cls=options.Command)
    def command():
        with replacing(tmp_path / "map.nii") as temporary:
            temporary.write_text("half")
            signal.raise_signal(signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    result = CliRunner().invoke(command, [])
    assert result.exit_code == 143
    assert result.stderr == "Terminated: finished outputs are complete, unfinished ones were removed\n"
    assert list(tmp_path.iterdir()) == []
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_second_signal_does_not_disturb_the_cleaning_up(tmp_path):
    @click.command(cls=options.Command)
    def command():
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            signal.raise_signal(signal.SIGTERM)
            (tmp_path / "cleaned").touch()

    assert CliRunner().invoke(command, []).exit_code == 143
    assert (tmp_path / "cleaned").exists()


def test_commands_run_in_other_threads_too():
    """Where Python can handle no signal."""
    with ThreadPoolExecutor(1) as pool:
        result = pool.submit(run_raising, ValueError("no"))
    assert result.result().exit_code == 2


def test_stdout_takes_any_name_of_a_file(tmp_path):
    """A name that is not UTF-8 in its own bytes; what the terminal cannot show is escaped."""
    code = (
        "import click; from pipelines.shell.options import Command\n"
        "names = 'caf\\udce9.nii', '\\u65e5'\n"
        "command = click.command(cls=Command)(lambda: [click.echo(name) for name in names])\n"
        "command()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        check=True,
        env=os.environ | {"PYTHONIOENCODING": "latin-1"},
    )
    assert done.stdout == b"caf\xe9.nii\n\\u65e5\n"


def test_exit_codes_of_click_pass():
    result = run_raising(click.exceptions.Exit(7))
    assert (result.exit_code, result.output) == (7, "")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["map"], "Error: Missing argument 'INPUT...' (see radsynth map --help)"),
        (["map", "a", "-o", "b", "--levels", "x"], "'x' is not a valid integer"),
        (["map", "a", "-o", "b", "--levles", "3"], "No such option '--levles'"),
        (["map", "", "-o", "b"], "Error: INPUT... is empty; give a path (see radsynth map --help)"),
        (["map", "a", "-o", ""], "Error: -o / --output is empty; give a path"),
        (["mpa"], "Error: no command 'mpa'; did you mean 'map'? the commands are map, inspect, channels"),
        (["zzz"], "Error: no command 'zzz'; the commands are map, inspect, channels, roi, stability, cohort"),
        (["--nothing"], "No such option '--nothing'"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(arguments, line):
    result = CliRunner().invoke(main, arguments, prog_name="radsynth")
    assert result.exit_code == 2
    assert line in result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


def test_version_and_list_of_commands():
    version = CliRunner().invoke(main, ["--version"])
    assert (version.exit_code, version.output) == (0, "radsynth 0.1.0\n")
    listed = CliRunner().invoke(main, ["--help"])
    assert listed.exit_code == 0
    assert all(f"  {name} " in listed.output for name in COMMANDS)
    assert list(COMMANDS) == [
        "map", "inspect", "channels", "roi", "stability", "cohort", "download", "phantom", "groundtruth",
        "train", "synthesize", "evaluate", "explain", "export", "benchmark",
    ]  # fmt: skip


def test_help_keeps_its_examples_and_is_what_the_bare_name_prints():
    listed = CliRunner().invoke(main, ["--help"], prog_name="radsynth")
    assert "\b" not in listed.output
    assert "\\b" not in listed.output
    assert "  Each command has its own help: radsynth map --help\n" in listed.output
    for arguments in ([], ["-h"]):
        same = CliRunner().invoke(main, arguments, prog_name="radsynth")
        assert (same.exit_code, same.output) == (0, listed.output)
    short, long = (
        CliRunner().invoke(main, ["map", asked], prog_name="radsynth") for asked in ("-h", "--help")
    )
    assert (short.exit_code, short.output) == (0, long.output)


HELP = """
import sys
sys.argv = ["radsynth", *{arguments}]
from pipelines.__main__ import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
loaded = sorted(set({heavy}) & set(sys.modules))
assert not loaded, loaded
"""


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["map", "--help"], ["roi", "--help"], ["phantom", "--help"]]
)
def test_help_imports_nothing_heavy(arguments):
    script = HELP.format(arguments=arguments, heavy=HEAVY)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_module_and_command_are_the_same():
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "pipelines.map", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    same = CliRunner().invoke(main, ["map", "--help"], prog_name="radsynth").stdout
    # The first line names the program; the width of the terminal breaks lines elsewhere.
    texts = ["".join(text.partition("INPUT")[2].split()) for text in (done.stdout, same)]
    assert texts[0] == texts[1]


def settings_from(*arguments, base=None):
    found = []

    @click.command(cls=options.Command)
    @settings.settings_options()
    @options.force_option
    @options.backend_option
    def command(force, backend, **kwargs):
        found.append((settings.glcm_settings_from(kwargs, base), force, backend))

    result = CliRunner().invoke(command, [str(argument) for argument in arguments])
    return found[0] if found else result


def test_settings_default_to_the_preset():
    assert settings_from() == (GLCMSettings(), False, "auto")


def test_help_names_the_presets_of_the_library():
    assert settings.PRESETS == PRESETS
    assert "mahotas" in CliRunner().invoke(main, ["map", "--help"]).output


def test_every_setting_has_its_option():
    """But weights of directions, which regions have by a parameter file."""
    names = {field.name for field in fields(GLCMSettings)} - {"weighting"}
    assert set(settings._SETTINGS_OPTIONS) == names | {"preset"}
    arguments = ["--preset", "radsynth", "--levels", "32", "--window", "7", "--distance", "2"]
    arguments += ["--dimensions", "3", "--aggregate", "merge", "--asymmetric", "--log-base", "e"]
    arguments += ["--range", "-5", "10.5", "--directions", "all", "--bin-edges", "pyradiomics"]
    arguments += ["--unmasked-window", "--first-level", "0", "--force", "--backend", "cpu"]
    expected = GLCMSettings(
        levels=32, window=7, distance=2, dimensions=3, aggregate="merge", symmetric=False, log_base="e",
        intensity_range=(-5.0, 10.5), directions="all", bin_edges="pyradiomics", masked_window=False,
        first_level=0,
    )  # fmt: skip
    assert settings_from(*arguments) == (expected, True, "cpu")
    assert settings_from("--log-base", "10")[0].log_base == 10
    arguments = [
        "--bin-width",
        "2.5",
        "--percentiles",
        "1",
        "99",
        "--range-over",
        "mask",
        "--slice-axis",
        "2",
    ]
    expected = GLCMSettings(bin_width=2.5, percentiles=(1.0, 99.0), range_over="mask", slice_axis=2)
    assert settings_from(*arguments)[0] == expected
    assert settings_from("--deviations", "3")[0] == GLCMSettings(deviations=3.0)
    arguments = ["--gldm-a", "2", "--no-ngtdm-isolated", "--intensity-shift", "-7.5"]
    expected = GLCMSettings(gldm_a=2, ngtdm_isolated=False, intensity_shift=-7.5)
    assert settings_from(*arguments)[0] == expected
    assert settings_from("--preset", "ibsi", "--ngtdm-isolated")[0].ngtdm_isolated


@pytest.mark.parametrize("arguments", [("--distance", "1,3"), ("--distance", 1, "--distance", 3)])
def test_several_distances(arguments):
    assert settings_from(*arguments)[0].distances == (1, 3)


PYRADIOMICS = GLCMSettings.preset("pyradiomics")
IBSI = GLCMSettings.preset("ibsi")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--preset", "pyradiomics"), PYRADIOMICS),
        (("--preset", "pyradiomics", "--levels", 32), replace(PYRADIOMICS, levels=32, bin_width=None)),
        (("--preset", "pyradiomics", "--bin-width", 5), replace(PYRADIOMICS, bin_width=5.0)),
        (("--preset", "radsynth", "--bin-width", 5), GLCMSettings(bin_width=5.0)),
        (("--preset", "ibsi", "--range", 0, 9), replace(IBSI, intensity_range=(0, 9))),
        (
            ("--preset", "skimage", "--levels", 32),
            replace(GLCMSettings.preset("skimage"), levels=32),
        ),
        (
            ("--preset", "skimage", "--percentiles", 1, 99),
            replace(GLCMSettings.preset("skimage"), intensity_range=None, percentiles=(1, 99)),
        ),
        (
            ("--preset", "skimage", "--range-over", "image"),
            replace(GLCMSettings.preset("skimage"), intensity_range=None),
        ),
    ],
)
def test_options_change_a_preset(arguments, expected):
    assert settings_from(*arguments)[0] == expected


def test_options_change_a_base():
    base = GLCMSettings(
        slice_axis=1, symmetric=False, masked_window=False, deviations=2.0, range_over="crop", bin_width=3.0
    )
    assert settings_from(base=base)[0] == base
    found = settings_from(
        "--dimensions", 3, "--symmetric", "--masked-window", "--range", 0, 9, "--levels", 9, base=base
    )[0]
    assert found == GLCMSettings(dimensions=3, range_over="crop", intensity_range=(0, 9), levels=9)
    assert settings_from("--range-over", "mask", base=base)[0].deviations == 2.0


def test_a_base_and_a_preset_exclude_each_other():
    result = settings_from("--preset", "ibsi", base=GLCMSettings())
    assert result.stderr == "Error: --params and --preset are mutually exclusive; give one of them\n"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--levels", "1"), "levels must be from 2 to 65536, got 1"),
        (("--window", "4"), "window must be odd, got 4"),
        (("--window", "3,5,5"), "window must be one edge length, or three with dimensions=3, got (3, 5, 5)"),
        (("--window", "5x5"), "--window must be one odd number, or three separated by commas, got '5x5'"),
        (("--distance", "1;2"), "--distance must be whole numbers separated by commas, got '1;2'"),
        (("--distance", "1,1"), "distance must be an int or several different ints"),
        (("--directions", "some"), "directions must be one of ('scaled', 'all'), got 'some'"),
        (("--slice-axis", "3"), "slice_axis must be one of (0, 1, 2), got 3"),
        (("--slice-axis", "1", "--dimensions", "3"), "slice_axis=1 requires dimensions=2"),
        (("--first-level", "2"), "first_level must be one of (0, 1), got 2"),
        (("--log-base", "3"), "log_base must be one of (2, 10, 'e'), got 3"),
        (("--aggregate", "sum"), "aggregate must be one of ('mean', 'merge'), got 'sum'"),
        (("--preset", "pyradiomcs"), "no preset 'pyradiomcs' (did you mean 'pyradiomics'?); the presets are"),
        (("--range", "5", "5"), "intensity_range must be finite and increasing, got (5.0, 5.0)"),
        (("--range-over", "cohort"), "range_over must be one of ('image', 'mask', 'crop'), got 'cohort'"),
        (("--percentiles", "5", "101"), "percentiles must be from 0 to 100, got (5.0, 101.0)"),
        (("--deviations", "0"), "deviations must be finite and positive, got 0"),
        (("--bin-width", "-1"), "bin_width must be finite and positive, got -1"),
        (("--bin-edges", "x"), "bin_edges must be one of ('ibsi', 'pyradiomics'), got 'x'"),
        (("--levels", "8", "--bin-width", "2"), "--levels and --bin-width are mutually exclusive; give one"),
        (
            ("--range", "0", "9", "--range-over", "mask"),
            "--range and --range-over are mutually exclusive; give one of them",
        ),
        (("--range", "0", "9", "--deviations", "2"), "--range and --deviations are mutually exclusive"),
        (
            ("--percentiles", "0", "9", "--deviations", "2"),
            "--percentiles and --deviations are mutually exclusive",
        ),
        (("--backend", "gpu"), "'gpu' is not one of 'auto', 'cpu', 'cuda'"),
    ],
)
def test_settings_out_of_range_are_one_line(arguments, line):
    result = settings_from(*arguments)
    assert result.exit_code == 2
    assert line in result.stderr
    assert result.stderr.count("\n") == 1


def test_options_of_no_meaning_to_a_command_are_left_out():
    @click.command(cls=options.Command)
    @settings.settings_options(without=("window", "masked_window"))
    def command(**kwargs):
        assert settings.glcm_settings_from(kwargs) == GLCMSettings(levels=9)

    result = CliRunner().invoke(command, ["--levels", "9"])
    assert result.exit_code == 0, result.output
    assert "--window" not in CliRunner().invoke(command, ["--help"]).output


def test_help_has_a_title_for_settings():
    words = CliRunner().invoke(main, ["map", "--help"]).output
    titles = ["Options:", "Settings of windows and pairs:", "Settings of grey levels:"]
    places = [words.index(f"\n{title}\n") for title in titles]
    assert places == sorted(places)
    assert places[0] < words.index("--mask PATH") < places[1] < words.index("--window") < places[2]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ((), ["joint_entropy"]),
        (("Contrast", "f9", "idm"), ["contrast", "joint_entropy", "idm"]),
        (("contrast, TU9B",), ["contrast", "joint_entropy"]),
        (("glrlm_RunEntropy,10Percentile",), ["glrlm_RunEntropy", "firstorder_10Percentile"]),
    ],
)
def test_features_by_any_name(names, expected):
    assert [feature.name for feature in options.features_from(names, "joint_entropy")] == expected


def test_all_features():
    assert options.features_from(["all"], "joint_entropy") == FEATURES
    family = tuple(feature for feature in FEATURES if feature.family == "ngtdm")
    assert options.features_from(["ngtdm, Coarseness"], "joint_entropy") == family


def test_the_packages_log_to_stderr_while_a_command_runs():
    @click.command(cls=options.Command)
    def command():
        logging.getLogger("glcm_cuda.maps").info("backend auto chose cpu")
        click.echo("result")

    result = CliRunner().invoke(command, [])
    assert (result.stdout, result.stderr) == ("result\n", "backend auto chose cpu\n")
    assert not logging.getLogger("glcm_cuda").handlers


@pytest.mark.filterwarnings("always")
def test_warnings_of_libraries_do_not_reach_the_terminal(capfd):
    @click.command(cls=options.Command)
    def command():
        warnings.warn("Invalid value for VR UI", UserWarning, stacklevel=1)

    result = CliRunner().invoke(command, [])
    assert (result.exit_code, result.output) == (0, "")
    assert capfd.readouterr().err == ""
    with pytest.warns(UserWarning, match="as before"):
        warnings.warn("as before", UserWarning, stacklevel=1)


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("stream", "elapsed", "drawn"), [(Terminal, 3.0, True), (Terminal, 1.0, False), (io.StringIO, 3.0, False)]
)
def test_progress_is_drawn_on_a_terminal_after_two_seconds(monkeypatch, stream, elapsed, drawn):
    stderr = stream()
    monkeypatch.setattr(sys, "stderr", stderr)
    start = time.monotonic()
    monkeypatch.setattr(progress_module.time, "monotonic", lambda: start)
    with progress_module.progress_bar("mapping", 4) as progress:
        progress(1, 4)
        assert stderr.getvalue() == ""
        monkeypatch.setattr(progress_module.time, "monotonic", lambda: start + elapsed)
        progress(2, 4)
        progress(4, 4)
    assert ("mapping" in stderr.getvalue() and "100%" in stderr.getvalue()) == drawn
    assert drawn or stderr.getvalue() == ""


def test_progress_is_lines_where_a_program_asks_for_them(monkeypatch, capsys):
    monkeypatch.setenv("RADSYNTH_PROGRESS", "lines")
    with progress_module.progress_bar("mapping") as progress:
        for done in range(0, 1001, 2):
            progress(done, 1000)
    lines = capsys.readouterr().err.splitlines()
    assert (len(lines), lines[0], lines[25]) == (101, "progress 0.00 mapping", "progress 0.25 mapping")
