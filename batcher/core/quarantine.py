"""Users and groups that are refused whatever is asked about them: they are sent separately, or not at all.

- A user or a group that was refused on its own in three pairs, and accepted in none meanwhile, is sent in separate
  requests from then on, so that one dead account does not cost a bisection per batch. Being accepted once clears it.
- What is sent separately for that reason is sent change by change: where all changes are guilty, halving cannot succeed
  and would cost twice as many requests. One change at a time is cut off, so that when one of them is accepted after
  all, no more have been sent on their own than are in flight.
- If the user allows it (`after_refusals`), a user or a group with that many refused changes is not sent any more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from batcher.core.batch import Batch, Op, Shape
from batcher.core.keys import Key, Keys
from batcher.core.split import first_alone
from batcher.core.vectors import Ints, Mask

_LONE_REFUSALS = 3
_MOST_KNOWN = 10_000
"""Users (and groups) whose refusals are remembered; the oldest are forgotten first."""
_Among: TypeAlias = Callable[[Keys, Ints], Mask]


class Quarantine:
    """Shared by all workers of a run; not kept beyond it."""

    def __init__(self, after_refusals: int = 0) -> None:
        """`after_refusals`: after this many refused changes the others are not sent any more; 0 for never."""
        self._after_refusals = after_refusals
        self._users = _Suspects()
        self._groups = _Suspects()

    def __repr__(self) -> str:
        return f"<Quarantine of {len(self._users.apart)} users, {len(self._groups.apart)} groups>"

    def was_accepted(self, batch: Batch) -> None:
        """The target accepted all of it: its users and groups are cleared."""
        if self._users.apart or self._users.refusals:
            self._users.clear(batch.user, [op.users for op in batch.ops])
        if self._groups.apart or self._groups.refusals:
            self._groups.clear(batch.group, [op.groups for op in batch.ops])

    def was_refused_alone(self, batch: Batch) -> list[str]:
        """A single change was refused; returns, in words, who is sent separately from now on."""
        _, (user,), (group,) = batch.pairs()
        who, where = batch.user.value(user), batch.group.value(group)
        told = []
        if self._users.refused(who, where):
            told.append(f"user {who}")
        if self._groups.refused(where, who):
            told.append(f"group {where}")
        return told

    def cut(self, batch: Batch) -> list[tuple[Op, ...]]:
        """The ops of each request to send instead; the batch's own if none of it is in quarantine."""
        if not (self._users.apart or self._groups.apart):
            return [batch.ops]
        kept, apart = _divided(batch, self._users.among, self._groups.among)
        if kept and apart:
            return [kept, apart]
        return list(first_alone(batch.ops)) if apart and len(batch) > 1 else [batch.ops]

    def hopeless(self, batch: Batch) -> tuple[tuple[Op, ...], tuple[Op, ...], list[str]]:
        """What of a batch need not be sent. Returns the other ops, those ops, and a reason for each change in them."""
        if not self._after_refusals or not (self._users.apart or self._groups.apart):
            return batch.ops, (), []
        least = self._after_refusals
        users, groups = partial(self._users.among, least=least), partial(self._groups.among, least=least)
        kept, rest = _divided(batch, users, groups)
        reasons = [
            f"not sent: {who} was refused in {count} changes and accepted in none (after_refusals = {least})"
            for op in rest
            for who, count in self._guilty(batch, op, least)
        ]
        return kept, rest, reasons

    def _guilty(self, batch: Batch, op: Op, least: int) -> Iterator[tuple[str, int]]:
        users, groups = op.pairs()
        for user, group in zip(batch.user.values(users), batch.group.values(groups), strict=True):
            count = self._users.apart.get(user, 0)
            if count >= least:
                yield f"user {user}", count
            else:
                yield f"group {group}", self._groups.apart[group]


def _divided(batch: Batch, users_among: _Among, groups_among: _Among) -> tuple[tuple[Op, ...], tuple[Op, ...]]:
    """The ops of a batch without the changes of these users and groups, and the ops with only those changes."""
    kept: list[Op] = []
    apart: list[Op] = []
    for op in batch.ops:
        users, groups = users_among(batch.user, op.users), groups_among(batch.group, op.groups)
        if op.shape is Shape.PAIRS:
            parts = [_part(op, ~(users | groups)), _part(op, users | groups)]
        elif len(op.groups) == 1:  # what one request to a group was stays one
            parts = [_block(op, ~(users | groups), ~groups | True), _block(op, users | groups, groups | True)]
        else:
            parts = [_block(op, ~users, ~groups), _block(op, users, groups | True), _block(op, ~users, groups)]
        kept += [part for part in parts[:1] if len(part)]
        apart += [part for part in parts[1:] if len(part)]
    return tuple(kept), tuple(apart)


class _Suspects:
    """Users, or groups, that were refused on their own."""

    def __init__(self) -> None:
        self.apart: dict[Key, int] = {}
        """Those that are sent separately, and in how many changes each was refused."""
        self.refusals: dict[Key, set[Key]] = {}
        """The others, and with whom each was refused."""

    def refused(self, key: Key, partner: Key) -> bool:
        """Returns whether the key is sent separately from now on, and was not before."""
        if key in self.apart:
            self.apart[key] += 1
            return False
        partners = self.refusals.setdefault(key, set())
        partners.add(partner)
        if len(partners) < _LONE_REFUSALS:
            _bound(self.refusals)
            return False
        del self.refusals[key]
        self.apart[key] = len(partners)
        _bound(self.apart)
        return True

    def clear(self, keys: Keys, accepted: Sequence[Ints]) -> None:
        """These were accepted: their earlier refusals were not their fault."""
        known: MutableMapping[Key, Any]
        for known in (self.apart, self.refusals):
            if known:
                for codes in accepted:
                    for key in keys.values(codes[_among(known, keys, codes)]):
                        known.pop(key, None)

    def among(self, keys: Keys, codes: Ints, least: int = 0) -> Mask:
        """Which of the codes are sent separately, and were refused in at least `least` changes."""
        known = {key: count for key, count in self.apart.items() if count >= least} if least else self.apart
        return _among(known, keys, codes)


def _among(known: Mapping[Key, object], keys: Keys, codes: Ints) -> Mask:
    if not known:
        return np.zeros(len(codes), bool)
    if keys.dictionary is None:
        wanted = [key for key in known if isinstance(key, int)]
    else:
        used = np.unique(codes)
        wanted = [code for code, key in zip(used.tolist(), keys.values(used), strict=True) if key in known]
    return np.isin(codes, np.array(wanted, np.int64))


def _bound(known: MutableMapping[Key, Any]) -> None:
    while len(known) > _MOST_KNOWN:
        del known[next(iter(known))]


def _part(op: Op, mask: Mask) -> Op:
    return Op(op.action, op.users[mask], op.groups[mask], op.rows[mask], op.shape)


def _block(op: Op, users: Mask, groups: Mask) -> Op:
    rows = op.rows.reshape(len(op.users), len(op.groups))[np.ix_(users, groups)].ravel()
    return Op(op.action, op.users[users], op.groups[groups], rows, op.shape)
