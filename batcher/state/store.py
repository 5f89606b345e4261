"""The state's file: a DuckDB database, bound to one target, held by one run at a time.

`pair` has a row for each pair about which anything is known: `known` (`Known`), `wish` (what the last accepted feed
said about it: `Wish`), and the number of the run that changed it last. `run` lists the runs; at most the last is open,
which means that its ledger may still bring news. `named` has the groups that feeds have named, `doubt` the pairs that
were uncertain when a run was about to change them: their status before that run is not known.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import duckdb

from batcher.core.address import place_of
from batcher.core.errors import LedgerHeldError, StateError
from batcher.files import found, is_file
from batcher.machine import SPACE_WITH_STATE, check_space
from batcher.state.holding import check_database, missing

_FORMAT = "1"
_STORAGE = "v1.4.0"
"""The storage version of new files, readable by every later DuckDB: a state lives for years."""
_MEMORY = "700MB"
"""What DuckDB may use before it spills to the disk."""


class Known(IntEnum):
    """Whether the target has a pair, as far as we know."""

    OUT = 0
    IN = 1
    UNCERTAIN = 2


class Wish(IntEnum):
    """What the last accepted feed says about a pair."""

    NONE = 0
    """nothing that needs to be sent"""
    IN = 1
    OUT = 2
    """it was in before, and is to be removed"""


@dataclass(frozen=True, slots=True)
class Binding:
    """The target that a state belongs to."""

    kind: str
    url: str
    env: str

    def is_same(self, other: Binding) -> bool:
        """Whether both are the same target, however its address is written."""
        places = {place_of(self.url), place_of(other.url)}
        return (self.kind, self.env) == (other.kind, other.env) and len(places) == 1

    def __str__(self) -> str:
        return f"{self.kind} at {self.url}" + (f", environment {self.env}" if self.env else "")


@dataclass(frozen=True, slots=True)
class KnownRun:
    """A run on the target with this state. `settled` is how much of its ledger has been applied to the state."""

    number: int
    run: str
    ledger: Path
    settled: int
    is_open: bool


_TABLES = """
CREATE TABLE meta (key VARCHAR, value VARCHAR);
CREATE TABLE pair ("user" BIGINT, "group" BIGINT, known UTINYINT, wish UTINYINT, run INTEGER);
CREATE TABLE named ("group" BIGINT);
CREATE TABLE doubt ("user" BIGINT, "group" BIGINT, run INTEGER);
CREATE TABLE run (number INTEGER, run VARCHAR, ledger VARCHAR, settled BIGINT, is_open BOOLEAN);
"""


class StateStore:
    """An open state. Not thread-safe."""

    def __init__(self, path: Path, connection: duckdb.DuckDBPyConnection) -> None:
        self.path = path
        self.connection = connection
        self.is_decided = False
        """Whether something was loaded since it was opened, which fixes whether users and groups are ids or names."""
        self.knows_fold = False
        """Whether queries may call `fold`."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        if isinstance(error, duckdb.Error):
            raise StateError(f"the state {self.path} cannot be used: {error}") from error

    @classmethod
    def create(cls, path: Path, binding: Binding) -> StateStore:
        """A state that knows nothing yet.

        Raises:
            StateError: When the file exists, or cannot be written.

        """
        cls.check_new(path)
        store = cls._open(path)
        store.connection.begin()
        store.connection.execute(_TABLES)
        facts = {"format": _FORMAT, "kind": binding.kind, "url": binding.url, "env": binding.env}
        for key, value in (
            facts | {"forms": "id,id", "state": uuid.uuid4().hex[:12], "serial": "0", "last_pairs": "0"}
        ).items():
            store.connection.execute("INSERT INTO meta VALUES (?, ?)", (key, value))
        store.connection.commit()
        path.chmod(0o600)
        return store

    @staticmethod
    def check_new(path: Path) -> None:
        """Check that no state would be overwritten.

        Raises:
            StateError: When the file exists.

        """
        if found(path) is not None:
            raise StateError(f"{path} already exists, and a state is never overwritten; leave out --bootstrap")

    @classmethod
    def open(cls, path: Path, binding: Binding | None = None) -> StateStore:
        """An existing state; `binding` is the target that it must belong to.

        Raises:
            StateError: When it is missing, not a state, or of another target.
            LedgerHeldError: When another run holds it.

        """
        if not is_file(path):
            raise missing(path)
        check_database(path)
        store = cls._open(path)
        try:
            store.check(binding)
        except duckdb.Error as error:
            store.close()
            raise StateError(f"{path} is not a state: {error}") from None
        except BaseException:
            store.close()
            raise
        return store

    def check(self, binding: Binding | None) -> None:
        """Check that it has this format and belongs to this target (to any if None)."""
        facts = self.facts()
        if facts.get("format") != _FORMAT:
            raise StateError(
                f"{self.path} was written by another batcher; use that version (format {facts.get('format')})"
            )
        own = Binding(facts["kind"], facts["url"], facts["env"])
        if binding is not None and not own.is_same(binding):
            raise StateError(f"{self.path} is the state of {own}, not of {binding}; each target needs its own state")

    @classmethod
    def passing(cls, folder: Path) -> StateStore:
        """A temporary state that lives as long as its folder, for comparing two snapshots."""
        return cls.create(folder / "passing.state", Binding("", "", ""))

    @classmethod
    def _open(cls, path: Path) -> StateStore:
        config: dict[str, Any] = {
            "memory_limit": _MEMORY,
            "threads": min(4, os.cpu_count() or 1),
            "temp_directory": f"{path}.tmp",
            "preserve_insertion_order": False,
            "autoinstall_known_extensions": False,
            "storage_compatibility_version": _STORAGE,
        }
        check_space(SPACE_WITH_STATE)
        try:
            connection = duckdb.connect(str(path), config=config)
        except duckdb.IOException as error:
            if "conflicting lock" in str(error).lower():
                raise LedgerHeldError(f"another run holds {path}; wait for it, or stop it first") from None
            raise StateError(f"the state {path} cannot be opened: {error}") from None
        except duckdb.Error as error:
            raise StateError(f"the state {path} cannot be opened: {error}") from None
        connection.execute("SET enable_progress_bar = false")
        return cls(path, connection)

    def close(self) -> None:
        """Close the state; afterwards everything is in the one file."""
        self.connection.close()

    def facts(self) -> dict[str, str]:
        """The facts about the state itself."""
        return dict(self.connection.execute("SELECT key, value FROM meta").fetchall())

    def set_fact(self, key: str, value: str) -> None:
        """Change a fact; the key must be one of those that a state is created with."""
        self.connection.execute("UPDATE meta SET value = ? WHERE key = ?", (value, key))

    @property
    def name(self) -> str:
        """The name of this state, independent of its path; a copy has the same."""
        return self.facts()["state"]

    def fingerprint(self) -> str:
        """A text that changes whenever the state does; empty if no run has begun with it yet."""
        facts = self.facts()
        return f"{facts['state']}-{facts['serial']}" if facts["serial"] != "0" else ""

    def touched(self) -> None:
        """Record that the state was changed, which invalidates earlier plans."""
        self.set_fact("serial", str(int(self.facts()["serial"]) + 1))

    def runs(self) -> Sequence[KnownRun]:
        """All runs, oldest first."""
        rows = self.connection.execute("SELECT number, run, ledger, settled, is_open FROM run ORDER BY number")
        return [
            KnownRun(n, run, Path(ledger), settled, is_open) for n, run, ledger, settled, is_open in rows.fetchall()
        ]

    def begin_run(self, run: str, ledger: Path) -> int:
        """A run is about to start; returns its number. Later news from earlier ledgers is ignored from now on."""
        (number,) = self.connection.execute("SELECT coalesce(max(number), 0) + 1 FROM run").fetchone() or (1,)
        self.connection.execute("UPDATE run SET is_open = false")
        self.connection.execute("INSERT INTO run VALUES (?, ?, ?, -1, true)", (number, run, str(ledger.absolute())))
        return int(number)
