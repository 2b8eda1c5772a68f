"""Features of whole regions, as a table."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from glcm_cuda import GLCMSettings
from glcm_cuda.families.registry import requested
from pipelines.images.volume import Volume
from pipelines.maps.aggregations import AGGREGATIONS
from pipelines.maps.inputs import MOST_LABELS, Mask, Prepared, labels_in
from pipelines.maps.region import aggregations_named
from pipelines.shell.parameter_file import ParameterFile
from radsynth.arguments import texts_of
from radsynth.boxes import region_values
from radsynth.filtering import Filters, filters_from, images_of, key_of, names_of
from radsynth.inputs import mask_choice, prepared
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
    filters: Filters = None,
    spacing: Spacing = None,
    **keywords: Any,
) -> pd.DataFrame:
    """Return the features of each region of a mask.

    Parameters
    ----------
    image, mask, settings, params, filters, spacing, keywords
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
        each feature, named as it was asked for; with filters for each feature of each image, named as
        pyradiomics' keys (``"wavelet-LLH_glcm_Contrast"``). NaN where a feature is not defined.

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
    chosen = None if aggregation is None else AGGREGATIONS[aggregations_named([aggregation])[0]]
    changed = partial(_settings, settings, keywords)
    filterings = filters_from(filters, parameters, changed)
    glcm = changed(None if parameters is None else parameters.settings)
    shapes: tuple[str, ...] = ()
    if features is None and parameters is not None:
        features, shapes = parameters.features, parameters.shapes
    texts = texts_of("features", "all" if features is None else features, "a name or several")
    wanted = tuple(requested(texts, region=True)) if texts or not shapes else ()  # or shape alone
    # pyradiomics pools the slices of 2D matrices
    pool = parameters is not None if chosen is None else chosen.pool_slices
    given = {*keywords, *(() if chosen is None else ("dimensions",))}
    names = names_of(wanted, filterings, region=True) if wanted else ()
    rows: dict[int, dict[str, float]] = {}
    for volume, regions in _regions(image, mask, label, spacing, parameters, for_filters=bool(filterings)):
        fitted = partial(fitted_to, volume, parameters=parameters, given=given)
        rows |= {one: _of_mask(region, shapes) for one, region in regions.items()}
        masks = {one: region.masks for one, region in regions.items() if region.masks is not None}
        together: Mask = np.logical_or.reduce([one.intensity for one in masks.values()])
        for derived, own in images_of(volume, together, glcm, filterings) if names else ():
            counting = fitted(own if chosen is None else chosen.settings(own))
            for one, inside in masks.items():
                values = region_values(derived.volume, inside, names, counting, pool, derived.name)
                rows[one] |= {key_of(derived.name, name): values[name] for name in names}
    return pd.DataFrame(list(rows.values()), index=pd.Index(list(rows), name="label"))


def _settings(
    settings: GLCMSettings | None, keywords: Mapping[str, Any], of_file: GLCMSettings | None
) -> GLCMSettings:
    """Return the settings of a region: the range is over the mask unless the user says otherwise."""
    glcm = settings_from(settings, of_file, _of_region(keywords), "features")
    if "range_over" not in keywords and glcm.range_over == "image":
        return replace(glcm, range_over="mask")
    return glcm


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


def _of_mask(region: Prepared, shapes: Sequence[str]) -> dict[str, float]:
    """Return the number of a region's voxels, and its features of shape."""
    assert region.mask is not None
    return {"voxels": int(region.mask.sum()), **region.shapes(shapes)}


def _regions(
    image: Any,
    mask: Any,
    label: int | None,
    spacing: Spacing,
    parameters: ParameterFile | None,
    *,
    for_filters: bool,
) -> Iterator[tuple[Volume, dict[int, Prepared]]]:
    """Yield an image and the regions of the labels of its mask that are chosen.

    Both are what the steps of a parameter file make of them; those of each label may make another image.
    """
    kind = kind_of(image, "image")
    volumes = kind.volumes(image, "image", spacing)
    if len(volumes) > 1:
        msg = f"image must have one channel, got {len(volumes)}; give them one by one, as image[:1]"
        raise ValueError(msg)
    choice = mask_choice(label, parameters)
    (labels,) = labels_of(mask, image, kind, volumes, choice)
    present = labels_in(labels) or (1,)  # fractions are no labels
    if len(present) > MOST_LABELS:
        msg = f"mask must have at most {MOST_LABELS} labels, got {len(present)}; is it a mask?"
        raise ValueError(msg)
    inside = {one: labels == one for one in present} if len(present) > 1 else {present[0]: labels != 0}
    if isinstance(choice.label, int):
        inside = {choice.label: labels != 0}
    regions = {
        one: prepared(volumes[0], region, parameters, for_filters=for_filters)
        for one, region in inside.items()
    }
    if parameters is None:
        yield volumes[0], regions
    else:
        yield from ((region.image, {one: region}) for one, region in regions.items())
