"""The committer: writes outcomes to the ledger in groups, counts them, and reports what is on disk."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import anyio
import numpy as np
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from batcher.core.batch import Batch, Settlement
from batcher.core.model import Window
from batcher.core.status import Status
from batcher.core.vectors import Bytes, Hashes, Ints, Mask
from batcher.delivery.shutdown import Abandoned
from batcher.host.runtime import Executor
from batcher.ledger.sessions import Figures
from batcher.ledger.writer import LedgerWriter

_MOST_AT_ONCE = 256
_STATUSES = len(Status)


@dataclass(slots=True, eq=False)
class OpenWindow:
    """A window with rows that are not settled yet. Arrays have one entry per row, unless they list rows."""

    window: Window
    winner: Ints
    """The row that supersedes each row: itself if none does; negative for a rejected line."""
    losers: Ints
    """How many rows of the window each row supersedes."""
    status: Bytes
    """As in the ledger; `PENDING` for rows that are not settled."""
    unsettled: int
    """How many of the rows that are sent are not settled."""
    ordering_keys: Hashes = field(default_factory=lambda: np.empty(0, np.uint64))
    """Ordering keys of the rows that are sent, sorted, each once."""
    held_back: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    """Rows that wait until the earlier windows are closed."""
    again: Again | None = None
    """Rows that are sent again although they were settled."""

    def was_failed(self, rows: Ints) -> bool:
        """Whether all of these rows are sent again after they had failed."""
        return self.again is not None and bool((self.again.status[rows] == Status.FAILED).all())


@dataclass(slots=True, eq=False)
class Again:
    """Rows of a window that a retry sends again, with their former status; `number` identifies this in the ledger."""

    rows: Ints
    status: Bytes
    """The status of every row of the window before some were opened again."""
    departed: Mask
    """For every row of the window, whether a request with it has left since then."""
    number: int = 0


class Committer:
    """Takes settlements, commits them in groups, and then reports them. Only it opens and closes windows."""

    def __init__(
        self, ledger: LedgerWriter, tally: Mapping[Status, int], executor: Executor, now: Callable[[], float]
    ) -> None:
        """`now` returns UTC seconds."""
        self.now = now
        self.tally = Counter(tally)
        """How many changes have which status, on disk."""
        self._open: dict[int, OpenWindow] = {}
        self._ledger = ledger
        self._executor = executor
        self._one_writer = anyio.Lock()
        self._inbox: MemoryObjectSendStream[Settlement]
        self._outbox: MemoryObjectReceiveStream[Settlement]
        self._inbox, self._outbox = anyio.create_memory_object_stream[Settlement](_MOST_AT_ONCE)
        self._queued = 0

    def __repr__(self) -> str:
        return f"<Committer {len(self._open)} windows open, {self._queued} settlements on their way to disk>"

    @property
    def open(self) -> Mapping[int, OpenWindow]:
        """The windows with rows that are not settled on disk yet, by number."""
        return self._open

    @property
    def is_clear(self) -> bool:
        """Whether no settlement is waiting to be written to disk."""
        return self._queued == 0

    async def open_window(self, window: OpenWindow, *, is_new: bool) -> None:
        """Write the window to disk before any of it is sent."""
        if is_new:
            async with self._one_writer:
                await self._executor(lambda: self._ledger.add_window(window.window, window.unsettled))
            rejects = len(window.window.columns.rejects)
            self.tally[Status.REJECTED] += rejects
            self.tally[Status.PENDING] += len(window.window.columns) - rejects
        elif window.again is not None:
            await self._reopen(window, window.again)
        if window.unsettled:
            self._open[window.window.id] = window

    async def note(self, key: str, value: str) -> None:
        """Record a fact of the run."""
        async with self._one_writer:
            await self._executor(lambda: self._ledger.set_fact(key, value))

    async def _reopen(self, window: OpenWindow, again: Again) -> None:
        """Mark rows as open on disk before they are sent again: a crash must not leave their old status."""
        changed = _opened_again(window, again.rows)
        at = self.now()

        def write_down() -> int:
            return self._ledger.reopen(window.window.id, again.rows, changed, at)

        async with self._one_writer:
            again.number = await self._executor(write_down)
        self.tally.update(changed)
        window.status[again.rows] = Status.PENDING

    def was_failed(self, settlement: Settlement) -> bool:
        """Whether all of its rows are sent again after they had failed."""
        return self._open[settlement.window].was_failed(settlement.rows)

    def departs(self, batch: Batch) -> None:
        """A request with these changes is leaving."""
        window = self._open.get(batch.window)
        if window is not None and window.again is not None:
            window.again.departed[batch.rows] = True

    def withdraw(self) -> None:
        """Restore the status of rows that were to be sent again and never left. Call it when nothing else writes."""
        for window in self._open.values():
            again = window.again
            if again is None or not again.number:
                continue
            unsent = again.rows[~again.departed[again.rows] & (window.status[again.rows] == Status.PENDING)]
            if len(unsent):
                window.status[unsent] = again.status[unsent]
                changed = {status: -count for status, count in _opened_again(window, unsent).items()}
                kept = np.setdiff1d(again.rows, unsent)
                self._ledger.withdraw(again.number, window.window.id, kept, len(unsent), changed)
                self.tally.update(changed)

    async def forget_after(self, last: int) -> None:
        """Remove the windows that were opened after the window `last`, of which nothing was sent."""
        windows = [window for number, window in self._open.items() if number > last]
        if not windows:
            return
        first = min(window.window.id for window in windows)
        async with self._one_writer:
            await self._executor(lambda: self._ledger.forget_windows(first))
        for window in windows:
            self.tally[Status.PENDING] -= len(window.window.columns)
            del self._open[window.window.id]

    async def settle(self, settlement: Settlement) -> None:
        """Queue a settlement; waits while the disk is behind.

        Raises:
            Abandoned: When the ledger cannot be written any more.

        """
        self._queued += 1
        try:
            try:
                self._inbox.send_nowait(settlement)
            except anyio.WouldBlock:
                await self._inbox.send(settlement)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            raise Abandoned from None

    async def close(self) -> None:
        """Accept no more settlements."""
        await self._inbox.aclose()

    async def write(self, figures: Callable[[], Figures], settled: Callable[[OpenWindow, Settlement], None]) -> None:
        """Commit settlements until `close`, with the `figures` of that moment; then `settled` is called with each.

        Raises:
            LedgerError: When the ledger cannot be written; what was not committed stays pending.

        """
        async with self._outbox:
            async for first in self._outbox:
                group = [first]
                while len(group) < _MOST_AT_ONCE:
                    try:
                        group.append(self._outbox.receive_nowait())
                    except (anyio.WouldBlock, anyio.EndOfStream):
                        break
                await self._commit(group, figures())
                for settlement in group:
                    settled(*self._note(settlement))

    async def _commit(self, group: list[Settlement], figures: Figures) -> None:
        def write_down() -> Counter[Status]:
            changed: Counter[Status] = Counter()
            for settlement in group:
                changed.update(self._changes(settlement))
            self._ledger.settle(group, changed, figures)
            return changed

        async with self._one_writer:
            self.tally.update(await self._executor(write_down))

    def _note(self, settlement: Settlement) -> tuple[OpenWindow, Settlement]:
        """Note that a settlement is on disk, and close its window if that was the last one."""
        window = self._open[settlement.window]
        window.unsettled -= len(settlement.rows)
        window.status[settlement.rows] = settlement.status
        self._queued -= 1
        if not window.unsettled:
            del self._open[settlement.window]
        return window, settlement

    def _changes(self, settlement: Settlement) -> Counter[Status]:
        """By how much a settlement changes the count of each status."""
        window = self._open[settlement.window]
        before = window.status[settlement.rows]
        after, was = np.bincount(settlement.status, minlength=_STATUSES), np.bincount(before, minlength=_STATUSES)
        changed = Counter({Status(status): count for status, count in enumerate((after - was).tolist()) if count})
        losers = int(window.losers[settlement.rows[before == Status.PENDING]].sum())
        if losers:
            changed[Status.SUPERSEDED] += losers
            changed[Status.PENDING] -= losers
        return changed


def _opened_again(window: OpenWindow, rows: Ints) -> Counter[Status]:
    """By how much each count changes when settled rows are opened again, together with the rows they supersede."""
    counts = np.bincount(window.status[rows], minlength=_STATUSES)
    losers = int(window.losers[rows].sum())
    changed = Counter({Status(status): -count for status, count in enumerate(counts.tolist()) if count})
    changed[Status.SUPERSEDED] -= losers
    changed[Status.PENDING] += len(rows) + losers
    return changed
