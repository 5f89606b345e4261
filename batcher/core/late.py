"""Requests whose reply was lost may still be applied later: what must wait for them.

Law 2: an opposite change of one of its pairs is not sent before `grace` seconds have passed since the loss.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from batcher.core.lanes import shared
from batcher.core.model import Action, Bytes, Hashes


@dataclass(frozen=True, slots=True, eq=False)
class _Loss:
    keys: tuple[Hashes, Hashes]
    """Sorted lane keys, per action."""
    until: float


class LateRequests:
    """The losses of the last `grace` seconds."""

    def __init__(self, grace: float) -> None:
        self.grace = grace
        self.version = 0
        """Grows with each loss, so that a remembered answer can be known to be stale."""
        self._losses: list[_Loss] = []

    def __repr__(self) -> str:
        return f"<LateRequests {len(self._losses)} within {self.grace:g} s>"

    def lost(self, keys: Hashes, action: Bytes, at: float) -> None:
        """A request with these pairs (as lane keys) and wishes got no clear answer at `at`."""
        per_action = tuple(np.sort(keys[action == wish]) for wish in Action)
        self._losses.append(_Loss((per_action[0], per_action[1]), at + self.grace))
        self.version += 1

    def any(self, now: float) -> bool:
        """Whether anything may still arrive late."""
        self._losses = [loss for loss in self._losses if loss.until > now]
        return bool(self._losses)

    def until(self, keys: Hashes, action: Bytes) -> float:
        """From when on a request with these pairs and wishes may be sent; -inf when nothing stands against it."""
        latest = -math.inf
        for wish in Action:
            wanted = keys[action == wish]
            for loss in self._losses:
                if loss.until > latest and shared(wanted, loss.keys[1 - wish]).any():
                    latest = loss.until
        return latest
