"""That the simulation with raw bytes says what it should; its seeds are played by `test_simulations.py`."""

from __future__ import annotations

import logging
from unittest.mock import patch

import pytest
import wire
from hypothesis import example, given
from hypothesis import strategies as st

STATUS = slice(8, 14)
"""Where a reply says what became of the request: other bytes there would be another word of the peer's."""
edits = st.lists(
    st.tuples(st.integers(0, 400), st.integers(0, 40), st.binary(max_size=20)).filter(
        lambda edit: edit[0] >= STATUS.stop or (edit[0] + edit[1] <= STATUS.start and edit[0] < STATUS.start)
    ),
    max_size=4,
)
"""At which byte how many are replaced by which."""


@pytest.fixture(autouse=True)
def _quiet(monkeypatch):
    """Suppress the log, which would fill the report."""
    monkeypatch.setattr(logging.getLogger("batcher"), "propagate", False)
    monkeypatch.setattr(logging.getLogger("asyncio"), "disabled", True)


def test_each_oddity_reaches_both_clients():
    """A kind that nobody meets would be no test: each is met in runs of its own, and runs end all the same."""
    for is_timed in (True, False):
        for number, name in enumerate(wire.ODDITIES):
            life = wire.run_seed(
                20_000 + number,
                change=lambda plan, name=name, is_timed=is_timed: wire.only(plan, name, is_timed=is_timed),
            )
            assert {way for _, _, way in life.peer.log} >= {name}


@pytest.mark.timeout(900)
@given(
    edits=edits,
    pauses=st.lists(st.sampled_from([0.0, 0.01, 1.0, wire.TIMEOUT + 1]), max_size=3),
    ends=st.booleans(),
    is_timed=st.booleans(),
    seed=st.integers(0, 1 << 20),
)
@example(edits=[], pauses=[wire.TIMEOUT + 1], ends=False, is_timed=True, seed=0)
def test_any_bytes_at_any_time(edits, pauses, ends, is_timed, seed):
    """Replies with bytes replaced anywhere but in the status, in pieces with pauses between them, on either client."""

    def said(_, data):
        for place, count, new in sorted(edits, reverse=True):
            data = data[:place] + new + data[place + count :]
        size = len(data) // (len(pauses) + 1) + 1
        pieces = [data[at : at + size] for at in range(0, len(data), size)]
        return [*zip([0.0, *pauses], pieces, strict=False)] + ([wire.END] if ends else [])

    with patch.dict(wire.ODDITIES, {"given": said}):
        wire.run_seed(seed, change=lambda plan: wire.only(plan, "given", is_timed=is_timed))
