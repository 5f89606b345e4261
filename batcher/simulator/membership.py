"""The memberships of the simulated target: who is in which group."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import orjson

from batcher.simulator.behaviour import Behaviour

Name = int | str


@dataclass(frozen=True, slots=True)
class MembershipRequest:
    """One action on users × groups."""

    is_add: bool
    users: tuple[Name, ...]
    groups: tuple[Name, ...]


def _plain(name: Name) -> Name:
    """A name as directories compare it (RFC 4518 §2), ignoring case, composition and surrounding blanks."""
    return unicodedata.normalize("NFC", name.casefold()).strip() if isinstance(name, str) else name


class Membership:
    """Groups and their members. `journal` is called with a line for each change of state, enough to restore it."""

    def __init__(self, behaviour: Behaviour, journal: Callable[[bytes], object] | None = None) -> None:
        self.groups: defaultdict[Name, set[Name]] = defaultdict(set)
        self.applied = 0
        """Pairs that were applied, including repeats."""
        self.repeats = 0
        self.behaviour = behaviour
        self.now = 0.0
        """When the request that is handled arrived (seconds)."""
        self._journal = journal

    def restore(self, lines: Iterable[bytes]) -> None:
        """Apply the lines of a journal; an incomplete last line is ignored."""
        for line in lines:
            if line.endswith(b"\n"):
                is_add, users, groups = orjson.loads(line)
                self._change(MembershipRequest(is_add, tuple(users), tuple(groups)))

    def refusal(self, wish: MembershipRequest) -> str | None:
        """Why this wish (or part of it) is refused; None if it is not."""
        behaviour = self.behaviour
        wish = self._taken(wish)
        if bad := behaviour.bad_users.intersection(wish.users):
            return f"user {min(bad, key=str)} does not exist"
        if bad := behaviour.bad_groups.intersection(wish.groups):
            return f"usergroup {min(bad, key=str)} does not exist"
        for user, group in behaviour.bad_pairs:
            if user in wish.users and group in wish.groups:
                return f"user {user} may not be in usergroup {group}"
        if behaviour.refuses_repeats:
            for user in wish.users:
                for group in wish.groups:
                    if (user in self.groups[group]) == wish.is_add:
                        return f"user {user} is {'already' if wish.is_add else 'not'} in usergroup {group}"
        return None

    def apply(self, wish: MembershipRequest) -> None:
        """Apply it, whatever `refusal` says."""
        self.applied += len(wish.users) * len(wish.groups)
        self._change(wish)
        if self._journal is not None:
            self._journal(orjson.dumps([wish.is_add, wish.users, wish.groups], option=orjson.OPT_APPEND_NEWLINE))

    def apply_until_refused(self, wish: MembershipRequest) -> None:
        """Apply it pair by pair, up to the first that is refused."""
        for user in wish.users:
            for group in wish.groups:
                pair = MembershipRequest(wish.is_add, (user,), (group,))
                if self.refusal(pair) is not None:
                    return
                self.apply(pair)

    def _taken(self, wish: MembershipRequest) -> MembershipRequest:
        """The wish with the names that this target uses for users and groups."""
        if not self.behaviour.folds_names:
            return wish
        return MembershipRequest(wish.is_add, tuple(map(_plain, wish.users)), tuple(map(_plain, wish.groups)))

    def _change(self, wish: MembershipRequest) -> None:
        wish = self._taken(wish)
        for group in wish.groups:
            members = self.groups[group]
            before = len(members)
            if wish.is_add:
                members.update(wish.users)
                self.repeats += len(wish.users) - (len(members) - before)
            else:
                members.difference_update(wish.users)
                self.repeats += len(wish.users) - (before - len(members))

    def as_dict(self) -> dict[str, list[Name]]:
        """Groups with their sorted members; empty groups are left out."""
        return {
            str(group): sorted(members, key=lambda name: (isinstance(name, str), name))
            for group, members in sorted(self.groups.items(), key=lambda item: str(item[0]))
            if members
        }
