"""What is read at the target is compared with the ledger; what cannot be read proves nothing, and nobody is missing."""

from __future__ import annotations

from dataclasses import replace
from math import comb

import pytest
from harness import Play, Target, runtime, settings_for
from hypothesis import given
from hypothesis import settings as how
from hypothesis import strategies as st

from batcher.core.errors import ConfigurationError, NotBegunError
from batcher.core.sampling import most_faulty
from batcher.core.verdict import Cause
from batcher.delivery.shutdown import Shutdown
from batcher.engine.jobs.asking import Access
from batcher.engine.jobs.reading_back import Extent, read_back
from batcher.engine.run.session import make_target
from batcher.ledger.reader import LedgerReader
from batcher.simulator.behaviour import Behaviour, Fault, ScimTraits
from batcher.simulator.scim_directory import id_of
from batcher.simulator.virtual_time import run_virtual
from batcher.state.proof import Discrepancy

SCIM = {
    "groups have their members": ({}, ScimTraits(returns_groups=True)),
    "groups may be members": ({}, ScimTraits(nested=3)),
    "empty groups have no list": ({}, ScimTraits(omits_empty_lists=True)),
    "members twice": ({}, ScimTraits(lists_twice=True)),
    "users are found by their groups": ({"target_profile": "aws"}, ScimTraits(hides_members=True, page=2)),
    "by cursors": ({"target_profile": "aws"}, ScimTraits(hides_members=True, page=2, pages_by="cursor")),
    "nobody counts": (
        {"target_profile": "entra"},
        ScimTraits(hides_members=True, page=2, pages_by="cursor", omits_total=True),
    ),
}
FEW = how(max_examples=25)
"""Each opens a database."""
_KEYS = st.integers(1, 5)
_ROWS = st.lists(st.tuples(st.sampled_from(["add", "remove"]), _KEYS, _KEYS), min_size=1, max_size=30)
_TAMPERING = st.lists(st.tuples(st.booleans(), _KEYS, _KEYS), max_size=10)


def scim(folder, traits=None, *, faults=(), bad_groups=(), bad_users=(), seed=0, **settings):
    behaviour = Behaviour(
        scim=traits or ScimTraits(), faults=faults, seed=seed, bad_groups=frozenset(bad_groups),
        bad_users=frozenset(bad_users),
    )  # fmt: skip
    return Play(folder, Target(behaviour), settings_for("scim", **settings))


def named(rows):
    return [(op, f"u{user}", f"g{group}") for op, user, group in rows]


def proof_of(play, extent=None, shutdown=None):
    async def main():
        with LedgerReader(play.ledger) as reader:
            access = Access(play.settings, play.credentials, runtime(play.target), shutdown or Shutdown())
            return await read_back(reader, make_target(play.settings), access, extent or Extent())

    return run_virtual(main, play.seconds)


def listed(proof, kind):
    return {(one.user, one.group) for one in proof.differences if one.finding is kind}


def tamper(play, changes, name=lambda key: key):
    for is_in, user, group in changes:
        members = play.target.world.membership.groups[name(f"g{group}")]
        (members.add if is_in else members.discard)(name(f"u{user}"))


def model(play, rows):
    """What a ledger of these rows, all applied, claims, and what is not so at the target."""
    wishes = {(user, group): op for op, user, group in rows}
    has = play.target.members()
    missing = {pair for pair, op in wishes.items() if op == "add" and pair not in has}
    return missing, {pair for pair, op in wishes.items() if op == "remove" and pair in has}


@pytest.mark.parametrize("way", SCIM)
@given(_ROWS, _TAMPERING)
@FEW
def test_whatever_others_changed_is_found(tmp_path_factory, way, rows, tampering):
    settings, traits = SCIM[way]
    play = scim(tmp_path_factory.mktemp("read"), traits, **settings)
    changes = named(rows)
    assert play.apply(changes).exit_code == 0
    tamper(play, tampering)
    missing, unexpected = model(play, changes)
    proof = proof_of(play)
    touched = {group for _, _, group in changes}
    is_silent = settings or way == "empty groups have no list"
    may_be_empty = is_silent and not any(where in touched for _, where in play.target.members())
    if may_be_empty:  # no group shows a list: perhaps none ever does
        assert (proof.read, proof.missing, proof.unexpected) == (0, 0, 0)
        return
    assert listed(proof, Discrepancy.MISSING) == missing
    assert listed(proof, Discrepancy.UNEXPECTED) == unexpected
    assert (proof.missing, proof.unexpected, proof.ambiguous) == (len(missing), len(unexpected), 0)
    assert proof.pairs == len({change[1:] for change in changes})
    assert proof.read == proof.groups == len({group for _, _, group in changes})


@given(_ROWS, _TAMPERING)
@FEW
def test_minapp_is_read_if_its_documents_are_believed(tmp_path_factory, rows, tampering):
    play = Play(tmp_path_factory.mktemp("read"), Target(Behaviour()), settings_for("minapp", target_readable=True))
    assert play.apply(rows).exit_code == 0
    tamper(play, tampering, lambda key: int(key[1:]))
    missing, unexpected = model(play, rows)
    proof = proof_of(play)
    assert listed(proof, Discrepancy.MISSING) == missing
    assert listed(proof, Discrepancy.UNEXPECTED) == unexpected


def test_what_cannot_be_read_says_so(tmp_path):
    for kind, settings, why in (
        ("minapp", {}, "target.readable"),
        ("scrutinizer", {}, "cannot be read at scrutinizer"),
        ("scrutinizer", {"target_readable": True}, "cannot be read at scrutinizer"),
    ):
        (tmp_path / kind).mkdir(exist_ok=True)
        plain = Play(tmp_path / kind, Target(Behaviour()), settings_for(kind))
        plain.ledger.unlink(missing_ok=True)
        assert plain.apply([("add", 1, 1)]).exit_code == 0
        plain.settings = settings_for(kind, **settings)
        with pytest.raises(ConfigurationError, match=why):
            proof_of(plain)


@pytest.mark.parametrize(
    ("settings", "traits", "bad_groups", "why"),
    [
        ({"target_profile": "aws"}, ScimTraits(hides_members=True, page=2, cuts_pages=True), (), "incomplete"),
        ({"target_profile": "aws"}, ScimTraits(hides_members=True, page=2, repeats_first_page=True), (), "incomplete"),
        ({}, ScimTraits(hides_members=True), (), "no list"),
        ({}, ScimTraits(), ("g1",), "no such group"),
    ],
)
def test_an_unread_group_loses_nobody(tmp_path, settings, traits, bad_groups, why):
    play = scim(tmp_path, **settings)
    changes = [("add", f"u{user}", "g1") for user in range(9)] + [("remove", "u1", "g1")]
    assert play.apply(changes).exit_code == 0
    play.target.world.behave(Behaviour(scim=traits, bad_groups=frozenset(bad_groups)))
    proof = proof_of(play)
    assert (proof.read, proof.missing, proof.unexpected, proof.ambiguous) == (0, 0, 0, 9)
    (one,) = proof.unread
    assert why in one.reason
    assert {found.is_there for found in proof.differences} == {None}
    assert not proof.is_proven


def test_what_is_dropped_in_silence_is_missing(tmp_path):
    """The target answers 204 for everybody, and adds whom it knows; each is listed with its line."""
    play = scim(tmp_path, ScimTraits(drops_unknown=True), bad_users={"u3", "u7"})
    assert play.apply([("add", f"u{user}", "g") for user in range(10)]).exit_code == 0
    proof = proof_of(play)
    assert [(one.user, one.line) for one in proof.differences] == [("u3", 4), ("u7", 8)]
    assert (proof.missing, proof.pairs, proof.requests) == (2, 10, 1)


def test_an_outcome_that_is_not_known_is_ambiguous_and_what_is_there_is_said(tmp_path):
    play = scim(tmp_path, ScimTraits(lists_user_names=True, returns_groups=True))
    play.apply([("add", id_of("Users", "somebody"), "g")])
    assert [status for _, status in play.statuses()] == ["unknown"]
    proof = proof_of(play)
    assert [(one.finding, one.is_there) for one in proof.differences] == [(Discrepancy.AMBIGUOUS, None)]
    assert "by something else than the ids" in proof.unread[0].reason
    play.target.world.behave(Behaviour())
    assert [one.is_there for one in proof_of(play).differences] == [True]


def test_trouble_while_reading_is_borne(tmp_path):
    faults = tuple(Fault(kind, 0.1) for kind in ("503", "429", "drop-before", "drop-after", "truncated", "html"))
    for seed in range(6):
        (tmp_path / str(seed)).mkdir()
        traits = ScimTraits(hides_members=seed % 2 > 0, page=3)
        play = scim(tmp_path / str(seed), traits, seed=seed, target_profile="aws" if seed % 2 else "")
        changes = [("add", f"u{user}", f"g{user % 4}") for user in range(40)]
        assert play.apply(changes).exit_code == 0
        play.target.world.membership.groups["g1"].discard("u5")
        play.target.world.behave(Behaviour(scim=traits, faults=faults, seed=seed))
        proof = proof_of(play)
        assert listed(proof, Discrepancy.MISSING) == {("u5", "g1")}
        assert (proof.read, proof.ambiguous) == (4, 0)


def test_it_takes_the_fewest_requests(tmp_path):
    """A request for each group, or for each page of one, and two: for what it announces, and whether its filter works."""
    for profile, expected in (("", 30), ("aws", 30 * 10 + 2)):
        (tmp_path / f"p{profile}").mkdir()
        traits = ScimTraits(hides_members=bool(profile), page=100)
        play = scim(tmp_path / f"p{profile}", traits, target_profile=profile)
        assert (
            play.apply([("add", f"u{user}", f"g{group}") for group in range(30) for user in range(10)]).exit_code == 0
        )
        for group in range(30):
            play.target.world.membership.groups[f"g{group}"].update(f"x{user}" for user in range(990))
        proof = proof_of(play)
        assert proof.is_proven
        assert proof.requests == expected


def test_reading_keeps_to_the_rate(tmp_path):
    play = scim(tmp_path, rate_requests="2/s")
    assert play.apply([("add", "u", f"g{group}") for group in range(20)]).exit_code == 0
    before = len(play.target.sends)
    assert proof_of(play).is_proven
    times = [at for at, _, _ in play.target.sends[before:]]
    assert all(later - sooner >= 1.0 for sooner, later in zip(times, times[2:], strict=False))


def test_a_sample_has_a_bound(tmp_path):
    play = scim(tmp_path)
    assert play.apply([("add", "u", f"g{group}") for group in range(100)]).exit_code == 0
    proof = proof_of(play, Extent(share=0.101))
    assert (proof.groups, proof.read, proof.requests, proof.pairs) == (100, 11, 11, 11)
    assert proof.most_faulty == most_faulty(100, 11, 0)
    play.target.world.membership.groups.clear()
    assert proof_of(play, Extent(share=0.01)).missing == 1


def test_all_differences_can_be_written(tmp_path):
    play = scim(tmp_path)
    changes = [("add", f"u{user}", "g") for user in range(1500)]
    assert play.apply(changes).exit_code == 0
    play.target.world.membership.groups["g"].clear()
    proof = proof_of(play, Extent(output=tmp_path / "all.csv"))
    assert len(proof.differences) == 1000
    lines = (tmp_path / "all.csv").read_text().splitlines()
    assert lines[0] == "finding,user,group,source,line,is_there"
    assert lines[1].startswith("missing,u0,g,")
    assert lines[1].endswith("changes.jsonl,1,false")
    assert len(lines) == 1501


def test_a_refused_token_and_a_stop_end_it(tmp_path):
    play = scim(tmp_path)
    assert play.apply([("add", "u", f"g{group}") for group in range(9)]).exit_code == 0
    ended = Shutdown()
    ended.stop(Cause.TERMINATED, "SIGTERM")
    with pytest.raises(NotBegunError):
        proof_of(play, shutdown=ended)
    play.target.world.behave(replace(play.target.behaviour, token="another"))
    with pytest.raises(NotBegunError) as refused:
        proof_of(play)
    assert refused.value.exit_code == 4


@pytest.mark.parametrize(("population", "sample", "found"), [(10, 3, 0), (10, 3, 3), (40, 7, 1), (5, 5, 2), (9, 1, 0)])
def test_the_bound_is_the_largest_that_is_not_too_unlikely(population, sample, found):
    def at_most(faulty):
        ways = sum(comb(faulty, n) * comb(population - faulty, sample - n) for n in range(found + 1))
        return ways / comb(population, sample)

    bound = most_faulty(population, sample, found)
    assert at_most(bound) > 0.05
    assert bound == population - sample + found or at_most(bound + 1) <= 0.05


@pytest.mark.parametrize("kind", ["minapp", "scim"])
def test_a_group_that_changes_between_its_pages_is_read_again(tmp_path, kind):
    """Somebody leaves after the first page: whoever moves to it is not missing, and who has left is."""
    is_minapp = kind == "minapp"
    settings = {"target_readable": True} if is_minapp else {"target_profile": "aws"}
    page = 1000 if is_minapp else 10
    play = Play(
        tmp_path, Target(Behaviour(scim=ScimTraits(hides_members=True, page=10))), settings_for(kind, **settings)
    )
    name = int if is_minapp else "{:04}".format
    users = [name(number) for number in range(1, 2 * page + 6)]
    group = 7 if is_minapp else "g"
    assert play.apply([("add", user, group) for user in users]).exit_code == 0
    pages = []

    def leave(_, request):
        if request.method == "GET" and ("user_profile" in request.url or "%22g%22" in request.url):
            pages.append(request)
            if len(pages) == 2:
                play.target.world.membership.groups[group].discard(users[4])

    play.target.answer = leave
    proof = proof_of(play)
    assert listed(proof, Discrepancy.MISSING) == {(users[4], group)}
    assert (proof.read, proof.ambiguous) == (1, 0)
