"""The jobs that send: `apply`, `resume`, `retry`."""

from __future__ import annotations

import logging
import uuid
from collections import Counter
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import anyio

from batcher.core.errors import ConfigurationError, GuardrailError, InputError, LedgerError
from batcher.core.model import Position, Status
from batcher.core.report import Report
from batcher.core.target import Credentials
from batcher.core.verdict import Cause
from batcher.delivery.stopping import Stopping
from batcher.engine.feed import Work, check_unchanged, feed
from batcher.engine.retrying import superseded, unsettled_rows
from batcher.engine.session import Observer, Session, Surroundings, make_target, report
from batcher.engine.survey import survey
from batcher.ledger.reader import LedgerReader, SourceFacts
from batcher.ledger.writer import Figures, LedgerWriter
from batcher.settings import Settings
from batcher.source.layout import Fields
from batcher.source.reader import Input, Reading
from batcher.source.spool import Spool, spool_changes, spool_stream
from batcher.source.windows import WINDOW_ROWS, Windower

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Pipe:
    """An input that cannot be read twice: an open stream, or an iterable of `(op, user, group)`."""

    name: str
    content: BinaryIO | Iterable[object] | AsyncIterable[object]


async def apply(
    changes: Sequence[Path | Pipe],
    settings: Settings,
    credentials: Credentials,
    ledger_path: Path,
    surroundings: Surroundings,
    *,
    stopping: Stopping | None = None,
    observer: Observer | None = None,
    is_simulated: bool = False,
    window_rows: int = WINDOW_ROWS,
) -> Report:
    """Send the changes and record what became of each in a new ledger.

    Raises:
        UsageError: When settings, inputs or the ledger's path cannot be used; nothing was sent.
        GuardrailError: When a guardrail refused; nothing was sent.
        LedgerHeldError: When another run holds the ledger.

    """
    stopping = stopping or Stopping()
    pipes = [change for change in changes if isinstance(change, Pipe)]
    if len(pipes) > 1 or (pipes and len(changes) > 1):
        raise InputError("what cannot be read twice (standard input, an iterable) must be the only input")
    make_target(settings)
    for path in changes:
        if isinstance(path, Path) and not path.is_file():
            raise InputError(f"{path}: there is no such file")
    ledger = LedgerWriter.create(ledger_path)
    is_kept = False
    try:
        session = Session.of(settings, ledger, surroundings, stopping)
        async with AsyncExitStack() as stack:
            spool = Spool(_spool_path(ledger_path)) if pipes else None
            if spool is not None:
                await stack.enter_async_context(_pumping(spool, pipes[0]))
            inputs = [_input(change, spool, settings) for change in changes]
            how = reading(settings, session.target.ids_only)
            await _look_first(inputs, how, settings, spool, surroundings)
            facts = _facts(session, is_simulated=is_simulated) | ({"spool": "growing"} if spool else {})
            ledger.begin_run(facts, [_source_facts(item, spool) for item in inputs])
            register = session.register()
            if register is not None and not is_simulated:
                register.add(facts["run"], ledger_path.absolute(), surroundings.clock.utc())
            windower = Windower(window_rows=window_rows)
            works = feed(inputs, how, Position(), windower, surroundings.executor, spool)
            run = await session.work("apply", works, credentials, observer or Observer())
            is_kept = _finish(session, run.all_read, windower, spool)
            if run.input_error is not None and not session.figures().requests.sent:
                raise run.input_error
            is_kept = True
    finally:
        ledger.close()
        if not is_kept:
            ledger_path.unlink(missing_ok=True)
            _spool_path(ledger_path).unlink(missing_ok=True)
    return _end(ledger_path, stopping)


async def resume(
    ledger_path: Path,
    credentials: Credentials,
    surroundings: Surroundings,
    *,
    overrides: dict[str, dict[str, object]] | None = None,
    despite_later_runs: bool = False,
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
        session, facts, sources = _reopen(ledger, surroundings, stopping, overrides, despite=despite_later_runs)
        inputs = [Input(s.name, Path(s.path), s.format) for s in sources]
        how = reading(session.settings, session.target.ids_only)
        with LedgerReader(ledger_path) as reader:
            position = reader.last_position()
            next_window, next_row, _ = reader.next_ids()
            lost_at = _lost_at(reader, surroundings)
            _remember_losses(session, reader)
        if sources[0].is_spool and facts.get("spool") == "growing":
            cut_spool(inputs[0].path)
            ledger.set_fact("spool", "cut")
        for number, source in enumerate(sources):
            if source.ended is not None and number < position.source:
                check_unchanged(number, inputs[number], how, source.ended)
        windower = Windower(next_window, next_row, window_rows)
        works = _resumed(session, inputs, how, position, windower, lost_at)
        run = await session.work("resume", works, credentials, observer or Observer())
        _finish(session, run.all_read, windower, None)
        if run.input_error is not None and not session.figures().requests.sent:
            raise run.input_error
    finally:
        ledger.close()
    return _end(ledger_path, stopping)


async def retry(
    ledger_path: Path,
    credentials: Credentials,
    surroundings: Surroundings,
    *,
    overrides: dict[str, dict[str, object]] | None = None,
    despite_later_runs: bool = False,
    stopping: Stopping | None = None,
    observer: Observer | None = None,
) -> Report:
    """Send again what is failed or unknown.

    Raises:
        UsageError: When the ledger cannot be used, or has pending changes.
        GuardrailError: When a newer run worked on the same target.
        LedgerHeldError: When another run holds the ledger.

    """
    stopping = stopping or Stopping()
    ledger = LedgerWriter.open(ledger_path)
    try:
        session, _, _ = _reopen(ledger, surroundings, stopping, overrides, despite=despite_later_runs)
        unfinished = report(ledger_path)
        if unfinished.changes[Status.PENDING] or (unfinished.next or "").startswith("batcher resume"):
            raise LedgerError(f"{ledger_path} has pending changes; first: batcher resume {ledger_path}")
        with LedgerReader(ledger_path) as reader:
            _remember_losses(session, reader)
        run = await session.work(
            "retry", _retried(ledger_path), credentials, observer or Observer(), presumed_guilty=True
        )
        if run.all_read and not stopping.is_set:
            _settle_earlier(ledger, ledger_path, session.figures(), surroundings.clock.utc())
    finally:
        ledger.close()
    return _end(ledger_path, stopping)


def settings_of(ledger: Path) -> Settings:
    """The settings of a ledger's run.

    Raises:
        LedgerError: When there is none.

    """
    with LedgerReader(ledger) as reader:
        facts = reader.facts()
    if "settings" not in facts:
        raise LedgerError(f"{ledger} holds no run yet; start one with batcher apply --ledger {ledger}")
    return Settings.from_json(facts["settings"])


def reading(settings: Settings, ids_only: bool) -> Reading:  # noqa: FBT001 — a fact of the target
    """How the settings want inputs to be understood."""
    fields = Fields.of(settings.input.map, ids_only=ids_only)
    return Reading(fields, ids_only, settings.input.delimiter)


async def _resumed(
    session: Session,
    inputs: Sequence[Input],
    how: Reading,
    position: Position,
    windower: Windower,
    lost_at: float,
) -> AsyncIterator[Work]:
    """The windows that were open, then the rest of the input, whose beginning is compared first."""
    rest = feed(inputs, how, position, windower, session.surroundings.executor)
    try:
        following = await anext(rest, None)  # reads up to the position: nothing is sent before the input was checked
        with LedgerReader(session.ledger.path) as reader:
            for number in reader.window_ids(unsettled_only=True):
                state = reader.state(number)
                session.remember_lost(state.window, None, lost_at)
                yield Work(state.window, state.status)
        if following is not None:
            yield following
            async for work in rest:
                yield work
    finally:
        await rest.aclose()  # type: ignore[attr-defined]  # an async generator


async def _retried(path: Path) -> AsyncIterator[Work]:
    with LedgerReader(path) as reader:
        for state, last, _ in unsettled_rows(reader):
            if last.any():
                yield Work(state.window, state.status, last)


def _settle_earlier(ledger: LedgerWriter, path: Path, figures: Figures, now: float) -> None:
    """Earlier failed and unknown changes of pairs whose last one is settled count as superseded now."""
    with LedgerReader(path) as reader:
        for state, _, earlier in unsettled_rows(reader):
            rows = earlier.nonzero()[0]
            if not len(rows):
                continue
            changed = Counter({Status.SUPERSEDED: len(rows)})
            for status in (Status.FAILED, Status.UNKNOWN):
                changed[status] = -int((state.status[rows] == status).sum())
            ledger.settle([superseded(state, rows, now)], changed, figures)


def _reopen(
    ledger: LedgerWriter,
    surroundings: Surroundings,
    stopping: Stopping,
    overrides: dict[str, dict[str, object]] | None,
    *,
    despite: bool,
) -> tuple[Session, dict[str, str], list[SourceFacts]]:
    with LedgerReader(ledger.path) as reader:
        facts, sources = reader.facts(), reader.sources()
    if not facts:
        raise LedgerError(f"{ledger.path} holds no run yet; start one with batcher apply --ledger {ledger.path}")
    settings = Settings.from_json(facts["settings"]).replace(**(overrides or {}))
    session = Session.of(settings, ledger, surroundings, stopping)
    register = session.register()
    if register is not None and "simulated" not in facts and not despite:
        later = register.later_than(facts["run"], float(facts["started"]))
        if later is not None:
            raise GuardrailError(
                f"a newer run worked on the same target ({later}); going on with this one could undo its changes."
                " If that is meant: --despite-later-runs"
            )
    return session, facts, sources


def _lost_at(reader: LedgerReader, surroundings: Surroundings) -> float:
    """When (UTC) the unsettled requests of the last session count as lost: at its end, or now after a crash."""
    sessions = reader.sessions()
    ended = sessions[-1].ended if sessions else None
    return surroundings.clock.utc() if ended is None else ended


def _remember_losses(session: Session, reader: LedgerReader) -> None:
    """Requests that were lost within the last grace may still arrive, settled or not."""
    moment = session.surroundings.clock.utc() - session.late.grace
    for settlement in reader.losses_since(moment):
        latest = max(attempt.at for attempt in settlement.history if attempt.lost)
        session.remember_lost(reader.window(settlement.window), settlement, latest)


async def _look_first(
    inputs: Sequence[Input], how: Reading, settings: Settings, spool: Spool | None, surroundings: Surroundings
) -> None:
    """The pass over the whole input that `strict` and the guardrails ask for, before anything is sent."""
    if not settings.input.strict and settings.guard.max_removals is None:
        return
    while spool is not None and not spool.is_whole:
        await spool.grown(spool.version)
    seen = await surroundings.executor(lambda: survey(inputs, how))
    if settings.input.strict and seen.rejected:
        source, line, reason = seen.first_rejects[0]
        raise InputError(
            f"--strict: {seen.rejected} of {seen.total} lines are invalid, nothing was sent;"
            f" the first is {source}, line {line}: {reason}"
        )
    most = settings.guard.max_removals
    if most is not None and seen.removals > most:
        raise GuardrailError(
            f"{seen.removals} removals, guard.max_removals allows {most}; nothing was sent"
        )


def _finish(session: Session, all_read: bool, windower: Windower, spool: Spool | None) -> bool:  # noqa: FBT001
    """Record how far the input was read; the spool goes once everything of it is settled."""
    if session.stopping.cause is Cause.LEDGER:
        return True
    if windower.ended and all_read:
        session.ledger.mark_ended(windower.ended)
    if spool is not None and spool.is_whole:
        session.ledger.set_fact("spool", "whole")
    path = _spool_path(session.ledger.path)
    if path.exists():
        state = report(session.ledger.path)
        if state.input_complete and not state.changes[Status.PENDING]:
            path.unlink()
    return True


def _end(path: Path, stopping: Stopping) -> Report:
    return report(path, stopping.cause, stopping.reason)


@asynccontextmanager
async def _pumping(spool: Spool, pipe: Pipe) -> AsyncIterator[None]:
    """Fill the spool while the body runs."""
    content = pipe.content
    async with anyio.create_task_group() as group:
        if isinstance(content, Iterable | AsyncIterable) and not hasattr(content, "fileno"):
            group.start_soon(spool_changes, spool, content)
        else:
            group.start_soon(spool_stream, spool, content)
        yield
        group.cancel_scope.cancel()


def _input(change: Path | Pipe, spool: Spool | None, settings: Settings) -> Input:
    if isinstance(change, Path):
        return Input(str(change), change, settings.input.format)
    if spool is None:
        raise ConfigurationError(f"{change.name} needs a spool")
    is_stream = hasattr(change.content, "fileno")
    return Input(change.name, spool.path, settings.input.format if is_stream else "jsonl", lambda: spool.is_whole)


def _source_facts(item: Input, spool: Spool | None) -> SourceFacts:
    size = 0 if spool else item.path.stat().st_size
    return SourceFacts(item.name, str(item.path.absolute()), item.format, spool is not None, size)


def _facts(session: Session, *, is_simulated: bool) -> dict[str, str]:
    facts = {
        "run": uuid.uuid4().hex[:12],
        "target": session.target.name,
        "url": session.target.url,
        "env": session.settings.target.env,
        "settings": session.settings.to_json(),
        "started": repr(session.surroundings.clock.utc()),
    }
    return facts | ({"simulated": "yes"} if is_simulated else {})


def _spool_path(ledger: Path) -> Path:
    return ledger.with_name(ledger.name + ".spool")


def cut_spool(path: Path) -> None:
    """Drop a last line that was not written to its end: half a line may look like another change."""
    with path.open("r+b") as file:
        end = file.seek(0, 2)
        while end:
            start = max(0, end - (1 << 16))
            file.seek(start)
            cut = file.read(end - start).rfind(b"\n") + 1
            if cut:
                file.truncate(start + cut)
                return
            end = start
        file.truncate(0)
