"""Requests that may still arrive: what this run, and other runs of this host on the same target, have lost lately."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import orjson

from batcher.core.address import place_of
from batcher.core.clock import Stamp
from batcher.core.errors import LedgerError
from batcher.engine.register import Register
from batcher.engine.session import Session
from batcher.engine.surroundings import Surroundings
from batcher.ledger.reader import LedgerReader

_log = logging.getLogger(__name__)
CLOSED = "closed"
"""The fact of a ledger that a later run with the same state has taken over, and when (a `Stamp`)."""
_EARLIER = "earlier"
"""The fact that tells, as a list, which ledgers' requests could still arrive when the run began."""


def remember_losses(session: Session, reader: LedgerReader, *, is_foreign: bool = False) -> None:
    """Requests that were lost within the last grace may still arrive, settled or not."""
    for settlement, age in reader.losses(session.surroundings.clock.age, session.late.grace):
        session.remember_lost(reader.window(settlement.window), settlement, age, is_foreign=is_foreign)


def remember_others(
    session: Session, run: str, facts: Mapping[str, str], earlier: Sequence[Path] = ()
) -> dict[str, str]:
    """What other runs on the target have lost, or left open, may still arrive.

    Others are those that this host knows of, those that were known of when the run began (`facts`), and those whose
    ledgers are told (`earlier`, the last first). Gives a fact for who goes on with the run.
    """
    grace, clock = session.late.grace, session.surroundings.clock
    known = [other for register in registers_of(session, facts) for other in register.unquiet(run, grace, clock)]
    paths = dict.fromkeys([*(other.ledger for other in known), *map(Path, orjson.loads(facts.get(_EARLIER, "[]")))])
    recent = [str(path.absolute()) for path in paths if path.is_file() and _remember(session, path, run)]
    for path in earlier:
        if path not in paths and path.is_file():
            if not _remember(session, path, run):
                break  # what came before it ended before it
            recent.append(str(path.absolute()))
    return {_EARLIER: orjson.dumps(recent).decode()} if recent else {}


def registers_of(session: Session, facts: Mapping[str, str]) -> list[Register]:
    """Where this host knows of runs on the target: at its address, and at the one that it had before."""
    folder = session.surroundings.state_folder
    if folder is None or "simulated" in facts:
        return []
    target, env = session.target, session.settings.target.env
    urls = {place_of(url): url for url in (facts["url"], target.url)}
    return [Register(folder, target.name, url, env) for url in urls.values()]


def _remember(session: Session, ledger: Path, run: str) -> bool:
    """Whether anything of another run may still arrive; what that is, is remembered then."""
    try:
        with LedgerReader(ledger) as reader:
            if reader.facts().get("run") in {None, run}:
                return False
            age = last_end(reader, session.surroundings)
            if age >= session.late.grace:
                return False
            remember_losses(session, reader, is_foreign=True)
            for number in reader.window_ids(unsettled_only=True):
                session.remember_lost(reader.window(number), None, age, is_foreign=True)
    except LedgerError as error:
        _log.warning("%s; what it has lost is not known", error)
        return False
    return True


def last_end(reader: LedgerReader, surroundings: Surroundings) -> float:
    """How many seconds ago the unsettled requests of the last session were lost.

    At its end; after a crash when another run took over, or now.
    """
    clock, sessions = surroundings.clock, reader.sessions()
    last = sessions[-1] if sessions else None
    if last is not None and last.ended is not None:
        return clock.age(last.ended_mark or Stamp(last.ended))
    taken_over = reader.facts().get(CLOSED)
    return 0.0 if taken_over is None else clock.age(Stamp.parse(taken_over))
