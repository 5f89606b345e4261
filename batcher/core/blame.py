"""Is a refusal the fault of the change or of the whole run?

A change that is refused on its own looks guilty. But when everything is refused, the run itself is at fault (a token
without permission, a wrong environment), and no such refusal may be recorded for its row. So refusals of single changes
are held back until some request is accepted. Twenty in a row make the run suspect: then a batch of other users and
groups is tried (a trial), split down to a single change if necessary. If it is accepted, the refusals held back are
proven to be the fault of their changes. Three trials that end in a refused change, each with users and groups of its
own, prove that the run is at fault: one or two may be bad luck (a second group that was deleted, too), three are not.
"""

from __future__ import annotations

from dataclasses import dataclass

from batcher.core.batch import Batch, Settlement
from batcher.core.keys import Key

SUSPICIOUS = 20
TRIALS = 3


@dataclass(frozen=True, slots=True, eq=False)
class Refusal:
    """Changes that were each refused on their own, and their settlement, which is not recorded yet."""

    batch: Batch
    settlement: Settlement


class Blame:
    """The refusals since the last accepted request."""

    def __init__(self) -> None:
        self.accepted_once = False
        self.holds = 0
        """How many refused changes are held back."""
        self._trials = 0
        self._held: list[Refusal] = []
        self._users: set[Key] = set()
        self._groups: set[Key] = set()

    def __repr__(self) -> str:
        return f"<Blame {self.holds} held>"

    @property
    def is_suspect(self) -> bool:
        """Whether the next request must be a trial."""
        return self.holds >= SUSPICIOUS

    def refused(self, refusal: Refusal) -> None:
        """Hold a refusal back until it is clear whose fault it is."""
        self._held.append(refusal)
        self.holds += len(refusal.settlement.rows)
        _, user, group = refusal.batch.pairs()
        self._users.update(refusal.batch.user.values(user))
        self._groups.update(refusal.batch.group.values(group))

    def trial_refused(self) -> bool:
        """A trial ended in refused changes; returns whether that proves the run to be at fault."""
        self._trials += 1
        return self._trials >= TRIALS

    def accepted(self) -> list[Refusal]:
        """Some request was accepted; returns the refusals that can be recorded now."""
        self.accepted_once = True
        return self.release() if self._held else []

    def release(self) -> list[Refusal]:
        """All refusals held back, to be recorded: they are proven, or nothing is left that could disprove them."""
        held, self._held, self.holds = self._held, [], 0
        self._trials = 0
        self._users, self._groups = set(), set()
        return held

    def is_fair_trial(self, batch: Batch) -> bool:
        """Whether the batch has no user and no group in common with the refusals held back."""
        users = {key for op in batch.ops for key in batch.user.values(op.users)}
        groups = {key for op in batch.ops for key in batch.group.values(op.groups)}
        return users.isdisjoint(self._users) and groups.isdisjoint(self._groups)
