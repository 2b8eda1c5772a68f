"""Which patients a model is trained on, validated on and tested on; no patient is ever split."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Literal

VALIDATION_SHARE = 6
"""One in this many of the patients outside a fold is set aside for validation, which stops the training."""

FoldsBy = Literal["patient", "group"]


def assign_folds(
    groups: Mapping[str, str], folds: int, seed: int, by: FoldsBy = "patient"
) -> dict[str, int | None]:
    """Return the fold of every patient: either every group is spread over the folds, or each is in one fold.

    Parameters
    ----------
    groups : mapping
        Group of every patient.
    folds : int
        Number of folds; with 1, no patient is held out.
    seed : int
        Seed of the random assignment.
    by : {"patient", "group"}
        "patient" spreads the patients of every group evenly over the folds. "group" keeps groups together,
        for groups such as scanners or data sets: each is then tested by a model that has not seen any of it.

    Returns
    -------
    dict
        For every patient, in the order of `groups`, the number of the fold that holds the patient out, from
        0; None for all patients if `folds` is 1. The sizes of the folds, counted in patients (or groups),
        differ by at most one. So do, with "patient", the numbers of patients of any one group.

    Raises
    ------
    ValueError
        If there are fewer patients (or groups) than folds.

    Examples
    --------
    >>> assign_folds({"a": "benign", "b": "benign"}, 1, seed=0)
    {'a': None, 'b': None}
    """
    if len(groups) < folds:
        msg = (
            f"{folds} folds need {folds} patients or more, the store has {len(groups)}; give --folds "
            f"{max(len(groups), 1)} (with 1, no patient is held out) or add patients"
        )
        raise ValueError(msg)
    if folds == 1:
        return dict.fromkeys(groups)
    if by == "group":
        names = sorted(set(groups.values()))
        if len(names) < folds:
            msg = (
                f"{folds} folds by group need {folds} groups or more, the store has {len(names)} "
                f"({', '.join(names)}); give fewer --folds, or --folds-by patient"
            )
            raise ValueError(msg)
        fold_of_group = assign_folds(dict.fromkeys(names, ""), folds, seed)
        return {patient: fold_of_group[group] for patient, group in groups.items()}
    # Dealing patients like cards, group after group, spreads each group evenly.
    ordered = [patient for members in _shuffled_groups(groups, seed).values() for patient in members]
    fold_of = {patient: index % folds for index, patient in enumerate(ordered)}
    return {patient: fold_of[patient] for patient in groups}


def validation_patients(groups: Mapping[str, str], seed: int) -> list[str]:
    """Return the patients set aside for early stopping, from every group in proportion to its size.

    Parameters
    ----------
    groups : mapping
        Group of every patient that is not held out.
    seed : int
        Seed of the random choice.

    Returns
    -------
    list of str
        About one patient in six, at least one; empty if there are fewer than two patients, since one has to
        be left to train on.

    Examples
    --------
    >>> validation_patients({"a": "benign"}, seed=0)
    []
    """
    if len(groups) < 2:
        return []
    # Sainte-Laguë's method of proportional seats: patient i (from 0) of a group of n ranks by (i + 1/2) / n.
    ranked = [
        ((index + 0.5) / len(members), patient)
        for members in _shuffled_groups(groups, seed).values()
        for index, patient in enumerate(members)
    ]
    ranked.sort(key=lambda ranking: ranking[0])
    return [patient for _, patient in ranked[: max(1, round(len(groups) / VALIDATION_SHARE))]]


def _shuffled_groups(groups: Mapping[str, str], seed: int) -> dict[str, list[str]]:
    """Return the patients of every group, patients and groups in random order."""
    rng = random.Random(seed)
    names = sorted(set(groups.values()))
    members = {name: sorted(patient for patient in groups if groups[patient] == name) for name in names}
    rng.shuffle(names)
    return {name: rng.sample(members[name], len(members[name])) for name in names}
