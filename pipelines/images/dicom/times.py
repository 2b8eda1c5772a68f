"""Dates and times of acquisition as seconds, so that volumes are in order also over midnight."""

from __future__ import annotations

import re
from datetime import date, timedelta
from typing import Any

from pipelines.images.dicom.attributes import text_of

DATE_OF = {"AcquisitionTime": "AcquisitionDate", "ContentTime": "ContentDate"}
TIMES = (*DATE_OF, "AcquisitionDateTime")

_START = date(1900, 1, 1)
_CLOCK = re.compile(r"(\d{2}):?(\d{2})?:?(\d{2})?(\.\d{1,6})?")
_DAY = re.compile(r"(\d{4})\.?(\d{2})\.?(\d{2})")
_MOMENT = re.compile(r"(\d{4})(\d{2})?(\d{2})?(\d[\d.]*)?([+-]\d{4})?")


def seconds_of(header: Any, keyword: str) -> float | None:
    """Return a time as seconds: since 1900 if a date belongs to it, otherwise of the day.

    None if it is absent, empty or malformed.
    """
    text = text_of(header, keyword).strip()
    if not text:
        return None
    if keyword == "AcquisitionDateTime":
        return _seconds_of_moment(text)
    clock = _seconds_of_clock(text)
    day = _days_before(text_of(header, DATE_OF[keyword]).strip())
    return None if clock is None else round(86_400 * (day or 0) + clock, 3)


def _seconds_of_clock(text: str) -> float | None:
    match = _CLOCK.fullmatch(text)
    if match is None:
        return None
    hours, minutes, seconds, fraction = match.groups()
    return 3600 * int(hours) + 60 * int(minutes or 0) + int(seconds or 0) + float(fraction or 0)


def _days_before(text: str) -> int | None:
    """Return the days from 1900 to a date; None if it is absent or malformed."""
    match = _DAY.fullmatch(text)
    if match is None:
        return None
    try:
        year, month, day = (int(part) for part in match.groups())
        return (date(year, month, day) - _START).days
    except ValueError:
        return None


def _seconds_of_moment(text: str) -> float | None:
    match = _MOMENT.fullmatch(text)
    if match is None:
        return None
    year, month, day, clock, zone = match.groups()
    days, seconds = _days_before(f"{year}{month or '01'}{day or '01'}"), _seconds_of_clock(clock or "00")
    if days is None or seconds is None:
        return None
    ahead = timedelta() if zone is None else timedelta(hours=int(zone[:3]), minutes=int(zone[0] + zone[3:]))
    return round(86_400 * days + seconds - ahead.total_seconds(), 3)
