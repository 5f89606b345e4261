"""Transactions: all or nothing, with our errors instead of SQLite's."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from batcher.core.errors import LedgerError
from batcher.ledger.facts import check_format
from batcher.ledger.schema import UPGRADES, VERSION


class Transaction:
    """Commits at the end, rolls back on any error."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self._path = path

    def __enter__(self) -> None:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
        except sqlite3.DatabaseError as error:
            raise LedgerError(f"the ledger {self._path} cannot be written: {error}") from error

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        try:
            if error is None:
                self._connection.execute("COMMIT")
                return
        except sqlite3.DatabaseError as failure:
            error = failure
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")
        if isinstance(error, sqlite3.DatabaseError):
            raise LedgerError(f"the ledger {self._path} cannot be written: {error}") from error


def connect(path: Path, *, check: bool = True) -> sqlite3.Connection:
    """A connection for writing: once a transaction has committed, its data is on disk."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        # The format is checked before anything is written to what may be another application's database.
        version = check_format(connection, path) if check else VERSION
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        upgrade(connection, version)
    except BaseException:
        connection.close()
        raise
    return connection


def upgrade(connection: sqlite3.Connection, version: int) -> None:
    """Upgrade a ledger to the current version, all or nothing."""
    steps = [statement for older in range(version, VERSION) for statement in UPGRADES[older]]
    if steps:
        connection.executescript(f"BEGIN; {'; '.join(steps)}; PRAGMA user_version = {VERSION}; COMMIT;")
