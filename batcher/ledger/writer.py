"""Writing a ledger. When a method returns, its data is on disk."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from batcher.core.batch import Settlement
from batcher.core.clock import Stamp
from batcher.core.errors import LedgerError
from batcher.core.model import Position, Window
from batcher.core.status import Status
from batcher.core.vectors import Ints
from batcher.core.verdict import Cause
from batcher.files import found, is_same, remove
from batcher.ledger.arrays import pack_ints, pack_json
from batcher.ledger.creation import prepared
from batcher.ledger.facts import SourceFacts
from batcher.ledger.lock import lock, release
from batcher.ledger.place import moved_to, rescued
from batcher.ledger.reader import LedgerReader
from batcher.ledger.rows import pending, position_text, settlement_row, window_row
from batcher.ledger.sessions import Figures, SessionRecord
from batcher.ledger.transaction import Transaction, connect


class LedgerWriter:
    """The only writer of a ledger; holds its lock until `close`. Methods may be called from one thread at a time."""

    def __init__(self, path: Path, connection: sqlite3.Connection, descriptor: int) -> None:
        self.path = path
        self._connection = connection
        self._descriptor = descriptor
        self._session = SessionRecord(connection)
        self._is_own = False
        """Whether this writer created the file."""
        self._size = 0
        """The size of the file in bytes when it was last checked."""

    @classmethod
    def create(cls, path: Path) -> LedgerWriter:
        """A new ledger without a run.

        Raises:
            LedgerError: When the file already holds a run, is not a ledger, or cannot be written.
            LedgerHeldError: When another process holds it.

        """
        known = found(path)
        is_own = known is None or (stat.S_ISREG(known.st_mode) and not known.st_size)
        try:
            descriptor = lock(path, create=True)
        except OSError as error:
            raise LedgerError(f"the ledger {path} cannot be written: {error.strerror}") from error
        try:
            connection = prepared(path, descriptor)
        except BaseException as error:
            if is_own and not os.fstat(descriptor).st_size:
                path.unlink()
            release(descriptor)
            if isinstance(error, sqlite3.DatabaseError):
                raise LedgerError(f"{path} is not a ledger, or cannot be written: {error}") from error
            raise
        writer = cls(path, connection, descriptor)
        writer._is_own = is_own
        return writer

    @classmethod
    def open(cls, path: Path) -> LedgerWriter:
        """A ledger that holds a run, to continue it.

        Raises:
            LedgerError: When it is not a ledger, is damaged, or cannot be written.
            LedgerHeldError: When another process holds it.

        """
        with LedgerReader(path):
            pass
        try:
            descriptor = lock(path, create=False)
        except OSError as error:
            raise LedgerError(f"the ledger {path} cannot be written: {error.strerror}") from error
        try:
            return cls(path, connect(path), descriptor)
        except sqlite3.DatabaseError as error:
            release(descriptor)
            raise LedgerError(f"the ledger {path} cannot be written: {error}") from error

    @property
    def run(self) -> str:
        """The name of the run."""
        with LedgerReader(self.path) as reader:
            return reader.facts().get("run", "")

    def begin_run(self, facts: Mapping[str, str], sources: Sequence[SourceFacts]) -> None:
        """Record the facts of the run; from now on the ledger belongs to it."""
        with self._transaction():
            self._connection.executemany("INSERT INTO run VALUES (?, ?)", facts.items())
            self._connection.executemany(
                "INSERT INTO source (id, name, path, format, is_spool, size) VALUES (?, ?, ?, ?, ?, ?)",
                ((i, s.name, s.path, s.format, s.is_spool, s.size) for i, s in enumerate(sources)),
            )
        # So that even a copy of the file alone, made during the run, identifies the run.
        self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)")

    def set_fact(self, key: str, value: str) -> None:
        """Record or change a fact of the run."""
        with self._transaction():
            self._connection.execute("INSERT OR REPLACE INTO run VALUES (?, ?)", (key, value))

    def begin_session(self, kind: str, started: Stamp) -> None:
        """Record that an invocation starts to work on the run."""
        with self._transaction():
            self._session.begin(kind, started)

    def end_session(self, figures: Figures, ended: Stamp, cause: Cause | None, reason: str) -> None:
        """Record how the invocation ended."""
        with self._transaction():
            self._session.end(figures, ended, cause, reason)

    def add_window(self, window: Window, unsettled: int) -> None:
        """Record a stretch of input before any of it is sent; `unsettled` is the number of rows to send."""
        with self._transaction():
            self._connection.execute(
                "INSERT INTO window VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                window_row(window),
            )
            self._connection.execute("INSERT INTO unsettled VALUES (?, ?)", (window.id, unsettled))
            self._count(Status.REJECTED, len(window.columns.rejects))
            self._mark_ended(window.ended)

    def forget_windows(self, first: int) -> None:
        """Delete this window and all later ones; nothing of them was sent, and no line was invalid."""
        with self._transaction():
            for table, key in (("window", "id"), ("unsettled", "window")):
                self._connection.execute(f"DELETE FROM {table} WHERE {key} >= ?", (first,))  # noqa: S608 — names of our own

    def mark_ended(self, ended: Sequence[Position]) -> None:
        """Record that these sources were read to their end."""
        with self._transaction():
            self._mark_ended(ended)

    def settle(self, settlements: Sequence[Settlement], changed: Mapping[Status, int], figures: Figures) -> None:
        """Record outcomes, all in one transaction; `changed` is by how much the count of each status grows."""
        with self._transaction():
            self._session.save(figures)
            done: Counter[int] = Counter()
            for s in settlements:
                done[s.window] += len(s.rows)
                self._connection.execute(
                    "INSERT INTO settlement (window, batch, at, lost_at, lost_mark, rows, status, details, history,"
                    " receipts) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    settlement_row(s, self._last_loss(s)),
                )
            self._connection.executemany(
                "UPDATE unsettled SET changes = max(0, changes - ?) WHERE window = ?",
                ((count, window) for window, count in done.items()),
            )
            for status, count in changed.items():
                self._count(status, count)

    def _last_loss(self, settlement: Settlement) -> Stamp | None:
        lost = [attempt for attempt in settlement.history if attempt.lost]
        if not lost:
            return None
        last = max(lost, key=lambda attempt: attempt.boot)
        return Stamp(last.at, last.boot, self._session.boot_id)

    def reopen(self, window: int, rows: Ints, changed: Mapping[Status, int], at: float) -> int:
        """Mark rows that are about to be sent again as open. Returns a number with which `withdraw` can undo that.

        It is recorded as a settlement with the status `PENDING`; later settlements of these rows win, as always.
        """
        with self._transaction():
            cursor = self._connection.execute(
                "INSERT INTO settlement (window, batch, at, rows, status, details, history)"
                " VALUES (?, 0, ?, ?, ?, ?, ?)",
                (window, at, pack_ints(rows), pack_ints(pending(rows)), pack_json({}), pack_json([])),
            )
            self._unsettle(window, len(rows), changed)
            return int(cursor.lastrowid or 0)

    def withdraw(self, number: int, window: int, kept: Ints, count: int, changed: Mapping[Status, int]) -> None:
        """Of the rows reopened under this number, only the `kept` ones were sent again.

        The other `count` rows get their earlier outcome back.
        """
        with self._transaction():
            if len(kept):
                self._connection.execute(
                    "UPDATE settlement SET rows = ?, status = ? WHERE id = ?",
                    (pack_ints(kept), pack_ints(pending(kept)), number),
                )
            else:
                self._connection.execute("DELETE FROM settlement WHERE id = ?", (number,))
            self._unsettle(window, -count, changed)

    def _unsettle(self, window: int, count: int, changed: Mapping[Status, int]) -> None:
        self._connection.execute("UPDATE unsettled SET changes = changes + ? WHERE window = ?", (count, window))
        for status, number in changed.items():
            self._count(status, number)

    def reader(self) -> LedgerReader:
        """A reader of what was written, wherever the file is now."""
        return LedgerReader(self.path, self._connection)

    def place(self) -> Path:
        """Where the ledger is now: it may have been moved; if it was removed, it is written again.

        Raises:
            LedgerError: When it cannot be written.

        """
        self._check_whole()
        if not is_same(self.path, self._descriptor):
            self.path = moved_to(self._descriptor) or rescued(self.path, self._connection)
        return self.path

    def discard(self) -> None:
        """Use instead of `close` if no run has begun: remove the files, but only if this writer created them."""
        self._connection.close()
        if self._is_own and is_same(self.path, self._descriptor):
            for suffix in ("", "-wal", "-shm"):
                remove(self.path.with_name(self.path.name + suffix))
        release(self._descriptor)

    def close(self) -> None:
        """Merge everything into the one file, and release it."""
        try:
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self._connection.execute("PRAGMA journal_mode = DELETE")
        except sqlite3.DatabaseError:
            # A reader is active, or the disk is full: the log beside it keeps what was committed. Or it is truncated.
            pass
        finally:
            self._connection.close()
            release(self._descriptor)

    def _transaction(self) -> Transaction:
        if not is_same(self.path, self._descriptor):
            raise LedgerError(f"{self.path} was moved, removed or replaced during the run")
        self._check_whole()
        return Transaction(self._connection, self.path)

    def _check_whole(self) -> None:
        size = os.fstat(self._descriptor).st_size
        if size < self._size:  # SQLite never shrinks it
            raise LedgerError(
                f"{self.path} was truncated during the run and can no longer be relied on; what the run has sent"
                " remains sent"
            )
        self._size = size

    def _count(self, status: Status, count: int) -> None:
        if count and status is not Status.PENDING:  # pending is what is left of the rows
            self._connection.execute(
                "INSERT INTO tally VALUES (?, ?)"
                " ON CONFLICT (status) DO UPDATE SET changes = changes + excluded.changes",
                (int(status), count),
            )

    def _mark_ended(self, ended: Sequence[Position]) -> None:
        self._connection.executemany(
            "UPDATE source SET ended = ? WHERE id = ?",
            ((position_text(position), position.source) for position in ended),
        )
