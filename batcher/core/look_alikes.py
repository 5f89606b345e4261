"""Look-alikes: names that differ only in case, Unicode form, blanks, or invisible characters.

People, and many targets, treat such names as the same. Whether a target does is a fact about the target. If that is not
known, nothing is done that would do harm in either case: of two changes of look-alike pairs that contradict each other,
neither is sent.
"""

from __future__ import annotations

from dataclasses import replace
from enum import Enum

import numpy as np

from batcher.core.coalesce import coalesce
from batcher.core.keys import Keys
from batcher.core.model import REJECTED_ROW, Columns, Reject
from batcher.core.sorting import run_starts, sorted_order
from batcher.core.vectors import Ints, Mask


class Names(Enum):
    """How a target treats names that look alike."""

    UNSURE = "unsure"
    """not known"""
    FOLDED = "folded"
    """as the same name"""
    EXACT = "exact"
    """as different names"""


def twins(keys: Keys) -> Ints | None:
    """For each entry the code of the first one that looks like it; None when no two entries do."""
    known = keys.dictionary
    if known is None:
        return None
    classes = known.distinct_by(known.looks)
    codes, first = np.arange(len(known)), np.empty(int(classes.max(initial=-1)) + 1, np.int64)
    first[classes[::-1]] = codes[::-1]  # of several assignments to one place the last one wins
    found = first[classes]
    return None if (found == codes).all() else found


def resolved(columns: Columns, names: Names) -> Columns:
    """A window's rows with look-alikes resolved.

    If the target treats look-alikes as one name, all rows of the window get the spelling of the last one. If that is
    not known, changes of look-alike pairs whose last changes contradict each other are rejected.
    """
    if names is Names.EXACT:
        return columns
    user, group = twins(columns.user), twins(columns.group)
    if user is None and group is None:
        return columns
    rows = np.flatnonzero(columns.action != REJECTED_ROW)
    if not len(rows):
        return columns
    if names is Names.FOLDED:
        return replace(columns, user=_as_last(columns.user, user, rows), group=_as_last(columns.group, group, rows))
    return _without_contradictions(columns, user, group)


def _as_last(keys: Keys, classes: Ints | None, rows: Ints) -> Keys:
    if classes is None:
        return keys
    spelling = classes.copy()
    spelling[classes[keys.codes[rows]]] = keys.codes[rows]  # of several assignments to one place the last one wins
    return Keys(spelling[classes[keys.codes]], keys.dictionary)


def _without_contradictions(columns: Columns, user: Ints | None, group: Ints | None) -> Columns:
    of_user = columns.user.codes if user is None else user[columns.user.codes]
    of_group = columns.group.codes if group is None else group[columns.group.codes]
    winner = coalesce(columns)
    last = np.flatnonzero(winner == np.arange(len(columns)))
    order = last[sorted_order(of_user[last], of_group[last])]
    starts = run_starts(of_user[order], of_group[order])
    wishes = columns.action[order]
    contradict = np.maximum.reduceat(wishes, starts) != np.minimum.reduceat(wishes, starts)
    if not contradict.any():
        return columns
    refused: Mask = np.zeros(len(columns), bool)
    partner = np.full(len(columns), -1, np.int64)
    for start, stop in zip(starts[contradict], np.append(starts[1:], len(order))[contradict], strict=True):
        members = order[start:stop]
        refused[members] = True
        partner[members] = np.roll(members, 1)
    refused = refused[winner] & (winner >= 0)
    rejects = [
        Reject(row, _told(columns, int(partner[winner[row]])), (str(columns.user.value(columns.user.codes[row])),))
        for row in np.flatnonzero(refused).tolist()
    ]
    action = columns.action.copy()
    action[refused] = REJECTED_ROW
    return replace(
        columns, action=action, rejects=tuple(sorted([*columns.rejects, *rejects], key=lambda reject: reject.index))
    )


def _told(columns: Columns, other: int) -> str:
    user, group = columns.user.value(columns.user.codes[other]), columns.group.value(columns.group.codes[other])
    return (
        f"it contradicts line {columns.line[other]}, which names {user!r} and {group!r}: it is not known whether the"
        " target treats them as the same; set target.names (folded or exact)"
    )
