"""What the labels of a cohort's tissues are called."""

from __future__ import annotations

from collections.abc import Mapping

TISSUES_COLUMN = "tissues"
"""Optional column: names of the labels, such as ``1=fatty;2=glandular``."""

ALL = "all"
"""What tables call all tissues, or all groups, together."""

_RESERVED = set('/\\:*?"<>|=$')
"""What names may not have in them: files are named after tissues, and $ begins a formula in titles."""


def tissue_name(label: int, names: Mapping[int, str]) -> str:
    """Return the name of a label.

    Examples
    --------
    >>> tissue_name(1, {1: "fatty"}), tissue_name(2, {1: "fatty"})
    ('fatty', 'label 2')
    """
    return names.get(label, f"label {label}")


def tissues_text(names: Mapping[int, str]) -> str:
    """Return names as the column has them.

    Examples
    --------
    >>> tissues_text({1: "fatty", 2: "glandular"})
    '1=fatty;2=glandular'
    """
    return ";".join(f"{label}={name}" for label, name in names.items())


def tissues_of(text: str) -> dict[int, str]:
    """Return the names of labels that a text gives; none for an empty text.

    Raises
    ------
    ValueError
        If the text is not of the form ``1=fatty;2=glandular``, a label is not from 1 to 255, or a label or a
        name is given twice or taken.

    Examples
    --------
    >>> tissues_of("1=fatty; 2=glandular")
    {1: 'fatty', 2: 'glandular'}
    """
    names: dict[int, str] = {}
    for part in (part.strip() for part in text.split(";") if part.strip()):
        label, _, name = (piece.strip() for piece in part.partition("="))
        if not (label.isdecimal() and 1 <= int(label) <= 255 and name):
            msg = f"tissues must be names of labels from 1 to 255, as 1=fatty;2=glandular, got {part!r}"
            raise ValueError(msg)
        if not name.isprintable() or set(name) & _RESERVED:
            msg = f"tissues must have names that can be part of a file's name, got {name!r}"
            raise ValueError(msg)
        if int(label) in names or _is_taken(name, names):
            msg = (
                "tissues must give each label a name of its own, other than all, background and label N, got "
                f"{text!r}"
            )
            raise ValueError(msg)
        names[int(label)] = name
    return names


def _is_taken(name: str, names: Mapping[int, str]) -> bool:
    name = name.casefold()
    return name in (ALL, "background", *map(str.casefold, names.values())) or name.startswith("label ")
