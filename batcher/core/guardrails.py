"""Guardrails: limits that a run must not exceed unless somebody gives a reason; checked before anything is sent."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from batcher.core.keys import Key

_SHOWN = 5


class Guardrail(StrEnum):
    """The names by which guardrails are overridden."""

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
    DRIFT = "drift"
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
    """What is allowed. Shares are fractions of 1; None means no bound."""

    empty_feed: bool = False
    shrink: float | None = None
    removal_share: float | None = None
    removals_from: int = 0
    """Up to this many removals, the share is not judged."""
    group_share: float | None = None
    groups_from: int = 0
    """Groups with fewer members are not judged."""
    addition_share: float | None = None
    rejected_share: float | None = None
    look_alikes: float | None = None
    look_alikes_from: int = 0
    """Up to this many, the share is not judged."""
    drift: float | None = None
    drift_from: int = 0
    """Up to this many, the share is not judged."""
    removals: int | None = None
    additions: int | None = None

    def for_changes(self) -> Bounds:
        """The same bounds without those that apply to feeds only."""
        return replace(self, empty_feed=True, shrink=None, rejected_share=None, look_alikes=None)


@dataclass(frozen=True, slots=True)
class Ruling:
    """One guardrail's verdict on one run, and the figures that it is based on."""

    guardrail: Guardrail
    refuses: bool
    figures: str
    overridden: bool = False

    @property
    def stops(self) -> bool:
        """Whether it prevents everything from being sent."""
        return self.refuses and not self.overridden


@dataclass(frozen=True, slots=True)
class GroupLoss:
    """How many of its members a group is to lose."""

    group: Key
    lost: int
    members: int


@dataclass(frozen=True, slots=True)
class Feed:
    """A feed compared with the current memberships. Counts only changes that no earlier feed has asked for."""

    lines: int
    rejected: int
    pairs: int
    last_pairs: int
    """Pairs of the last accepted feed; 0 when there was none."""
    additions: int
    additions_to: int
    removals: int
    removals_from: int
    groups: Sequence[GroupLoss] = ()
    empty: Sequence[str] = ()
    """Files without a valid line."""
    look_alikes: int = 0
    """Pairs that are held back because they may be the same as others with a different spelling."""
    drift: int = 0
    """Memberships that others have changed at the target since the state knew them."""
    drift_of: int = 0
    """The memberships that the state knew, of the groups that were read."""


@dataclass(frozen=True, slots=True)
class Changes:
    """The changes that are to be sent."""

    additions: int
    removals: int
    protected: Collection[str] = field(default=())
    """Some of the protected users and groups that the changes touch."""


def judge_feed(feed: Feed, bounds: Bounds) -> list[Ruling]:
    """Judge a feed by its guardrails."""
    return list(_judge_feed(feed, bounds))


def _judge_feed(feed: Feed, bounds: Bounds) -> Iterator[Ruling]:
    if not bounds.empty_feed:
        told = f"the feed names {_count(feed.pairs, 'pair')} in {_count(feed.lines, 'line')}"
        if feed.empty:
            told += f"; no valid line in {', '.join(feed.empty)}"
        yield Ruling(Guardrail.EMPTY_FEED, feed.pairs == 0 or len(feed.empty) > 0, told)
    if bounds.shrink is not None:
        missing = feed.last_pairs - feed.pairs
        told = f"the feed names {_count(feed.pairs, 'pair')}, the last accepted one named {feed.last_pairs:,}"
        yield _share(Guardrail.SHRINK, missing, feed.last_pairs, bounds.shrink, told)
    if bounds.removal_share is not None:
        told = f"{feed.removals:,} of {_count(feed.removals_from, 'current membership')} would be removed"
        ruling = _share(Guardrail.REMOVAL_SHARE, feed.removals, feed.removals_from, bounds.removal_share, told)
        yield replace(ruling, refuses=ruling.refuses and feed.removals > bounds.removals_from)
    if bounds.group_share is not None:
        yield _judge_groups(feed.groups, bounds.group_share, bounds.groups_from)
    if bounds.addition_share is not None:
        told = f"{_count(feed.additions, 'pair')} would be added to {_count(feed.additions_to, 'current membership')}"
        yield _share(Guardrail.ADDITION_SHARE, feed.additions, feed.additions_to, bounds.addition_share, told)
    if bounds.rejected_share is not None:
        told = f"{feed.rejected:,} of {_count(feed.lines, 'line')} of the feed are invalid"
        yield _share(Guardrail.REJECTED_SHARE, feed.rejected, feed.lines, bounds.rejected_share, told)
    if bounds.drift is not None and feed.drift:
        told = f"others have changed {_count(feed.drift, 'membership')} since, {feed.drift_of:,} were known"
        ruling = _share(Guardrail.DRIFT, feed.drift, feed.drift_of, bounds.drift, told)
        yield replace(ruling, refuses=ruling.refuses and feed.drift > bounds.drift_from)
    if bounds.look_alikes is not None and feed.look_alikes:
        whole = max(feed.pairs, feed.last_pairs)
        told = f"{_count(feed.look_alikes, 'pair')} look like other pairs, measured against {whole:,}"
        ruling = _share(Guardrail.LOOK_ALIKES, feed.look_alikes, whole, bounds.look_alikes, told)
        yield replace(ruling, refuses=ruling.refuses and feed.look_alikes > bounds.look_alikes_from)


def judge_changes(changes: Changes, bounds: Bounds) -> list[Ruling]:
    """Judge the changes that are to be sent, whether they come from a feed or from a file of changes."""
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
        rulings.append(
            Ruling(Guardrail.PROTECTED, True, f"it would change the protected {', '.join(names[:_SHOWN])}{more}")
        )
    return rulings


def override(rulings: Sequence[Ruling], names: Collection[Guardrail]) -> list[Ruling]:
    """The same rulings, with these guardrails overridden for this run."""
    return [replace(ruling, overridden=ruling.guardrail in names) for ruling in rulings]


def _share(guardrail: Guardrail, part: int, whole: int, most: float, told: str) -> Ruling:
    """Judge a share. Without current memberships (`whole` is 0) nothing can be damaged, so it never refuses."""
    if not whole:
        return Ruling(guardrail, refuses=False, figures=told)
    return Ruling(guardrail, part > most * whole, f"{told}: {max(part, 0) / whole:.1%}, at most {most:.1%} is allowed")


def _judge_groups(groups: Sequence[GroupLoss], most: float, least_members: int) -> Ruling:
    judged = [group for group in groups if group.members >= least_members]
    losing = [group for group in judged if group.lost > most * group.members]
    if not losing:
        told = f"no group with at least {least_members} members would lose more than {most:.1%} of them"
        return Ruling(Guardrail.GROUP_SHARE, refuses=False, figures=told)
    names = ", ".join(f"{g.group} ({g.lost:,} of {g.members:,})" for g in losing[:_SHOWN])
    more = f" and {len(losing) - _SHOWN:,} more groups" if len(losing) > _SHOWN else ""
    return Ruling(
        Guardrail.GROUP_SHARE, True, f"groups would lose more than {most:.1%} of their members: {names}{more}"
    )


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
