"""Which batch is sent next: the one place that decides on order, lanes, late requests and trials. It never waits."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

from batcher.core.batch import Batch
from batcher.core.blame import Blame
from batcher.core.in_doubt import InDoubtRequests
from batcher.core.keys import Keys
from batcher.core.ordering import OrderBy, distinct, ordering_keys
from batcher.core.vectors import Hashes

_NO_LANES: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True, eq=False)
class Next:
    """The batch to send now, or when to ask again (None: not until something else happens)."""

    batch: Batch | None = None
    at: float | None = None
    is_trial: bool = False
    is_due: bool = False
    """`at` is when something is due by the clock; else it is when a lost request cannot arrive any more."""


_NOTHING = Next()


class Schedule:
    """Batches that wait and batches in flight.

    The pieces of a split batch go to the front, so that a guilty change is found before new work starts. Batches that
    may conflict with a late request wait until it cannot arrive any more. With lanes, no two batches of one lane are in
    flight together.
    """

    def __init__(self, order_by: OrderBy, in_doubt: InDoubtRequests, blame: Blame) -> None:
        self._order_by = order_by
        self._in_doubt = in_doubt
        self._blame = blame
        self._waiting: deque[Batch] = deque()
        self._in_flight: set[int] = set()
        self._lanes: dict[int, frozenset[int]] = {}
        """The lanes of each batch that was looked at, by its number; not kept where order is by pair."""
        self._busy: set[int] = set()
        """The lanes of the batches in flight."""
        self._held_until: dict[int, tuple[int, float]] = {}
        self._trial: int | None = None

    def __repr__(self) -> str:
        return f"<Schedule {len(self._waiting)} waiting | {len(self._in_flight)} in flight>"

    @property
    def is_idle(self) -> bool:
        """Nothing waits and nothing is in flight."""
        return not self._waiting and not self._in_flight

    @property
    def waiting(self) -> int:
        """How many batches have not been taken."""
        return len(self._waiting)

    @property
    def in_flight(self) -> int:
        """How many batches have been taken and not returned."""
        return len(self._in_flight)

    def add(self, batches: Iterable[Batch]) -> None:
        """Add new work after everything that waits."""
        self._waiting.extend(batches)

    def done(self, batch: Batch, pieces: Iterable[Batch] = ()) -> bool:
        """The batch is back; its pieces, if any, go first. Returns whether it was the trial."""
        self._in_flight.remove(batch.id)
        self._busy -= self._lanes.pop(batch.id, _NO_LANES)
        self._waiting.extendleft(reversed(list(pieces)))
        was_trial = self._trial == batch.id
        if was_trial:
            self._trial = None
        return was_trial

    def take(self, now: float) -> Next:
        """The next batch, moved to those in flight."""
        if not self._waiting:
            return _NOTHING
        suspect = self._blame.is_suspect
        if suspect and self._in_flight:
            return Next()
        soonest = math.inf
        for index, batch in enumerate(self._candidates()):
            if suspect and not self._blame.is_fair_trial(batch):
                continue
            ready = self._ready_at(batch) if self._in_doubt.any(batch.window, now) else -math.inf
            if ready <= now and self._is_free(batch):
                del self._waiting[index]
                self._fly(batch)
                if suspect:
                    self._trial = batch.id
                return Next(batch, is_trial=suspect)
            if ready > now:
                soonest = min(soonest, ready)
        return Next(at=soonest if soonest < math.inf else None)

    def has_fair_trial(self) -> bool:
        """Whether any waiting batch could show if the run or the changes are at fault."""
        return any(self._blame.is_fair_trial(batch) for batch in self._candidates())

    def _candidates(self) -> Iterable[Batch]:
        return islice(self._waiting, 1 if self._order_by is OrderBy.INPUT else None)

    def _fly(self, batch: Batch) -> None:
        self._held_until.pop(batch.id, None)
        self._in_flight.add(batch.id)
        if self._order_by is not OrderBy.PAIR:
            self._busy |= self._lanes_of(batch)

    def _is_free(self, batch: Batch) -> bool:
        # The pairs of one window are all different, and those of the next window wait until theirs are settled.
        return self._order_by is OrderBy.PAIR or self._busy.isdisjoint(self._lanes_of(batch))

    def _lanes_of(self, batch: Batch) -> frozenset[int]:
        found = self._lanes.get(batch.id)
        if found is None:
            found = self._lanes[batch.id] = frozenset(distinct(keys_of(batch, self._order_by)).tolist())
        return found

    def _ready_at(self, batch: Batch) -> float:
        known = self._held_until.get(batch.id)
        if known is None or known[0] != self._in_doubt.version:
            until = self._in_doubt.until(batch.window, keys_of(batch, self._order_by), batch.pairs()[0])
            known = self._held_until[batch.id] = (self._in_doubt.version, until)
        return known[1]


def keys_of(batch: Batch, order_by: OrderBy) -> Hashes:
    """The batch's lane keys, aligned with its rows."""
    _, user, group = batch.pairs()
    return ordering_keys(Keys(user, batch.user.dictionary), Keys(group, batch.group.dictionary), order_by)
