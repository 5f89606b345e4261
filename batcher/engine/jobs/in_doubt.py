"""In-doubt requests: those that this run, and other runs of this host on the same target, have lost recently."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TypeAlias

import orjson

from batcher.core.address import place_of
from batcher.core.clock import Clock, Stamp
from batcher.core.errors import LedgerError
from batcher.core.target import Target
from batcher.engine.jobs.asking import Access
from batcher.engine.run.session import Session
from batcher.host.run_registry import RegisteredRun, RunRegistry
from batcher.ledger.reader import LedgerReader
from batcher.ledger.writer import LedgerWriter

_log = logging.getLogger(__name__)
CLOSED = "closed"
"""The fact in a ledger that a later run with the same state has taken it over, and when (a `Stamp`)."""
_EARLIER = "earlier"
"""The fact that lists the ledgers whose requests could still arrive when the run began."""
_INTERRUPTED = "interrupted"
"""The fact that lists, as pairs, when a session ended (a `Stamp`) and which windows were open then.

When the run is continued, these windows are settled, and nothing else would show that an earlier request of theirs may
still arrive.
"""
_INTERRUPTIONS_KEPT = 64
_Interruption: TypeAlias = tuple[str, list[int]]


def note_interruption(ledger: LedgerWriter, reader: LedgerReader, clock: Clock) -> float:
    """Record in the ledger which windows an earlier session left open, before this one settles them.

    Returns how many seconds ago their requests were lost.
    """
    ended, windows = _last_end(reader, clock), reader.window_ids(unsettled_only=True)
    if windows:
        noted = [*_interruptions(reader)[1 - _INTERRUPTIONS_KEPT :], (str(ended), windows)]
        ledger.set_fact(_INTERRUPTED, orjson.dumps(noted).decode())
    return clock.age(ended)


def remember_losses(session: Session, reader: LedgerReader, *, is_foreign: bool = False) -> None:
    """Remember the requests in a ledger that were lost within the grace period, settled or not."""
    grace, clock = session.in_doubt.grace, session.runtime.clock
    for settlement, age in reader.losses(clock.age, grace):
        session.remember_lost(reader.window(settlement.window), settlement, age, is_foreign=is_foreign)
    for number, age in _interrupted_windows(reader, clock, grace):
        session.remember_lost(reader.window(number), None, age, is_foreign=is_foreign)


def may_still_arrive(reader: LedgerReader, clock: Clock, grace: float) -> bool:
    """Whether a request of a run that has ended may still arrive; `grace` is in seconds."""
    kinds = (reader.losses(clock.age, grace), _interrupted_windows(reader, clock, grace), _open(reader, clock, grace))
    return any(True for _ in chain(*kinds))


def _open(reader: LedgerReader, clock: Clock, grace: float) -> Iterator[tuple[int, float]]:
    """The windows that the last session left open less than `grace` seconds ago, and how long ago in seconds."""
    age = clock.age(_last_end(reader, clock))
    if age < grace:
        yield from ((number, age) for number in reader.window_ids(unsettled_only=True))


def _interrupted_windows(reader: LedgerReader, clock: Clock, grace: float) -> Iterator[tuple[int, float]]:
    """The same for the windows that earlier sessions left open."""
    for at, windows in _interruptions(reader):
        age = clock.age(Stamp.parse(at))
        if age < grace:
            yield from ((number, age) for number in windows)


def _interruptions(reader: LedgerReader) -> list[_Interruption]:
    noted: list[_Interruption] = orjson.loads(reader.facts().get(_INTERRUPTED, "[]"))
    return noted


def remember_others(
    session: Session, run: str, facts: Mapping[str, str], earlier: Sequence[Path] = ()
) -> dict[str, str]:
    """Remember the requests that other runs on the target have lost or left open, and that may still arrive.

    Other runs are those that this host knows of, those that were known when the run began (`facts`), and those of the
    ledgers `earlier` (the latest first). Returns a fact for the ledger, needed when the run is continued.
    """
    grace, clock = session.in_doubt.grace, session.runtime.clock
    known = [other for register in registers_of(session, facts) for other in register.unquiet(run, grace, clock)]
    paths = dict.fromkeys([*(other.ledger for other in known), *map(Path, orjson.loads(facts.get(_EARLIER, "[]")))])
    recent = [str(path.absolute()) for path in paths if path.is_file() and _remember(session, path, run)]
    for path in earlier:
        if path not in paths and path.is_file():
            if not _remember(session, path, run):
                break  # the runs before it ended even earlier
            recent.append(str(path.absolute()))
    for other in known:
        if not _tells_of(other):
            session.remember_unknown(other.ended)
            _log.warning(
                "the ledger of a run that ended recently, %s, is missing or cannot be read:"
                " which of its requests may still arrive is not known, and nothing is sent for up to %.0f s",
                other.ledger,
                grace - other.ended,
            )
    return {_EARLIER: orjson.dumps(recent).decode()} if recent else {}


def quiet_in(access: Access, target: Target, ledgers: Sequence[Path] = ()) -> float:
    """In how many seconds no request of another run can still arrive; blocking.

    Other runs are those that this host knows of, and those of these ledgers.
    """
    settings, runtime = access.settings, access.runtime
    grace, clock, seconds = settings.retry.grace_seconds, runtime.clock, 0.0
    if runtime.state_folder is not None:
        register = RunRegistry(runtime.state_folder, target.name, target.url, settings.target.env)
        for other in register.unquiet("", grace, clock):
            if not _tells_of(other):
                seconds = max(seconds, grace - other.ended)
            else:
                ledgers = (*ledgers, other.ledger)
    for path in dict.fromkeys(ledgers):
        try:
            with LedgerReader(path) as reader:
                seconds = max(seconds, _quiet_in(reader, clock, grace))
        except LedgerError as error:
            _log.warning("%s; which requests it has lost is not known", error)
    return seconds


def _quiet_in(reader: LedgerReader, clock: Clock, grace: float) -> float:
    kinds = (reader.losses(clock.age, grace), _interrupted_windows(reader, clock, grace), _open(reader, clock, grace))
    return max((grace - age for _, age in chain(*kinds)), default=0.0)


def registers_of(session: Session, facts: Mapping[str, str]) -> list[RunRegistry]:
    """The run registries of the target on this host: for its present address, and for the one that it had before."""
    folder = session.runtime.state_folder
    if folder is None or "simulated" in facts:
        return []
    target, env = session.target, session.settings.target.env
    urls = {place_of(url): url for url in (facts["url"], target.url)}
    return [RunRegistry(folder, target.name, url, env) for url in urls.values()]


def _remember(session: Session, ledger: Path, run: str) -> bool:
    """Remember the in-doubt requests of another run; returns whether any of them may still arrive."""
    try:
        with LedgerReader(ledger) as reader:
            if reader.facts().get("run") in {None, run}:
                return False
            clock, grace = session.runtime.clock, session.in_doubt.grace
            if clock.age(_last_end(reader, clock)) >= grace:
                return False
            remember_losses(session, reader, is_foreign=True)
            for number, age in _open(reader, clock, grace):
                session.remember_lost(reader.window(number), None, age, is_foreign=True)
    except LedgerError as error:
        _log.warning("%s; which requests it has lost is not known", error)
        return False
    return True


def _tells_of(other: RegisteredRun) -> bool:
    """Whether the ledger can be read, and still belongs to that run."""
    try:
        with LedgerReader(other.ledger) as reader:
            return reader.facts().get("run") == other.run
    except LedgerError:
        return False


def _last_end(reader: LedgerReader, clock: Clock) -> Stamp:
    """When the unsettled requests of the last session count as lost.

    That is when it ended. If it crashed, it is when another run took over, or else now.
    """
    sessions = reader.sessions()
    last = sessions[-1] if sessions else None
    if last is not None and last.ended is not None:
        return last.ended_mark or Stamp(last.ended)
    taken_over = reader.facts().get(CLOSED)
    return clock.stamp() if taken_over is None else Stamp.parse(taken_over)
