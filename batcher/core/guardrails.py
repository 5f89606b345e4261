"""What a run must not do unless somebody says why: judged before anything is sent, with its figures."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from batcher.core.model import Key

_SHOWN = 5


class Guardrail(StrEnum):
    """The names under which guardrails are overridden."""

    EMPTY_FEED = "empty-feed"
    SHRINK = "shrink"
    REMOVAL_SHARE = "removal-share"
    GROUP_SHARE = "group-share"
    ADDITION_SHARE = "addition-share"
    REJECTED_SHARE = "rejected-share"
    LOOK_ALIKES = "look-alikes"
    REMOVALS = "removals"
    ADDITIONS = "additions"
    PROTECTED = "protected"
    UPLOADING = "uploading"
    SETTLE = "settle"
    MIN_AGE = "min-age"
    MAX_AGE = "max-age"
    DONE_FILE = "done-file"
    OPEN_END = "open-end"
    TRAILER = "trailer"
    EXPECT_ROWS = "expect-rows"


@dataclass(frozen=True, slots=True)
class Bounds:
    """What is allowed; shares of 1, None is no bound."""

    empty_feed: bool = False
    shrink: float | None = None
    removal_share: float | None = None
    removals_from: int = 0
    """So many removals are never too large a share."""
    group_share: float | None = None
    groups_from: int = 0
    """Groups with fewer members are not judged."""
    addition_share: float | None = None
    rejected_share: float | None = None
    look_alikes: float | None = None
    look_alikes_from: int = 0
    """So many are never too large a share."""
    removals: int | None = None
    additions: int | None = None

    def for_changes(self) -> Bounds:
        """The same without those that speak of a feed."""
        return replace(self, empty_feed=True, shrink=None, rejected_share=None, look_alikes=None)


@dataclass(frozen=True, slots=True)
class Ruling:
    """One guardrail's verdict on one run, and the figures that it rests on."""

    guardrail: Guardrail
    refuses: bool
    figures: str
    overridden: bool = False

    @property
    def stops(self) -> bool:
        """Whether nothing may be sent because of it."""
        return self.refuses and not self.overridden


@dataclass(frozen=True, slots=True)
class GroupLoss:
    """How many of its members a group is to lose."""

    group: Key
    lost: int
    members: int


@dataclass(frozen=True, slots=True)
class Feed:
    """A feed beside what is in force. Additions and removals are those that no earlier feed has asked for."""

    lines: int
    rejected: int
    pairs: int
    last_pairs: int
    """Of the last feed that was accepted; 0 when there was none."""
    additions: int
    additions_to: int
    removals: int
    removals_from: int
    groups: Sequence[GroupLoss] = ()
    empty: Sequence[str] = ()
    """Files in which there is nothing."""
    look_alikes: int = 0
    """Pairs that are held, because they may be the same as others that are spelled otherwise."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What is to be sent."""

    additions: int
    removals: int
    protected: Collection[str] = field(default=())
    """Some of the protected users and groups that it touches."""


def judge_feed(feed: Feed, bounds: Bounds) -> list[Ruling]:
    """The guardrails of a feed."""
    return list(_judge_feed(feed, bounds))


def _judge_feed(feed: Feed, bounds: Bounds) -> Iterator[Ruling]:
    if not bounds.empty_feed:
        told = f"the feed names {_count(feed.pairs, 'pair')} in {_count(feed.lines, 'line')}"
        if feed.empty:
            told += f"; there is nothing in {', '.join(feed.empty)}"
        yield Ruling(Guardrail.EMPTY_FEED, feed.pairs == 0 or len(feed.empty) > 0, told)
    if bounds.shrink is not None:
        missing = feed.last_pairs - feed.pairs
        told = f"the feed names {_count(feed.pairs, 'pair')}, the last good one named {feed.last_pairs:,}"
        yield _share(Guardrail.SHRINK, missing, feed.last_pairs, bounds.shrink, told)
    if bounds.removal_share is not None:
        told = f"{_count(feed.removals, 'pair')} of {feed.removals_from:,} in force would be removed"
        ruling = _share(Guardrail.REMOVAL_SHARE, feed.removals, feed.removals_from, bounds.removal_share, told)
        yield replace(ruling, refuses=ruling.refuses and feed.removals > bounds.removals_from)
    if bounds.group_share is not None:
        yield _judge_groups(feed.groups, bounds.group_share, bounds.groups_from)
    if bounds.addition_share is not None:
        told = f"{_count(feed.additions, 'pair')} would be added to {feed.additions_to:,} in force"
        yield _share(Guardrail.ADDITION_SHARE, feed.additions, feed.additions_to, bounds.addition_share, told)
    if bounds.rejected_share is not None:
        told = f"{feed.rejected:,} of {_count(feed.lines, 'line')} of the feed are invalid"
        yield _share(Guardrail.REJECTED_SHARE, feed.rejected, feed.lines, bounds.rejected_share, told)
    if bounds.look_alikes is not None and feed.look_alikes:
        told = f"{_count(feed.look_alikes, 'pair')} look like others of {max(feed.pairs, feed.last_pairs):,}"
        whole = max(feed.pairs, feed.last_pairs)
        ruling = _share(Guardrail.LOOK_ALIKES, feed.look_alikes, whole, bounds.look_alikes, told)
        yield replace(ruling, refuses=ruling.refuses and feed.look_alikes > bounds.look_alikes_from)


def judge_changes(changes: Changes, bounds: Bounds) -> list[Ruling]:
    """The guardrails of what is to be sent, whether it comes from a feed or from a file of changes."""
    rulings = []
    for guardrail, count, most, word in (
        (Guardrail.REMOVALS, changes.removals, bounds.removals, "removal"),
        (Guardrail.ADDITIONS, changes.additions, bounds.additions, "addition"),
    ):
        if most is not None:
            told = f"{_count(count, word)}, guard.max_{word}s allows {most:,}"
            rulings.append(Ruling(guardrail, count > most, told))
    if changes.protected:
        names = sorted(changes.protected)
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        rulings.append(Ruling(Guardrail.PROTECTED, True, f"it would change {', '.join(names[:_SHOWN])}{more}"))
    return rulings


def override(rulings: Sequence[Ruling], names: Collection[Guardrail]) -> list[Ruling]:
    """The same; these guardrails do not stop this run."""
    return [replace(ruling, overridden=ruling.guardrail in names) for ruling in rulings]


def _share(guardrail: Guardrail, part: int, whole: int, most: float, told: str) -> Ruling:
    """Of nothing there is no share: what is not in force yet cannot be hurt."""
    if not whole:
        return Ruling(guardrail, refuses=False, figures=told)
    return Ruling(guardrail, part > most * whole, f"{told}: {max(part, 0) / whole:.1%}, {most:.1%} is allowed")


def _judge_groups(groups: Sequence[GroupLoss], most: float, least_members: int) -> Ruling:
    judged = [group for group in groups if group.members >= least_members]
    losing = [group for group in judged if group.lost > most * group.members]
    if not losing:
        told = f"no group of {least_members} members or more would lose more than {most:.1%} of them"
        return Ruling(Guardrail.GROUP_SHARE, refuses=False, figures=told)
    names = ", ".join(f"{g.group} ({g.lost:,} of {g.members:,})" for g in losing[:_SHOWN])
    more = f" and {len(losing) - _SHOWN:,} more groups" if len(losing) > _SHOWN else ""
    return Ruling(
        Guardrail.GROUP_SHARE, True, f"groups would lose more than {most:.1%} of their members: {names}{more}"
    )


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
