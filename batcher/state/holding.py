"""The files of a state: held by one run at a time, copied for read-only use, with private files beside them."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from batcher.core.errors import StateError
from batcher.files import found, is_file, lock, replaced_privately
from batcher.ledger.lock import held

_LOOKING_SECONDS = 60.0
"""How long copying a state may take."""
_AGAIN = 0.05
_MAGIC = slice(8, 12)
"""Position of the magic bytes in a DuckDB file (duckdb.org/docs/stable/internals/storage)."""


def missing(path: Path) -> StateError:
    """The error for a state that does not exist."""
    return StateError(
        f"{path}: there is no such state; create it with the first run: --bootstrap --current SNAPSHOT, or"
        " --bootstrap --from-nothing if the target has no members that matter"
    )


@contextmanager
def written_privately(path: Path) -> Iterator[str]:
    """A private file for DuckDB to write to, as an SQL literal; DuckDB itself would make its files readable by all.

    Raises:
        StateError: When it cannot be written.

    """
    try:
        with replaced_privately(path) as made:
            text = str(made).replace("'", "''")
            yield f"'{text}'"
    except OSError as error:
        raise StateError(f"{path} cannot be written: {error.strerror}") from None


def check_database(path: Path) -> None:
    """Check that a file may be a state before it is opened: DuckDB would turn an empty file into a database.

    Raises:
        StateError: When it cannot be read, or is not a database.

    """
    try:
        with path.open("rb") as file:
            head = file.read(_MAGIC.stop)
    except OSError as error:
        raise StateError(f"{path} cannot be read: {error.strerror}") from None
    if head[_MAGIC] != b"DUCK":
        raise StateError(f"{path} is not a state; give the file that an earlier run created with --bootstrap")


def check_there(path: Path) -> None:
    """Check that there may be such a state, before a lock file is created beside it.

    Raises:
        StateError: When there is none, and no run that might be creating it.

    """
    if is_file(path):
        check_database(path)
    elif found(path) is not None or found(lock_file(path)) is None:
        raise missing(path)


def hold(path: Path) -> int:
    """Lock this state against other runs, even while its file is closed; returns the descriptor of the lock.

    Readers hold a state only for as long as they take to copy it; this waits for them.

    Raises:
        StateError: When there cannot be a state of this name.
        LedgerHeldError: When another run holds it.

    """
    ends = time.monotonic() + _LOOKING_SECONDS
    try:
        while (descriptor := lock(lock_file(path), create=True)) is None:
            looking = lock(lock_file(path), create=True, shared=True)
            if looking is None or time.monotonic() > ends:
                raise held(path)
            os.close(looking)
            time.sleep(_AGAIN)  # noqa: TID251 — nothing has begun yet that this could block
    except OSError as error:
        raise StateError(f"{path} cannot be used as a state: {error.strerror}") from None
    return descriptor


def copied(path: Path, folder: Path) -> Path:
    """Copy a state into the folder, for reading and dry runs; the state is locked only during the copy.

    Raises:
        StateError: When there is no such state, or it cannot be read.
        LedgerHeldError: When a run is using it.

    """
    if not is_file(path):
        raise missing(path)
    copy = folder / "copy.state"
    with ExitStack() as stack:
        try:
            with suppress(FileNotFoundError):  # it was never used on this machine
                descriptor = lock(lock_file(path), create=False, shared=True)
                if descriptor is None:
                    raise held(path)
                stack.callback(os.close, descriptor)
            for suffix in ("", ".wal"):
                part = path.with_name(path.name + suffix)
                if part.exists():
                    shutil.copyfile(part, copy.with_name(copy.name + suffix))
        except OSError as error:
            raise StateError(f"{path} cannot be read: {error.strerror}") from None
    return copy


def lock_file(path: Path) -> Path:
    """The file that is locked instead of the state's own file, which DuckDB locks while it is open."""
    return path.parent / f"{path.name}.lock"
