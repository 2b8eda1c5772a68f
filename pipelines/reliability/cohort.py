"""The maps of every case of a cohort judged, and a table of what holds in how many."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from pipelines.cohorts.cohort import Case
from pipelines.cohorts.runner import FAILED, Journal, Made, Outcome, run_cohort
from pipelines.maps.study import Study
from pipelines.reliability.study import StudySettings, run_stability
from pipelines.reliability.verdict import DOUBTFUL, DROP, KEEP
from pipelines.reports.tables import write_csv
from pipelines.shell.outputs import refuse_foreign_folder, refuse_inputs

VERDICTS = "verdicts.csv"
"""The table of a cohort."""


def judge_study(study: Study, settings: StudySettings, folder: Path, *, force: bool) -> Outcome:
    """Judge the maps of every case, each in a folder of its name, and count the verdicts.

    Parameters
    ----------
    study : Study
        The cases; each needs a mask or labels.
    settings : StudySettings
        What is computed.
    folder : Path
        With ``settings.json``, a record of every case that is done in ``cases``, and the table.
    force : bool
        Replace reports of other settings; their maps are kept.

    Returns
    -------
    Outcome
        Its results hold the verdicts of every case.

    Raises
    ------
    TypeError, ValueError, OSError
        If a setting or the folder is unfit; see `run_cohort` for what happens to cases.
    """
    refuse_foreign_folder(folder, ("settings.json",), force=force)
    refuse_inputs([folder / "settings.json"], study.files)

    def make(case: Case) -> Made:
        judged = run_stability(study.inputs_of(case), None, settings, folder / case.patient, force=True)
        return Made(outputs=(judged.page,), summary=judged.summary, result={"verdicts": judged.verdicts})

    journal = Journal.in_folder(
        folder, {"kind": "stability of a study", **_record(settings), **study.record()}
    )
    outcome = run_cohort(study.cases, journal, folder / FAILED, make, force=force)
    if outcome.results:
        _write_table(folder / VERDICTS, settings, [one["verdicts"] for one in outcome.results.values()])
    return outcome


def _record(settings: StudySettings) -> dict[str, object]:
    return {
        "settings": settings.glcm.to_dict(),
        "features": [feature.name for feature in settings.features],
        "perturbations": list(settings.kinds),
        "seed": settings.seed,
        "repeats": settings.repeats,
        "thresholds": asdict(settings.thresholds),
    }


def _write_table(path: Path, settings: StudySettings, verdicts: list[dict[str, str]]) -> None:
    """Write for each map in how many cases it is kept, doubtful and dropped."""
    rows = []
    for feature in settings.features:
        words = [one[feature.name] for one in verdicts]
        counts = {word: words.count(word) for word in (KEEP, DOUBTFUL, DROP)}
        rows.append({"feature": feature.name, "cases": len(words), **counts})
    write_csv(path, rows)
