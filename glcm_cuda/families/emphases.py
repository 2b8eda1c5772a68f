"""What runs, zones and dependences share: features of a matrix P(i, j) of levels i and numbers j.

j is the length of a run, the size of a zone or the number of dependent voxels. A family counts the matrix of
a window (`tallies`); these are the sums over it and the formulas of the features.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from glcm_cuda.families.feature import Feature


class Sums(NamedTuple):
    """Sums over the entries of a matrix, such as all runs of a window: scalars, or arrays over windows.

    Whole numbers, save those of inverses; all are float64 numbers, exact below 2**53.
    """

    entries: Any  # N, the number of entries; 0 where there is no matrix
    level: Any  # of i
    level2: Any  # of i**2
    inverse_level2: Any  # of 1 / i**2
    number: Any  # of j: of runs and zones, the number of their voxels
    number2: Any  # of j**2
    inverse_number2: Any  # of 1 / j**2
    level2_number2: Any  # of i**2 j**2
    level2_inverse: Any  # of i**2 / j**2
    inverse_number: Any  # of j**2 / i**2
    inverse2: Any  # of 1 / (i**2 j**2)
    per_level: Any  # of g(i)**2 over the levels, g(i) being the number of entries of level i
    per_number: Any  # of r(j)**2 over the numbers, r(j) being the number of entries with number j
    information: Any  # N log2 N minus the sum of P log2 P over the cells, in the map's unit


FORMULAS = {
    "short": lambda s: s.inverse_number2 / s.entries,
    "long": lambda s: s.number2 / s.entries,
    "levels": lambda s: s.per_level / s.entries,
    "levels_normalized": lambda s: s.per_level / (s.entries * s.entries),
    "numbers": lambda s: s.per_number / s.entries,
    "numbers_normalized": lambda s: s.per_number / (s.entries * s.entries),
    "percentage": lambda s: s.entries / s.number,
    "level_variance": lambda s: (s.entries * s.level2 - s.level * s.level) / (s.entries * s.entries),
    "number_variance": lambda s: (s.entries * s.number2 - s.number * s.number) / (s.entries * s.entries),
    "entropy": lambda s: s.information / s.entries,
    "low": lambda s: s.inverse_level2 / s.entries,
    "high": lambda s: s.level2 / s.entries,
    "short_low": lambda s: s.inverse2 / s.entries,
    "short_high": lambda s: s.level2_inverse / s.entries,
    "long_low": lambda s: s.inverse_number / s.entries,
    "long_high": lambda s: s.level2_number2 / s.entries,
}
"""Features of one matrix from its `Sums`, in the order of docs/definition.md, section 10."""


def emphasis(family: str, formula: str, pyradiomics: str, ibsi: tuple[str, str]) -> Feature:
    """Return a feature of one of these families by the key of its formula."""
    return Feature(
        family,
        "matrix",
        f"{family}_{pyradiomics}",
        pyradiomics,
        (ibsi,),
        needs=("cells",) if formula == "entropy" else (),
        formula=formula,
    )
