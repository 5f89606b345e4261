"""The last change of a pair wins: which row of a window decides each pair."""

from __future__ import annotations

import numpy as np

from batcher.core.model import REJECTED_ROW, Columns
from batcher.core.sorting import run_starts, sorted_order
from batcher.core.vectors import Ints


def coalesce(columns: Columns) -> Ints:
    """For each row, the row that decides its pair (the row itself if it is the pair's last valid change).

    Rejected rows get -1; they supersede nothing.
    """
    winner = np.full(len(columns), -1, np.int64)
    rows = np.flatnonzero(columns.action != REJECTED_ROW)
    user, group = columns.user.codes[rows], columns.group.codes[rows]
    order = sorted_order(user, group)
    starts = run_starts(user[order], group[order])
    lengths = np.diff(starts, append=len(order))
    ordered = rows[order]
    winner[ordered] = np.repeat(ordered[starts + lengths - 1], lengths)
    return winner
