"""`retry`: sends failed and unknown changes again, but only the last valid change of each pair."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import numpy as np

from batcher.core.batch import Settlement
from batcher.core.errors import LedgerError
from batcher.core.identity import fingerprints
from batcher.core.look_alikes import Names
from batcher.core.model import REJECTED_ROW, Action, Columns
from batcher.core.report import Report, command
from batcher.core.status import FAILURES, Status, are
from batcher.core.vectors import Hashes, Ints, Mask
from batcher.engine.jobs.context import RunContext
from batcher.engine.jobs.in_doubt import remember_losses, remember_others
from batcher.engine.jobs.job import ending, names_of, preflight, reopen, rules_of
from batcher.engine.jobs.proving import outdate, prove
from batcher.engine.jobs.reaching import NOTHING_ANEW, Anew
from batcher.engine.jobs.summary import has_more
from batcher.engine.run.parts import RETRY
from batcher.engine.run.pipeline import Invocation, work
from batcher.engine.run.window_reader import WorkItem
from batcher.ledger.facts import WindowState
from batcher.ledger.reader import LedgerReader
from batcher.ledger.sessions import Figures
from batcher.ledger.writer import LedgerWriter


async def retry(context: RunContext, anew: Anew = NOTHING_ANEW) -> Report:
    """Send failed and unknown changes again.

    Raises:
        UsageError: When the ledger cannot be used, or has pending changes.
        GuardrailError: When a newer run worked on the same target.
        LedgerHeldError: When another run holds the ledger.

    """
    ledger_path, runtime, shutdown = context.ledger, context.runtime, context.shutdown
    ledger = LedgerWriter.open(ledger_path)
    try:
        session, facts, _ = reopen(ledger, runtime, shutdown, anew)
        preflight(session.settings, context.credentials)
        with LedgerReader(ledger_path) as reader:
            if reader.tally()[Status.PENDING] or has_more(reader):
                raise LedgerError(f"{ledger_path} has pending changes; first: {command('resume', ledger_path)}")
            remember_losses(session, reader)
            remember_others(session, facts["run"], facts)
        rules = rules_of(facts, canary_is_over=True)
        names = names_of(session.settings)
        invocation = Invocation(RETRY, context.credentials, context.observer, rules)
        outdate(session)
        with LedgerReader(ledger_path) as reader:
            before = reader.last_settlement()
        run = await work(session, _retried(ledger_path, names), invocation)
        if run.admission.all_read and not shutdown.is_set:
            settle_earlier(ledger, run.figures(), runtime.clock.utc(), names)
        await prove(session, context.access, run, since=before)
        return ending(ledger, shutdown)
    finally:
        ledger.close()


async def _retried(path: Path, names: Names) -> AsyncIterator[WorkItem]:
    with LedgerReader(path) as reader:
        for state, last, _ in unsettled_rows(reader, names):
            if last.any():
                yield WorkItem(state.window, state.status, last)


def settle_earlier(ledger: LedgerWriter, figures: Figures, now: float, names: Names) -> None:
    """Mark failed and unknown changes as superseded if a later change of their pair is settled now."""
    with LedgerReader(ledger.path) as reader:
        for state, _, earlier in unsettled_rows(reader, names):
            rows = earlier.nonzero()[0]
            if not len(rows):
                continue
            changed = Counter({Status.SUPERSEDED: len(rows)})
            for status in FAILURES:
                changed[status] = -int((state.status[rows] == status).sum())
            ledger.settle([superseded(state, rows, now)], changed, figures)


def unsettled_rows(reader: LedgerReader, names: Names) -> Iterator[tuple[WindowState, Mask, Mask]]:
    """Each window with failed or unknown rows, and two masks of these: the last change of each pair, and the others.

    If the target treats look-alikes as one name, their pairs are one pair. If that is not known (`unsure`), they count
    as one pair only if their changes contradict each other.

    Later windows are read once for each such window; memory does not grow with their number.
    """
    windows = reader.window_ids()
    for position, number in enumerate(windows):
        state = reader.state(number)
        rows = np.flatnonzero(are(state.status, FAILURES))
        if not len(rows):
            continue
        is_last = np.ones(len(rows), bool)
        for later in windows[position + 1 :]:
            is_last &= ~_overtaken(state.window.columns, rows, reader.window(later).columns, names)
        last, earlier = np.zeros(len(state.status), bool), np.zeros(len(state.status), bool)
        last[rows[is_last]] = True
        earlier[rows[~is_last]] = True
        yield state, last, earlier


def _overtaken(columns: Columns, rows: Ints, later: Columns, names: Names) -> Mask:
    """Which of these rows have a later change of their pair; if it may be another pair, only an opposite one counts."""
    valid = np.flatnonzero(later.action != REJECTED_ROW)
    folds = names is Names.FOLDED
    found = _among(_fingerprints(columns, rows, folds=folds), _fingerprints(later, valid, folds=folds))
    if names is Names.UNSURE:
        for action in Action:
            mine = columns.action[rows] == action
            others = valid[later.action[valid] != action]
            pairs = _fingerprints(columns, rows[mine], folds=True)
            found[mine] |= _among(pairs, _fingerprints(later, others, folds=True))
    return found


def superseded(state: WindowState, rows: Ints, at: float) -> Settlement:
    """The settlement for earlier failed or unknown changes of pairs whose last change is settled."""
    status = np.full(len(rows), Status.SUPERSEDED, np.int8)
    reason = "a later change of the pair has been settled"
    return Settlement(state.window.id, 0, rows, status, dict.fromkeys(range(len(rows)), reason), at, ())


def _fingerprints(columns: Columns, rows: Ints, *, folds: bool) -> Hashes:
    return fingerprints(columns.user.take(rows), columns.group.take(rows), folds=folds)


def _among(pairs: Hashes, others: Hashes) -> Mask:
    """Which of these 128-bit fingerprints are among the others."""
    kind = np.dtype([("first", np.uint64), ("second", np.uint64)])
    return np.isin(np.ascontiguousarray(pairs).view(kind).ravel(), np.ascontiguousarray(others).view(kind).ravel())
