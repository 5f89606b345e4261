"""Which rows of a window are sent, which of them wait for earlier windows, and the batches of both."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from batcher.core.batch import Batch, Limits
from batcher.core.coalesce import coalesce
from batcher.core.ordering import OrderBy, common, distinct, ordering_keys, shared
from batcher.core.pack import pack, pack_in_order
from batcher.core.status import Status
from batcher.core.vectors import Hashes, Ints
from batcher.core.wire import Wire
from batcher.engine.run.committer import Again, OpenWindow
from batcher.engine.run.window_reader import WorkItem


@dataclass(frozen=True, slots=True, eq=False)
class Intake:
    """A window that is ready to be opened, the rows that are to be sent, and the ordering key of each."""

    window: OpenWindow
    rows: Ints
    keys: Hashes
    is_new: bool
    unchanged: Ints
    """The rows that need not be sent, since they are in effect already."""

    def hold_back(self, before: Sequence[Hashes]) -> Ints:
        """The rows that may be sent at once; the others are kept as the window's `held_back`.

        Args:
            before: The ordering keys (sorted, each once) of each window that is still open.

        """
        waits = np.zeros(len(self.rows), bool)
        for theirs in before:
            waits |= shared(self.keys, common(self.window.ordering_keys, theirs))
        self.window.held_back = self.rows[waits]
        return self.rows[~waits]


def take_in(work: WorkItem, order_by: OrderBy | None) -> Intake:
    """Find out what of a window is to be sent, without regard to other windows.

    Args:
        work: The window.
        order_by: What must keep its order across windows; None if no window waits for another.

    """
    columns = work.window.columns
    count = len(columns)
    winner = coalesce(columns)
    is_winner = winner == np.arange(count)
    losers = np.bincount(winner[(winner >= 0) & ~is_winner], minlength=count)
    status = np.zeros(count, np.int8) if work.status is None else work.status
    wanted = is_winner & (status == Status.PENDING) if work.wanted is None else work.wanted
    is_so = np.zeros(count, bool) if work.unchanged is None else wanted & work.unchanged
    rows, unchanged = np.flatnonzero(wanted & ~is_so), np.flatnonzero(is_so)
    keys = np.empty(0, np.uint64)
    if order_by is not None:
        keys = ordering_keys(columns.user.take(rows), columns.group.take(rows), order_by)
    again = None
    if work.wanted is not None:
        again = Again(np.flatnonzero(wanted), status.copy(), np.zeros(count, bool))
    window = OpenWindow(work.window, winner, losers, status, len(rows) + len(unchanged), distinct(keys), again=again)
    return Intake(window, rows, keys, work.status is None, unchanged)


@dataclass(frozen=True, slots=True, eq=False)
class Packing:
    """How the changes of a window become batches."""

    limits: Limits
    wire: Wire
    order_by: OrderBy
    next_id: Callable[[], int]

    def within(self, bounds: Mapping[str, int]) -> Packing:
        """The same, with fields of its limits no larger than these."""
        tighter = {name: most for name, most in bounds.items() if most < getattr(self.limits, name)}
        return replace(self, limits=replace(self.limits, **tighter)) if tighter else self

    def batches(self, window: OpenWindow, rows: Ints) -> list[Batch]:
        """The batches for exactly these rows."""
        columns = window.window.columns
        packer = pack_in_order if self.order_by is OrderBy.INPUT else pack
        user, group, number = columns.user, columns.group, window.window.id
        requests = packer(columns, rows, self.limits, self.wire)
        return [Batch(self.next_id(), number, ops, user, group) for ops in requests]
