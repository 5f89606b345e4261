"""A month of nights: 50,000 people come, move and leave, and whatever can go wrong does."""

from __future__ import annotations

import csv
import random
import unicodedata
from dataclasses import replace

import pytest
from harness import Target
from nights import Nights, plain

from batcher.core.errors import GuardrailError
from batcher.core.http import Response
from batcher.core.status import Status
from batcher.core.verdict import Cause
from batcher.simulator.behaviour import Behaviour, Fault

pytestmark = pytest.mark.timeout(600)
DEPARTMENTS, PLACES, EVERYBODY = range(100, 300), range(1_000, 1_020), 1
ODD = 0.05
"""So many names are spelled otherwise."""
SPELLINGS = [str.upper, str.title, lambda name: unicodedata.normalize("NFD", name), lambda name: f" {name}"]


class Company:
    """Who works where. Each is in the group of a department, of a place, and in that of everybody.

    With `names` all are known by names, and the export spells some of them in another way every night.
    """

    def __init__(self, people: int, seed: int, *, names: bool) -> None:
        self.rng = random.Random(seed)
        self.names = names
        self.staff = {}
        self.next = 1
        self.join(people)

    def join(self, count: int) -> list[int]:
        new = list(range(self.next, self.next + count))
        self.next += count
        self.staff |= {user: (self.rng.choice(DEPARTMENTS), self.rng.choice(PLACES)) for user in new}
        return new

    def day(self) -> list[int]:
        """Some leave, some move, some join; gives those who joined."""
        for user in self.rng.sample(list(self.staff), self.some()):
            del self.staff[user]
        for user in self.rng.sample(list(self.staff), self.some()):
            self.staff[user] = (self.rng.choice(DEPARTMENTS), self.staff[user][1])
        return self.join(self.some())

    def some(self) -> int:
        return self.rng.randrange(4 + len(self.staff) // 1_000, 6 + len(self.staff) // 100)

    def pairs(self) -> list[tuple[int | str, int | str]]:
        """As the target knows them."""
        pairs = [(user, group) for user, (dept, place) in self.staff.items() for group in (dept, place, EVERYBODY)]
        return [(self.name(user), self.name(group)) for user, group in pairs]

    def name(self, number: int) -> int | str:
        return f"person {number} é@corp.example" if self.names else number

    def feed(self) -> list[tuple[int | str, int | str]]:
        """As the export spells them tonight."""
        if not self.names:
            return self.pairs()
        tonight = {}
        for pair in self.pairs():
            for name in pair:
                spell = self.rng.choice(SPELLINGS) if self.rng.random() < ODD else str
                tonight.setdefault(name, spell(name))
        return [(tonight[user], tonight[group]) for user, group in self.pairs()]


@pytest.mark.parametrize(
    ("people", "seed", "window_rows", "names"),
    [
        (5_000, 1, 1_000, False),
        (600, 4, 100, True),
        pytest.param(50_000, 2, 125_000, False, marks=pytest.mark.thorough),
        pytest.param(2_000, 3, 50, False, marks=pytest.mark.thorough),
        pytest.param(3_000, 5, 1_000, True, marks=pytest.mark.thorough),
    ],
)
def test_thirty_nights(tmp_path, people, seed, window_rows, names):  # noqa: C901, PLR0912, PLR0915 — a month
    company = Company(people, seed, names=names)
    name = company.name
    strangers = {(name(7), name(9_999)), (name(people * 9), name(9_999))}
    target = Target(Behaviour(folds_names=names))
    for user, group in strangers:
        target.world.membership.groups[group].add(user)
    nights = Nights(
        tmp_path,
        target,
        kind="scrutinizer" if names else "minapp",
        options={"retry_max_wait": "10m", "limits_max_changes": max(10, people // 500)}
        | ({"target_names": "folded"} if names else {}),
        window_rows=window_rows,
    )
    snapshot = strangers | {(name(user), name(EVERYBODY)) for user in range(1, 50)}  # what was there before
    for user, group in snapshot:
        target.world.membership.groups[group].add(user)
    nights.snapshot = snapshot

    def is_as_the_feed_says(but=()):
        assert target.members() == ({*company.pairs()} | strangers) - {*but}

    def good(but=(), **options):
        report = nights.sync(company.feed(), **options)
        assert report.exit_code == (3 if but else 0), report
        assert sum(report.changes.values()) == report.total
        is_as_the_feed_says(but)
        assert not nights.lies()
        return report

    def refused(feed, *guardrails):
        sent, before = len(target.sends), target.members()
        with pytest.raises(GuardrailError) as caught:
            nights.sync(feed)
        assert len(target.sends) == sent
        assert target.members() == before
        assert not nights.lies()
        assert not nights.ledger.exists()
        assert all(f"{guardrail}:" in str(caught.value) for guardrail in guardrails)

    def broken(cause):
        before = target.members()
        report = nights.sync(company.feed())
        assert report.stopped is cause, report
        assert target.members() ^ before <= before ^ {*company.pairs()}  # nothing but what differed was touched
        assert not nights.lies()
        return report

    assert good(override=["addition-share"]).changes[Status.APPLIED] == len(company.pairs()) - 49
    chosen = {}
    for night in range(2, 31):
        joined = company.day() if night != 16 else []
        if night == 5:  # accounts that the target does not know yet
            late = joined[:4]
            late = [name(user) for user in late]
            target.world.behave(replace(target.behaviour, bad_users=frozenset(late)))
            lost = {pair for pair in company.pairs() if pair[0] in late}
            good(but=lost)
            target.world.behave(target.behaviour)
        elif night == 8:  # an outage, half-way
            sends = len(target.sends)
            target.refuse_connections = lambda _, sends=sends: len(target.sends) > sends + 1
            broken(Cause.MAX_WAIT)
            target.refuse_connections = lambda _: False
        elif night == 11:  # the process dies
            come_back = nights.crash_at(2)
            before = target.members()
            nights.sync(company.feed())
            come_back()
            assert target.members() != before  # the next night takes in what its ledger tells
        elif night == 14:  # the token ends
            sends = len(target.sends)
            target.answer = lambda count, _, sends=sends: Response(401, {}, b"") if count > sends + 2 else None
            assert broken(Cause.CREDENTIALS).exit_code == 4
            target.answer = lambda *_: None
        elif night == 16:  # nothing has happened
            sends = len(target.sends)
            assert good().total == 0
            assert len(target.sends) == sends
        elif night == 19:
            refused([], "empty-feed", "shrink")
            refused("", "empty-feed")
        elif night == 22:
            text = "user,group\n" + "".join(f"{user},{group}\n" for user, group in company.pairs())
            half = text.index("\n", len(text) // 2) + 1
            refused(text[:half], "shrink", "removal-share", "group-share")
            refused(text[: half - 3], "open-end", "shrink")
        elif night == 25:  # replies get lost
            target.world.behave(replace(target.behaviour, faults=(Fault.parse("drop-after=0.4"),)))
            assert good().requests.retried
            target.world.behave(target.behaviour)
        else:
            before = target.members()
            good()
            chosen[nights.ledger] = before, target.members()
    assert nights.number == 32  # two of the nights had two feeds
    for ledger in random.Random(seed).sample(list(chosen), 2):
        undoes(nights, ledger, *chosen[ledger])


def undoes(nights, ledger, before, after):
    """What the night changed is as it was before it, except what is listed; nothing else is touched."""
    now = nights.target.members()
    compiled, report = nights.undo(ledger)
    assert report.exit_code == 0
    with compiled.left_out.open(encoding="utf-8") as file:
        rows = [(row["user"], row["group"]) for row in csv.DictReader(file)]
    listed = {tuple(plain(key) if nights.kind == "scrutinizer" else int(key) for key in pair) for pair in rows}
    restored = (before ^ after) - {*listed}
    assert restored
    assert nights.target.members() == {pair for pair in now | before if pair in (before if pair in restored else now)}
    assert not nights.lies()
