"""Python, Arrow and DuckDB must agree on how an id is written."""

from __future__ import annotations

import uuid

import duckdb
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from batcher.core.id_forms import forms_of, looks_like_id
from batcher.state.proof import _FORM

UUIDS = st.uuids().flatmap(lambda known: st.sampled_from([str(known), known.hex, str(known).upper()]))
TEXTS = st.one_of(
    UUIDS, st.integers(0).map(str), st.text(), UUIDS.map(lambda text: text[:-1]), UUIDS.map("{}\n".format)
)


@given(TEXTS)
@example("")
@example("12\n")
@example("٣")
@example(f"{uuid.UUID(int=0)}{uuid.UUID(int=0)}")
def test_all_read_an_id_alike(text):
    form = forms_of(pa.array([text]))
    assert (form == 4) is not looks_like_id(text)
    query = f'SELECT {_FORM} FROM (SELECT ?::VARCHAR AS "user")'  # noqa: S608 — our own
    (in_sql,) = duckdb.execute(query, (text,)).fetchone()
    assert in_sql == form


@pytest.mark.parametrize(
    ("users", "forms"),
    [
        (pa.array([], pa.string()), 0),
        (pa.array([1, 2]), 2),
        (pa.array(["1", "x"]), 6),
        (pa.array([str(uuid.UUID(int=1)), "7", "eve"]), 7),
    ],
)
def test_a_column_has_the_forms_of_all_its_ids(users, forms):
    assert forms_of(users) == forms
