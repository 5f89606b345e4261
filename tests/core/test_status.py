"""What CONTRIBUTING says of statuses: numbers that ledgers hold, sets that everything asks, and words for people."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from batcher.core import status as module
from batcher.core.report import SUMMARY_ORDER
from batcher.core.status import FAILURES, IN_EFFECT, PROBLEMS, UNCLEAR, Status, are, count_of
from batcher.delivery.dialect import _FINAL
from batcher.report.of_ledger import MEANINGS

NUMBERS = {"pending": 0, "applied": 1, "unchanged": 2, "superseded": 3, "rejected": 4, "failed": 5, "unknown": 6}
"""They are in ledgers that people have. A new status gets a new number; none of these ever changes."""


def test_numbers_stay():
    known = {status.label: int(status) for status in Status}
    assert {label: known[label] for label in NUMBERS} == NUMBERS
    assert sorted(known.values()) == list(range(len(known)))  # tables have a place for each


def test_each_is_shown_and_explained():
    assert sorted(SUMMARY_ORDER) == sorted(Status)
    assert set(MEANINGS) == set(Status)
    said = (Path(module.__file__).parents[2] / "README.md").read_text("utf-8")
    assert {status.label for status in Status if f"`{status.label}`" not in said} == set()


@pytest.mark.parametrize("kinds", [IN_EFFECT, FAILURES, UNCLEAR, PROBLEMS, frozenset(), frozenset(Status)])
def test_sets_are_asked_by_columns_and_by_counts(kinds):
    column = np.array(list(Status) * 2, np.int8)
    assert are(column, kinds).tolist() == [Status(code) in kinds for code in column.tolist()]
    assert count_of({status: int(status) + 1 for status in Status}, kinds) == sum(int(kind) + 1 for kind in kinds)


def test_each_settled_one_is_a_success_or_a_problem_or_superseded():
    """Nobody can forget to say what a new one means for the exit code."""
    assert IN_EFFECT | PROBLEMS | {Status.SUPERSEDED, Status.PENDING} == set(Status)
    assert not IN_EFFECT & PROBLEMS
    assert FAILURES < PROBLEMS
    assert {Status.REJECTED, Status.SUPERSEDED}.isdisjoint(_FINAL)  # those are not a target's to give
