"""Maps of many images, and a table of the features of their regions: one run, continued where it stopped."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from glcm_cuda.base.files import replacing
from glcm_cuda.engines.choice import resolve_backend
from glcm_cuda.families.registry import NAMES, feature_named
from pipelines.cohorts.cohort import Case, case_files
from pipelines.cohorts.runner import FAILED, Journal, Made, Outcome, failed_beside, run_cohort
from pipelines.images.output_paths import check_table_output, named_after
from pipelines.images.provenance import sidecar_path
from pipelines.maps.exact import MapSettings, MapTarget, write_maps
from pipelines.maps.filtering import Filtering
from pipelines.maps.inputs import Inputs
from pipelines.maps.region import RegionSettings, region_table, write_rows
from pipelines.shell.outputs import refuse_foreign_folder, refuse_inputs

_OWN_FILES = ("settings.json",)


@dataclass(frozen=True, kw_only=True)
class Study:
    """Cases, and what all of them have in common.

    Parameters
    ----------
    cases : sequence of Case
        In their order.
    common : Inputs
        Everything but image and mask; its image is what the cases were listed in.
    """

    cases: Sequence[Case]
    common: Inputs

    @property
    def files(self) -> list[Path]:
        """Everything that is read."""
        return [*self.common.files, *case_files(self.cases)]

    def inputs_of(self, case: Case) -> Inputs:
        """Return the inputs of a case: the mask is that of its row, or else the labels.

        Raises
        ------
        ValueError
            If there is a parameter file and no mask.
        """
        if self.common.parameters is not None and case.region is None:
            msg = "--params needs a mask, got none; fill in the column mask or labels"
            raise ValueError(msg)
        common = self.common.choice
        choice = replace(case.choice, allow_gaps=common.allow_gaps, correct_tilt=common.correct_tilt)
        return replace(self.common, image=case.image, mask=case.region, choice=choice)

    def record(self) -> dict[str, Any]:
        """Return what the outputs of all cases depend on, in types of JSON."""
        outside = self.common.outside
        return {
            **self.common.record(),
            **self.common.mask_choice.to_dict(),
            "outside": "NaN" if math.isnan(outside) else outside,
        }


def map_study(study: Study, settings: MapSettings, folder: Path, *, crop: bool, force: bool) -> Outcome:
    """Write the maps of every case into a folder, ``<case>_<image>_<family>_<feature>.nii.gz``.

    Parameters
    ----------
    study : Study
        The cases.
    settings : MapSettings
        What is computed.
    folder : Path
        With ``settings.json``, and in ``cases`` a record of every case that is done.
    crop : bool
        See `MapTarget`.
    force : bool
        Replace maps of other settings.

    Returns
    -------
    Outcome
        Its results hold a line about the maps of every case.

    Raises
    ------
    TypeError, ValueError, OSError, RuntimeError
        If a setting or the folder is unfit; see `run_cohort` for what happens to cases.
    """
    refuse_foreign_folder(folder, _OWN_FILES, force=force)
    refuse_inputs([folder / "settings.json"], study.files)
    settings = replace(settings, backend=resolve_backend(settings.backend))

    def make(case: Case) -> Made:
        target = _CaseTarget(output=folder / f"{case.patient}.nii.gz", crop=crop, force=True)
        written = write_maps(study.inputs_of(case), settings, target)
        outputs = (*written.paths, *map(sidecar_path, written.paths))
        return Made(outputs=outputs, summary=written.summary)

    record = {
        "kind": "maps of a study",
        **_computed(settings),
        "fit_dimensions": settings.fit_dimensions,
        "crop": crop,
        **study.record(),
    }
    journal = Journal.in_folder(folder, record)
    return run_cohort(study.cases, journal, folder / FAILED, make, force=force)


def region_study(study: Study, settings: RegionSettings, table: Path, names: str, *, force: bool) -> Outcome:
    """Write a table of the features of every case's regions: the columns of `write_table` after the case.

    Parameters
    ----------
    study : Study
        The cases.
    settings : RegionSettings
        What is computed.
    table : Path
        The table, .csv. Settings and records of cases that are done lie beside it.
    names : {"radsynth", "pyradiomics", "ibsi"}
        How columns are called.
    force : bool
        Replace a table of other settings.

    Returns
    -------
    Outcome
        Its results hold the rows of every case.

    Raises
    ------
    TypeError, ValueError, OSError
        If a setting or the table is unfit; see `run_cohort` for what happens to cases.
    """
    record = {
        "kind": "features of the regions of a study",
        **_computed(settings),
        "aggregations": list(settings.aggregations),
        "names": names,
        **study.record(),
    }
    journal = Journal.beside(table, record)
    check_table_output(table, *study.files, force=force or journal.place.exists())
    refuse_inputs([journal.records], study.files)

    def make(case: Case) -> Made:
        made = region_table(study.inputs_of(case), settings, names)
        return Made(summary=made.summary, result={"rows": made.rows, "record": made.record})

    outcome = run_cohort(study.cases, journal, failed_beside(table), make, force=force)
    cases = {case.patient: case for case in study.cases}
    rows = [
        {"patient": case.patient, "group": case.group, **row}
        for case in cases.values()
        if case.patient in outcome.results
        for row in outcome.results[case.patient]["rows"]
    ]
    if rows:
        with replacing(table, force=True) as temporary:
            write_rows(temporary, rows)
    return outcome


@dataclass(frozen=True, kw_only=True)
class _CaseTarget(MapTarget):
    """Where the maps of one of several cases go: names of files say case, image and feature."""

    def paths_of(self, names: Sequence[str]) -> dict[str, Path]:
        return {name: named_after(self.output, _full_name(name)) for name in names}


def _full_name(name: str) -> str:
    """Return a map's name with its image; that of the image itself is called original, as in pyradiomics."""
    return f"original_{feature_named(name).full_name}" if name in NAMES else name


def _computed(settings: MapSettings | RegionSettings) -> dict[str, Any]:
    """Return what is computed, in types of JSON."""
    filters = [_filtering_record(one) for one in settings.filters]
    return {
        "features": [feature.name for feature in settings.features],
        **({"filters": filters} if filters else {"settings": settings.glcm.to_dict()}),
    }


def _filtering_record(one: Filtering) -> dict[str, Any]:
    return {**one.filter.to_dict(), "settings": one.glcm.to_dict()}
