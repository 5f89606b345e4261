"""What of a window is to be sent, what of it must wait for the window before, and the batches of both."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from batcher.core.coalesce import coalesce
from batcher.core.lanes import OrderBy, common, distinct, lane_keys, shared
from batcher.core.model import Batch, Hashes, Ints, Limits, Op, Status
from batcher.core.pack import pack, pack_in_order
from batcher.core.wire import Wire
from batcher.engine.books import OpenWindow
from batcher.engine.feed import Work


def take_in(work: Work, order_by: OrderBy, before: Sequence[Hashes]) -> tuple[OpenWindow, Ints]:
    """The window, ready to be opened, and the rows of it that may be sent at once.

    Args:
        work: The window, with what is settled already.
        order_by: The ordering domain.
        before: The lane keys (sorted, each once) of the windows that are still open.

    """
    columns = work.window.columns
    count = len(columns)
    winner = coalesce(columns)
    is_winner = winner == np.arange(count)
    losers = np.bincount(winner[(winner >= 0) & ~is_winner], minlength=count)
    status = np.zeros(count, np.int8) if work.status is None else work.status
    wanted = is_winner & (status == Status.PENDING) if work.wanted is None else work.wanted
    rows = np.flatnonzero(wanted)
    keys = lane_keys(columns.user.take(rows), columns.group.take(rows), order_by)
    mine = distinct(keys)
    waits = np.zeros(len(rows), bool)
    for lanes in before:
        waits |= shared(keys, common(mine, lanes))
    window = OpenWindow(work.window, winner, losers, status, len(rows), mine, rows[waits])
    return window, rows[~waits]


def batches(
    window: OpenWindow, rows: Ints, limits: Limits, wire: Wire, order_by: OrderBy, next_id: Callable[[], int]
) -> list[Batch]:
    """The batches that ask for exactly these rows."""
    columns = window.window.columns
    packer = pack_in_order if order_by is OrderBy.INPUT else pack

    def batch(ops: tuple[Op, ...]) -> Batch:
        return Batch(next_id(), window.window.id, ops, columns.user, columns.group)

    return [batch(ops) for ops in packer(columns, rows, limits, wire)]
