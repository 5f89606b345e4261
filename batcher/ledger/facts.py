"""The content of a ledger as plain values, and whether a file is a ledger."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path

from batcher.core.batch import Settlement
from batcher.core.clock import Stamp
from batcher.core.durations import Durations
from batcher.core.errors import LedgerError
from batcher.core.model import Position, Window
from batcher.core.vectors import Bytes, Ints
from batcher.files import is_file
from batcher.ledger.schema import APPLICATION_ID, UPGRADES, VERSION


@dataclass(frozen=True, slots=True)
class SourceFacts:
    """One input of the run. `ended` is its end position, once it was read to its end."""

    name: str
    path: str
    format: str
    is_spool: bool
    size: int
    ended: Position | None = None


@dataclass(frozen=True, slots=True)
class SessionFacts:
    """One invocation that worked on the ledger. If `ended` is None, it was killed or still runs."""

    kind: str
    started: float
    ended: float | None
    cause: str | None
    reason: str | None
    seconds: float
    requests: dict[str, int]
    waited: dict[str, float]
    took: Durations
    """How long its replies took."""
    ended_mark: Stamp | None = None
    """`ended` as a stamp that other processes can compare."""


@dataclass(frozen=True, slots=True)
class FigureSample:
    """The figures of a session, `seconds` after it started; requests and waits are cumulative."""

    session: int
    seconds: float
    in_flight: int
    limit: int
    requests: dict[str, int]
    waited: dict[str, float]


@dataclass(frozen=True, slots=True, eq=False)
class WindowState:
    """A window and the state of each row.

    `by` is the index of the row's last settlement, `sent_by` that of the last one from a request; -1 for none.
    """

    window: Window
    winner: Ints
    status: Bytes
    by: Ints
    sent_by: Ints
    settlements: tuple[Settlement, ...]


def is_ledger(path: Path) -> bool:
    """Whether a file is a ledger, by its application id (offset 68 of an SQLite file)."""
    if not is_file(path):
        return False
    with path.open("rb") as file:
        head = file.read(72)
    return head.startswith(b"SQLite format 3") and int.from_bytes(head[68:72], "big") == APPLICATION_ID


def is_unmade(connection: sqlite3.Connection) -> bool:
    """Whether a database is empty and unmarked: a ledger in the making, or one whose process was killed."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    return not tables and application in (0, APPLICATION_ID)


def check_format(connection: sqlite3.Connection, path: Path) -> int:
    """The format version of a ledger.

    Raises:
        LedgerError: When it is not a ledger, or its format is not known.

    """
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if is_unmade(connection):
        raise LedgerError(f"{path} holds no run: it was abandoned right after it was created, and nothing was sent")
    if application != APPLICATION_ID:
        raise LedgerError(f"{path} is not a ledger")
    if version != VERSION and version not in UPGRADES:
        age = "a newer" if version > VERSION else "an older"
        raise LedgerError(
            f"{path} was written by {age} batcher; use that version to read it (format {version}, expected {VERSION})"
        )
    return int(version)
