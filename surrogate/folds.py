"""Who is trained on, stopped on and tested on: always whole patients."""

from __future__ import annotations

import random
from collections.abc import Mapping

VALIDATION_SHARE = 6
"""One patient in so many of a training fold decides when to stop."""


def assign_folds(groups: Mapping[str, str], folds: int, seed: int) -> dict[str, int | None]:
    """Fold of every patient, with the groups spread evenly over the folds.

    Parameters
    ----------
    groups : mapping
        Group of every patient.
    folds : int
        Number of folds; 1 means that nobody is held out.
    seed : int
        Chooses among the assignments.

    Returns
    -------
    dict
        In the order of `groups`: the number of the fold that holds the patient out, from 0, or
        None for everybody if `folds` is 1. The folds' sizes differ by one at most, and so do the
        numbers of a group's patients in them.

    Raises
    ------
    ValueError
        If there are fewer patients than folds.

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
