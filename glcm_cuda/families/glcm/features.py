"""The 24 co-occurrence features."""

from __future__ import annotations

from glcm_cuda.families.feature import Feature

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
