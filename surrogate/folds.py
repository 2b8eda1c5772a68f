"""Who is trained on, stopped on and tested on: always whole patients."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Literal

VALIDATION_SHARE = 6
"""One patient in so many of a training fold decides when to stop."""

FoldsBy = Literal["patient", "group"]


def assign_folds(
    groups: Mapping[str, str], folds: int, seed: int, by: FoldsBy = "patient"
) -> dict[str, int | None]:
    """Fold of every patient: with the groups spread evenly over the folds, or each group in one.

    Parameters
    ----------
    groups : mapping
        Group of every patient.
    folds : int
        Number of folds; 1 means that nobody is held out.
    seed : int
        Chooses among the assignments.
    by : {"patient", "group"}
        "group" keeps a group together, for groups that are scanners or data sets: each is tested by a
        model that has seen nothing of it.

    Returns
    -------
    dict
        In the order of `groups`: the number of the fold that holds the patient out, from 0, or
        None for everybody if `folds` is 1. The folds' sizes in patients (in groups) differ by one at
        most, and so do, by patient, the numbers of a group's patients in them.

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
            f"{folds} folds need as many patients, the store has {len(groups)}; give --folds "
            f"{max(len(groups), 1)} (1: nobody is held out) or add patients"
        )
        raise ValueError(msg)
    if folds == 1:
        return dict.fromkeys(groups)
    if by == "group":
        names = sorted(set(groups.values()))
        if len(names) < folds:
            msg = (
                f"{folds} folds by group need as many groups, the store has {len(names)} "
                f"({', '.join(names)}); give fewer --folds, or --folds-by patient"
            )
            raise ValueError(msg)
        fold_of_group = assign_folds(dict.fromkeys(names, ""), folds, seed)
        return {patient: fold_of_group[group] for patient, group in groups.items()}
    dealt = [patient for members in _shuffled_groups(groups, seed).values() for patient in members]
    fold_of = {patient: place % folds for place, patient in enumerate(dealt)}
    return {patient: fold_of[patient] for patient in groups}


def validation_patients(groups: Mapping[str, str], seed: int) -> list[str]:
    """Patients of a training fold on whom early stopping looks, out of every group in proportion.

    Parameters
    ----------
    groups : mapping
        Group of every patient of the training fold.
    seed : int
        Chooses the patients.

    Returns
    -------
    list of str
        About one in six and at least one; none if there is nobody beside them to learn from.

    Examples
    --------
    >>> validation_patients({"a": "benign"}, seed=0)
    []
    """
    if len(groups) < 2:
        return []
    # Sainte-Lague's rule: seats in proportion, first to the group with most patients for each.
    ranked = [
        ((place + 0.5) / len(members), patient)
        for members in _shuffled_groups(groups, seed).values()
        for place, patient in enumerate(members)
    ]
    ranked.sort(key=lambda ranking: ranking[0])
    return [patient for _, patient in ranked[: max(1, round(len(groups) / VALIDATION_SHARE))]]


def _shuffled_groups(groups: Mapping[str, str], seed: int) -> dict[str, list[str]]:
    """Return the patients of every group in random order, the groups too."""
    chance = random.Random(seed)
    names = sorted(set(groups.values()))
    members = {name: sorted(patient for patient in groups if groups[patient] == name) for name in names}
    chance.shuffle(names)
    return {name: chance.sample(members[name], len(members[name])) for name in names}
