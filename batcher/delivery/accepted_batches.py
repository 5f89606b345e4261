"""Batches that were accepted as a whole, collected until they are recorded together."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from batcher.core.batch import Batch, Receipts, Settlement
from batcher.core.status import Status


@dataclass(slots=True, eq=False)
class _OfWindow:
    batches: list[Batch] = field(default_factory=list)
    at: list[float] = field(default_factory=list)
    http_status: list[int] = field(default_factory=list)

    def settlement(self) -> Settlement:
        rows = np.concatenate([op.rows for batch in self.batches for op in batch.ops])
        ids, sizes = tuple(batch.id for batch in self.batches), tuple(map(len, self.batches))
        receipts = Receipts(ids, sizes, tuple(self.at), tuple(self.http_status))
        status = np.full(len(rows), Status.APPLIED, np.int8)
        # The greatest number, so that no other batch of the ledger gets one of them again.
        return Settlement(self.batches[0].window, max(ids), rows, status, {}, max(self.at), (), receipts)


class AcceptedBatches:
    """True when there are any."""

    def __init__(self) -> None:
        self._windows: dict[int, _OfWindow] = {}

    def __repr__(self) -> str:
        return f"<AcceptedBatches of {len(self._windows)} windows>"

    def __bool__(self) -> bool:
        return bool(self._windows)

    def add(self, batch: Batch, at: float, http_status: int) -> None:
        """The only request that carried a batch was answered with this status at `at` (UTC seconds)."""
        found = self._windows.get(batch.window)
        if found is None:
            found = self._windows[batch.window] = _OfWindow()
        found.batches.append(batch)
        found.at.append(at)
        found.http_status.append(http_status)

    def settlements(self) -> list[Settlement]:
        """What was added since the last time, one settlement per window."""
        found, self._windows = self._windows, {}
        return [window.settlement() for window in found.values()]
