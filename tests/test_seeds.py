"""A few hundred random runs from seeds; `python tests/seeds.py 10000` runs more."""

from __future__ import annotations

import logging

import pytest
from seeds import run_seed

PARTS = 10


@pytest.fixture(autouse=True)
def _quiet():
    """Suppress the log, which would fill the report."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.thorough
@pytest.mark.parametrize("part", range(PARTS))
def test_seeds(part):
    """Thirty seeds each; the message names the seed."""
    for seed in range(part * 30, part * 30 + 30):
        try:
            run_seed(seed)
        except Exception as error:
            error.add_note(f"python tests/seeds.py 1 --first {seed} -v")
            raise


@pytest.mark.parametrize("seed", range(1000, 1010))
def test_some_more(seed):
    """So few that they are part of every test run."""
    run_seed(seed)
