"""What `make` says at its end."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
@pytest.mark.parametrize("failed", [False, True])
def test_the_demo_ends_with_the_checks_that_failed(tmp_path, failed):
    for folder in ("evaluation", "benchmark", "real", "training/synthetic"):
        (tmp_path / folder).mkdir(parents=True)
    for name in ("evaluation/table1.md", "evaluation/report.html", "benchmark/benchmark.md"):
        (tmp_path / name).write_text(f"{name}\n")
    for name in ("benchmark/benchmark.png", "real/a.png"):
        (tmp_path / name).touch()
    maps = {
        "real/entropy_synthetic.nii.gz": failed,
        "training/synthetic/p.nii.gz": failed,
        "real/b.mha": False,
    }
    for name, its in maps.items():
        record = {"spot_check": {"failed": its, "warnings": []}}
        (tmp_path / f"{name}.json").write_text(json.dumps(record, indent=2) + "\n")
    (tmp_path / "real" / "exact.nii.gz.json").write_text("{}\n")
    # The targets before it count as done: only the demo's own lines run.
    done = [part for name in ("evaluate", "benchmark", "real") for part in ("-o", name)]
    command = ["make", "--no-print-directory", *done, "demo", f"RUN={tmp_path}"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "evaluation/table1.md" in result.stdout
    expected = [f"CHECK FAILED: {tmp_path}/{name} should not be used (docs/honesty.md)" for name in maps][:2]
    assert result.stdout.splitlines()[-2:] == expected if failed else "CHECK FAILED" not in result.stdout
