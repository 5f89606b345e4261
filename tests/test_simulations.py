"""A few hundred seeds of each simulation; `python tests/simulations.py 5000` plays more."""

from __future__ import annotations

import logging

import pytest
from simulations import KINDS, again

FOUND = {"wire": (543, 897, 1306, 1483, 1485, 2114), "hosts": (9, 0, 380)}
"""Seeds that have found something: the beginning of a second reply, behind the first, was taken for the next one's; a
load run whose end failed waited for ever; a broken stream whose resume was interrupted counted as done; a restored
state did not know which groups newer feeds had named."""
SOME = {"seeds": range(1000, 1010), "wire": range(9000, 9010), "hosts": range(9000, 9006), "months": range(9000, 9002)}
PARTS = {"seeds": (10, 30), "wire": (8, 40), "hosts": (8, 13), "months": (4, 3)}
"""How many parts there are, which may run at the same time, and how many seeds are in each."""


@pytest.fixture(autouse=True)
def _quiet(monkeypatch):
    """Suppress the log, which would fill the report."""
    monkeypatch.setattr(logging.getLogger("batcher"), "propagate", False)
    monkeypatch.setattr(logging.getLogger("asyncio"), "disabled", True)


def play(kind, seeds):
    for seed in seeds:
        try:
            KINDS[kind](seed)
        except Exception as error:
            error.add_note(again(kind, seed))
            raise


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("kind", "part"), [(kind, part) for kind, (parts, _) in PARTS.items() for part in range(parts)]
)
def test_seeds(kind, part):
    """The message names the seed."""
    size = PARTS[kind][1]
    play(kind, range(part * size, part * size + size))


@pytest.mark.parametrize(("kind", "seed"), [(kind, seed) for kind, seeds in FOUND.items() for seed in seeds])
def test_what_was_found_stays_found(kind, seed):
    play(kind, [seed])


@pytest.mark.parametrize(("kind", "seed"), [(kind, seed) for kind, seeds in SOME.items() for seed in seeds])
def test_some_more(kind, seed):
    """So few that they are part of every test run."""
    play(kind, [seed])
