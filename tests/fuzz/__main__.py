"""``python -m fuzz``: the fuzzer's own command line; ``make fuzz`` calls it."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from fuzz.files import check_sound, replay, run_files

CALLS_PER_PROCESS = 500
MOST_BYTES = 8 << 30
"""Address space of the calls: no small image may need more."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="fuzz", description="Fuzz the Python API and the commands.")
    parser.add_argument("--calls", type=int, default=2000, help="calls of the Python API")
    parser.add_argument("--files", type=int, default=500, help="damaged files")
    parser.add_argument("--seed", type=int, default=0, help="another seed gives other calls and files")
    parser.add_argument("--folder", type=Path, default=Path("runs/fuzz"), help="where failures are kept")
    parser.add_argument("--only", default="", help="part of the names of the kinds of file to use")
    parser.add_argument("--replay", type=Path, help="a kept failure to run again")
    options = parser.parse_args()
    folder = options.folder.resolve()
    if options.replay:
        reason = replay(options.replay, folder)
        print(reason or "nothing is wrong")
        return bool(reason)
    failed = options.calls > 0 and _run_calls(options.calls, options.seed)
    if not options.files:
        return failed
    wrong = check_sound(folder)
    if wrong:
        print("\n".join(wrong))
        return 1
    campaign = run_files(options.files, options.seed, folder, only=options.only)
    print(campaign.report())
    return failed or bool(campaign.failures)


def _run_calls(number: int, seed: int) -> bool:
    """Make the calls in processes of their own, which a call may end, and return whether one failed."""
    failed, ends, started = 0, Counter[str](), time.monotonic()
    for start in range(0, number, CALLS_PER_PROCESS):
        batch = min(CALLS_PER_PROCESS, number - start)
        code = (
            f"import resource\n"
            f"from fuzz.calls import run_calls\n"
            f"resource.setrlimit(resource.RLIMIT_AS, ({MOST_BYTES}, {MOST_BYTES}))\n"
            f"for end, times in run_calls({batch}, {seed + start}).items():\n"
            f"    print(times, end)\n"
        )
        ended = subprocess.run(
            [sys.executable, "-X", "faulthandler", "-c", code], capture_output=True, text=True, check=False
        )
        if ended.returncode:
            failed += 1
            print(
                f"calls {start} to {start + CALLS_PER_PROCESS}, code {ended.returncode}:\n{ended.stderr}",
                flush=True,
            )
        for line in ended.stdout.splitlines():
            times, end = line.split(maxsplit=1)
            ends[end] += int(times)
    minutes = (time.monotonic() - started) / 60
    print(f"{sum(ends.values())} calls in {minutes:.1f} minutes: {failed} batches with a failure")
    print("\n".join(f"  {times} {end}" for end, times in sorted(ends.items())), flush=True)
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
