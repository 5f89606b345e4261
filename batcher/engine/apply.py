"""`apply`: a new ledger, and everything that is in the input."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path

import anyio

from batcher.core.errors import BatcherError, ConfigurationError, InputError
from batcher.core.guardrails import Ruling
from batcher.core.model import Position
from batcher.core.patterns import Patterns
from batcher.core.report import Report
from batcher.core.target import Credentials
from batcher.core.verdict import Cause
from batcher.delivery.stopping import Stopping
from batcher.engine.feed import feed
from batcher.engine.guarding import NOTHING_OVERRIDDEN, Override, enforce, judge, looks_first, on_record
from batcher.engine.job import BEGUN, STATE, ending, finish, reading, remember_others, spool_path, turns_of
from batcher.engine.observing import Observer
from batcher.engine.session import Session, Surroundings, check_credentials, make_target
from batcher.engine.survey import Protected, survey
from batcher.ledger.facts import SourceFacts
from batcher.ledger.writer import LedgerWriter
from batcher.settings import Settings
from batcher.source.reader import Input, Reading
from batcher.source.spool import Spool, spool_changes, spool_stream
from batcher.source.windows import WINDOW_ROWS, Windower

_LOOK_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Pipe:
    """An input that cannot be read twice: an open stream, or an iterable of `(op, user, group)`."""

    name: str
    content: BufferedIOBase | Iterable[object] | AsyncIterable[object]


@dataclass(frozen=True, slots=True)
class Occasion:
    """What a run is part of, when it is not a file of changes and nothing more."""

    facts: Mapping[str, str]
    """More to be known of the run."""
    begun: Callable[[str], None]
    """Given the run's name when its ledger is there and nothing was sent yet."""
    earlier: Sequence[Path] = ()
    """Ledgers whose requests may still arrive, the last first."""
    is_judged: bool = False
    """The guardrails have spoken already."""


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
    occasion: Occasion | None = None,
    override: Override = NOTHING_OVERRIDDEN,
) -> Report:
    """Send the changes and record what became of each in a new ledger.

    Raises:
        UsageError: When settings, inputs or the ledger's path cannot be used; nothing was sent.
        GuardrailError: When a guardrail refused; nothing was sent.
        LedgerHeldError: When another run holds the ledger.

    """
    stopping, occasion = stopping or Stopping(), occasion or Occasion({}, lambda _: None)
    pipes = [change for change in changes if isinstance(change, Pipe)]
    if len(pipes) > 1 or (pipes and len(changes) > 1):
        raise InputError("what cannot be read twice (standard input, an iterable) must be the only input")
    check_credentials(make_target(settings), credentials)
    for path in changes:
        if isinstance(path, Path) and not path.is_file():
            raise InputError(f"{path}: there is no such file")
        if isinstance(path, Path) and not _is_text(path):
            raise InputError(f"{str(path)!r}: the file's name is not UTF-8; rename it")
    ledger = LedgerWriter.create(ledger_path)
    is_kept = False
    try:
        session = Session.of(settings, ledger, surroundings, stopping)
        async with AsyncExitStack() as stack:
            spool = Spool(spool_path(ledger_path)) if pipes else None
            if spool is not None:
                await stack.enter_async_context(_pumping(spool, pipes[0], stopping))
            inputs = [_input(change, spool, settings) for change in changes]
            how = reading(settings, session.target.ids_only)
            rulings: list[Ruling] = []
            if not occasion.is_judged:
                rulings = await look_first(inputs, how, settings, spool, surroundings, stopping, override)
            facts = _facts(session, is_simulated=is_simulated) | ({"spool": "growing"} if spool else {})
            facts |= {**on_record(rulings, override), **occasion.facts}
            facts |= {"canary": str(settings.guard.canary)}
            facts |= remember_others(session, facts["run"], facts, occasion.earlier)
            ledger.begin_run(facts, [_source_facts(item, spool) for item in inputs])
            await surroundings.executor(lambda: occasion.begun(facts["run"]))
            is_kept = True
            if STATE in facts:
                ledger.set_fact(BEGUN, "yes")
            session.register_at_first_send(facts)
            turns = turns_of(facts)
            windower = Windower(window_rows=window_rows, canary=turns.canary, in_turn=turns.in_turn)
            works = feed(inputs, how, Position(), windower, surroundings.executor, spool)
            run = await session.work("apply", works, credentials, observer or Observer(), turns)
            finish(session, run.admission.all_read, windower, spool)
            if run.admission.input_error is not None and not session.figures().requests.sent:
                is_kept = False
                raise run.admission.input_error
    finally:
        ledger.close()
        if not is_kept:
            _discard(ledger_path)
    return ending(ledger_path, stopping)


async def look_first(
    inputs: Sequence[Input],
    how: Reading,
    settings: Settings,
    spool: Spool | None,
    surroundings: Surroundings,
    stopping: Stopping,
    override: Override,
) -> list[Ruling]:
    """The pass over the whole input that `strict` and the guardrails ask for, before anything is sent.

    Raises:
        InputError: When `strict` refuses.
        GuardrailError: When a guardrail does.

    """
    if not settings.input.strict and not looks_first(settings.guard):
        return []
    while spool is not None and not spool.is_whole:
        with anyio.move_on_after(_LOOK_SECONDS):
            await spool.grown(spool.version)
        if stopping.is_set:
            return []
    guard = settings.guard
    protected = Protected(Patterns(guard.protected_users), Patterns(guard.protected_groups))
    seen = await surroundings.executor(lambda: survey(inputs, how, protected=protected))
    if settings.input.strict and seen.rejected:
        source, line, reason = seen.first_rejects[0]
        raise InputError(
            f"--strict: {seen.rejected} of {seen.total} lines are invalid, nothing was sent;"
            f" the first is {source}, line {line}: {reason}"
        )
    return enforce(judge(seen, guard), override)


@asynccontextmanager
async def _pumping(spool: Spool, pipe: Pipe, stopping: Stopping) -> AsyncIterator[None]:
    """Fill the spool while the body runs. What the pipe gave before it failed is kept, and the run stops."""

    async def pump() -> None:
        content = pipe.content
        try:
            if isinstance(content, BufferedIOBase):
                await spool_stream(spool, content)
            else:
                await spool_changes(spool, content)
        except Exception as error:  # noqa: BLE001 — an iterable of the user's may raise anything
            stopping.stop(Cause.INPUT, f"{pipe.name} failed: {type(error).__name__}: {error}")

    failure: BatcherError | None = None
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(pump)
            try:
                yield
            except BatcherError as error:
                failure = error  # it leaves as itself, not inside a group of errors
            group.cancel_scope.cancel()
    finally:
        spool.release()
    if failure is not None:
        raise failure


def _input(change: Path | Pipe, spool: Spool | None, settings: Settings) -> Input:
    if isinstance(change, Path):
        return Input(str(change), change, settings.input.format)
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
        "started": repr(session.surroundings.clock.utc()),
    }
    return facts | ({"simulated": "yes"} if is_simulated else {})


def _is_text(path: Path) -> bool:
    """Whether the name can be written down."""
    try:
        str(path.absolute()).encode()
    except UnicodeEncodeError:
        return False
    return True


def _discard(ledger: Path) -> None:
    """Leave nothing of a run that never sent anything."""
    ledger.unlink(missing_ok=True)
    spool_path(ledger).unlink(missing_ok=True)
