"""All co-occurrence features but MCC: RadSynth against pyradiomics' voxel mode, per core, in one run.

    python benchmarks/features.py

The image is a slice from pydicom, tiled to 512x512, with 64 levels and a 5x5 window. pyradiomics maps a
crop of it; compared are nanoseconds per voxel. Both run on one thread and take turns. pyradiomics runs in
the environment of `peers.py`. Prints medians and writes benchmarks/results/features.json.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numba
import numpy as np
from _machine import RESULTS, machine, write_json
from _peer_tools import SCRIPTS, environment
from pydicom import examples

from glcm_cuda import GLCMSettings, feature_maps, quantize
from glcm_cuda.families.registry import features_named

TURNS, CROP = 5, 24
SETTINGS = GLCMSettings(intensity_range=(0, 64))
FEATURES = features_named("glcm")
CASES = {
    "all features but MCC": [feature.name for feature in FEATURES if feature.name != "mcc"],
    "MCC": ["mcc"],
    "contrast": ["contrast"],
}


def main() -> None:
    numba.set_num_threads(1)
    image = examples.overlay.pixel_array
    levels = quantize(np.pad(image, ((0, 28), (0, 28)), mode="wrap")[:512, :512])
    results = {name: compare(levels, features) for name, features in CASES.items()}
    for name, (ours, theirs) in results.items():
        print(f"{name}: {ours:.0f} ns per voxel, pyradiomics {theirs:.0f}, {theirs / ours:.0f} times")
    fields = {
        name: {"radsynth_ns": ours, "pyradiomics_ns": theirs} for name, (ours, theirs) in results.items()
    }
    write_json({"machine": machine(), "medians": fields}, RESULTS / "features.json")


def compare(levels: np.ndarray, features: list[str]) -> tuple[float, float]:
    """Return the median nanoseconds per voxel of both."""
    part = levels[:128] if features == ["mcc"] else levels
    crop = levels[240 : 240 + CROP, 240 : 240 + CROP]
    names = [feature.pyradiomics for feature in FEATURES if feature.name in features]
    feature_maps(part[:32], features, SETTINGS, backend="cpu")  # compile
    ours, theirs = [], []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "levels.npy"
        np.save(path, crop)
        command = [environment("pyradiomics"), SCRIPTS / "time_pyradiomics.py", path, "64", *names]
        with subprocess.Popen(
            [str(word) for word in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            if process.stdin is None or process.stdout is None:
                sys.exit("no pipes to pyradiomics")
            for _ in range(TURNS):
                start = time.perf_counter()
                feature_maps(part, features, SETTINGS, backend="cpu")
                ours.append((time.perf_counter() - start) / part.size)
                process.stdin.write("go\n")
                process.stdin.flush()
                theirs.append(float(process.stdout.readline()) / crop.size)
            process.stdin.close()
    return statistics.median(ours) * 1e9, statistics.median(theirs) * 1e9


if __name__ == "__main__":
    main()
