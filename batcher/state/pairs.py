"""Loading pairs from inputs into tables: what a feed or a snapshot says, with repeats."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import IO, Any, Self, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from batcher.core.errors import InputError
from batcher.core.keys import Keys
from batcher.core.model import REJECTED_ROW, Action, Columns
from batcher.core.vectors import Bytes, Mask
from batcher.ledger.ahead import ahead
from batcher.state.incoming import incoming
from batcher.state.store import Known, StateStore, Wish

_MOST_REASONS = 100_000
_NAMES = 2
_TYPES = {"id": "BIGINT", "name": "VARCHAR"}


@dataclass(slots=True)
class Loaded:
    """What was read: the number of lines that count, and how many of them are invalid.

    `rejects` lists the first invalid ones: source, line, reason.
    """

    lines: int = 0
    rejected: int = 0
    rejects: list[tuple[int, int, str]] = field(default_factory=list)
    sources: set[int] = field(default_factory=set)
    """The sources with a valid line."""
    has_unread: bool = False
    """Whether invalid lines are about known users, who are then in the table `unread`."""
    anybodys: int = 0
    """The number of invalid lines whose user cannot be read."""


Stretch: TypeAlias = tuple[Columns, Bytes]
"""Rows, and for each what it says about its pair (`Known`); values below 0 say nothing."""


def said_to_be_in(stretches: Iterable[Columns]) -> Iterator[Stretch]:
    """For a feed or a snapshot: every valid row is a member."""
    for columns in stretches:
        yield columns, np.where(columns.action == REJECTED_ROW, -1, Known.IN).astype(np.int8)


def as_they_say(stretches: Iterable[Columns]) -> Iterator[Stretch]:
    """For a file of changes: added means in, removed means out."""
    for columns in stretches:
        says = np.where(columns.action == Action.ADD, Known.IN, Known.OUT)
        yield columns, np.where(columns.action == REJECTED_ROW, -1, says).astype(np.int8)


def adopt(store: StateStore, table: str) -> None:
    """Insert what a loaded table says into the state."""
    store.connection.execute(
        f"""INSERT INTO pair SELECT DISTINCT "user", "group", known, {Wish.NONE:d}, 0 FROM {table}"""
    )


def load(store: StateStore, table: str, stretches: Iterable[Stretch], *, is_ordered: bool = False) -> Loaded:
    """Fill a new temporary table with the pairs of these rows, and what the rows say about them.

    The first rows decide whether users and groups are ids or names. `is_ordered` adds the number of the
    stretch, and where the row comes from.

    Raises:
        InputError: When both ids and names occur, or not the form that the state holds.

    """
    with tempfile.TemporaryFile() as aside, _Unread(aside) as unread:
        loaded = _load(store, table, _Loading(unread), stretches, is_ordered=is_ordered)
        loaded.has_unread = unread.count > 0
        if loaded.has_unread:
            unread.tell(store)
    return loaded


def _load(
    store: StateStore, table: str, loading: _Loading, stretches: Iterable[Stretch], *, is_ordered: bool
) -> Loaded:
    batches = ahead(loading.batches(stretches))
    first = next(batches, None)
    connection = store.connection
    if first is not None and loading.forms is not None:
        prepare(store, loading.forms)
    columns = '"user", "group", known' + (", stretch, source, line, place" if is_ordered else "")
    none = "SELECT *, 0 AS stretch, 0 AS source, 0::BIGINT AS line, 0::BIGINT AS place FROM pair LIMIT 0"
    connection.execute(f"CREATE OR REPLACE TEMP TABLE {table} AS SELECT {columns} FROM ({none})")
    if first is not None:
        reader = pa.RecordBatchReader.from_batches(first.schema, _chain(first, batches))
        with incoming(connection, reader):
            connection.execute(f"INSERT INTO {table} SELECT {columns} FROM incoming")
    if loading.error is not None:
        raise loading.error
    return loading.loaded


def prepare(store: StateStore, forms: Sequence[str]) -> None:
    """Prepare the table of pairs for users and groups of these forms; an empty table accepts any.

    Raises:
        InputError: When the state holds other forms.

    """
    known, mine = store.facts()["forms"], ",".join(forms)
    if known == mine:
        store.is_decided = True
        return
    if store.is_decided or store.connection.execute("SELECT 1 FROM pair LIMIT 1").fetchone():
        user, group = known.split(",")
        raise InputError(
            f"the input identifies users by {forms[0]} and groups by {forms[1]}, but what it is"
            f" compared with identifies users by {user} and groups by {group}, so they cannot be matched; name the"
            f" columns user_{user} and group_{group}"
        )
    user, group = (_TYPES[form] for form in forms)
    connection = store.connection
    connection.begin()
    connection.execute(
        f'CREATE OR REPLACE TABLE pair ("user" {user}, "group" {group}, known UTINYINT, wish UTINYINT, run INTEGER)'
    )
    connection.execute(f'CREATE OR REPLACE TABLE named ("group" {group})')
    connection.execute(f'CREATE OR REPLACE TABLE doubt ("user" {user}, "group" {group}, run INTEGER)')
    store.set_fact("forms", mine)
    connection.commit()
    store.is_decided = True


class _Unread:
    """Users that invalid lines are about. There may be as many as lines, so they are kept in a temporary file."""

    def __init__(self, aside: IO[bytes]) -> None:
        self.count = 0
        self._schema = pa.schema([("user", pa.string())])
        self._aside = aside
        self._writer = pa.ipc.new_stream(aside, self._schema)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._writer.close()

    def add(self, users: Iterable[str]) -> None:
        """Add the users of one stretch."""
        found = pa.array(users, pa.string())
        if len(found):
            self.count += len(found)
            self._writer.write_batch(pa.RecordBatch.from_arrays([pc.unique(found)], schema=self._schema))

    def tell(self, store: StateStore) -> None:
        """Fill the table `unread` with each user once."""
        self._writer.close()
        self._aside.seek(0)
        with incoming(store.connection, pa.ipc.open_stream(self._aside)):
            store.connection.execute('CREATE OR REPLACE TEMP TABLE unread AS SELECT DISTINCT "user" FROM incoming')


class _Loading:
    """Produces batches for the database. Errors are kept here, since the database would not pass them on."""

    def __init__(self, unread: _Unread) -> None:
        self.loaded = Loaded()
        self._unread = unread
        self.forms: tuple[str, str] | None = None
        self.error: Exception | None = None
        self._stretch = 0

    def batches(self, stretches: Iterable[Stretch]) -> Iterator[pa.RecordBatch]:
        """The batches until the end, or until an error."""
        try:
            for columns, known in stretches:
                batch = self._batch(columns, known)
                if batch is not None:
                    yield batch
        except Exception as error:  # noqa: BLE001 — raised again by the caller of `batches`
            self.error = error

    def _batch(self, columns: Columns, known: Bytes) -> pa.RecordBatch | None:
        valid = known >= 0
        self._stretch += 1
        self._count(columns, valid)
        if not valid.any():
            return None
        forms = (_form(columns.user.take(valid)), _form(columns.group.take(valid)))
        self.forms = self.forms or forms
        for part, was, found in zip(("user", "group"), self.forms, forms, strict=True):
            if was != found:
                raise InputError(
                    f"the {part}s are given both as ids and as names, which cannot be matched with each other;"
                    " use one of them throughout"
                )
        says = known[valid].view(np.uint8)
        arrays = [
            _array(columns.user, valid),
            _array(columns.group, valid),
            pa.array(says),
            pa.array(np.full(len(says), self._stretch, np.int32)),
            pa.array(columns.source[valid]),
            pa.array(columns.line[valid]),
            pa.array(np.flatnonzero(valid)),
        ]
        names = ["user", "group", "known", "stretch", "source", "line", "place"]
        return pa.RecordBatch.from_arrays(arrays, names=names)

    def _count(self, columns: Columns, valid: Mask) -> None:
        loaded = self.loaded
        loaded.lines += 1 + int(np.count_nonzero(np.diff(columns.line))) if len(columns) else 0
        loaded.sources.update(np.unique(columns.source[valid]).tolist())
        loaded.rejected += len(columns.rejects)
        for reject in columns.rejects[: _MOST_REASONS - len(loaded.rejects)]:
            place = reject.index
            loaded.rejects.append((int(columns.source[place]), int(columns.line[place]), reject.reason))
        loaded.anybodys += sum(not reject.users for reject in columns.rejects)
        self._unread.add(user for reject in columns.rejects for user in reject.users)


def _chain(first: pa.RecordBatch, rest: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    yield first
    yield from rest


def _form(keys: Keys) -> str:
    forms = keys.forms
    if forms > _NAMES:
        raise InputError(
            "a column holds both ids and names, which cannot be matched with each other; use one of them throughout"
        )
    return "name" if forms == _NAMES else "id"


def _array(keys: Keys, valid: Mask) -> Any:  # noqa: ANN401 — untyped library
    """The values as strings or as 64-bit integers, independent of the dictionary."""
    codes = keys.codes[valid]
    known = keys.dictionary
    if known is None:
        return pa.array(codes)
    texts = known.texts.take(pa.array(codes))
    is_id = known.is_id is not None and len(codes) and known.is_id[codes[0]]  # then all of them are
    return pc.cast(texts, pa.int64()) if is_id else texts
