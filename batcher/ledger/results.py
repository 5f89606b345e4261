"""One record per change in input order, as CSV, JSON Lines or Parquet; two windows at a time are in memory."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from typing import BinaryIO, Protocol

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from batcher.core.keys import Keys
from batcher.core.model import REJECTED_ROW, Action
from batcher.core.status import IN_EFFECT, Status, are
from batcher.core.vectors import Ints, Mask
from batcher.ledger.ahead import ahead
from batcher.ledger.facts import WindowState
from batcher.ledger.reader import LedgerReader

FORMATS = ("csv", "jsonl", "parquet")
_IDS, _NAMES, _BOTH = 1, 2, 3
_TEXT_IDS, _GIVEN = 16, 32
_CSV_STRETCH = 1 << 16
_FREE_TEXTS = ("user_name", "group_name", "detail", "source", "user_id", "group_id", "given_user", "given_group")
"""The columns that may hold texts from outside."""
_FORMULA = r"^([=+\-@\t\r])"
"""Beginnings of a cell that a spreadsheet interprets as a formula (OWASP, CSV injection)."""


class Sink(Protocol):
    """A writer of one format."""

    def write(self, table: pa.Table) -> None:
        """Add these records."""
        ...

    def close(self) -> None:
        """Finish the file."""
        ...


def write_results(
    reader: LedgerReader,
    out: BinaryIO,
    kind: str,
    statuses: Collection[Status],
    *,
    for_spreadsheet: bool = False,
) -> int:
    """Write the records with one of these statuses (all when empty); returns how many."""
    columns = _Columns(reader.forms())
    sources = [source.name for source in reader.sources()]
    sink = _sink(kind, out, columns.schema())
    count = 0
    for state in ahead(reader.windows()):
        rows = np.arange(len(state.status))
        if statuses:
            rows = rows[np.isin(state.status, [int(status) for status in statuses])]
        if len(rows):
            table = columns.table(state, rows, sources)
            sink.write(_neutral(table) if for_spreadsheet else table)
            count += len(rows)
    sink.close()
    return count


class _Columns:
    """The columns of a run, which depend on whether it holds ids, names or both."""

    def __init__(self, forms: int) -> None:
        self._user = forms & _BOTH or _IDS
        self._group = forms >> 2 & _BOTH or _IDS
        self._texts_are_ids, self._has_given = bool(forms & _TEXT_IDS), bool(forms & _GIVEN)
        if _BOTH in (self._user, self._group):
            self._user = self._group = _BOTH

    def schema(self) -> pa.Schema:
        """The columns as documented."""
        fields = [("op", pa.string())]
        for part, forms in (("user", self._user), ("group", self._group)):
            if self._texts_are_ids:
                fields.append((f"{part}_id", pa.string()))
            elif forms == _BOTH:
                fields += [(f"{part}_id", pa.int64()), (f"{part}_name", pa.string())]
            else:
                fields.append((part, pa.int64()) if forms == _IDS else (f"{part}_name", pa.string()))
        fields += [(name, pa.string()) for name in ("status", "detail", "source")]
        fields += [(name, pa.int64()) for name in ("line", "attempts", "http_status", "batch")]
        fields.append(("settled_at", pa.string()))
        return pa.schema(fields + [(f"given_{part}", pa.string()) for part in ("user", "group") if self._has_given])

    def table(self, state: WindowState, rows: Ints, sources: list[str]) -> pa.Table:
        """The records of these rows of a window."""
        columns = state.window.columns
        is_change = columns.action[rows] != REJECTED_ROW
        words = pa.array([*(action.label for action in Action), None], pa.string())
        arrays = [words.take(pa.array(columns.action[rows]))]
        for keys, forms in ((columns.user, self._user), (columns.group, self._group)):
            part = keys.take(rows)
            if forms & _IDS and not self._texts_are_ids:
                arrays.append(_ids(part, is_change))
            if forms & _NAMES or self._texts_are_ids:
                arrays.append(_names(part, is_change))
        labels = pa.array([status.label for status in Status], pa.string())
        arrays.append(labels.take(pa.array(state.status[rows])))
        arrays.append(_details(state, rows))
        arrays.append(pa.array(sources, pa.string()).take(pa.array(columns.source[rows])))
        arrays.append(pa.array(columns.line[rows]))
        arrays += _deliveries(state, rows)
        if self._has_given:
            given = columns.given
            arrays += [_given(keys, rows) for keys in ((given.user, given.group) if given else (None, None))]
        return pa.Table.from_arrays(arrays, schema=self.schema())


def _ids(keys: Keys, is_change: Mask) -> pa.Array:
    known = keys.dictionary
    if known is None:
        return pa.array(keys.codes, mask=~is_change)
    nothing = pa.nulls(len(known), pa.string())
    values = pc.cast(known.where_id(known.texts, nothing), pa.int64())
    return values.take(pa.array(keys.codes, mask=~is_change))


def _names(keys: Keys, is_change: Mask) -> pa.Array:
    known = keys.dictionary
    if known is None:
        return pa.nulls(len(keys), pa.string())
    values = known.where_id(pa.nulls(len(known), pa.string()), known.texts)
    return values.take(pa.array(keys.codes, mask=~is_change))


def _given(keys: Keys | None, rows: Ints) -> pa.Array:
    """The names that were looked up; null for what was given as an id."""
    known = None if keys is None else keys.dictionary
    if keys is None or known is None or known.is_word is None:
        return pa.nulls(len(rows), pa.string())
    words = pc.if_else(pa.array(known.is_word), known.texts, pa.nulls(len(known), pa.string()))
    return words.take(pa.array(keys.codes[rows]))


def _details(state: WindowState, rows: Ints) -> pa.Array:
    """Reasons; for a superseded change, the line that supersedes it."""
    texts: dict[int, str] = {reject.index: reject.reason for reject in state.window.columns.rejects}
    for settlement in state.settlements:
        indices = settlement.rows
        for index, reason in settlement.details.items():
            texts[int(indices[index])] = reason
        for index in np.flatnonzero(are(settlement.status, IN_EFFECT | {Status.PENDING})).tolist() if texts else ():
            texts.pop(int(indices[index]), None)
    line = state.window.columns.line
    result: list[str | None] = [None] * len(rows)
    has_text = np.zeros(len(state.status), bool)
    has_text[list(texts)] = True
    superseded = (state.winner[rows] >= 0) & (state.winner[rows] != rows) & (state.status[rows] == Status.SUPERSEDED)
    for position in np.flatnonzero(has_text[rows] | superseded).tolist():
        row = int(rows[position])
        winner = int(state.winner[row])
        result[position] = f"superseded by line {int(line[winner])}" if superseded[position] else texts.get(row)
    return pa.array(result, pa.string())


def _deliveries(state: WindowState, rows: Ints) -> list[pa.Array]:
    """Attempts, HTTP status, batch and time, from each row's settlement; a superseded row was never sent."""
    by = state.by[rows]
    sent = state.sent_by[rows]
    known = len(state.settlements)

    def column(values: list[int | str | None], index: Ints, kind: pa.DataType) -> pa.Array:
        return pa.array([*values, None], kind).take(pa.array(np.where(index < 0, known, index)))

    attempts = [sum(attempt.times for attempt in s.history) for s in state.settlements]
    statuses = [s.history[-1].http_status if s.history else None for s in state.settlements]
    return [
        pc.fill_null(column(list(attempts), sent, pa.int64()), 0),
        column(list(statuses), sent, pa.int64()),
        column([s.batch or None for s in state.settlements], by, pa.int64()),
        column([utc_text(s.at) for s in state.settlements], by, pa.string()),
    ]


def utc_text(seconds: float) -> str:
    """ISO 8601 in UTC, to the millisecond."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _neutral(table: pa.Table) -> pa.Table:
    for index, field in enumerate(table.schema):
        if pa.types.is_string(field.type):
            table = table.set_column(index, field, pc.replace_substring_regex(table.column(index), _FORMULA, r"'\1"))
    return table


def _sink(kind: str, out: BinaryIO, schema: pa.Schema) -> Sink:
    if kind == "csv":
        return _Csv(out, schema)
    if kind == "parquet":
        return _Parquet(out, schema)
    return _JsonLines(out)


class _Csv:
    """Quotes texts only in stretches of records where that is needed; otherwise pyarrow would quote every text."""

    def __init__(self, out: BinaryIO, schema: pa.Schema) -> None:
        self._out = out
        out.write(",".join(schema.names).encode() + b"\n")

    def write(self, table: pa.Table) -> None:
        for part in table.to_batches(max_chunksize=_CSV_STRETCH):
            names = (name for name in _FREE_TEXTS if name in part.schema.names)
            texts = (part.column(name) for name in names if pa.types.is_string(part.schema.field(name).type))
            style = "needed" if any(map(_asks_for_quotes, texts)) else "none"
            options = pa.csv.WriteOptions(include_header=False, quoting_style=style)
            pa.csv.write_csv(part, self._out, options)

    def close(self) -> None:
        self._out.flush()


def _asks_for_quotes(texts: pa.StringArray) -> bool:
    return bool(pc.any(pc.match_substring_regex(pc.unique(texts), r'[",\r\n]')).as_py())


class _Parquet:
    def __init__(self, out: BinaryIO, schema: pa.Schema) -> None:
        self._writer = pa.parquet.ParquetWriter(out, schema, compression="zstd")

    def write(self, table: pa.Table) -> None:
        self._writer.write_table(table)

    def close(self) -> None:
        self._writer.close()


class _JsonLines:
    def __init__(self, out: BinaryIO) -> None:
        self._out = out

    def write(self, table: pa.Table) -> None:
        for batch in table.to_batches(max_chunksize=10_000):
            self._out.write(b"".join(_lines(batch)))

    def close(self) -> None:
        self._out.flush()


def _lines(batch: pa.RecordBatch) -> Iterator[bytes]:
    for record in batch.to_pylist():
        yield orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)
