"""The summary of a ledger as it is on disk, and when it makes sense to continue."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson

from batcher.core.errors import LedgerError
from batcher.core.report import Report, Requests, Waited, command
from batcher.core.status import FAILURES, Status, count_of
from batcher.core.verdict import Cause
from batcher.ledger.reader import LedgerReader

LOAD = "load"
"""The value of the fact `kind` in the ledger of a load run, which cannot be continued."""


def report(ledger: Path, stopped: Cause | None = None, reason: str = "") -> Report:
    """The summary of a ledger as it is on disk.

    Raises:
        LedgerError: When it cannot be read.

    """
    with LedgerReader(ledger) as reader, reader.at_one_moment():
        return report_of(reader, stopped, reason)


def report_of(reader: LedgerReader, stopped: Cause | None = None, reason: str = "") -> Report:
    """The same for a ledger that is open."""
    ledger = reader.path
    facts, sessions, changes = reader.facts(), reader.sessions(), reader.tally()
    if "run" not in facts:
        raise LedgerError(f"{ledger} holds no run yet")
    is_unread = has_more(reader)
    complete = not is_unread and facts.get("spool", "whole") == "whole"
    requests, waited = Requests(), Waited()
    for session in sessions:
        for name, number in session.requests.items():
            setattr(requests, name, getattr(requests, name) + number)
        for name, seconds in session.waited.items():
            setattr(waited, name, getattr(waited, name) + seconds)
    following = None
    if facts.get("kind") == LOAD:
        complete = True  # a load run ends when its time is over
    elif changes[Status.PENDING] or is_unread or is_unproven(facts):
        following = command("resume", ledger)
    elif count_of(changes, FAILURES):
        following = command("retry", ledger)
    return Report(
        facts["run"],
        facts["target"],
        str(ledger),
        sum(session.seconds for session in sessions),
        complete,
        changes,
        requests,
        waited,
        stopped,
        reason,
        following,
        orjson.loads(facts["feed"]) if "feed" in facts else None,
        orjson.loads(facts["sheets"]) if "sheets" in facts else None,
        orjson.loads(facts["proof"]) if facts.get("proof") else None,
        orjson.loads(facts["drift"]) if "drift" in facts else None,
    )


def has_more(reader: LedgerReader) -> bool:
    """Whether there is more to be read; a stream that was cut off has no more."""
    return reader.facts().get("spool") == "growing" or any(source.ended is None for source in reader.sources())


def is_unproven(facts: Mapping[str, str]) -> bool:
    """Whether the target was to be read back, and the run ended before that."""
    wanted = orjson.loads(facts.get("settings", "{}")).get("target", {}).get("verify_after", "none")
    told = facts.get("proof")
    return wanted != "none" and (not told or "failed" in orjson.loads(told))


def when(cause: Cause | None, grace_seconds: float, now: float) -> str:
    """When the next command makes sense, as words that follow "continue"; `now` is in UTC seconds."""
    if cause is None:
        return "when the reasons for the failures are fixed (batcher results lists them)"
    late = datetime.fromtimestamp(now, UTC) + timedelta(seconds=grace_seconds)
    if cause.is_signal:
        return f"at any time (changes that would undo a request that may still arrive wait until {late:%H:%M:%S} UTC)"
    return f"when ready ({cause.remedy})"
