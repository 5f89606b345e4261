"""The files of a state: held by one run at a time, copied by who only looks, and what lies beside it in private."""

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
"""So long somebody may take to copy a state."""
_AGAIN = 0.05
_MAGIC = slice(8, 12)
"""Where a file of DuckDB says what it is (duckdb.org/docs/stable/internals/storage)."""


def missing(path: Path) -> StateError:
    """The error for a state that is not there."""
    return StateError(
        f"{path}: there is no such state; the first run makes one: --bootstrap --current SNAPSHOT, or"
        " --bootstrap --from-nothing where the target has no members that matter"
    )


@contextmanager
def written_privately(path: Path) -> Iterator[str]:
    """What DuckDB is to write to, as a literal of SQL: it makes its files readable by all, so they are made elsewhere.

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
    """See that a file may be a state, before anything is done with it: DuckDB makes a database of an empty one.

    Raises:
        StateError: When it cannot be read, or is something else.

    """
    try:
        with path.open("rb") as file:
            head = file.read(_MAGIC.stop)
    except OSError as error:
        raise StateError(f"{path} cannot be read: {error.strerror}") from None
    if head[_MAGIC] != b"DUCK":
        raise StateError(f"{path} is no state; give the file that an earlier run made with --bootstrap")


def check_there(path: Path) -> None:
    """See that there may be such a state, before a file to lock is made beside it.

    Raises:
        StateError: When there is none, nor anybody who could be about to make it.

    """
    if is_file(path):
        check_database(path)
    elif found(path) is not None or found(lock_file(path)) is None:
        raise missing(path)


def hold(path: Path) -> int:
    """Keep other runs from this state, also while its file is closed; returns the descriptor that does.

    Whoever only looks at a state holds it for as long as it takes to copy it, which is waited for.

    Raises:
        StateError: When there cannot be a state of this name.
        LedgerHeldError: When another run has it.

    """
    ends = time.monotonic() + _LOOKING_SECONDS
    try:
        while (descriptor := lock(lock_file(path), create=True)) is None:
            looking = lock(lock_file(path), create=True, shared=True)
            if looking is None or time.monotonic() > ends:
                raise held(path)
            os.close(looking)
            time.sleep(_AGAIN)  # noqa: TID251 — before anything has begun that could be held up
    except OSError as error:
        raise StateError(f"{path} cannot be used as a state: {error.strerror}") from None
    return descriptor


def copied(path: Path, folder: Path) -> Path:
    """A copy of a state in the folder, to look at and to try things with; held only for as long as that takes.

    Raises:
        StateError: When there is no such state, or it cannot be read.
        LedgerHeldError: When a run works with it.

    """
    if not is_file(path):
        raise missing(path)
    copy = folder / "copy.state"
    with ExitStack() as stack:
        try:
            with suppress(FileNotFoundError):  # nobody has worked with it on this machine
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
    """What is locked instead of the state's own file, which DuckDB locks while it is open."""
    return path.parent / f"{path.name}.lock"
