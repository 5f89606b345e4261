"""`resume`: sends what is open in the ledger, then the rest of the input."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from batcher.core.model import Position
from batcher.core.report import Report
from batcher.core.status import Status
from batcher.core.verdict import Cause
from batcher.engine.jobs.context import RunContext
from batcher.engine.jobs.in_doubt import note_interruption, remember_losses, remember_others
from batcher.engine.jobs.job import JUDGED, ending, finish, preflight, reading, reopen, rules_of
from batcher.engine.jobs.looking_first import look_first
from batcher.engine.jobs.proving import is_wanted, look_at_first, outdate, prove
from batcher.engine.jobs.reaching import NOTHING_ANEW, Anew
from batcher.engine.jobs.retry import settle_earlier
from batcher.engine.jobs.summary import is_unproven, report
from batcher.engine.run.parts import RETRY
from batcher.engine.run.pipeline import Invocation, work
from batcher.engine.run.session import Session
from batcher.engine.run.window_reader import WorkItem, check_unchanged, read_windows
from batcher.ledger.reader import LedgerReader
from batcher.ledger.writer import LedgerWriter
from batcher.source.inputs import Input, Reading
from batcher.source.spool import cut, was_whole
from batcher.source.windows import Windower


async def resume(context: RunContext, anew: Anew = NOTHING_ANEW) -> Report:
    """Continue an interrupted run.

    Raises:
        UsageError: When the ledger or its inputs cannot be used (any more); nothing was sent.
        GuardrailError: When a newer run worked on the same target.
        LedgerHeldError: When another run holds the ledger.

    """
    ledger_path, runtime, shutdown = context.ledger, context.runtime, context.shutdown
    ledger = LedgerWriter.open(ledger_path)
    try:
        session, facts, sources = reopen(ledger, runtime, shutdown, anew)
        preflight(session.settings, context.credentials)
        before = report(ledger_path)
        is_settled = before.input_complete and not before.changes[Status.PENDING]
        if is_settled and not (is_wanted(session.settings) and is_unproven(facts)):
            return before  # nothing is left to do, and its spool, if any, was deleted
        inputs: Sequence[Input] = [Input(s.name, Path(s.path), s.format) for s in sources]
        how = reading(session.settings, session.target.key_kind)
        with LedgerReader(ledger_path) as reader:
            position = reader.last_position()
            next_window, next_row, _ = reader.next_ids()
            was_broken = any(session.cause == Cause.INPUT.name for session in reader.sessions())
            was_retried = any(session.kind == RETRY for session in reader.sessions())
            canary_is_over = was_retried or _canary_was_judged(reader)
        if was_retried or is_settled:  # then all of the input is in the ledger, and its spool, if any, was deleted
            inputs, sources = [], []
        if facts.get("spool") == "growing":
            _close_spool(ledger, inputs[0].path, position)
        for number, source in enumerate(sources):
            check_unchanged(number, inputs[number], how, source, was_broken=was_broken)
        if JUDGED not in facts and facts.get("guardrails", "[]") == "[]":  # an earlier version that ended before it
            access = replace(context.access, settings=session.settings)
            inputs, _ = await look_first(inputs, how, access)
        with LedgerReader(ledger_path) as reader:
            remember_losses(session, reader)
            lost_ago = note_interruption(ledger, reader, runtime.clock)
        remember_others(session, facts["run"], facts)
        rules = rules_of(facts, canary_is_over=canary_is_over)
        windower = Windower(
            next_window, next_row, context.window_rows, canary=rules.first, in_turn=rules.in_turn, names=how.names
        )
        works = _resumed(session, inputs, how, position, windower, lost_ago)
        outdate(session)
        look = partial(look_at_first, session)
        run = await work(session, works, Invocation("resume", context.credentials, context.observer, rules, look=look))
        finish(session, run.admission.all_read, windower, None)
        if was_retried and run.admission.all_read and not shutdown.is_set:
            settle_earlier(ledger, run.figures(), runtime.clock.utc(), how.names)
        await prove(session, context.access, run)
        if run.admission.input_error is not None and not run.figures().requests.sent:
            raise run.admission.input_error
        return ending(ledger, shutdown)
    finally:
        ledger.close()


_JUDGED_BAD = {Cause.CANARY.name, Cause.UNPROVEN.name}
"""Why a run ended after its first changes."""


def _canary_was_judged(reader: LedgerReader) -> bool:
    """Whether the outcome of the first window is known: it failed, or others were opened after it."""
    has_failed = any(session.cause in _JUDGED_BAD for session in reader.sessions())
    return has_failed or reader.next_ids()[0] > 1


def _close_spool(ledger: LedgerWriter, path: Path, position: Position) -> None:
    """Close the spool of a run whose process has ended: nothing will be added to it."""
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
) -> AsyncIterator[WorkItem]:
    """The windows that were open, then the rest of the input, after checking that its beginning is unchanged."""
    rest = read_windows(inputs, how, position, windower, session.runtime.executor)
    try:
        following = await anext(rest, None)  # reads up to the position: nothing is sent before the input was checked
        with LedgerReader(session.ledger.path) as reader:
            for number in reader.window_ids(unsettled_only=True):
                state = reader.state(number)
                session.remember_lost(state.window, None, lost_ago)
                yield WorkItem(state.window, state.status)
        if following is not None:
            yield following
            async for work in rest:
                yield work
    finally:
        await rest.aclose()  # type: ignore[attr-defined]  # an async generator
