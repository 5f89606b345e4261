"""That the simulation with raw bytes says what it should; its seeds are played by `test_simulations.py`."""

from __future__ import annotations

import logging

import pytest
import wire


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
