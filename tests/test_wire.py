"""Some hundred runs against a peer that speaks in bytes of every kind; `python tests/wire.py 5000` plays more."""

from __future__ import annotations

import logging

import pytest
import wire

PARTS = 8
FOUND = (438, 967, 1483, 2089, 2114)
"""Seeds that have found something: the beginning of a second reply, behind the first, was taken for the next one's."""


@pytest.fixture(autouse=True)
def _quiet(monkeypatch):
    """Suppress the log, which would fill the report."""
    monkeypatch.setattr(logging.getLogger("batcher"), "propagate", False)
    monkeypatch.setattr(logging.getLogger("asyncio"), "disabled", True)


@pytest.mark.thorough
@pytest.mark.parametrize("part", range(PARTS))
def test_seeds(part):
    """Forty seeds each; the message names the seed."""
    for seed in range(part * 40, part * 40 + 40):
        try:
            wire.run_seed(seed)
        except Exception as error:
            error.add_note(f"python tests/wire.py 1 --first {seed} -v")
            raise


@pytest.mark.parametrize("seed", [*FOUND, *range(10_000, 10_010)])
def test_some_more(seed):
    """So few that they are part of every test run."""
    wire.run_seed(seed)


def test_each_oddity_reaches_both_clients():
    """A kind that nobody meets would be no test: each is met in runs of its own, and runs end all the same."""
    for is_timed in (True, False):
        for number, name in enumerate(wire.ODDITIES):
            life = wire.run_seed(
                20_000 + number,
                change=lambda plan, name=name, is_timed=is_timed: wire.only(plan, name, is_timed=is_timed),
            )
            assert {way for _, _, way in life.peer.log} >= {name}
