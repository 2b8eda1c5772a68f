"""Record what the other tools give for small images, for tests/test_reference.py.

python tests/oracles/record.py, with the packages of tests/oracles/requirements.txt.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

import tools  # noqa: E402

COMMAND = "python tests/oracles/record.py"
FORMULA = "60 + (7 z + 3 y y + 5 x + 2 x y + 11 z x) mod 41, of shape 3, 9, 9; the image is z = 1"
MASK = "(2 x + 3 y + z) mod 5 > 0 and x < 7"
PLACES = [(0, 0, 1), (0, 4, 4), (1, 0, 0), (1, 3, 6), (1, 4, 4), (1, 8, 5), (2, 8, 0), (2, 6, 3)]
CENTRES = [(2, 2), (2, 5), (3, 6), (4, 4), (6, 2), (6, 6)]
RECORDED = ("3d", "2d", "2d-unmasked", "two-distances", "asymmetric-merge", "across-y")


def numbers(values: Any) -> list[float | None]:
    return [None if np.isnan(value) else float(f"{value:.9g}") for value in values]


def main() -> None:
    z, y, x = np.indices((3, 9, 9))
    volume = (60 + (7 * z + 3 * y * y + 5 * x + 2 * x * y + 11 * z * x) % 41).astype(np.uint8)
    mask = ((2 * x + 3 * y + z) % 5 > 0) & (x < 7)
    assert all(mask[place] for place in PLACES), [place for place in PLACES if not mask[place]]
    cases = []
    for case in RECORDED:
        # One voxel a batch, so that directions without pairs are left out voxel by voxel
        maps = tools.pyradiomics_maps(volume.astype(np.int16), mask, case, batch=1)
        values = {name: numbers(found[place] for place in PLACES) for name, found in maps.items()}
        settings = tools.pyradiomics_settings(case).to_dict()
        given = {name: value for name, value in tools.PYRADIOMICS[case][0].items()}
        cases.append({"tool": "pyradiomics", "case": case, "given": given, "settings": settings})
        cases[-1]["values"] = values
    image = volume[1]
    windows = [np.ascontiguousarray(image[y - 2 : y + 3, x - 2 : x + 3]) for y, x in CENTRES]
    for tool, function in (("skimage", tools.skimage_values), ("mahotas", tools.mahotas_values)):
        found = [function(window) for window in windows]
        values = {name: numbers(one[name] for one in found) for name in found[0]}
        settings = tools.GLCMSettings.preset(tool).to_dict()
        cases.append({"tool": tool, "case": "windows", "settings": settings, "values": values})
    for symmetric in (False, True):
        maps = tools.itk_maps(image, symmetric=symmetric)
        values = {name: numbers(found[centre] for centre in CENTRES) for name, found in maps.items()}
        settings = tools.itk_settings(symmetric=symmetric).to_dict()
        case = "symmetric" if symmetric else "asymmetric"
        cases.append({"tool": "itk", "case": case, "settings": settings, "values": values})
    text = {
        "made by": COMMAND,
        "versions": tools.VERSIONS,
        "formula": FORMULA,
        "mask": MASK,
        "places": PLACES,
        "centres": CENTRES,
    }
    lines = [f" {json.dumps(name)}: {json.dumps(value)}" for name, value in text.items()]
    body = ",\n".join("  " + json.dumps(case) for case in cases)
    path = ROOT / "tests" / "reference" / "oracles.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text("{\n" + ",\n".join(lines) + ',\n "cases": [\n' + body + "\n ]\n}\n")


if __name__ == "__main__":
    main()
