"""Whether a ledger is consistent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np

from batcher.core.batch import Settlement
from batcher.core.errors import LedgerError
from batcher.core.status import IN_EFFECT, Status, are
from batcher.ledger.facts import WindowState
from batcher.ledger.reader import LedgerReader


def differences(reader: LedgerReader) -> list[str]:
    """The inconsistencies in a ledger; empty if there are none.

    In a consistent ledger every row has one status, the counts in the summary equal those of the rows, only rows that
    decide their pair were settled, each once (again only by `retry`, or because the target was read back and does not
    have them), and windows follow each other without a gap.
    """
    found = []
    word = reader.integrity()
    if word != "ok":
        found.append(f"the file is damaged: {word}")
    try:
        found += _of_rows(reader)
    except LedgerError as error:
        found.append(str(error))
    return found


def _of_rows(reader: LedgerReader) -> list[str]:
    found: list[str] = []
    counted: Counter[Status] = Counter()
    next_row = 0
    for state in reader.windows():
        if state.window.first_row != next_row:
            found.append(f"window {state.window.id} starts at row {state.window.first_row}, not {next_row}")
        next_row = state.window.first_row + len(state.status)
        counted.update({Status(s): int((state.status == s).sum()) for s in Status})
        found += _of_window(state)
    for status, recorded in reader.tally().items():
        if counted[status] != recorded:
            found.append(f"the summary counts {recorded} changes as {status.label}, the rows show {counted[status]}")
    return found


def _of_window(state: WindowState) -> Iterator[str]:
    last = np.zeros(len(state.status), np.int8)
    window = state.window.id
    for settlement in state.settlements:
        rows = settlement.rows
        if len(rows) and (rows.min() < 0 or rows.max() >= len(last)):
            yield f"batch {settlement.batch} settles rows that window {window} does not have"
            continue
        if (state.winner[rows] != rows).any():
            yield f"batch {settlement.batch} settles superseded or rejected rows of window {window}"
        if len(np.unique(rows)) != len(rows):
            yield f"batch {settlement.batch} settles a row of window {window} twice"
        final = {Status.SUPERSEDED} if _is_disproof(settlement) else IN_EFFECT | {Status.SUPERSEDED}
        if are(last[rows], frozenset(final)).any():
            yield f"batch {settlement.batch} settles rows of window {window} that were settled before"
        last[rows] = settlement.status


def _is_disproof(settlement: Settlement) -> bool:
    """Whether it tells of changes that the target was found not to have: no request brought it."""
    return not settlement.batch and not settlement.history and bool((settlement.status == Status.FAILED).all())
