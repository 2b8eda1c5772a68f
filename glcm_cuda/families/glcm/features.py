"""The 24 co-occurrence features.

The stage "sums" computes its features from sums over the pairs of a window (`definition.Sums`). Sums of first
and second powers are always counted; `needs` names the others: "powers" (third and fourth) and "inverse"; the
logarithmic sums "joint", "total", "difference" and "ends"; "energy" and "largest".
"""

from __future__ import annotations

import functools

from glcm_cuda.families.feature import Family, Feature

_sums = functools.partial(Feature, "glcm", "sums")

FEATURES = (
    _sums("autocorrelation", "Autocorrelation", (("autocorrelation", "QWB0"),)),
    _sums("joint_average", "JointAverage", (("joint average", "60VM"),), others=("glcm_mean",)),
    _sums("cluster_prominence", "ClusterProminence", (("cluster prominence", "AE86"),), needs=("powers",)),
    _sums("cluster_shade", "ClusterShade", (("cluster shade", "7NFM"),), needs=("powers",)),
    _sums(
        "cluster_tendency",
        "ClusterTendency",
        (("cluster tendency", "DG8W"), ("sum variance", "OEEB")),
        (7,),
    ),
    _sums("contrast", "Contrast", (("contrast", "ACUI"),), (2,), ("inertia",)),
    _sums("correlation", "Correlation", (("correlation", "NI2N"),), (3,)),
    _sums(
        "difference_average",
        "DifferenceAverage",
        (("difference average", "TF7R"), ("dissimilarity", "8S9J")),
    ),
    _sums(
        "difference_entropy",
        "DifferenceEntropy",
        (("difference entropy", "NTRS"),),
        (11,),
        needs=("difference",),
    ),
    _sums("difference_variance", "DifferenceVariance", (("difference variance", "D3YU"),), (10,)),
    _sums(
        "joint_energy",
        "JointEnergy",
        (("angular second moment", "8ZQL"),),
        (1,),
        ("asm", "uniformity"),
        needs=("energy",),
    ),
    Feature(
        "glcm",
        "entropy",
        "joint_entropy",
        "JointEntropy",
        (("joint entropy", "TU9B"),),
        (9,),
        ("entropy",),
    ),
    _sums("imc1", "Imc1", (("information correlation 1", "R8DG"),), (12,), needs=("joint", "ends")),
    _sums("imc2", "Imc2", (("information correlation 2", "JN9H"),), (13,), needs=("joint", "ends")),
    _sums("idm", "Idm", (("inverse difference moment", "WF0Z"),), (5,), ("homogeneity",), needs=("inverse",)),
    Feature("glcm", "mcc", "mcc", "MCC", (), (14,), ("maximal correlation coefficient",), formula="mcc"),
    _sums("idmn", "Idmn", (("normalised inverse difference moment", "1QCO"),), needs=("inverse",)),
    _sums("id", "Id", (("inverse difference", "IB1Z"),), needs=("inverse",)),
    _sums("idn", "Idn", (("normalised inverse difference", "NDRX"),), needs=("inverse",)),
    _sums("inverse_variance", "InverseVariance", (("inverse variance", "E8JP"),), needs=("inverse",)),
    _sums("maximum_probability", "MaximumProbability", (("joint maximum", "GYBY"),), needs=("largest",)),
    _sums("sum_average", "SumAverage", (("sum average", "ZGXS"),), (6,)),
    _sums("sum_entropy", "SumEntropy", (("sum entropy", "P6QZ"),), (8,), needs=("total",)),
    _sums("sum_squares", "SumSquares", (("joint variance", "UR99"),), (4,), ("glcm_variance",)),
)
"""In pyradiomics' order."""

FAMILY = Family("glcm", FEATURES, directed=True)
