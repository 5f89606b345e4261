"""Which failed and unknown changes a `retry` may send again: only the last valid change of a pair."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from batcher.core.identity import fingerprints
from batcher.core.model import REJECTED_ROW, Columns, Hashes, Ints, Mask, Settlement, Status
from batcher.ledger.reader import LedgerReader, WindowState


def unsettled_rows(reader: LedgerReader) -> Iterator[tuple[WindowState, Mask, Mask]]:
    """Each window with failed or unknown rows: which of these rows are their pair's last change, which are not.

    Later windows are read once per such window; what is in memory does not grow with their number.
    """
    windows = reader.window_ids()
    for position, number in enumerate(windows):
        state = reader.state(number)
        rows = np.flatnonzero((state.status == Status.FAILED) | (state.status == Status.UNKNOWN))
        if not len(rows):
            continue
        pairs = _fingerprints(state.window.columns, rows)
        is_last = np.ones(len(rows), bool)
        for later in windows[position + 1 :]:
            columns = reader.window(later).columns
            is_last &= ~_among(pairs, _fingerprints(columns, np.flatnonzero(columns.action != REJECTED_ROW)))
        last, earlier = np.zeros(len(state.status), bool), np.zeros(len(state.status), bool)
        last[rows[is_last]] = True
        earlier[rows[~is_last]] = True
        yield state, last, earlier


def superseded(state: WindowState, rows: Ints, at: float) -> Settlement:
    """The word on earlier failed or unknown changes of pairs whose last change is settled."""
    status = np.full(len(rows), Status.SUPERSEDED, np.int8)
    reason = "a later change of the pair has been settled"
    return Settlement(state.window.id, 0, rows, status, dict.fromkeys(range(len(rows)), reason), at, ())


def _fingerprints(columns: Columns, rows: Ints) -> Hashes:
    return fingerprints(columns.user.take(rows), columns.group.take(rows))


def _among(pairs: Hashes, others: Hashes) -> Mask:
    """Which of these 128-bit pairs are among the others."""
    kind = np.dtype([("first", np.uint64), ("second", np.uint64)])
    return np.isin(np.ascontiguousarray(pairs).view(kind).ravel(), np.ascontiguousarray(others).view(kind).ravel())
