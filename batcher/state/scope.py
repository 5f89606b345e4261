"""What a run governs, and what it may change."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scope:
    """The memberships that the feed governs, as patterns. Default: all users, and all groups that feeds have named."""

    groups: tuple[str, ...] = ()
    users: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Permitted:
    """What a run may change at all, whatever the feed says."""

    adds: bool = True
    removals: bool = True
    has_unread: bool = False
    """Whether the table `unread` names users whose lines are invalid: they keep what they have."""
    holds_removals: bool = False
    """Whether nobody loses anything, because invalid lines do not show whose they are."""


EVERYTHING = Permitted()
"""Nothing is held back."""
