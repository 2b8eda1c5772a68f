"""The features of a co-occurrence matrix: their names, what others call them, what they are made of."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .checks import nearest


@dataclass(frozen=True)
class Feature:
    """A feature and its names.

    Parameters
    ----------
    name : str
        pyradiomics' name in snake case.
    pyradiomics : str
        The name there.
    ibsi : tuple of (str, str)
        Names and identifiers in the IBSI reference manual.
    haralick : tuple of int
        Numbers in the paper of Haralick, Shanmugam and Dinstein (1973).
    others : tuple of str
        What other tools and texts call it.
    needs : tuple of str
        Which sums over pairs it is made of, besides those of first and second powers: "powers" (third and
        fourth), "inverse"; the logarithmic sums "joint", "total", "difference" and "ends"; "energy",
        "largest"; or "mcc", which no sum gives. See `definition.Sums`.
    """

    name: str
    pyradiomics: str
    ibsi: tuple[tuple[str, str], ...] = ()
    haralick: tuple[int, ...] = ()
    others: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()

    @property
    def synonyms(self) -> tuple[str, ...]:
        """Every name but its own."""
        haralick = tuple(f"f{number}" for number in self.haralick)
        return (self.pyradiomics, *(name for pair in self.ibsi for name in pair), *haralick, *self.others)


# The order is pyradiomics'; `definition.VALUES` and `sums` know a feature by its place here.
FEATURES = (
    Feature("autocorrelation", "Autocorrelation", (("autocorrelation", "QWB0"),)),
    Feature("joint_average", "JointAverage", (("joint average", "60VM"),), others=("glcm_mean",)),
    Feature("cluster_prominence", "ClusterProminence", (("cluster prominence", "AE86"),), needs=("powers",)),
    Feature("cluster_shade", "ClusterShade", (("cluster shade", "7NFM"),), needs=("powers",)),
    Feature(
        "cluster_tendency", "ClusterTendency", (("cluster tendency", "DG8W"), ("sum variance", "OEEB")), (7,)
    ),
    Feature("contrast", "Contrast", (("contrast", "ACUI"),), (2,), ("inertia",)),
    Feature("correlation", "Correlation", (("correlation", "NI2N"),), (3,)),
    Feature(
        "difference_average", "DifferenceAverage", (("difference average", "TF7R"), ("dissimilarity", "8S9J"))
    ),
    Feature(
        "difference_entropy",
        "DifferenceEntropy",
        (("difference entropy", "NTRS"),),
        (11,),
        needs=("difference",),
    ),
    Feature("difference_variance", "DifferenceVariance", (("difference variance", "D3YU"),), (10,)),
    Feature(
        "joint_energy",
        "JointEnergy",
        (("angular second moment", "8ZQL"),),
        (1,),
        ("asm", "uniformity"),
        needs=("energy",),
    ),
    Feature(
        "joint_entropy", "JointEntropy", (("joint entropy", "TU9B"),), (9,), ("entropy",), needs=("joint",)
    ),
    Feature("imc1", "Imc1", (("information correlation 1", "R8DG"),), (12,), needs=("joint", "ends")),
    Feature("imc2", "Imc2", (("information correlation 2", "JN9H"),), (13,), needs=("joint", "ends")),
    Feature(
        "idm", "Idm", (("inverse difference moment", "WF0Z"),), (5,), ("homogeneity",), needs=("inverse",)
    ),
    Feature("mcc", "MCC", (), (14,), ("maximal correlation coefficient",), needs=("mcc",)),
    Feature("idmn", "Idmn", (("normalised inverse difference moment", "1QCO"),), needs=("inverse",)),
    Feature("id", "Id", (("inverse difference", "IB1Z"),), needs=("inverse",)),
    Feature("idn", "Idn", (("normalised inverse difference", "NDRX"),), needs=("inverse",)),
    Feature("inverse_variance", "InverseVariance", (("inverse variance", "E8JP"),), needs=("inverse",)),
    Feature("maximum_probability", "MaximumProbability", (("joint maximum", "GYBY"),), needs=("largest",)),
    Feature("sum_average", "SumAverage", (("sum average", "ZGXS"),), (6,)),
    Feature("sum_entropy", "SumEntropy", (("sum entropy", "P6QZ"),), (8,), needs=("total",)),
    Feature("sum_squares", "SumSquares", (("joint variance", "UR99"),), (4,), ("glcm_variance",)),
)
NAMES = tuple(feature.name for feature in FEATURES)
"""Names of all features."""


def _folded(name: str) -> str:
    """Return a name without what spellings differ in: case, spaces, hyphens and underscores."""
    return "".join(letter for letter in name.casefold() if letter.isalnum())


_BY_NAME = {_folded(name): feature for feature in FEATURES for name in (feature.name, *feature.synonyms)}


def feature_named(name: str) -> Feature:
    """Return the feature of a name, or of a synonym in any spelling.

    Raises
    ------
    ValueError
        If there is none; the message lists the names and suggests the nearest.

    Examples
    --------
    >>> [feature_named(name).name for name in ("Idmn", "TU9B", "f2", "sum variance")]
    ['idmn', 'joint_entropy', 'contrast', 'cluster_tendency']
    """
    found = _BY_NAME.get(_folded(str(name)))
    if found is None:
        known = [spelling for feature in FEATURES for spelling in (feature.name, *feature.synonyms)]
        msg = f"no feature {name!r}{nearest(name, known)}; the features are {', '.join(NAMES)}"
        raise ValueError(msg)
    return found


def features_named(names: str | Iterable[str]) -> tuple[Feature, ...]:
    """Return the features of names, each once; of ``"all"``, every feature.

    Raises
    ------
    ValueError
        If a name is unknown or there is none.
    """
    wanted = [names] if isinstance(names, str) else list(names)
    if "all" in wanted:
        return FEATURES
    if not wanted:
        msg = f"features must name at least one of {', '.join(NAMES)}, got none"
        raise ValueError(msg)
    return tuple(dict.fromkeys(feature_named(name) for name in wanted))
