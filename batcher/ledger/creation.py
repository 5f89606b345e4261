"""Creating a ledger: its tables, and checks that no other ledger is in the way."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from batcher.core.errors import LedgerError
from batcher.core.report import command
from batcher.files import found, remove
from batcher.ledger.facts import check_format, is_unmade
from batcher.ledger.schema import APPLICATION_ID, TABLES, VERSION
from batcher.ledger.transaction import connect

_PARTS = ("-wal", "-shm", "-journal")
"""Suffixes of the files that SQLite keeps beside a database."""


def prepared(path: Path, descriptor: int) -> sqlite3.Connection:
    """A connection to a ledger without a run; the ledger is created if the file is empty.

    Raises:
        LedgerError: When the file already holds a run, or is not a ledger.
        sqlite3.DatabaseError: When it cannot be written.

    """
    is_empty = os.fstat(descriptor).st_size == 0
    is_new = is_empty or _is_unmade(path, if_damaged=False)
    if is_empty:
        _refuse_remains(path)
    connection = connect(path, check=not is_new)
    try:
        if is_new:
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {VERSION}")
            connection.executescript(f"BEGIN; {TABLES} COMMIT;")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # so that the file itself is recognisable as a ledger
        _refuse_a_run(path, dict(connection.execute("SELECT key, value FROM run")))
    except BaseException:
        connection.close()
        if is_new and _is_unmade(path, if_damaged=True):  # a full disk leaves parts of one, which would stay in the way
            os.ftruncate(descriptor, 0)
            for suffix in _PARTS:
                remove(path.with_name(path.name + suffix))
        raise
    return connection


def is_begun(path: Path) -> bool:
    """Whether there is something that a new ledger must not overwrite.

    A process killed while it creates a ledger leaves an empty file, one without tables, or one without a run.
    """
    known = found(path)
    if known is None or not known.st_size:
        return False
    try:
        with closing(_look(path)) as connection:
            if is_unmade(connection):
                return False
            check_format(connection, path)
            return connection.execute("SELECT 1 FROM run").fetchone() is not None
    except (LedgerError, sqlite3.Error):
        return True


def _is_unmade(path: Path, *, if_damaged: bool) -> bool:
    """Whether a file has no tables yet, and does not belong to another application."""
    try:
        with closing(_look(path)) as connection:
            return is_unmade(connection)
    except sqlite3.Error:
        return if_damaged


def _look(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)


def _refuse_a_run(path: Path, facts: Mapping[str, str]) -> None:
    if facts:
        going_on = "" if "kind" in facts else f", or resume this one: {command('resume', path)}"
        raise LedgerError(
            f"{path} already holds a run, and a ledger is never overwritten; name another file for a new run{going_on}"
        )


def _refuse_remains(path: Path) -> None:
    """Check that no files of another ledger are in the place of the new one's: SQLite would use them as its own.

    Raises:
        LedgerError: When there are such files.

    """
    for suffix in (*_PARTS, ".spool"):
        part = path.with_name(path.name + suffix)
        if part.exists():
            raise LedgerError(
                f"{part} is left over from another ledger of this name, which was moved or removed; move it to where"
                " its ledger is now, remove it, or name another ledger"
            )
