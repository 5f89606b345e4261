"""Rows of Arrow's as a table of DuckDB's, for the length of a query."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import duckdb
import pyarrow as pa


@contextmanager
def incoming(connection: duckdb.DuckDBPyConnection, rows: pa.Table | pa.RecordBatchReader) -> Iterator[None]:
    """Queries in the body may read these rows as the table `incoming`; a reader gives them only once."""
    connection.register("incoming", rows)
    try:
        yield
    finally:
        connection.unregister("incoming")
