"""Each guardrail just below its bound, at it, and just above."""

from __future__ import annotations

from dataclasses import replace

import pytest

from batcher.core.guardrails import (
    Bounds,
    Changes,
    Feed,
    GroupLoss,
    Guardrail,
    judge_changes,
    judge_feed,
    override,
)
from batcher.core.patterns import Patterns
from batcher.sections import GuardSettings

BOUNDS = GuardSettings().bounds()
QUIET = Feed(
    lines=1_000,
    rejected=0,
    pairs=1_000,
    last_pairs=1_000,
    additions=0,
    additions_to=1_000,
    removals=0,
    removals_from=1_000,
)


def refusing(feed, bounds=BOUNDS):
    return {ruling.guardrail for ruling in judge_feed(feed, bounds) if ruling.refuses}


def test_a_quiet_feed_passes_and_every_guardrail_tells_its_figures():
    rulings = judge_feed(QUIET, BOUNDS)
    assert not any(ruling.refuses for ruling in rulings)
    assert [ruling.guardrail for ruling in rulings] == list(Guardrail)[:6]
    assert all(any(letter.isdigit() for letter in ruling.figures) for ruling in rulings)


@pytest.mark.parametrize(
    ("guardrail", "facts", "refuses"),
    [
        (Guardrail.EMPTY_FEED, {"pairs": 0, "lines": 0}, True),
        (Guardrail.EMPTY_FEED, {"pairs": 0, "last_pairs": 0, "lines": 5}, True),
        (Guardrail.EMPTY_FEED, {"pairs": 1, "last_pairs": 1}, False),
        (Guardrail.EMPTY_FEED, {"empty": ("east.csv",)}, True),
        (Guardrail.SHRINK, {"pairs": 801}, False),
        (Guardrail.SHRINK, {"pairs": 800}, False),
        (Guardrail.SHRINK, {"pairs": 799}, True),
        (Guardrail.SHRINK, {"pairs": 1, "last_pairs": 0}, False),
        (Guardrail.REMOVAL_SHARE, {"removals": 99}, False),
        (Guardrail.REMOVAL_SHARE, {"removals": 100}, False),
        (Guardrail.REMOVAL_SHARE, {"removals": 101}, True),
        (Guardrail.REMOVAL_SHARE, {"removals": 19, "removals_from": 19}, False),
        (Guardrail.REMOVAL_SHARE, {"removals": 20, "removals_from": 20}, False),
        (Guardrail.REMOVAL_SHARE, {"removals": 21, "removals_from": 21}, True),
        (Guardrail.GROUP_SHARE, {"groups": [GroupLoss(1, 9, 20)]}, False),
        (Guardrail.GROUP_SHARE, {"groups": [GroupLoss(1, 10, 20)]}, False),
        (Guardrail.GROUP_SHARE, {"groups": [GroupLoss(1, 11, 20)]}, True),
        (Guardrail.GROUP_SHARE, {"groups": [GroupLoss(1, 19, 19)]}, False),
        (Guardrail.GROUP_SHARE, {"groups": [GroupLoss(1, 11, 21)]}, True),
        (Guardrail.ADDITION_SHARE, {"additions": 499}, False),
        (Guardrail.ADDITION_SHARE, {"additions": 500}, False),
        (Guardrail.ADDITION_SHARE, {"additions": 501}, True),
        (Guardrail.ADDITION_SHARE, {"additions": 501, "additions_to": 0}, False),
        (Guardrail.REJECTED_SHARE, {"rejected": 9}, False),
        (Guardrail.REJECTED_SHARE, {"rejected": 10}, False),
        (Guardrail.REJECTED_SHARE, {"rejected": 11}, True),
    ],
)
def test_the_bounds_of_a_feed(guardrail, facts, refuses):
    assert (guardrail in refusing(replace(QUIET, **facts))) is refuses


def test_many_groups_are_told_by_the_worst():
    groups = [GroupLoss(f"g{n}", 20, 20) for n in range(7)]
    (ruling,) = [r for r in judge_feed(replace(QUIET, groups=groups), BOUNDS) if r.refuses]
    assert "g0 (20 of 20)" in ruling.figures
    assert "and 2 more groups" in ruling.figures


@pytest.mark.parametrize(("count", "refuses"), [(9, False), (10, False), (11, True)])
def test_the_bounds_of_changes(count, refuses):
    bounds = Bounds(removals=10, additions=10)
    for changes in (Changes(count, 0), Changes(0, count)):
        assert any(ruling.refuses for ruling in judge_changes(changes, bounds)) is refuses
    assert not judge_changes(Changes(count, count), Bounds())


def test_protected_ones_are_named():
    (ruling,) = judge_changes(Changes(1, 0, {f"user u{n}" for n in range(7)}), Bounds())
    assert ruling.refuses
    assert ruling.figures == "it would change the protected user u0, user u1, user u2, user u3, user u4 and 2 more"


def test_an_override_lets_pass_what_it_names():
    rulings = override(judge_feed(replace(QUIET, pairs=1), BOUNDS), {Guardrail.SHRINK})
    assert [ruling.guardrail for ruling in rulings if ruling.refuses] == [Guardrail.SHRINK]
    assert not any(ruling.stops for ruling in rulings)


def test_no_bound_is_no_ruling():
    off = GuardSettings(
        empty_feed="allow",
        max_shrink="none",
        max_removal_share="none",
        max_group_share="none",
        max_addition_share="none",
        max_rejected_share="none",
    )
    assert not judge_feed(replace(QUIET, pairs=0, removals=1_000), off.bounds())
    assert [r.guardrail for r in judge_feed(QUIET, BOUNDS.for_changes())] == [
        Guardrail.REMOVAL_SHARE,
        Guardrail.GROUP_SHARE,
        Guardrail.ADDITION_SHARE,
    ]


def test_patterns_mean_whole_names_and_ids_as_written():
    assert list(Patterns(["adm*", "5?"]).among(["admin", "Admin", "xadm", 5, 53, 530])) == ["admin", 53]
    assert not list(Patterns(["a.c"]).among(["abc"]))
    assert not Patterns(())
    assert not list(Patterns(()).among(["a"]))
