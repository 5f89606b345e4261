"""Opening a ledger to read it: without a lock, and without write access."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from batcher.core.errors import LedgerError
from batcher.files import is_file, is_unicode
from batcher.ledger.facts import check_format


@dataclass(frozen=True, slots=True, eq=False)
class OpenedLedger:
    """A connection, the version of the ledger's format, and the copy that is read instead of it, where one is."""

    connection: sqlite3.Connection
    version: int
    copy: tempfile.TemporaryDirectory[str] | None = None

    def close(self) -> None:
        """Let go of it."""
        self.connection.close()
        if self.copy is not None:
            self.copy.cleanup()


def open_to_read(path: Path) -> OpenedLedger:
    """The ledger at this path.

    Raises:
        LedgerError: When it is missing, no ledger, or of another format.
        sqlite3.DatabaseError: When it is damaged.

    """
    if not is_file(path):
        raise LedgerError(f"{path}: there is no such ledger")
    if not is_unicode(str(path.absolute())):
        raise LedgerError(f"{str(path)!r}: the ledger's name is not UTF-8; rename it")
    try:
        return OpenedLedger(*_connected(path, path, "ro"))
    except sqlite3.OperationalError:
        # A killed run leaves a write-ahead log, which SQLite cannot read without write access to the folder.
        copy = tempfile.TemporaryDirectory(prefix="batcher-")
        folder = Path(copy.name)
        try:
            for suffix in ("", "-wal"):
                part = path.with_name(path.name + suffix)
                if part.exists():
                    shutil.copyfile(part, folder / part.name)
            return OpenedLedger(*_connected(folder / path.name, path, "rw"), copy)
        except BaseException:
            copy.cleanup()
            raise


def _connected(file: Path, path: Path, mode: str) -> tuple[sqlite3.Connection, int]:
    """A connection to this file, which is read for that path, and the version of its format."""
    connection = sqlite3.connect(
        f"file:{quote(str(file.absolute()))}?mode={mode}",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        version = check_format(connection, path)
        connection.execute("SELECT count(*) FROM run").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection, version
