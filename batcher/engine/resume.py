"""`resume`: what was open in the ledger, then the rest of the input."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from batcher.core.model import Position
from batcher.core.report import Report
from batcher.core.status import Status
from batcher.core.target import Credentials
from batcher.core.verdict import Cause
from batcher.delivery.stopping import Stopping
from batcher.engine.apply import look_first
from batcher.engine.feed import Work, check_unchanged, feed
from batcher.engine.guarding import NOTHING_OVERRIDDEN
from batcher.engine.in_doubt import note_interruption, remember_losses, remember_others
from batcher.engine.job import JUDGED, ending, finish, preflight, reading, reopen, turns_of
from batcher.engine.observing import Observer
from batcher.engine.reaching import NOTHING_ANEW, Anew
from batcher.engine.retry import RETRY, settle_earlier
from batcher.engine.run import Invocation, work
from batcher.engine.session import Session
from batcher.engine.summary import report
from batcher.engine.surroundings import Surroundings
from batcher.ledger.reader import LedgerReader
from batcher.ledger.writer import LedgerWriter
from batcher.source.inputs import Input, Reading
from batcher.source.spool import cut, was_whole
from batcher.source.windows import WINDOW_ROWS, Windower


async def resume(
    ledger_path: Path,
    credentials: Credentials,
    surroundings: Surroundings,
    anew: Anew = NOTHING_ANEW,
    *,
    stopping: Stopping | None = None,
    observer: Observer | None = None,
    window_rows: int = WINDOW_ROWS,
) -> Report:
    """Go on with an interrupted run.

    Raises:
        UsageError: When the ledger or its inputs cannot be used (any more); nothing was sent.
        GuardrailError: When a newer run worked on the same target.
        LedgerHeldError: When another run holds the ledger.

    """
    stopping = stopping or Stopping()
    ledger = LedgerWriter.open(ledger_path)
    try:
        session, facts, sources = reopen(ledger, surroundings, stopping, anew)
        preflight(session.settings, credentials)
        before = report(ledger_path)
        if before.input_complete and not before.changes[Status.PENDING]:
            return before  # nothing is left to do, and a spool is gone by now
        inputs: Sequence[Input] = [Input(s.name, Path(s.path), s.format) for s in sources]
        how = reading(session.settings, session.target.key_kind)
        with LedgerReader(ledger_path) as reader:
            position = reader.last_position()
            next_window, next_row, _ = reader.next_ids()
            was_broken = any(session.cause == Cause.INPUT.name for session in reader.sessions())
            was_retried = any(session.kind == RETRY for session in reader.sessions())
            canary_is_over = was_retried or _canary_was_judged(reader)
        if was_retried:  # then all of the input stands in the ledger, and a spool is gone by now
            inputs, sources = [], []
        if facts.get("spool") == "growing":
            _close_spool(ledger, inputs[0].path, position)
        for number, source in enumerate(sources):
            check_unchanged(number, inputs[number], how, source, was_broken=was_broken)
        if JUDGED not in facts and facts.get("guardrails", "[]") == "[]":  # an earlier batcher ended before that
            settings = session.settings
            inputs, _ = await look_first(inputs, how, settings, None, surroundings, stopping, NOTHING_OVERRIDDEN)
        with LedgerReader(ledger_path) as reader:
            remember_losses(session, reader)
            lost_ago = note_interruption(ledger, reader, surroundings.clock)
        remember_others(session, facts["run"], facts)
        turns = turns_of(facts, canary_is_over=canary_is_over)
        windower = Windower(
            next_window, next_row, window_rows, canary=turns.canary, in_turn=turns.in_turn, names=how.names
        )
        works = _resumed(session, inputs, how, position, windower, lost_ago)
        run = await work(session, works, Invocation("resume", credentials, observer or Observer(), turns))
        finish(session, run.admission.all_read, windower, None)
        if was_retried and run.admission.all_read and not stopping.is_set:
            settle_earlier(ledger, run.figures(), surroundings.clock.utc(), how.names)
        if run.admission.input_error is not None and not run.figures().requests.sent:
            raise run.admission.input_error
        return ending(ledger, stopping)
    finally:
        ledger.close()


def _canary_was_judged(reader: LedgerReader) -> bool:
    """Whether it is known what became of the first window: it failed, or others were opened after it."""
    has_failed = any(session.cause == Cause.CANARY.name for session in reader.sessions())
    return has_failed or reader.next_ids()[0] > 1


def _close_spool(ledger: LedgerWriter, path: Path, position: Position) -> None:
    """Nothing more comes into the spool of a run that is gone."""
    if was_whole(path):
        ledger.set_fact("spool", "whole")
    else:
        cut(path, position.offset)
        ledger.set_fact("spool", "cut")


async def _resumed(
    session: Session,
    inputs: Sequence[Input],
    how: Reading,
    position: Position,
    windower: Windower,
    lost_ago: float,
) -> AsyncIterator[Work]:
    """The windows that were open, then the rest of the input, whose beginning is compared first."""
    rest = feed(inputs, how, position, windower, session.surroundings.executor)
    try:
        following = await anext(rest, None)  # reads up to the position: nothing is sent before the input was checked
        with LedgerReader(session.ledger.path) as reader:
            for number in reader.window_ids(unsettled_only=True):
                state = reader.state(number)
                session.remember_lost(state.window, None, lost_ago)
                yield Work(state.window, state.status)
        if following is not None:
            yield following
            async for work in rest:
                yield work
    finally:
        await rest.aclose()  # type: ignore[attr-defined]  # an async generator
