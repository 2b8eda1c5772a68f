"""Tables as CSV, Markdown and HTML, a page, and an output folder that is replaced as a whole."""

from __future__ import annotations

import base64
import csv
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from html import escape
from pathlib import Path
from typing import Any

from glcm_cuda.base.files import refuse_existing, replacing

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72em; margin: 2em auto; padding: 0 1em; color: #222; }
table { border-collapse: collapse; margin: 1em 0; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding: .3em 0; }
td { overflow-wrap: anywhere; max-width: 45em; }
th, td { border-bottom: 1px solid #ccc; padding: .25em .8em; text-align: right; }
th:first-child, td:first-child { text-align: left; }
img { max-width: 100%; height: auto; }
.wide { overflow-x: auto; }
.notice { border-left: 4px solid #d55e00; background: #fdf3ec; padding: .6em 1em; }
figure { margin: 1.5em 0; }
figcaption, .small { color: #555; font-size: 90%; }
"""


@contextmanager
def replacing_folder(path: str | os.PathLike[str], *, marker: str, force: bool) -> Iterator[Path]:
    """Yield a temporary folder that becomes `path` when the block ends well.

    Parameters
    ----------
    path : path
        The output folder.
    marker : str
        Pattern of a file that only outputs of the same command contain. A folder without it is never
        replaced: ``--force`` must not delete other data.
    force : bool
        Replace an earlier output.

    Raises
    ------
    FileExistsError
        If `path` exists and `force` is False, or it is not an earlier output.
    """
    path = Path(path)
    refuse_existing(path, force=force)
    if path.exists() and not (path.is_dir() and (any(path.glob(marker)) or not any(path.iterdir()))):
        msg = (
            f"{path} is not an earlier output (no {marker} in it) and is not replaced; choose another folder"
        )
        raise FileExistsError(msg)
    with replacing(path, force=force) as temporary:
        temporary.mkdir()
        yield temporary


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows with the same keys; floats with six significant digits, NaN as an empty cell."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(rows[0])
        writer.writerows([_cell(value) for value in row.values()] for row in rows)


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, in the plural unless it is one."""
    return f"{number} {noun}{'s' * (number != 1)}"


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table, the first column aligned left, the others right."""
    lines = [list(header), *(list(row) for row in rows)]
    lines = [[cell.replace("|", "\\|") for cell in line] for line in lines]
    widths = [max(3, *(len(line[i]) for line in lines)) for i in range(len(header))]
    rule = [f":{'-' * (width - 1)}" if i == 0 else f"{'-' * (width - 1)}:" for i, width in enumerate(widths)]
    lines.insert(1, rule)
    return "\n".join(
        "| "
        + " | ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        + " |"
        for line in lines
    )


def html_table(caption: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table as HTML."""
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    body = "\n".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return (
        f'<div class="wide"><table><caption>{escape(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table></div>"
    )


def html_notice(text: str) -> str:
    """Return a highlighted paragraph as HTML."""
    return f'<p class="notice">{escape(text)}</p>'


def html_figure(png: Path, caption: str) -> str:
    """Return a figure as HTML, with its picture embedded."""
    data = base64.b64encode(png.read_bytes()).decode("ascii")
    return (
        f'<figure><img alt="{escape(caption)}" src="data:image/png;base64,{data}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def html_page(title: str, parts: Iterable[str]) -> str:
    """Return a complete HTML page that needs no other file."""
    body = "\n".join(parts)
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{_STYLE}</style></head>\n<body><h1>{escape(title)}</h1>\n{body}\n</body></html>\n"
    )


def _cell(value: Any) -> Any:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.6g}"
    return value
