"""Requests whose reply was lost may still be applied later; this decides what must wait for them.

Law 2: an opposite change of one of its pairs is not sent before `grace` seconds have passed since the loss.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from batcher.core.model import Action
from batcher.core.ordering import distinct, shared
from batcher.core.vectors import Bytes, Hashes

_MERGED_AT = 64
"""Arrays kept unmerged; a target that loses the same pairs for hours must not fill the memory."""


@dataclass(slots=True, eq=False)
class _Losses:
    """What one window has lost recently: lane keys per action, and until when the last of it may still arrive.

    Keeping one moment for all is conservative: an opposite change of another window may wait a little longer.
    """

    until: float = -math.inf
    keys: dict[Action, Hashes] = field(default_factory=lambda: {action: np.empty(0, np.uint64) for action in Action})
    """Merged: sorted, each key once."""
    fresh: dict[Action, list[Hashes]] = field(default_factory=lambda: {action: [] for action in Action})
    """Not merged yet."""

    def of(self, action: Action) -> Hashes:
        if self.fresh[action]:
            self.keys[action] = distinct(np.concatenate([self.keys[action], *self.fresh[action]]))
            self.fresh[action].clear()
        return self.keys[action]


class InDoubtRequests:
    """The losses of the last `grace` seconds.

    Within a window each pair has one wanted action, so what a window loses does not affect its own other requests,
    unless lanes are wider than pairs (`own_too`). So a target that loses everything costs only one merge per window.

    A target that reads a whole group, changes it and writes it back (`whole_lanes`) may undo with a late request what
    another one has done to other members meanwhile: there, everything of the lane waits, not only what is opposite.
    """

    def __init__(self, grace: float, *, own_too: bool, whole_lanes: bool = False) -> None:
        self.grace = grace
        self._whole_lanes = whole_lanes
        self.version = 0
        """Grows with each loss, so that cached answers can be recognised as stale."""
        self._own_too = own_too
        self._anything_until = -math.inf
        self._windows: dict[int, _Losses] = {}

    def __repr__(self) -> str:
        return f"<InDoubtRequests of {len(self._windows)} windows within {self.grace:g} s>"

    @property
    def is_empty(self) -> bool:
        """Nothing was ever lost."""
        return self.version == 0

    def lost(self, window: int, keys: Hashes, action: Bytes, at: float) -> None:
        """A request of the window, with these pairs (as lane keys) and actions, got no clear answer at `at`."""
        losses = self._windows.setdefault(window, _Losses())
        losses.until = max(losses.until, at + self.grace)
        for wish in Action:
            losses.fresh[wish].append(keys[action == wish])
            if len(losses.fresh[wish]) > _MERGED_AT:
                losses.of(wish)
        self.version += 1

    def lost_anything(self, at: float) -> None:
        """Unknown requests got no clear answer at `at`: they may be about any pair."""
        self._anything_until = max(self._anything_until, at + self.grace)
        self.version += 1

    def any(self, window: int, now: float) -> bool:
        """Whether anything may still arrive late that affects requests of this window."""
        if not self._windows:
            return self._anything_until > now
        self._windows = {number: losses for number, losses in self._windows.items() if losses.until > now}
        return self._anything_until > now or any(self._concerns(number, window) for number in self._windows)

    @property
    def quiet_at(self) -> float:
        """When nothing that was lost can still arrive; -inf if that is so already."""
        return max((self._anything_until, *(losses.until for losses in self._windows.values())))

    def until(self, window: int, keys: Hashes, action: Bytes) -> float:
        """When a request of the window with these pairs and actions may be sent; -inf if nothing prevents it."""
        latest = self._anything_until
        for wish in Action:
            wanted = keys[action == wish]
            for number, losses in self._windows.items():
                is_new = losses.until > latest and self._concerns(number, window)
                if is_new and any(shared(wanted, losses.of(lost)).any() for lost in self._against(wish)):
                    latest = losses.until
        return latest

    def _against(self, wish: Action) -> Iterable[Action]:
        """The actions whose late arrival could undo this one."""
        return Action if self._whole_lanes else (Action(1 - wish),)

    def _concerns(self, loser: int, window: int) -> bool:
        return self._own_too or loser != window
