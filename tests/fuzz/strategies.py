"""Images, masks and settings, fit and unfit, that hypothesis draws."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st

from glcm_cuda.families.feature import Feature
from glcm_cuda.families.registry import FEATURES, REGION_FEATURES

REAL_TYPES = (
    "bool", "uint8", "int8", "uint16", "int16", ">i2", "int32", "uint32", "int64", "uint64",
    "float16", "float32", ">f4", "float64", "longdouble",
)  # fmt: skip
OTHER_TYPES = ("complex64", "U3", "S2", "object", "datetime64[s]", "timedelta64[s]", "i4,f4")
MANY_VOXELS = 60
FEW_VOXELS = 20
"""So that the oracle takes milliseconds, for entropy and for the other features."""


@dataclass(frozen=True)
class Call:
    """One call of the Python API."""

    function: str
    features: tuple[str, ...]
    image: Any
    mask: Any
    fields: dict[str, Any]
    pool_slices: bool = False
    out: str = "none"
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)


def seldom(fit: st.SearchStrategy[Any], unfit: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Draw what is fit nine times out of ten."""
    return st.integers(0, 9).flatmap(lambda number: unfit if number == 9 else fit)


def shapes(voxels: int) -> st.SearchStrategy[tuple[int, ...]]:
    edges = st.integers(1, 6)
    fit = st.one_of(st.tuples(edges, edges), st.tuples(st.integers(1, 4), edges, edges))
    unfit = st.sampled_from([(), (0,), (4,), (3, 0), (0, 3, 3), (2, 2, 2, 2), (1, 1, 1, 1, 1)])
    return seldom(fit.filter(lambda shape: np.prod(shape) <= voxels), unfit)


def _extremes(dtype: np.dtype[Any]) -> list[Any]:
    """Return the numbers at which a type may fail."""
    if dtype.kind == "b":
        return [False, True]
    if dtype.kind in "iu":
        bounds = np.iinfo(dtype)
        return [bounds.min, bounds.min + 1, 0, 1, bounds.max - 1, bounds.max]
    bounds = np.finfo(dtype)
    return [bounds.min, -1.5, -0.0, bounds.smallest_subnormal, bounds.tiny, 0.1, bounds.max]


def _numbers(rng: np.random.Generator, kind: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
    """Return values of a kind in a real type."""
    extremes = _extremes(dtype)
    if kind == "constant":
        return np.full(shape, extremes[rng.integers(len(extremes))], dtype)
    if kind == "few":
        return rng.integers(0, 4, shape).astype(dtype)
    if kind == "wide":
        with np.errstate(over="ignore"):
            return (rng.normal(size=shape) * 10.0 ** rng.integers(-30, 30)).astype(np.float64).astype(dtype)
    if kind == "extreme":
        chosen = [extremes[index] for index in rng.integers(len(extremes), size=shape).flat]
        return np.array(chosen, dtype).reshape(shape)
    if kind == "near":  # neighbouring numbers about a large one
        large = np.array(extremes[-1] // 3 if dtype.kind in "iu" else 1e4, dtype)
        return (large + rng.integers(0, 3, shape).astype(dtype)).astype(dtype)
    return (rng.random(shape) * 100).astype(dtype)


def _with_nonfinite(rng: np.random.Generator, array: Any) -> Any:
    """Put NaN or infinity into one or two voxels of an image of floats."""
    if array.dtype.kind == "f" and array.size:
        array = array.copy()
        for _ in range(rng.integers(1, 3)):
            array.flat[rng.integers(array.size)] = rng.choice([np.nan, np.inf, -np.inf])
    return array


def laid_out(array: Any, layout: str) -> Any:
    """Return the same array in another layout of memory, or as another kind of object."""
    if layout == "fortran":
        return np.asfortranarray(array)
    if layout == "gaps" and array.ndim:
        return np.repeat(array, 2, axis=-1)[..., ::2]
    if layout == "backwards" and array.ndim:
        return np.ascontiguousarray(array[..., ::-1])[..., ::-1]
    if layout == "read-only":
        array = array.copy()
        array.flags.writeable = False
    if layout == "list" and array.dtype.kind in "biuf":
        return array.tolist()
    if layout == "masked array":
        return np.ma.masked_array(array, mask=np.zeros(array.shape, bool))
    if layout == "masked voxels":
        return np.ma.masked_array(array, mask=np.arange(array.size).reshape(array.shape) % 3 == 0)
    return array


LAYOUTS = (
    "plain", "plain", "fortran", "gaps", "backwards", "read-only", "list", "masked array", "masked voxels",
)  # fmt: skip
KINDS = ("few", "few", "any", "any", "constant", "wide", "extreme", "near")


@st.composite
def images(draw: Any, voxels: int) -> Any:
    shape = draw(shapes(voxels))
    dtype = np.dtype(draw(seldom(st.sampled_from(REAL_TYPES), st.sampled_from(OTHER_TYPES))))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    if dtype.kind not in "biuf":
        return np.zeros(shape, dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        array = np.asarray(_numbers(rng, draw(st.sampled_from(KINDS)), shape, dtype), dtype)
    if draw(st.integers(0, 5)) == 0:
        array = _with_nonfinite(rng, array)
    return laid_out(array, draw(st.sampled_from(LAYOUTS)))


@st.composite
def masks(draw: Any, image: Any) -> Any:
    """Draw no mask, or one of a kind that people give."""
    shape = np.shape(image)
    kind = draw(
        seldom(
            st.sampled_from(["none", "none", "bool", "uint8", "int16", "float32", "one"]),
            st.sampled_from(["text", "object", "complex", "empty", "shape", "nan", "scalar", "everywhere"]),
        )
    )
    if kind == "none":
        return None
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    inside = rng.random(shape) < draw(st.sampled_from([0.2, 0.6, 0.95]))
    made: Any = {
        "bool": lambda: inside,
        "uint8": lambda: (inside * rng.integers(1, 256, shape)).astype(np.uint8),
        "int16": lambda: (inside * rng.integers(-3, 4, shape)).astype(np.int16),
        "float32": lambda: (inside * rng.random(shape)).astype(np.float32),
        "one": lambda: np.arange(inside.size).reshape(shape) == inside.size // 2,
        "text": lambda: np.where(inside, "in", "out"),
        "object": lambda: inside.astype(object),
        "complex": lambda: inside.astype(complex),
        "empty": lambda: np.zeros(shape, bool),
        "shape": lambda: np.ones((*shape, 2), bool),
        "nan": lambda: np.where(inside, 1.0, np.nan),
        "scalar": lambda: 1,
        "everywhere": lambda: np.ones(shape, bool),
    }[kind]()
    return made if np.ndim(made) == 0 else laid_out(np.asarray(made), draw(st.sampled_from(LAYOUTS)))


def _optional(fit: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(st.none(), st.none(), fit)


_FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "levels": st.sampled_from([2, 3, 8, 16, 64, 64, 255, 256, 257, 1000, 65536]),
    "window": st.sampled_from([3, 3, 5, 5, 7, 9, 63, 255, (3, 5, 7), [3, 3, 5]]),
    "distance": st.sampled_from([1, 1, 1, 2, 3, (1, 2), [2], (1, 2, 4)]),
    "directions": st.sampled_from(["scaled", "all"]),
    "dimensions": st.sampled_from([2, 2, 3]),
    "slice_axis": st.sampled_from([0, 0, 1, 2]),
    "symmetric": st.booleans(),
    "aggregate": st.sampled_from(["mean", "merge"]),
    "log_base": st.sampled_from([2, 10, "e"]),
    "bin_width": _optional(st.sampled_from([0.3, 1, 25.0, 1e-3, 1e30, 5e-324])),
    "bin_edges": st.sampled_from(["ibsi", "ibsi", "pyradiomics"]),
    "intensity_range": _optional(st.sampled_from([(0, 100), (-1.5, 2.5), (0.1, 0.2), (-1e308, 1e308)])),
    "range_over": st.sampled_from(["image", "image", "mask", "crop"]),
    "percentiles": _optional(st.sampled_from([(0, 100), (5, 95), (49.9, 50.1)])),
    "deviations": _optional(st.sampled_from([3, 0.5, 1e-9, 1e308])),
    "masked_window": st.booleans(),
    "first_level": st.sampled_from([0, 1]),
    "gldm_a": st.sampled_from([0, 0, 1, 5, 65535]),
    "ngtdm_isolated": st.booleans(),
    "intensity_shift": st.sampled_from([0, 0, -50.5, 1000]),
}
_UNFIT = st.sampled_from(
    [
        *(None, True, -1, 0, 1.5, 10**400, float("nan"), float("inf")),
        *("", "five", (), (1,), (2, 1), [[1]], {}, b"3"),
    ]
)


@st.composite
def fields(draw: Any) -> dict[str, Any]:
    """Draw some fields of the settings; seldom one that is unfit, or whose name there is not."""
    names = draw(st.lists(st.sampled_from(sorted(_FIELDS)), unique=True, max_size=6))
    drawn = {name: draw(_FIELDS[name]) for name in names}
    if draw(st.integers(0, 9)) == 9:
        drawn[draw(st.sampled_from(sorted(_FIELDS)))] = draw(_UNFIT)
    return drawn


def wanted(features: tuple[Feature, ...]) -> st.SearchStrategy[tuple[str, ...]]:
    """Draw joint entropy, the names of some of these features, a name that there is not, or none."""
    families: dict[str, list[str]] = {}
    for feature in features:
        families.setdefault(feature.family, []).append(feature.name)
    name = st.sampled_from(list(families.values())).flatmap(st.sampled_from)
    return st.one_of(
        st.just(("joint_entropy",)),
        st.lists(name, min_size=1, max_size=3, unique=True).map(tuple),
        st.just(("contrst",)),
        st.just(()),
    )


_WANTED = {
    "feature_maps": wanted(FEATURES),
    "roi_features": wanted(REGION_FEATURES),
}


@st.composite
def calls(draw: Any) -> Call:
    functions = ["entropy_map", "entropy_map", "feature_maps", "feature_maps", "roi_features", "quantize"]
    function = draw(st.sampled_from(functions))
    image = draw(images(MANY_VOXELS if function in ("entropy_map", "quantize") else FEW_VOXELS))
    return Call(
        function,
        draw(_WANTED.get(function, st.just(("joint_entropy",)))),
        image,
        draw(masks(image)),
        draw(fields()),
        pool_slices=draw(st.booleans()),
        out=draw(st.sampled_from(["none", "none", "gaps", "read-only", "float64"])),
        spacing=draw(st.sampled_from([(1.0, 1.0, 1.0), (3.0, 0.75, 0.5)])),
    )
