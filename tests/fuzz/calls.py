"""Calls of the Python API, held to the oracle."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from typing import Any

import hypothesis
import numpy as np

from fuzz.expected import RefusedError, expected_of
from fuzz.strategies import Call, calls
from glcm_cuda import GLCMSettings, entropy_map, feature_maps, quantize
from glcm_cuda.roi import roi_features

LIMITS = re.compile(
    r"allows at most \d+ levels|narrower than|needs \d+ levels|overflows|requires? dimensions=|must be "
)
"""What may be refused although it is defined: too many levels, bins too narrow for the type."""


def answer(call: Call, chosen: GLCMSettings) -> Any:
    """Return what our function gives."""
    if call.function == "quantize":
        return quantize(call.image, chosen, mask=call.mask)
    if call.function == "roi_features":
        return roi_features(
            call.image,
            call.features,
            chosen,
            mask=call.mask,
            spacing=call.spacing,
            pool_slices=call.pool_slices,
        )
    if call.function == "feature_maps":
        return feature_maps(
            call.image, call.features, chosen, mask=call.mask, spacing=call.spacing, backend="cpu"
        )
    out = _out(call)
    found = entropy_map(call.image, chosen, mask=call.mask, backend="cpu", out=out)
    assert out is None or found is out
    return {"joint_entropy": found}


def _out(call: Call) -> Any:
    shape = np.shape(call.image)
    if call.out == "none" or not shape:
        return None
    if call.out == "gaps":
        return np.zeros((*shape, 2), np.float32)[..., 0]
    out = np.zeros(shape, np.float64 if call.out == "float64" else np.float32)
    out.flags.writeable = call.out != "read-only"
    return out


def check(call: Call) -> str:
    """Hold one call to the oracle and return how it ended: "refused" or "right"."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            chosen = GLCMSettings(**call.fields)
            found = answer(call, chosen)
    except (ValueError, TypeError) as error:
        return _check_refusal(call, str(error))
    if call.function == "entropy_map" and np.ndim(call.image):
        assert call.out not in ("read-only", "float64"), "an unfit out was taken"
    try:
        expected = expected_of(call, chosen)
    except RefusedError:
        raise AssertionError("a value where there is none") from None
    _compare(call, found, expected)
    return "right"


def _check_refusal(call: Call, message: str) -> str:
    assert message.strip(), "a refusal without a word"
    assert "\n" not in message, f"a refusal of several lines: {message}"
    if call.function == "entropy_map" and call.out != "none":
        return "refused"
    try:
        expected_of(call, GLCMSettings(**call.fields))
    except (RefusedError, ValueError, TypeError):
        return "refused"
    assert LIMITS.search(message), f"refused although it is defined: {message}"
    return "refused"


def _compare(call: Call, found: Any, expected: Any) -> None:
    if call.function == "quantize":
        inside = np.ones(np.shape(found), bool) if call.mask is None else np.asarray(call.mask) != 0
        np.testing.assert_array_equal(found[inside], expected[inside])
        return
    assert list(found) == list(call.features)
    for name, values in expected.items():
        if call.function == "feature_maps":  # maps are float32, to which large intensities may be infinite
            with np.errstate(over="ignore"):
                values = np.where(np.isinf(np.float32(values)), np.float32(values), values)
        # Half a step of float32 for entropy; docs/definition.md, section 6, for the others.
        relative, absolute = (6e-8, 3e-10) if name == "joint_entropy" else (1e-5, 2e-7)
        np.testing.assert_allclose(found[name], values, rtol=relative, atol=absolute, err_msg=name)


def run_calls(number: int, seed: int) -> Counter[str]:
    """Make this many calls and return how they ended.

    Raises
    ------
    AssertionError
        Of the smallest call that hypothesis finds to fail.
    """
    ends: Counter[str] = Counter()

    @hypothesis.settings(
        max_examples=number,
        deadline=None,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
        phases=[hypothesis.Phase.generate, hypothesis.Phase.shrink],
    )
    @hypothesis.seed(seed)
    @hypothesis.given(calls())
    def property_holds(call: Call) -> None:
        ends[f"{call.function} {check(call)}"] += 1

    property_holds()
    return ends
