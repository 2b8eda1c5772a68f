"""Features of whole regions, as a table."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from glcm_cuda import GLCMSettings
from glcm_cuda.families.registry import requested
from pipelines.images.volume import Volume
from pipelines.maps.aggregations import AGGREGATIONS
from pipelines.maps.inputs import MOST_LABELS, labels_in
from pipelines.maps.region import aggregations_named
from pipelines.shell.parameter_file import ParameterFile
from radsynth.boxes import region_values
from radsynth.inputs import Mask, mask_choice, prepared
from radsynth.kinds.finding import kind_of
from radsynth.kinds.kind import Spacing
from radsynth.masks import labels_of
from radsynth.settings import fitted_to, parameters_from, settings_from

if TYPE_CHECKING:
    import pandas as pd


def features(
    image: Any,
    mask: Any,
    features: str | Iterable[str] | None = None,
    *,
    label: int | None = None,
    aggregation: str | None = None,
    settings: GLCMSettings | None = None,
    params: str | os.PathLike[str] | None = None,
    spacing: Spacing = None,
    **keywords: Any,
) -> pd.DataFrame:
    """Return the features of each region of a mask.

    Parameters
    ----------
    image, mask, settings, params, spacing, keywords
        See `radsynth.map`. The range of grey levels is that of the region, unless `range_over` says
        otherwise. Of a tensor's channels there may be one.
    features : str or iterable of str, optional
        Names as `glcm_cuda.roi.roi_features` takes them; by default all, or what `params` names.
    label : int, optional
        The only region; by default each label of the mask is one.
    aggregation : str, optional
        One of IBSI's (``"2d-mean"``, ``"3d-merge"``, ``"ITBB"``; see `pipelines.maps.aggregations`); by
        default as `dimensions` and `aggregate` of the settings say.

    Returns
    -------
    pandas.DataFrame
        A row for each region, with its label as index (`label`), the number of its voxels, and a column for
        each feature, named as it was asked for. NaN where a feature is not defined.

    Raises
    ------
    TypeError, ValueError, OSError
        As in `radsynth.map`.

    Examples
    --------
    >>> import numpy as np
    >>> import radsynth
    >>> image = np.arange(24).reshape(2, 3, 4)
    >>> mask = np.repeat([1, 2], 12).reshape(2, 3, 4)
    >>> table = radsynth.features(image, mask, ["firstorder_Mean", "JointEntropy"], levels=4)
    >>> table.loc[2].round(2).to_dict()
    {'voxels': 12.0, 'firstorder_Mean': 17.5, 'JointEntropy': 2.95}
    """
    import pandas as pd  # slow to load

    parameters = parameters_from(params, mask, settings, region=True)
    glcm = settings_from(settings, parameters, _of_region(keywords), "features")
    if "range_over" not in keywords and glcm.range_over == "image":
        glcm = replace(glcm, range_over="mask")
    if features is None:
        features = "all" if parameters is None else parameters.features
    wanted = tuple(requested(features, region=True))
    pool = parameters is not None  # pyradiomics pools the slices of 2D matrices
    if aggregation is not None:
        (name,) = aggregations_named([aggregation])
        glcm, pool = AGGREGATIONS[name].settings(glcm), AGGREGATIONS[name].pool_slices
    given = {*keywords, *(() if aggregation is None else ("dimensions",))}
    volume, regions = _regions(image, mask, label, spacing, parameters)
    rows = []
    for inside in regions.values():
        ready, counted = prepared(volume, inside, parameters)
        fitted = fitted_to(ready, glcm, parameters, given)
        rows.append({"voxels": int(counted.sum()), **region_values(ready, counted, wanted, fitted, pool)})
    return pd.DataFrame(rows, index=pd.Index(list(regions), name="label"))


def _of_region(keywords: Mapping[str, Any]) -> dict[str, Any]:
    """Return keywords with a window that is wider than every distance, as a region has none."""
    for name in ("window", "masked_window"):
        if name in keywords:
            msg = f"{name} applies to maps; a region has no windows"
            raise TypeError(msg)
    if keywords.get("range_over") == "crop":
        msg = "range_over='crop' applies to maps, whose windows reach beyond the mask; give mask or image"
        raise ValueError(msg)
    distances = np.atleast_1d(keywords.get("distance", 1))
    if distances.dtype.kind == "i" and distances.size:
        return {**keywords, "window": max(5, 2 * int(distances.max()) + 1)}
    return dict(keywords)


def _regions(
    image: Any, mask: Any, label: int | None, spacing: Spacing, parameters: ParameterFile | None
) -> tuple[Volume, dict[int, Mask]]:
    """Return an image and the voxels of each label of its mask; of one label if that is chosen."""
    kind = kind_of(image, "image")
    volumes = kind.volumes(image, "image", spacing)
    if len(volumes) > 1:
        msg = f"image must have one channel, got {len(volumes)}; give them one by one, as image[:1]"
        raise ValueError(msg)
    choice = mask_choice(label, parameters)
    (labels,) = labels_of(mask, image, kind, volumes, choice)
    if isinstance(choice.label, int):
        return volumes[0], {choice.label: labels != 0}
    present = labels_in(labels)
    if not present:  # fractions, which are no labels
        return volumes[0], {1: labels != 0}
    if len(present) > MOST_LABELS:
        msg = f"mask must have at most {MOST_LABELS} labels, got {len(present)}; is it a mask?"
        raise ValueError(msg)
    return volumes[0], {one: labels == one for one in present}
