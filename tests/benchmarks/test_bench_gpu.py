"""The benchmark of CUDA devices: what of it is kept when something fails. No device is needed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import _gpu_cases
import _gpu_report
import bench_gpu
import pytest
from _gpu_report import Case, Report, run_cases

BENCHMARKS = Path(bench_gpu.__file__).parent
ENVIRONMENT = {"device": {"name": "Slide Rule 2"}, "commit": "c0ffee"}


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    monkeypatch.setattr(_gpu_report, "describe_environment", lambda: dict(ENVIRONMENT))


def report(folder, *, resume=False):
    return Report(folder, rehearsal=False, resume=resume)


def case(name, run):
    return Case(name, "group", "map", run)


def read(folder):
    return json.loads((folder / "slide-rule-2.json").read_text())["cases"]


def failing():
    msg = "3 voxels have not\nthe CPU's bits"
    raise _gpu_cases.CheckError(msg)


def test_the_file_is_complete_after_every_case_and_a_failure_costs_no_other(tmp_path, capsys):
    seen = []

    def looking():
        seen.append({name: "failed" in result for name, result in read(tmp_path).items()})
        return {"voxels_per_s": 5e9}

    cases = [case("a", looking), case("b", failing), case("c", looking)]
    assert not run_cases(cases, report(tmp_path), None)
    assert seen == [{}, {"a": False, "b": True}]
    found = read(tmp_path)
    assert found["b"]["failed"] == "CheckError: 3 voxels have not the CPU's bits"
    assert found["c"]["voxels_per_s"] == 5e9
    assert [path.name for path in tmp_path.iterdir()] == ["slide-rule-2.json"]
    assert "c: 5e+09 voxels/s" in capsys.readouterr().out


def test_a_case_is_stopped_when_the_time_is_over(tmp_path, capsys):
    cases = [case("quick", dict), case("long", lambda: time.sleep(60)), case("never", failing)]
    began = time.monotonic()
    assert run_cases(cases, report(tmp_path), began + 0.2)
    assert time.monotonic() - began < 30
    assert [*read(tmp_path)] == ["quick"]
    assert "long: stopped, the time was over" in capsys.readouterr().out
    assert run_cases(cases[2:], report(tmp_path), began)
    assert "no time was left for never" in capsys.readouterr().out


def test_a_report_is_resumed_with_what_it_lacks(tmp_path):
    run_cases([case("a", dict), case("b", failing)], report(tmp_path), None)
    ran = []
    cases = [case(name, lambda name=name: ran.append(name) or {"turn": 2}) for name in "abc"]
    assert run_cases(cases, report(tmp_path, resume=True), None)
    assert ran == ["b", "c"]
    assert [*read(tmp_path)] == ["a", "b", "c"]
    assert read(tmp_path)["b"]["turn"] == 2


def test_a_report_of_other_code_is_not_resumed(tmp_path, monkeypatch):
    run_cases([case("a", dict)], report(tmp_path), None)
    monkeypatch.setitem(ENVIRONMENT, "commit", "another")
    with pytest.raises(ValueError, match="is of another device, commit or version; remove it"):
        report(tmp_path, resume=True)
    assert [*read(tmp_path)] == ["a"]


def test_a_version_that_cannot_be_asked_for_costs_no_case():
    def missing():
        msg = "libnvJitLink.so\nwas not found"
        raise OSError(msg)

    assert _gpu_report._asked(missing) == "unknown, OSError: libnvJitLink.so was not found"
    assert _gpu_report._asked(lambda: (13, 0)) == "13.0"


def test_names_of_cases_are_unique_and_what_is_worth_most_comes_first():
    cases = bench_gpu.all_cases(_gpu_cases.Sizes(), Path())
    assert len({case.name for case in cases}) == len(cases)
    assert [*dict.fromkeys(case.group for case in cases)] == ["first", "windows", "families", "rest", "tools"]
    assert {case.measures for case in cases if "one slice" in case.name} == {"host", "map", "cpu"}


def tool(folder, monkeypatch, name, lines):
    """Put a program of CUDA's toolkit on the path that runs some lines of shell."""
    program = folder / name
    program.write_text("#!/bin/sh\n" + lines)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def test_metrics_of_the_profiler(tmp_path, monkeypatch):
    table = '"ID","launch__registers_per_thread","gpu__time_duration.sum"\n"","","us"\n"0","63","1,204"\n'
    tool(tmp_path, monkeypatch, "ncu", f"echo ==PROF== connected\ncat <<'END'\n{table}END\n")
    found = _gpu_cases.profile(_gpu_cases.REHEARSAL, tmp_path / "ncu.csv")
    assert found == {"metrics": {"gpu__time_duration.sum": "1,204 us", "launch__registers_per_thread": "63"}}
    assert table in (tmp_path / "ncu.csv").read_text()


def test_a_profiler_that_refuses_is_noted(tmp_path, monkeypatch):
    tool(tmp_path, monkeypatch, "ncu", "echo '==ERROR== no permission' >&2\nexit 1\n")
    found = _gpu_cases.profile(_gpu_cases.REHEARSAL, tmp_path / "ncu.csv")
    assert found == {"refused, exit code 1": "==ERROR== no permission"}


def test_sanitizers_that_find_refuse_or_hang(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(_gpu_cases, "_TOOL_SECONDS", 1)
    for lines, expected in (
        ("echo ERROR SUMMARY: 0 errors", {"found": "ERROR SUMMARY: 0 errors"}),
        ("echo Device not supported; exit 1", {"refused, exit code 1": "Device not supported"}),
        ("echo entropy; sleep 60 & wait", {"killed after 1 s": "entropy"}),
    ):
        tool(tmp_path, monkeypatch, "compute-sanitizer", lines)
        assert _gpu_cases.sanitised("memcheck") == expected
    tool(
        tmp_path, monkeypatch, "compute-sanitizer", "echo Invalid write; echo ERROR SUMMARY: 2 errors; exit 9"
    )
    capsys.readouterr()
    with pytest.raises(_gpu_cases.CheckError, match="ERROR SUMMARY: 2 errors"):
        _gpu_cases.sanitised("memcheck")
    assert capsys.readouterr().out.startswith("Invalid write\n")


def runs(pid):
    """Return whether a process runs; one that has ended and that nobody has asked for is a zombie, Z."""
    try:
        return Path("/proc", pid, "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_sanitizer_ends_with_the_time_of_the_benchmark(tmp_path, monkeypatch):
    pids = tmp_path / "pids"
    tool(tmp_path, monkeypatch, "compute-sanitizer", f"sleep 60 & echo $! $$ > {pids}; wait")
    cases = [case("memcheck", lambda: _gpu_cases.sanitised("memcheck"))]
    assert run_cases(cases, report(tmp_path / "new"), time.monotonic() + 1)
    latest = time.monotonic() + 10
    while any(map(runs, pids.read_text().split())):
        assert time.monotonic() < latest
        time.sleep(0.01)


def test_tools_that_are_not_installed_are_noted(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    assert _gpu_cases.sanitised("memcheck") == {"not run": "compute-sanitizer is not installed"}
    assert _gpu_cases.profile(_gpu_cases.REHEARSAL, tmp_path / "x") == {"not run": "ncu is not installed"}


def first_run(folder, python, *arguments):
    """Run the script with a program in the place of Python; return how it ended."""
    return subprocess.run(
        [BENCHMARKS / "first_run.sh", folder, *arguments],
        env=os.environ | {"GPU_PYTHON": str(python)}, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.fixture
def python(tmp_path):
    """Stands for a Python whose steps fail: it says what it was called for."""
    program = tmp_path / "python"
    program.write_text('#!/bin/sh\necho "called: $*"\nexit 3\n')
    program.chmod(0o755)
    return program


def test_the_first_run_goes_through_its_steps_whatever_fails(tmp_path, python):
    ended = first_run(tmp_path / "new", python)
    assert ended.returncode == 0, ended.stderr
    log = (tmp_path / "new" / "log.txt").read_text()
    assert log in ended.stdout
    limits = [line.partition("at most ")[2].split()[0] for line in log.splitlines() if ", at most" in line]
    assert limits[:7] == ["20", "60", "140", "110", "100", "50", "50"]
    assert sum(map(int, limits[:7])) < 560
    calls = [line for line in log.splitlines() if line.startswith("called: ") and "--only" in line]
    assert [call.partition("--only ")[2] for call in calls] == [
        "first", "first windows", "families", "ncu", "memcheck", "windows families rest"
    ]  # fmt: skip
    assert all(f"--output {tmp_path / 'new'} --resume" in call for call in calls)
    assert "-p xdist -n 12 --dist worksteal" in log
    assert log.count("exit code 3") == 7  # of all steps but the versions
    assert ended.stdout.endswith("the report, for benchmarks/results: none, no case was run\n")


def test_a_rehearsal_is_passed_on(tmp_path, python):
    log = first_run(tmp_path / "new", python, "--rehearse").stdout
    assert log.count("--rehearse") == 6
    assert "-k worked_by_hand and cuda]" in log


def test_the_first_run_leaves_folders_with_files_alone(tmp_path, python):
    ended = first_run(tmp_path, python)
    assert ended.returncode == 2
    assert ended.stderr == f"{tmp_path} must be a new or empty folder; choose another\n"
    assert [*tmp_path.iterdir()] == [python]
    ended = first_run(tmp_path / "new", python, "--quick")
    assert ended.returncode == 2
    assert ended.stderr == "the second argument must be --rehearse, got --quick\n"


@pytest.mark.slow
def test_the_benchmark_is_rehearsed_in_the_simulator(tmp_path):
    command = [
        sys.executable,
        BENCHMARKS / "bench_gpu.py",
        "--output",
        tmp_path,
        "--only",
        "bits, 5x5",
        "kernel, 3x3",
    ]
    simulator = {"NUMBA_ENABLE_CUDASIM": "1", "NUMBA_DISABLE_JIT": "1"}
    environment = os.environ | simulator | {"PYTHONPATH": str(BENCHMARKS.parent)}
    subprocess.run(command, env=environment, check=True)
    document = json.loads((tmp_path / "simulator-rehearsal.json").read_text())
    assert document["environment"]["rehearsal"]
    assert document["cases"]["bits, 5x5"]["have the CPU's bits"] == ["random"]
    assert document["cases"]["kernel, 3x3"]["voxels_per_s"] > 0
    refused = subprocess.run([*command[:2]], env=environment, capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert "a rehearsal needs --output DIR" in refused.stderr
