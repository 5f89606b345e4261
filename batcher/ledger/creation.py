"""A ledger that is new: its tables, and that nothing of another one is in its way."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Mapping
from pathlib import Path

from batcher.core.errors import LedgerError
from batcher.core.report import command
from batcher.ledger.schema import APPLICATION_ID, TABLES, VERSION
from batcher.ledger.transaction import connect


def prepared(path: Path, descriptor: int) -> sqlite3.Connection:
    """A connection to a ledger without a run, which is made if the file is empty.

    Raises:
        LedgerError: When the file holds a run already, or is something else.
        sqlite3.DatabaseError: When it cannot be written.

    """
    is_new = os.fstat(descriptor).st_size == 0
    if is_new:
        _refuse_remains(path)
    connection = connect(path, check=not is_new)
    try:
        if is_new:
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {VERSION}")
            connection.executescript(f"BEGIN; {TABLES} COMMIT;")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # so that the file itself tells what it is
        _refuse_a_run(path, dict(connection.execute("SELECT key, value FROM run")))
    except BaseException:
        connection.close()
        raise
    return connection


def _refuse_a_run(path: Path, facts: Mapping[str, str]) -> None:
    if facts:
        going_on = "" if "kind" in facts else f", to go on with it: {command('resume', path)}"
        raise LedgerError(
            f"{path} holds a run already, and a ledger is never overwritten; for a new run name another file{going_on}"
        )


def _refuse_remains(path: Path) -> None:
    """See that nothing of another ledger lies where a new one's parts go: SQLite would take it for its own.

    Raises:
        LedgerError: When something does.

    """
    for suffix in ("-wal", "-shm", "-journal", ".spool"):
        part = path.with_name(path.name + suffix)
        if part.exists():
            raise LedgerError(
                f"{part} is what is left of another ledger of this name, which was moved or removed; move it after"
                " its ledger, or remove it, or name another ledger"
            )
