"""`apply`: sends the whole input, and records it in a new ledger."""

from __future__ import annotations

import errno
import os
import uuid
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from io import BufferedIOBase
from pathlib import Path

import anyio

from batcher.core.errors import BatcherError, ConfigurationError, InputError, LedgerError
from batcher.core.guardrails import Ruling
from batcher.core.model import Position
from batcher.core.report import Report
from batcher.core.verdict import Cause
from batcher.delivery.shutdown import Shutdown
from batcher.engine.jobs.context import RunContext
from batcher.engine.jobs.in_doubt import remember_others
from batcher.engine.jobs.job import (
    BEGUN,
    JUDGED,
    STATE,
    check_wanted,
    ending,
    finish,
    preflight,
    reading,
    rules_of,
    sheets_fact,
    spool_path,
)
from batcher.engine.jobs.looking_first import look_first
from batcher.engine.jobs.proving import look_at_first, prove
from batcher.engine.preview.guardrails import NOTHING_OVERRIDDEN, Override, on_record
from batcher.engine.run.pipeline import Invocation, Run, work
from batcher.engine.run.session import Session
from batcher.engine.run.window_reader import read_windows
from batcher.files import check_file, found
from batcher.ledger.facts import SourceFacts
from batcher.ledger.writer import LedgerWriter
from batcher.settings import Settings
from batcher.source.inputs import Input, Reading
from batcher.source.opening import sheet_of
from batcher.source.spool import Spool, spool_changes, spool_stream
from batcher.source.windows import Windower


@dataclass(frozen=True, slots=True)
class Pipe:
    """An input that cannot be read twice: an open stream, or an iterable of `(op, user, group)`."""

    name: str
    content: BufferedIOBase | Iterable[object] | AsyncIterable[object]


@dataclass(frozen=True, slots=True)
class Occasion:
    """What a run is part of, if it is more than sending a file of changes."""

    facts: Mapping[str, str]
    """Additional facts for the ledger."""
    begun: Callable[[str], None]
    """Called with the run's name once its ledger exists and before anything is sent."""
    earlier: Sequence[Path] = ()
    """Ledgers with requests that may still arrive, the latest first."""
    is_judged: bool = False
    """Whether the guardrails were checked already."""


async def apply(
    changes: Sequence[Path | Pipe],
    context: RunContext,
    *,
    occasion: Occasion | None = None,
    override: Override = NOTHING_OVERRIDDEN,
) -> Report:
    """Send the changes, and record the outcome of each in a new ledger.

    Raises:
        UsageError: When settings, inputs or the ledger's path cannot be used; nothing was sent.
        GuardrailError: When a guardrail refused; nothing was sent.
        LedgerHeldError: When another run holds the ledger.

    """
    settings, runtime, shutdown = context.settings, context.runtime, context.shutdown
    occasion = occasion or Occasion({}, lambda _: None)
    preflight(settings, context.credentials)
    pipe = _checked(changes)
    was_there = found(context.ledger) is not None
    ledger = LedgerWriter.create(context.ledger)
    if was_there:  # and holds no run: one was killed while its input was checked, and nothing of it was sent
        spool_path(context.ledger).unlink(missing_ok=True)
    is_kept = False
    spool: Spool | None = None
    try:
        session = Session.of(settings, ledger, runtime, shutdown)
        async with AsyncExitStack() as stack:
            if pipe is not None:
                spool = _spool(spool_path(context.ledger))
                await stack.enter_async_context(_pumping(spool, pipe, shutdown))
            inputs: Sequence[Input] = [_input(change, spool, settings) for change in changes]
            how = reading(settings, session.target.key_kind)
            rulings: list[Ruling] = []
            if not occasion.is_judged:
                inputs, rulings = await look_first(inputs, how, context.access, spool, override)
            check_wanted(shutdown)
            facts = _facts(session, is_simulated=context.is_simulated) | ({"spool": "growing"} if spool else {})
            facts |= {"canary": str(settings.guard.canary), **on_record(rulings, override), **occasion.facts}
            facts |= {**sheets_fact({item.name: sheet_of(item, how) for item in inputs}), JUDGED: "yes"}
            facts |= remember_others(session, facts["run"], facts, occasion.earlier)
            ledger.begin_run(facts, [_source_facts(item, spool) for item in inputs])
            await runtime.executor(lambda: occasion.begun(facts["run"]))
            is_kept = True
            if STATE in facts:
                ledger.set_fact(BEGUN, "yes")
            session.register_at_first_send(facts)
            failure = await _sent(session, context, facts, inputs, how, spool)
            if failure is not None:
                is_kept = False
                raise failure
            return ending(ledger, shutdown)
    finally:
        if is_kept:
            ledger.close()
        else:
            ledger.discard()
            if spool is not None:
                spool.path.unlink(missing_ok=True)


async def _sent(
    session: Session,
    context: RunContext,
    facts: Mapping[str, str],
    inputs: Sequence[Input],
    how: Reading,
    spool: Spool | None,
) -> InputError | None:
    """Send everything, and read back what is wanted; returns the error to raise if nothing was sent."""
    rules = rules_of(facts)
    windower = Windower(window_rows=context.window_rows, canary=rules.first, in_turn=rules.in_turn, names=how.names)
    works = read_windows(inputs, how, Position(), windower, session.runtime.executor, spool)
    look = partial(look_at_first, session)
    run = await work(session, works, Invocation("apply", context.credentials, context.observer, rules, look=look))
    finish(session, run.admission.all_read, windower, spool)
    await prove(session, context.access, run)
    return _why_nothing_came(run, session, spool)


def _why_nothing_came(run: Run, session: Session, spool: Spool | None) -> InputError | None:
    """The error to raise if nothing was sent because of the input; else None."""
    if not run.figures().requests.sent and run.admission.input_error is not None:
        return run.admission.input_error
    if spool is not None and spool.is_empty and session.shutdown.cause is Cause.INPUT:
        return InputError(f"{session.shutdown.reason}; no input arrived before that, and nothing was sent")
    return None


def _checked(changes: Sequence[Path | Pipe]) -> Pipe | None:
    """Check that every file exists and can be read; returns the one input that cannot be read twice, if any."""
    pipes = [change for change in changes if isinstance(change, Pipe)]
    if pipes and len(changes) > 1:
        raise InputError("an input that cannot be read twice (standard input, an iterable) must be the only input")
    for path in changes:
        if isinstance(path, Path):
            _check_file(path)
    return pipes[0] if pipes else None


def _check_file(path: Path) -> None:
    check_file(path)
    if not _is_text(path):
        raise InputError(f"{str(path)!r}: the file name is not UTF-8; rename the file")
    if not os.access(path, os.R_OK):
        raise InputError(f"{path}: cannot be read: {os.strerror(errno.EACCES)}")


def _spool(path: Path) -> Spool:
    try:
        return Spool(path)
    except OSError as error:
        raise LedgerError(f"{path}, the copy of the input, cannot be written: {error.strerror}") from None


@asynccontextmanager
async def _pumping(spool: Spool, pipe: Pipe, shutdown: Shutdown) -> AsyncIterator[None]:
    """Fill the spool while the body runs. If the pipe fails, what it yielded before is kept, and the run stops."""

    async def pump() -> None:
        content = pipe.content
        try:
            if isinstance(content, BufferedIOBase):
                await spool_stream(spool, content)
            else:
                await spool_changes(spool, content)
        except Exception as error:  # noqa: BLE001 — an iterable of the user's may raise anything
            shutdown.stop(Cause.INPUT, f"{pipe.name} failed: {type(error).__name__}: {error}")

    failure: BatcherError | None = None
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(pump)
            try:
                yield
            except BatcherError as error:
                failure = error  # raised below as itself, not inside a group of errors
            group.cancel_scope.cancel()
    finally:
        spool.release()
    if failure is not None:
        raise failure


def _input(change: Path | Pipe, spool: Spool | None, settings: Settings) -> Input:
    if isinstance(change, Path):
        return Input(str(change), change, settings.input.format).as_it_is()
    if spool is None:
        raise ConfigurationError(f"{change.name} needs a spool")
    is_stream = isinstance(change.content, BufferedIOBase)
    kind = settings.input.format if is_stream else "jsonl"
    return Input(change.name, spool.path, kind, lambda: spool.is_whole, is_spool=True)


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
        "started": repr(session.runtime.clock.utc()),
    }
    return facts | ({"simulated": "yes"} if is_simulated else {})


def _is_text(path: Path) -> bool:
    """Whether the file name can be stored as text."""
    try:
        str(path.absolute()).encode()
    except UnicodeEncodeError:
        return False
    return True
