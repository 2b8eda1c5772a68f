"""What `radsynth evaluate` writes: tables, figures and one page with all of them."""

from __future__ import annotations

from html import escape
from pathlib import Path

from pipelines.evaluation.agreement_figures import map_rows, panels
from pipelines.evaluation.agreement_tables import (
    bland_altman_table,
    notices,
    patient_rows,
    patients_table,
    pooled_rows,
    settings_table,
    subject_of,
    table1,
    table1_cells,
    table1_header,
    table1_parts,
    table1_rows,
    unlabelled,
)
from pipelines.evaluation.comparison import POINTS_PER_PATIENT, Evaluation, evaluate
from pipelines.reports.figures import draw_agreement, draw_maps
from pipelines.reports.names import feature_title
from pipelines.reports.tables import (
    counted,
    html_figure,
    html_notice,
    html_page,
    html_table,
    replacing_folder,
    write_csv,
)
from pipelines.shell.progress import progress_bar

_HONESTY = (
    "A synthetic map is an approximation; the maps it is compared with come from the exact engine. Where "
    "exact values matter, use the exact engine. `radsynth benchmark` measures which of the two is faster on "
    "a given machine."
)


def run_evaluation(run: Path, output: Path, feature: str | None, *, force: bool) -> tuple[Path, str]:
    """Compare the synthetic maps of a run with exact ones and write tables, figures and a page.

    Parameters
    ----------
    run : path
        Folder of a training with the maps of `radsynth synthesize` in it.
    output : path
        Folder for the results; written as a whole or not at all.
    feature : str, optional
        Which of the run's features; the first by default.
    force : bool
        Replace an earlier evaluation.

    Returns
    -------
    (report, table)
        Path of the HTML page, and Table 1 as Markdown.

    Raises
    ------
    FileExistsError, FileNotFoundError, ValueError
        If the output exists, or the run is incomplete or unfit (see `evaluate`).
    """
    with replacing_folder(output, marker="*report.html", force=force) as folder:
        with progress_bar("Comparing") as progress:
            result = evaluate(run, feature, progress=progress)
        report = write_evaluation(result, folder)
    return output / report.name, table1(result)


def write_evaluation(result: Evaluation, folder: Path) -> Path:
    """Write every table and figure into an existing folder; return the path of the report.

    All names start with ``phantom_`` if phantoms are involved.
    """
    prefix = "phantom_" if result.is_phantom else ""

    def path(name: str) -> Path:
        return folder / f"{prefix}{name}"

    write_csv(path("agreement.csv"), pooled_rows(result))
    write_csv(path("agreement_by_patient.csv"), patient_rows(result))
    write_csv(path("table1.csv"), table1_rows(result))
    path("table1.md").write_text(table1(result) + "\n", encoding="utf-8")
    subject, feature = subject_of(result), feature_title(result.feature)
    title = f"{subject[0].upper()}{subject[1:]}"
    maps, scatter = path("figure2.png"), path("figure3.png")
    heading = f"{title}: exact and synthetic {feature} maps"
    draw_maps(map_rows(result), maps, title=heading, feature=feature, unit=result.unit)
    heading = f"{title}: agreement over all groups"
    draw_agreement(panels(result), scatter, title=heading, feature=feature, unit=result.unit)
    report = path("report.html")
    report.write_text(_page(result, maps, scatter), encoding="utf-8")
    return report


def _page(result: Evaluation, maps: Path, scatter: Path) -> str:
    header = table1_header(result)
    parts = [html_notice(text) for text in notices(result)]
    parts.append(f"<p>{_scope(result)}</p>")
    for title, note, cell in table1_parts(result):
        parts += [html_table(f"Table 1 {title}", header, table1_cells(result, cell)), f"<p>{note}</p>"]
    parts += [f"<p>{escape(note)}</p>" for note in unlabelled(result)]
    subject = subject_of(result)
    parts += [
        html_table(f"Bland-Altman agreement, {subject}", *bland_altman_table(result)),
        "<p>Bias: mean of synthetic − exact. Limits of agreement: bias ± 1.96 standard deviations over "
        "voxels. p: t-test that the patients' mean differences average 0; not given for one patient.</p>",
        html_figure(
            maps,
            f"Figure 2, {subject}: the patient with the median correlation in each group. The lesion is "
            f"outlined. All rows share one colour scale{f', in {result.unit}' if result.unit else ''}.",
        ),
        html_figure(
            scatter,
            f"Figure 3, {subject}: scatter (top, identity dashed) and Bland-Altman plots (bottom, bias "
            "solid, limits dashed) by tissue. The plots show up to "
            f"{POINTS_PER_PATIENT} random voxels per patient and tissue; the numbers use all voxels.",
        ),
        html_notice(_HONESTY),
        html_table("Patients", *patients_table(result)),
        html_table("Settings", ("name", "value"), settings_table(result)),
    ]
    return html_page(f"Exact against synthetic {feature_title(result.feature)}: {subject}", parts)


def _scope(result: Evaluation) -> str:
    settings = result.run.settings
    return (
        f"{counted(len(result.pooled), 'patient')}; voxels within {settings.radius} of the border are "
        "excluded, because there the exact window is clipped and the network's is reflected. Where there "
        "are tissue labels, the background is excluded too."
    )
