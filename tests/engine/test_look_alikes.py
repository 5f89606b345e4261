"""Names that people, and many targets, take for one: whatever happens to the spelling, nobody is lost."""

from __future__ import annotations

import random
import unicodedata

import pytest
from harness import Play, Target, settings_for
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nights import Nights, plain

from batcher.core.errors import GuardrailError
from batcher.core.model import Status
from batcher.simulator.behaviour import Behaviour
from batcher.state.store import Known

PEOPLE = ["user03@corp.example", "José", "Straße", "ÅNGSTRÖM", "bob", "张三", "Στέφανος"]
SPELLINGS = [
    str.upper,
    str.title,
    str.casefold,
    lambda name: unicodedata.normalize("NFD", name),
    lambda name: unicodedata.normalize("NFC", name),
    lambda name: f" {name} ",
    lambda name: f"{name}\u00a0",
]


def folding(tmp_path, **options):
    return Nights(tmp_path, Target(Behaviour(folds_names=True)), kind="scrutinizer", options=options)


def allow(**more):
    """The feeds are small: shares of them say nothing."""
    return {"guard_max_rejected_share": "none", "guard_max_look_alikes": "none", "guard_max_shrink": "none"} | more


@pytest.mark.parametrize("names", ["unsure", "folded"])
@pytest.mark.parametrize("spell", SPELLINGS)
def test_another_spelling_locks_nobody_out(tmp_path, names, spell):
    order = ["adds-first", "removals-first"][SPELLINGS.index(spell) % 2]
    nights = folding(tmp_path, target_names=names, sync_order=order, **allow())
    everybody = [(person, "Staff") for person in PEOPLE]
    assert nights.sync(everybody).exit_code == 0
    before = nights.target.members()
    sent = len(nights.target.sends)
    report = nights.sync([(spell(person), "Staff") for person in PEOPLE])
    assert nights.target.members() == before
    assert report.exit_code == (0 if names == "folded" or all(spell(p) == p for p in PEOPLE) else 3)
    assert len(nights.target.sends) == sent
    assert nights.sync([(person, spell("Staff")) for person in PEOPLE]).exit_code in {0, 3}
    assert nights.target.members() == before
    assert nights.sync(everybody).exit_code == 0
    assert nights.target.members() == before
    leaver = nights.sync(everybody[1:], guard_max_group_share="none", guard_max_removal_share="none")
    assert leaver.exit_code == 0
    assert nights.target.members() == before - {(plain(PEOPLE[0]), "staff")}


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2**32), st.sampled_from(["unsure", "folded"]), st.sampled_from(["adds-first", "removals-first"]))
def test_weeks_of_spellings(tmp_path_factory, seed, names, order):
    """People come, move and leave, each night spelled in some way: whoever the feed names is where he was or is to be."""
    dice = random.Random(seed)
    options = allow(
        guard_max_group_share="none",
        guard_max_removal_share="none",
        guard_max_addition_share="none",
        guard_empty_feed="allow",
    )
    nights = folding(tmp_path_factory.mktemp("nights"), target_names=names, sync_order=order, **options)
    wanted = {(dice.choice(PEOPLE), dice.choice(["Staff", "Büro"])) for _ in range(8)}
    for _ in range(5):
        before = nights.target.members()
        nights.sync([(dice.choice(SPELLINGS)(user), dice.choice(SPELLINGS)(group)) for user, group in sorted(wanted)])
        now, meant = nights.target.members(), {(plain(user), plain(group)) for user, group in wanted}
        assert before & meant <= now
        assert now <= before | meant
        if names == "folded":
            assert now == meant
        wanted ^= {(dice.choice(PEOPLE), dice.choice(["Staff", "Büro"])) for _ in range(3)}


def test_a_target_that_tells_them_apart(tmp_path):
    nights = Nights(tmp_path, kind="scrutinizer", options=allow(target_names="exact", guard_max_group_share="none"))
    assert nights.sync([("bob", "staff"), ("Bob", "staff"), ("amy", "staff")]).exit_code == 0
    assert nights.sync([("Bob", "staff"), ("amy", "staff")], guard_max_removal_share="none").exit_code == 0
    assert nights.target.members() == {("Bob", "staff"), ("amy", "staff")}


def test_an_export_that_changed_its_ways_is_refused(tmp_path):
    nights = folding(tmp_path)
    people = [(f"user{number}", "staff") for number in range(30)]
    nights.sync(people)
    with pytest.raises(GuardrailError, match="look-alikes: 60 pairs look like others of 30"):
        nights.sync([(user.upper(), group) for user, group in people])
    assert len(nights.target.members()) == 30


def test_what_is_held_is_listed(tmp_path, caplog):
    nights = folding(tmp_path, **allow())
    nights.sync([("bob", "staff")])
    nights.sync([("Bob", "staff")])
    listed = nights.ledger.with_name(f"{nights.ledger.name}.rejected.csv").read_text()
    assert "'Bob' in 'staff' looks like 'bob' in 'staff'" in listed
    assert "target.names" in caplog.text
    assert nights.known(Known.IN) == {("bob", "staff")}


def test_a_line_that_cannot_be_read_keeps_whoever_it_looks_like(tmp_path):
    nights = folding(tmp_path, **allow())
    nights.sync([("bob", "staff"), ("amy", "staff")])
    nights.sync("user,group\nBOB,\namy,staff\n")
    assert ("bob", "staff") in nights.target.members()


@pytest.mark.parametrize("names", ["unsure", "folded", "exact"])
@pytest.mark.parametrize("window_rows", [1, 100])
def test_changes_that_contradict_each_other(tmp_path, names, window_rows):
    """In one window neither is sent, unless it is known what they are; in two the later one is sent after the other."""
    target = Target(Behaviour(folds_names=names != "exact"))
    changes = [
        ("add", "Bob", "staff"),
        ("add", "amy", "staff"),
        ("remove", "bob", "Staff"),
        ("add", "x", "staff"),
    ]
    chosen = settings_for("scrutinizer", target_names=names)
    report = Play(tmp_path, target, chosen, window_rows=window_rows).apply(changes)
    members = target.members()
    assert report.total == 4
    if names == "exact":
        assert {("Bob", "staff"), ("amy", "staff")} <= members
    elif names == "folded" or window_rows == 1:
        assert members == {("amy", "staff"), ("x", "staff")}
    else:
        assert members == {("amy", "staff"), ("x", "staff")}
        assert report.changes[Status.REJECTED] == 2


def test_protected_people_however_they_are_spelled(tmp_path):
    nights = folding(tmp_path, guard_protected_users=["Admin*"], **allow())
    with pytest.raises(GuardrailError, match="protected"):
        nights.sync([("ADMIN@corp", "staff")])
