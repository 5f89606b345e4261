"""Names that people, and many targets, take for one: whatever happens to the spelling, nobody is lost."""

from __future__ import annotations

import random
import unicodedata
from dataclasses import replace

import pytest
from harness import Play, Target, settings_for
from hypothesis import given, settings
from hypothesis import strategies as st
from nights import Nights, plain

from batcher.core.errors import GuardrailError
from batcher.core.status import Status
from batcher.engine.jobs.job import for_difference
from batcher.engine.sync.undo import compile_undo
from batcher.simulator.behaviour import Behaviour, Fault
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


@settings(max_examples=settings().max_examples // 5)
@given(st.integers(0, 2**32), st.sampled_from(["unsure", "folded"]), st.sampled_from(["adds-first", "removals-first"]))
def test_weeks_of_spellings(tmp_path_factory, seed, names, order):
    """People come, move and leave, each night spelled in some way: whoever the feed names is where he was or is to be."""
    rng = random.Random(seed)
    options = allow(
        guard_max_group_share="none",
        guard_max_removal_share="none",
        guard_max_addition_share="none",
        guard_empty_feed="allow",
    )
    nights = folding(tmp_path_factory.mktemp("nights"), target_names=names, sync_order=order, **options)
    wanted = {(rng.choice(PEOPLE), rng.choice(["Staff", "Büro"])) for _ in range(8)}
    for _ in range(5):
        before = nights.target.members()
        nights.sync([(rng.choice(SPELLINGS)(user), rng.choice(SPELLINGS)(group)) for user, group in sorted(wanted)])
        now, meant = nights.target.members(), {(plain(user), plain(group)) for user, group in wanted}
        assert before & meant <= now
        assert now <= before | meant
        if names == "folded":
            assert now == meant
        wanted ^= {(rng.choice(PEOPLE), rng.choice(["Staff", "Büro"])) for _ in range(3)}


def test_a_target_that_tells_them_apart(tmp_path):
    nights = Nights(tmp_path, kind="scrutinizer", options=allow(target_names="exact", guard_max_group_share="none"))
    assert nights.sync([("bob", "staff"), ("Bob", "staff"), ("amy", "staff")]).exit_code == 0
    assert nights.sync([("Bob", "staff"), ("amy", "staff")], guard_max_removal_share="none").exit_code == 0
    assert nights.target.members() == {("Bob", "staff"), ("amy", "staff")}


def test_an_export_that_changed_its_ways_is_refused(tmp_path):
    nights = folding(tmp_path)
    people = [(f"user{number}", "staff") for number in range(30)]
    nights.sync(people)
    with pytest.raises(GuardrailError, match="look-alikes: 60 pairs look like other pairs, measured against 30"):
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


FREE = allow(
    guard_max_group_share="none", guard_max_removal_share="none", guard_max_addition_share="none",
    guard_empty_feed="allow",
)  # fmt: skip


def nights_of(tmp_path, names, snapshot=None, **options):
    target = Target(Behaviour(folds_names=True))
    for user, group in snapshot or ():
        target.world.membership.groups[plain(group)].add(plain(user))
    return Nights(
        tmp_path, target, kind="scrutinizer", options=FREE | {"target_names": names} | options, snapshot=snapshot
    )


def test_from_nobody_knows_to_one_name(tmp_path):
    """What became of one spelling is what became of all; nobody is locked out for ever."""
    nights = nights_of(tmp_path, "unsure")
    nights.sync([("amy", "Staff"), ("eve", "Staff")])
    nights.sync([("amy", "staff"), ("eve", "staff"), ("bob", "staff")])
    nights.options["target_names"] = "folded"
    nights.sync([("amy", "staff"), ("eve", "staff"), ("bob", "staff")])
    nights.sync([("eve", "staff")])
    assert nights.target.members() == {("eve", "staff")}
    nights.sync([("amy", "staff"), ("eve", "staff"), ("bob", "staff")])
    assert nights.target.members() == {("amy", "staff"), ("eve", "staff"), ("bob", "staff")}
    assert not nights.lies()


def test_one_name_in_several_spellings_of_a_snapshot(tmp_path):
    nights = nights_of(tmp_path, "folded", [("Amy", "a"), ("amy", "b"), ("eve", "a"), ("eve", "b")])
    everybody = [("amy", "a"), ("amy", "b"), ("eve", "a"), ("eve", "b")]
    nights.sync(everybody)
    nights.sync(everybody[2:])
    assert nights.target.members() == {("eve", "a"), ("eve", "b")}
    nights.sync(everybody)
    assert nights.target.members() == set(everybody)


def test_who_comes_back_under_another_spelling(tmp_path):
    """One spelling was removed while its twin was out of scope: the twin may not be in any more."""
    nights = nights_of(tmp_path, "unsure", sync_master_groups=["staff*"])
    nights.sync([("bob", "staff"), ("bob", "Staff"), ("eve", "staff")])
    nights.sync([("eve", "staff")])
    nights.sync([("bob", "Staff"), ("eve", "staff")])
    assert ("bob", "staff") in nights.target.members()


@pytest.mark.parametrize(
    ("snapshot", "feed", "options", "left"),
    [
        ([("bob", "Staff"), ("carl", "staff"), ("amy", "Staff")], [("amy", "staff")], {}, {("amy", "staff")}),
        (
            [("amy", "Staff-1"), ("bob", "Staff-1")],
            [("amy", "staff-1")],
            {"sync_master_groups": ["staff-*"]},
            {("amy", "staff-1")},
        ),
    ],
)
def test_the_scope_folds_where_names_do(tmp_path, snapshot, feed, options, left):
    nights = nights_of(tmp_path, "folded", snapshot, **options)
    nights.sync(feed)
    assert nights.target.members() == left


def test_an_uncertain_twin_does_not_keep_anybody_out(tmp_path):
    """An addition locks nobody out; the removal is what waits."""
    nights = nights_of(tmp_path, "unsure")
    nights.sync([("bob", "staff"), ("eve", "staff")])
    nights.target.world.behave(replace(nights.target.behaviour, faults=(Fault.parse("drop-after=1"),)))
    nights.sync([("eve", "staff")], retry_max_attempts=2, retry_max_wait="10s")
    nights.target.world.behave(nights.target.behaviour)
    nights.sync([("Bob", "staff"), ("eve", "staff")])
    assert ("bob", "staff") in nights.target.members()


def test_who_is_in_is_not_added_again_nor_removed_twice(tmp_path):
    people = [(f"u{number}", "Staff" if number < 30 else "staff") for number in range(100)]
    nights = nights_of(tmp_path, "exact", people)
    nights.sync(people)
    nights.options["target_names"] = "folded"
    sent = len(nights.target.sends)
    assert nights.sync(people).total == 0
    assert nights.sync([(user, "staff") for user, _ in people]).total == 0
    assert len(nights.target.sends) == sent
    both = [("x", "g"), ("X", "g"), ("y", "g")]
    nights.options["target_names"] = "exact"
    nights.sync(people + both)
    nights.options["target_names"] = "folded"
    assert nights.sync(people + both[2:]).total == 1
    assert ("x", "g") not in nights.target.members()
    assert nights.sync(people + both[2:]).total == 0


def test_an_undo_knows_twins(tmp_path):
    """It does not remove a spelling whose twin is in, nor by one spelling what was added by the other."""
    nights = nights_of(tmp_path, "unsure")
    nights.sync([("bob", "a"), ("eve", "a")])
    nights.sync([("bob", "a"), ("Bob", "a"), ("eve", "a")])
    compiled, _ = nights.undo(nights.ledger)
    assert compiled.inverse.left_out == {"what looks like it was changed otherwise, or is in": 1}
    assert ("bob", "a") in nights.target.members()


@pytest.mark.parametrize("names", ["unsure", "folded", "exact"])
def test_an_undo_without_a_state(tmp_path, names):
    target = Target(Behaviour(folds_names=names != "exact"))
    target.world.membership.groups["a"] |= {"bob"} if names != "exact" else {"Bob"}
    play = Play(tmp_path, target, settings_for("scrutinizer", target_names=names), window_rows=1)
    before = target.members()
    play.apply([("remove", "Bob", "a"), ("add", "bob", "a")])
    compiled = compile_undo(
        play.ledger, [], for_difference(play.settings), tmp_path / "u", state=None, state_folder=None, utc=float
    )
    (tmp_path / "again").mkdir()
    Play(tmp_path / "again", target, play.settings, seconds=999).apply_files(*compiled.changes)
    assert target.members() == before


@pytest.mark.parametrize(("later", "is_sent"), [("add", True), ("remove", False)])
def test_a_retry_is_overtaken_by_what_contradicts_it(tmp_path, later, is_sent):
    target = Target(Behaviour(bad_users=frozenset({"Bob"})))
    play = Play(tmp_path, target, settings_for("scrutinizer"), window_rows=1)
    play.apply([("add", "Bob", "staff"), (later, "bob", "staff"), ("add", "x", "staff")])
    target.world.behave(Behaviour())
    report = play.retry()
    assert (("Bob", "staff") in target.members()) is is_sent
    assert report.changes[Status.SUPERSEDED] == (0 if is_sent else 1)
