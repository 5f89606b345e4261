"""Reading a ledger back: needs neither the lock nor write access, and works while a run writes it."""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import orjson

from batcher.core.batch import Attempt, Receipts, Settlement
from batcher.core.clock import Stamp
from batcher.core.coalesce import coalesce
from batcher.core.durations import Durations
from batcher.core.errors import LedgerError
from batcher.core.model import REJECTED_ROW, Columns, Position, Reject, Window
from batcher.core.status import Status
from batcher.core.vectors import Mask
from batcher.ledger.arrays import unpack_given, unpack_ints, unpack_json, unpack_keys, unpack_steps
from batcher.ledger.facts import FigureSample, SessionFacts, SourceFacts, WindowState, check_format
from batcher.ledger.opening import OpenedLedger, open_to_read
from batcher.ledger.rows import position_of, stamp_of

_WITH_MARKS = 4
"""The first format version with the columns `ended_mark` and `lost_mark`."""
_WITH_RECEIPTS = 5
"""The first format version with the column `receipts`."""
_WITH_GIVEN = 6
"""The first format version with the column `given`."""
_DAMAGED = (OSError, ValueError, TypeError, KeyError, IndexError, struct.error)
"""The exceptions that unpacking a damaged blob may raise."""


class LedgerReader:
    """A ledger opened for reading.

    Raises:
        LedgerError: When the file is missing, not a ledger, damaged, or of another format.

    """

    def __init__(self, path: Path, connection: sqlite3.Connection | None = None) -> None:
        """`connection` is a writer's, who closes it."""
        self.path = path
        self._opened: OpenedLedger | None = None
        try:
            if connection is not None:
                self._connection, self._version = connection, check_format(connection, path)
            else:
                self._opened = opened = open_to_read(path)
                self._connection, self._version = opened.connection, opened.version
        except sqlite3.DatabaseError as error:
            raise LedgerError(f"{path} cannot be read as a ledger: {error}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._opened is not None:
            self._opened.close()
        if isinstance(error, sqlite3.DatabaseError):
            raise LedgerError(f"{self.path} is damaged: {error}") from error

    @contextmanager
    def at_one_moment(self) -> Iterator[bool]:
        """Everything read inside sees the same moment, even while a run writes. Keep it short: the run's log grows.

        If no run is writing, it yields False and holds nothing, because holding would keep a run from starting;
        `version` tells if one has started.
        """
        self._connection.execute("SELECT count(*) FROM run").fetchone()
        if self._connection.execute("PRAGMA journal_mode").fetchone() != ("wal",):
            yield False
            return
        self._connection.execute("BEGIN")
        try:
            self._connection.execute("SELECT count(*) FROM run").fetchone()  # the snapshot is taken by the first read
            yield True
        finally:
            self._connection.execute("ROLLBACK")

    def version(self) -> int:
        """A number that changes whenever another connection has written since the last call."""
        (number,) = self._connection.execute("PRAGMA data_version").fetchone()
        return int(number)

    def facts(self) -> dict[str, str]:
        """The facts about the run: `run`, `target`, `url`, `env`, `settings`, …."""
        return dict(self._connection.execute("SELECT key, value FROM run"))

    def sources(self) -> list[SourceFacts]:
        """The inputs in order."""
        rows = self._connection.execute("SELECT name, path, format, is_spool, size, ended FROM source ORDER BY id")
        return [SourceFacts(n, p, f, bool(i), s, position_of(e) if e else None) for n, p, f, i, s, e in rows]

    def sessions(self) -> list[SessionFacts]:
        """The invocations in order."""
        mark = "ended" if self._version < _WITH_MARKS else "ended_mark"
        rows = self._connection.execute(
            f"SELECT kind, started, ended, cause, reason, seconds, requests, waited, took, {mark}"  # noqa: S608 — one of two words
            " FROM session ORDER BY id"
        )
        return [
            SessionFacts(k, s, e, c, r, sec or 0.0, _loads(q), _loads(w), Durations.of(_loads(t)), stamp_of(m))
            for k, s, e, c, r, sec, q, w, t, m in rows
        ]

    def samples(self) -> list[FigureSample]:
        """How the figures of each session grew; `session` is its index in `sessions`."""
        rows = self._connection.execute(
            'SELECT session - 1, seconds, in_flight, "limit", requests, waited FROM sample ORDER BY session, seconds'
        )
        return [FigureSample(s, sec, f, lim, orjson.loads(q), orjson.loads(w)) for s, sec, f, lim, q, w in rows]

    def tally(self) -> dict[Status, int]:
        """Changes per status; changes that were read but not settled are pending."""
        counts = {Status(s): n for s, n in self._connection.execute("SELECT status, changes FROM tally")}
        (total,) = self._connection.execute("SELECT coalesce(sum(rows), 0) FROM window").fetchone()
        counts[Status.PENDING] = total - sum(n for s, n in counts.items() if s is not Status.PENDING)
        return {status: counts.get(status, 0) for status in Status}

    def forms(self) -> int:
        """The forms in all windows as bits: 1 user ids, 2 user names, 4 group ids, 8 group names.

        16 when texts are ids, 32 when some of them were given as names.
        """
        result = 0
        for (forms,) in self._connection.execute("SELECT DISTINCT forms FROM window"):
            result |= forms
        return result

    def next_ids(self) -> tuple[int, int, int]:
        """The next free window, row and batch numbers."""
        window, row = self._connection.execute(
            "SELECT coalesce(max(id) + 1, 0), coalesce(max(first_row + rows), 0) FROM window"
        ).fetchone()
        (batch,) = self._connection.execute("SELECT coalesce(max(batch), 0) + 1 FROM settlement").fetchone()
        return window, row, batch

    def progress(self) -> int:
        """A number that grows whenever a window is added or something is settled."""
        (count,) = self._connection.execute(
            "SELECT (SELECT count(*) FROM window) + (SELECT coalesce(max(id), 0) FROM settlement)"
        ).fetchone()
        return int(count)

    def last_settlement(self) -> int:
        """The number of the last settlement; 0 if there is none."""
        (number,) = self._connection.execute("SELECT coalesce(max(id), 0) FROM settlement").fetchone()
        return int(number)

    def settled_since(self, window: int, number: int, count: int) -> Mask:
        """Which of a window's `count` rows have settlements after the one with this number."""
        found = np.zeros(count, bool)
        query = "SELECT rows FROM settlement WHERE window = ? AND id > ?"
        for (rows,) in self._connection.execute(query, (window, number)):
            found[unpack_ints(rows)] = True
        return found

    def last_position(self) -> Position:
        """How far reading had got after the last window."""
        row = self._connection.execute("SELECT position FROM window ORDER BY id DESC LIMIT 1").fetchone()
        return position_of(row[0]) if row else Position()

    def window_ids(self, *, unsettled_only: bool = False) -> list[int]:
        """The windows in order."""
        listed = "SELECT window FROM unsettled WHERE changes > 0 ORDER BY window"
        query = listed if unsettled_only else "SELECT id FROM window ORDER BY id"
        return [window for (window,) in self._connection.execute(query)]

    def windows(self) -> Iterator[WindowState]:
        """Every window in order, with its state; only one at a time is in memory."""
        for window in self.window_ids():
            yield self.state(window)

    def window(self, window: int) -> Window:
        """One stretch of the input as it was read.

        Raises:
            LedgerError: When the record is damaged.

        """
        try:
            return self._window(window)
        except _DAMAGED as error:
            raise LedgerError(f"{self.path} is damaged: window {window}: {error}") from error

    def _window(self, window: int) -> Window:
        names = "NULL" if self._version < _WITH_GIVEN else "given"
        fields = (
            f'first_row, position, action, user, user_entries, "group", group_entries, line, source, rejects, {names}'
        )
        query = f"SELECT {fields} FROM window WHERE id = ?"  # noqa: S608 — names of our own
        row = self._connection.execute(query, (window,)).fetchone()
        first_row, position, action, user, user_entries, group, group_entries, line, source, rejects, given = row
        columns = Columns(
            unpack_ints(action).astype(np.int8),
            unpack_keys(user, user_entries),
            unpack_keys(group, group_entries),
            unpack_steps(line),
            unpack_ints(source).astype(np.int32),
            tuple(Reject(index, reason) for index, reason in unpack_json(rejects)),  # type: ignore[attr-defined]
            unpack_given(given),
        )
        return Window(window, first_row, columns, position_of(position))

    def settlements(self, window: int) -> list[Settlement]:
        """The settlements of a window in the order in which they were recorded.

        Raises:
            LedgerError: When a record is damaged.

        """
        return [settlement for _, settlement in self._numbered_settlements(window)]

    def _numbered_settlements(self, window: int) -> list[tuple[int, Settlement]]:
        try:
            return list(self._settlements(window))
        except _DAMAGED as error:
            raise LedgerError(f"{self.path} is damaged: settlements of window {window}: {error}") from error

    def _settlements(self, window: int) -> Iterator[tuple[int, Settlement]]:
        several = "NULL" if self._version < _WITH_RECEIPTS else "receipts"
        rows = self._connection.execute(
            f"SELECT id, batch, at, rows, status, details, history, {several}"  # noqa: S608 — one of two words
            " FROM settlement WHERE window = ? ORDER BY id",
            (window,),
        )
        for number, batch, at, indices, status, details, history, receipts in rows:
            found = Settlement(
                window,
                batch,
                unpack_ints(indices),
                unpack_ints(status).astype(np.int8),
                {int(k): v for k, v in unpack_json(details).items()},  # type: ignore[attr-defined]
                at,
                tuple(Attempt(*fields) for fields in unpack_json(history)),  # type: ignore[attr-defined]
                None if receipts is None else Receipts(*map(tuple, unpack_json(receipts))),  # type: ignore[call-overload]
            )
            yield from ((number, settlement) for settlement in found.each())

    def state(self, window: int) -> WindowState:
        """A window and the state of its rows."""
        read = self.window(window)
        settlements = tuple(self.settlements(window))
        count = len(read.columns)
        status = np.zeros(count, np.int8)
        by = np.full(count, -1, np.int64)
        sent_by = np.full(count, -1, np.int64)
        for index, settlement in enumerate(settlements):
            status[settlement.rows] = settlement.status
            by[settlement.rows] = np.where(settlement.status == Status.PENDING, -1, index)  # sent again, no outcome yet
            if settlement.history:
                sent_by[settlement.rows] = index
        winner = coalesce(read.columns)
        lost = (winner >= 0) & (winner != np.arange(count))
        status[lost] = np.where(status[winner[lost]] != Status.PENDING, Status.SUPERSEDED, Status.PENDING)
        by[lost] = by[winner[lost]]
        status[read.columns.action == REJECTED_ROW] = Status.REJECTED
        return WindowState(read, winner, status, by, sent_by, settlements)

    def losses(self, age: Callable[[Stamp], float], within: float) -> Iterator[tuple[Settlement, float]]:
        """Settlements with a lost request that may still arrive late, and how many seconds ago the last one was lost.

        Args:
            age: How long ago a moment was (`Clock.age`).
            within: Only requests lost less than this many seconds ago.

        """
        mark = "lost_at" if self._version < _WITH_MARKS else "coalesce(lost_mark, lost_at)"
        rows = self._connection.execute(
            f"SELECT id, window, {mark} FROM settlement WHERE lost_at IS NOT NULL ORDER BY window"  # noqa: S608 — as above
        )
        ages = ((number, window, age(stamp)) for number, window, text in rows if (stamp := stamp_of(text)))
        recent = [(number, window, ago) for number, window, ago in ages if ago < within]
        for window, lost in groupby(recent, key=itemgetter(1)):
            found = dict(self._numbered_settlements(window))
            yield from ((found[number], ago) for number, _, ago in lost)

    def integrity(self) -> str:
        """The result of SQLite's own integrity check; `ok` if the file is intact."""
        return str(self._connection.execute("PRAGMA integrity_check(1)").fetchone()[0])


def _loads(text: str | None) -> dict[str, Any]:
    content: dict[str, Any] = orjson.loads(text or "{}")
    return content
