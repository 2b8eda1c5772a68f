"""RadSynth of another checkout, whose folder is the argument, for `benchmarks/features.py`."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, sys.argv[1])
    runpy.run_path(str(Path(__file__).with_name("families_radsynth.py")), run_name="__main__")
