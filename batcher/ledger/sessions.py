"""The record of one invocation that works on a ledger: when, how it ended, and how its figures grew."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass

import orjson

from batcher.core.clock import Stamp
from batcher.core.report import Requests, Waited
from batcher.core.verdict import Cause

_SAMPLE_SECONDS = 1.0
_SAMPLES = 600
"""From so many seconds on, samples are further apart: by this part of what has passed."""


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of an invocation so far."""

    seconds: float
    requests: Requests
    waited: Waited
    in_flight: int
    """Requests in flight at this moment."""
    limit: int
    """How many requests may be in flight."""
    took: Mapping[int, int]
    """Replies per bucket of `Durations`."""


class SessionRecord:
    """Written within the writer's transactions."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.boot_id = ""
        """Of the machine when the session began."""
        self._connection = connection
        self._session = 0
        self._sampled = 0.0

    def begin(self, kind: str, started: Stamp) -> None:
        """An invocation starts to work on the run."""
        cursor = self._connection.execute("INSERT INTO session (kind, started) VALUES (?, ?)", (kind, started.utc))
        self._session, self._sampled, self.boot_id = cursor.lastrowid or 0, 0.0, started.boot_id

    def end(self, figures: Figures, ended: Stamp, cause: Cause | None, reason: str) -> None:
        """The invocation has ended so."""
        self.save(figures)
        self._connection.execute(
            "UPDATE session SET ended = ?, ended_mark = ?, cause = ?, reason = ? WHERE id = ?",
            (ended.utc, str(ended), cause.name if cause else None, reason, self._session),
        )

    def save(self, figures: Figures) -> None:
        """The figures so far; now and then also as a sample."""
        seconds = figures.seconds
        requests, waited = (orjson.dumps(part).decode() for part in (figures.requests, figures.waited))
        took = orjson.dumps(figures.took, option=orjson.OPT_NON_STR_KEYS).decode()
        self._connection.execute(
            "UPDATE session SET seconds = ?, requests = ?, waited = ?, took = ? WHERE id = ?",
            (seconds, requests, waited, took, self._session),
        )
        if seconds - self._sampled >= max(_SAMPLE_SECONDS, seconds / _SAMPLES):
            self._sampled = seconds
            self._connection.execute(
                "INSERT INTO sample VALUES (?, ?, ?, ?, ?, ?)",
                (self._session, seconds, figures.in_flight, figures.limit, requests, waited),
            )
