"""The values that the IBSI publishes for its digital phantom, and ours.

Run as a program it prints how many of each family we reproduce: ``PYTHONPATH=tests python -m
helpers.ibsi_values DATA/ibsi/ibsi1_digital_phantom_reference_values.csv``.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from glcm_cuda import GLCMSettings
from glcm_cuda.roi import roi_features
from helpers.ibsi import PHANTOM

# What the table of published values calls a feature, and its identifier in the reference manual.
FAMILIES = {
    "stat": "mean Q4LE var ECT3 skew KE2A kurt IPH6 median Y12H min 1GSF p10 QG58 p90 8DWT max 84IY iqr SALO "
    "range 2OJQ mad 4FUA rmad 1128 medad N72L cov 7TET qcod 9S40 energy N8CA rms 5ZWQ",
    "ih": "mean X6K6 var CH89 skew 88K1 kurt C3I7 median WIFQ min 1PR8 p10 GPMT p90 OZ0C max 3NCY mode AMMC "
    "iqr WR0O range 5Z3W mad D2ZX rmad WRZB medad 4RNL cov CWYJ qcod SLWD entropy TLU2 uniformity BJ5W "
    "max_grad 12CE max_grad_g 8E6O min_grad VQB3 min_grad_g RHQZ",
    "cm": "joint_max GYBY joint_avg 60VM joint_var UR99 joint_entr TU9B diff_avg TF7R diff_var D3YU "
    "diff_entr NTRS sum_avg ZGXS sum_var OEEB sum_entr P6QZ energy 8ZQL contrast ACUI dissimilarity 8S9J "
    "inv_diff IB1Z inv_diff_norm NDRX inv_diff_mom WF0Z inv_diff_mom_norm 1QCO inv_var E8JP corr NI2N "
    "auto_corr QWB0 clust_tend DG8W clust_shade 7NFM clust_prom AE86 info_corr1 R8DG info_corr2 JN9H",
    "rlm": "sre 22OV lre W4KF lgre V3SW hgre G3QZ srlge HTZT srhge GD3A lrlge IVPO lrhge 3KUM glnu R5YN "
    "glnu_norm OVBL rlnu W92Y rlnu_norm IC23 r_perc 9ZK5 gl_var 8CE5 rl_var SXLW rl_entr HJ9O",
    "szm": "sze 5QRC lze 48P8 lgze XMSY hgze 5GN9 szlge 5RAI szhge HW1V lzlge YH51 lzhge J17V glnu JNSA "
    "glnu_norm Y1RO zsnu 4JP3 zsnu_norm VB3A z_perc P30P gl_var BYLV zs_var 3NSA zs_entr GU8N",
    "dzm": "sde 0GBI lde MB4I lgze S1RA hgze K26C sdlge RUVG sdhge DKNJ ldlge A7WM ldhge KLTH glnu VFT7 "
    "glnu_norm 7HP3 zdnu V294 zdnu_norm IATH z_perc VIWW gl_var QK93 zd_var 7WT1 zd_entr GBDU",
    "ngt": "coarseness QCDE contrast 65HE busyness NQ30 complexity HDEZ strength 1X9X",
    "ngl": "lde SODN hde IMOQ lgce TL9H hgce OAE7 ldlge EQ3F ldhge JA6D hdlge NBZI hdhge 9QMG glnu FP8K "
    "glnu_norm 5SPA dcnu Z87G dcnu_norm OKJI dc_perc 6XV8 gl_var 1PFV dc_var DNX2 dc_entr FCBV "
    "dc_energy CAS9",
}
TITLES = {
    "stat": "intensity-based statistics",
    "ih": "intensity histogram",
    "cm": "co-occurrence (GLCM)",
    "rlm": "run length (GLRLM)",
    "szm": "size zone (GLSZM)",
    "dzm": "distance zone (GLDZM)",
    "ngt": "grey tone difference (NGTDM)",
    "ngl": "grey level dependence (NGLDM, GLDM)",
}
AGGREGATIONS = {
    "2D_avg": "2d-mean", "2D_comb": "2d-merge", "2_5D_avg": "2.5d-mean", "2_5D_comb": "2.5d-merge",
    "3D_avg": "3d-mean", "3D_comb": "3d-merge",
}  # fmt: skip


def tags(family: str) -> Iterator[tuple[str, str, str]]:
    """Yield the tag of each of a family's values, the identifier of the feature, and its aggregation."""
    words = FAMILIES[family].split()
    for word, identifier in zip(words[::2], words[1::2], strict=True):
        for suffix, aggregation in AGGREGATIONS.items():
            if family in ("cm", "rlm"):
                yield f"{family}_{word}_{suffix}", identifier, aggregation
            elif family in ("stat", "ih") and suffix == "3D_avg":
                yield f"{family}_{word}", identifier, aggregation
            elif family not in ("stat", "ih") and suffix.endswith("_avg"):
                yield f"{family}_{word}_{suffix.removesuffix('_avg')}", identifier, aggregation


def computed(family: str) -> dict[str, float]:
    """Return our values of a family by the tags of the published ones."""
    found, identifiers = {}, FAMILIES[family].split()[1::2]
    for aggregation in sorted({aggregation for _, _, aggregation in tags(family)}):
        space, aggregate = aggregation.split("-")
        settings = GLCMSettings(
            dimensions=3 if space == "3d" else 2,
            aggregate=aggregate,
            bin_width=1,  # the levels of the phantom as they are
            range_over="mask",
            ngtdm_isolated=False,
        )
        values = roi_features(PHANTOM, identifiers, settings, mask=PHANTOM > 0, pool_slices=space == "2.5d")
        found |= {tag: values[name] for tag, name, where in tags(family) if where == aggregation}
    return found


def published(path: Path) -> dict[str, float]:
    """Return the published values by their tags."""
    with path.open(encoding="utf-8") as file:
        return {row["tag"]: float(row["reference_value"]) for row in csv.DictReader(file)}


def same_digits(value: float, reference: float) -> bool:
    """Return whether a value is the published one, which has three significant digits."""
    return float(f"{value:.3g}") == reference


def table(reference: Mapping[str, float]) -> Iterator[str]:
    """Yield the lines of the table of reproduced values."""
    yield "| family | features | reproduced | of |"
    yield "|---|--:|--:|--:|"
    for family, title in TITLES.items():
        ours = computed(family)
        equal = sum(same_digits(value, reference[tag]) for tag, value in ours.items())
        of = sum(tag.startswith(f"{family}_") for tag in reference)
        yield f"| {title} | {len(FAMILIES[family].split()) // 2} | {equal} | {of} |"


if __name__ == "__main__":
    print(*table(published(Path(sys.argv[1]))), sep="\n")
