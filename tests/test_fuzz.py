"""The fuzzers' functions with random bytes; `python tests/fuzz.py` guides them by coverage."""

from __future__ import annotations

import fuzz
import pytest
from hypothesis import given
from hypothesis import strategies as st

_LINES = st.lists(
    st.sampled_from(
        [b"add,1,2", b'"add",1,2', b"remove,x,y", b'add,"a\nb",2', b'{"op":"add","user":1,"group":2}', b"", b"\r"]
    )
)


@given(head=st.binary(min_size=2, max_size=2), data=st.one_of(st.binary(max_size=200), _LINES.map(b"\n".join)))
def test_any_bytes_as_an_input(tmp_path_factory, head, data):
    fuzz.FOLDER = tmp_path_factory.getbasetemp()
    fuzz.source(head + data)


@given(st.binary(min_size=3, max_size=80))
def test_any_bytes_as_a_reply(data):
    fuzz.replies(data)


def test_what_the_functions_check_can_fail(monkeypatch):
    """A reader that returns rows out of order is detected."""
    monkeypatch.setattr(fuzz, "check_columns", lambda _: pytest.fail("reached"))
    with pytest.raises(pytest.fail.Exception):
        fuzz.source(b"\0\1add,1,2\n")
