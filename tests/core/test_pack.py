"""Exact covers within every bound."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from clubs import Clubs
from columns import columns_of, pairs_of, product_of
from hypothesis import given
from hypothesis import strategies as st

from batcher.core.batch import Batch, Limits, Shape
from batcher.core.coalesce import coalesce
from batcher.core.model import Action
from batcher.core.pack import pack, pack_in_order
from batcher.core.split import halves, select
from batcher.targets.minapp import MinApp
from batcher.targets.scrutinizer import Scrutinizer

MINAPP, SCRUTINIZER = MinApp("http://127.0.0.1", ""), Scrutinizer("http://127.0.0.1", "")
CLUBS = Clubs("http://127.0.0.1", "")
_IDS = st.one_of(st.integers(0, 6), st.sampled_from([-(2**63), 2**63 - 1, -17, 10**9]))
_NAMES = st.one_of(_IDS, st.sampled_from(["a", "ü", "日本", 'q"uo\\te', "\n\t\x00", "x" * 200]))
_OPS = st.sampled_from(["add", "remove"])
_LIMITS = st.builds(
    Limits,
    max_users=st.integers(1, 5),
    max_groups=st.integers(1, 4),
    max_ops=st.integers(1, 4),
    max_changes=st.integers(1, 9),
    max_bytes=st.sampled_from([16 * 1024, 17_000]),
    max_removals=st.one_of(st.none(), st.integers(1, 12)),
)


def _packed(target, changes, limits, packer=pack):
    columns = columns_of(changes)
    winner = coalesce(columns)
    rows = np.flatnonzero(winner == np.arange(len(changes)))
    requests = list(packer(columns, rows, limits, target.wire))
    return columns, rows, requests


def _check(target, changes, limits, packer=pack):
    columns, rows, requests = _packed(target, changes, limits, packer)
    asked = [pair for ops in requests for pair in pairs_of(ops, columns.user, columns.group)]
    wanted = {(user, group): op for op, user, group in changes}
    assert sorted(map(repr, asked)) == sorted(repr((op, *pair)) for pair, op in wanted.items())
    assert sorted(row for ops in requests for op in ops for row in op.rows.tolist()) == rows.tolist()
    for number, ops in enumerate(requests):
        batch = Batch(number, 0, ops, columns.user, columns.group)
        assert 1 <= len(batch) <= limits.max_changes
        removals = sum(len(op) for op in ops if op.action is Action.REMOVE)
        assert removals <= (limits.max_removals or limits.max_changes)
        assert len(target.encode(batch, "t" * 2048).body) <= limits.max_bytes
        if target.wire.shape is Shape.PRODUCT:
            assert len(ops) <= limits.max_ops
            assert all(len(op.users) <= limits.max_users and len(op.groups) <= limits.max_groups for op in ops)
        for op in ops:  # rows and pairs are aligned
            users, groups = op.pairs()
            assert columns.user.codes[op.rows].tolist() == users.tolist()
            assert columns.group.codes[op.rows].tolist() == groups.tolist()


@given(st.lists(st.tuples(_OPS, _IDS, _IDS), max_size=60), _LIMITS)
def test_products_ask_for_exactly_the_wishes(changes, limits):
    """Never a pair more, none less, no bound exceeded, the encoded body included."""
    _check(MINAPP, changes, limits)


@given(st.lists(st.tuples(_OPS, _NAMES, _NAMES), max_size=60), _LIMITS)
def test_lists_ask_for_exactly_the_wishes(changes, limits):
    """The same for entries, with names of any kind."""
    _check(SCRUTINIZER, changes, limits)


@given(st.lists(st.tuples(_OPS, st.text("ab/ü", min_size=1), st.sampled_from("gh/")), max_size=60), _LIMITS)
def test_one_group_per_request_takes_no_more_requests_than_each_group_and_action_need(changes, limits):
    """No bytes bind here: then their number is that of the users of each group and action over the bound, rounded up."""
    _check(CLUBS, changes, limits)
    _, _, requests = _packed(CLUBS, changes, limits)
    assert all(len(ops) == 1 and len(ops[0].groups) == 1 for ops in requests)
    users = Counter((op, group) for (_, group), op in {(user, group): op for op, user, group in changes}.items())
    most = {"add": limits.max_changes, "remove": min(limits.max_changes, limits.max_removals or limits.max_changes)}
    assert len(requests) == sum(-(-count // most[op]) for (op, _), count in users.items())


@pytest.mark.parametrize("users", [9, 10, 11, 20, 21])
def test_a_group_of_wide_names_at_the_bound_of_bytes(users):
    """n−1, n, n+1: as many as fit, counted by their own widths."""
    wire = replace(CLUBS.wire, request=0, op=0, name_key=0)
    target = Clubs("http://127.0.0.1", "")
    target.wire = wire
    changes = [("add", f"{'x' * (97 + number % 2)}{number:02}"[-98:], "g") for number in range(users)]
    columns = columns_of(changes)
    limits = Limits(1000, 1, 1, 1000, 1000 + 3)  # each takes 100 bytes, the group 3
    requests = list(pack(columns, np.arange(users), limits, wire))
    assert [len(ops[0]) for ops in requests] == [10] * (users // 10) + [users % 10] * (users % 10 > 0)


@given(st.integers(1, 4), st.integers(1, 4), st.data())
def test_what_is_selected_of_a_product_is_asked_for_and_nothing_else(users, groups, data):
    batch = product_of("add", range(users), range(10, 10 + groups))
    wanted = data.draw(st.lists(st.booleans(), min_size=len(batch), max_size=len(batch)))
    kept = select(batch.ops, np.array(wanted))
    asked = [
        pair for op in kept for pair in zip(*(codes.tolist() for codes in op.pairs()), op.rows.tolist(), strict=True)
    ]
    whole = zip(*(codes.tolist() for codes in batch.ops[0].pairs()), batch.rows.tolist(), strict=True)
    assert sorted(asked) == sorted(pair for pair, is_wanted in zip(whole, wanted, strict=True) if is_wanted)


@given(st.lists(st.tuples(_OPS, _IDS, _IDS), max_size=40), _LIMITS)
def test_in_order_each_request_has_one_action_and_rows_never_overtake(changes, limits):
    """`--ordered`: cut where the action changes."""
    _check(MINAPP, changes, limits, pack_in_order)
    columns, _, requests = _packed(MINAPP, changes, limits, pack_in_order)
    runs = [(ops[0].action, [r for op in ops for r in op.rows.tolist()]) for ops in requests]
    assert all({op.action for op in ops} == {ops[0].action} for ops in requests)
    for (before, rows), (after, following) in itertools.pairwise(runs):
        if before != after:
            assert max(rows) < min(following)
    assert len(columns) == len(changes)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=5, unique=True), st.integers(1, 40))
def test_users_with_one_group_set_share_an_op(groups, users):
    """Whole profiles become one product."""
    changes = [("add", 1000 + user, group) for user in range(users) for group in groups]
    _, _, requests = _packed(MINAPP, changes, MINAPP.limits)
    expected = 1 if users > 1 or len(groups) == 1 else None
    if expected and users > 20:
        assert [len(ops) for ops in requests] == [expected]


_WIDE = Limits(1000, 1000, 1000, 10_000, 1 << 20)


@pytest.mark.parametrize(("users", "ops"), [(9, 1), (10, 1), (11, 2)])
def test_users_per_op_at_its_bound(users, ops):
    """n−1, n, n+1."""
    limits = Limits(10, 1000, 1000, 10_000, 1 << 20)
    _, _, requests = _packed(MINAPP, [("add", user, 1) for user in range(users)], limits)
    assert [len(request) for request in requests] == [ops]


@pytest.mark.parametrize(("groups", "ops"), [(9, 1), (10, 1), (11, 2)])
def test_groups_per_op_at_its_bound(groups, ops):
    """n−1, n, n+1."""
    limits = Limits(1000, 10, 1000, 10_000, 1 << 20)
    changes = [("add", 10**6 + user, group) for user in range(50) for group in range(groups)]
    _, _, requests = _packed(MINAPP, changes, limits)
    assert [len(request) for request in requests] == [ops]


@pytest.mark.parametrize(("groups", "requests"), [(9, 1), (10, 1), (11, 2)])
def test_ops_per_request_at_its_bound(groups, requests):
    """n−1, n, n+1: one op per group."""
    limits = Limits(1000, 1, 10, 10_000, 1 << 20)
    changes = [("add", user, group) for group in range(groups) for user in (group * 2, group * 2 + 1)]
    assert len(_packed(MINAPP, changes, limits)[2]) == requests


@pytest.mark.parametrize("target", [MINAPP, SCRUTINIZER])
@pytest.mark.parametrize(("count", "requests"), [(9, 1), (10, 1), (11, 2)])
def test_changes_per_request_at_its_bound(target, count, requests):
    """n−1, n, n+1."""
    limits = Limits(1000, 1000, 1000, 10, 1 << 20)
    assert len(_packed(target, [("add", user, 1) for user in range(count)], limits)[2]) == requests


@pytest.mark.parametrize(("spare", "requests"), [(-1, 2), (0, 1), (1, 1)])
def test_bytes_per_request_at_its_bound(spare, requests):
    """Exactly as large as the body is allowed to be fits; a byte less does not (an add is counted as a remove)."""
    changes = [("remove", 1000 + user, 10 + group) for group in range(40) for user in range(group, group + 60)]
    columns, _, whole = _packed(MINAPP, changes, _WIDE)
    assert len(whole) == 1
    size = len(MINAPP.encode(Batch(1, 0, whole[0], columns.user, columns.group), "t").body)
    counted = size + 1  # the comma after the last op is counted, not sent
    limits = Limits(1000, 1000, 1000, 10_000, counted + spare)
    assert len(_packed(MINAPP, changes, limits)[2]) == requests


@pytest.mark.parametrize(("spare", "requests"), [(-1, 2), (0, 1), (1, 1)])
def test_bytes_of_entries_at_their_bound(spare, requests):
    """The same for a list of entries, by its cost model."""
    changes = [("add", 1000 + user, 10) for user in range(50)]
    columns = columns_of(changes)
    entry = SCRUTINIZER.wire.widths(columns.user) + SCRUTINIZER.wire.widths(columns.group) + SCRUTINIZER.wire.op
    counted = SCRUTINIZER.wire.request + int(entry.sum())
    limits = Limits(1, 1, 1, 10_000, counted + spare)
    assert len(_packed(SCRUTINIZER, changes, limits)[2]) == requests


@pytest.mark.parametrize(("groups", "requests"), [(1, 6), (3, 7), (100, 6)])
def test_requests_are_filled(groups, requests):
    """30,000 changes of users who all want the same groups; 5,000 go into one request, up to a user's groups."""
    limits = Limits(1000, 100, 50, 5000, 1 << 20)
    changes = [("add", 10**6 + user, group) for user in range(30_000 // groups) for group in range(groups)]
    _, _, packed = _packed(MINAPP, changes, limits)
    assert len(packed) == requests
    assert all(len(op.users) <= 1000 and len(op.groups) <= 100 for request in packed for op in request)


@pytest.mark.parametrize(("spare", "users"), [(-1, 7), (0, 8), (1, 8)])
def test_a_cut_fills_the_bytes_to_their_bound(spare, users):
    """n−1, n, n+1: the bytes suffice for eight users of the second group beside the fifty of the first."""
    changes = [("remove", 1000 + user, 10) for user in range(50)] + [("remove", 2000 + user, 11) for user in range(20)]
    counted = MINAPP.wire.request + 2 * (MINAPP.wire.op + len("10,")) + 58 * len("1000,")
    _, _, requests = _packed(MINAPP, changes, Limits(1000, 1000, 1000, 60, counted + spare))
    assert [len(op.users) for op in requests[0]] == [50, users]


def _bytes(changes):
    columns, _, requests = _packed(MINAPP, changes, _WIDE)
    return sum(len(MINAPP.encode(Batch(1, 0, ops, columns.user, columns.group), "t").body) for ops in requests)


def _ops_bytes(sets):
    """Bytes of a cover with one op per (key, others), as the wire has it."""
    skeleton = len('{"op":"add","path":"/membership","users":[],"groups":[]},')
    return sum(skeleton + len(str(key)) + sum(len(str(o)) + 1 for o in others) - 1 for key, others in sets.items())


@pytest.mark.parametrize("seed", range(6))
def test_never_dearer_than_per_group_and_per_user_packing(seed):
    """The cheaper of two covers, each of which is at least as good as one of the simple ones."""
    rng = random.Random(seed)
    profiles = [rng.sample(range(100, 160), rng.randint(1, 12)) for _ in range(rng.randint(1, 30))]
    pairs = {(user, g) for user in range(10_000, 10_300) for g in rng.choice(profiles) if rng.random() > seed / 20}
    per_group: dict[int, set[int]] = {}
    per_user: dict[int, set[int]] = {}
    for user, group in pairs:
        per_group.setdefault(group, set()).add(user)
        per_user.setdefault(user, set()).add(group)
    ours = _bytes([("add", user, group) for user, group in sorted(pairs)])
    assert ours <= min(_ops_bytes(per_group), _ops_bytes(per_user)) + 2


@given(st.lists(st.tuples(_OPS, st.integers(0, 6), st.integers(0, 4)), min_size=2, max_size=60))
def test_halving_partitions_down_to_single_pairs(changes):
    """Ops, then users, then groups: the halves ask for exactly the same, and neither is empty."""
    columns, _, requests = _packed(MINAPP, changes, _WIDE)
    stack, singles = list(requests), []
    while stack:
        ops = stack.pop()
        if sum(map(len, ops)) == 1:
            singles += pairs_of(ops, columns.user, columns.group)
            with pytest.raises(ValueError, match="one pair"):
                halves(ops)
            continue
        parts = halves(ops)
        assert all(sum(map(len, part)) >= 1 for part in parts)
        assert sorted(pairs_of([*parts[0], *parts[1]], columns.user, columns.group)) == sorted(
            pairs_of(ops, columns.user, columns.group)
        )
        stack += parts
    assert sorted(singles) == sorted((op, *pair) for pair, op in {(u, g): o for o, u, g in changes}.items())
