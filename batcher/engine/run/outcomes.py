"""The outcomes of single changes as they become final, for code that follows a run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from batcher.core.batch import Settlement
from batcher.core.keys import Key
from batcher.core.model import Action
from batcher.core.status import Status
from batcher.engine.run.committer import OpenWindow


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of one change. For a rejected line, `op`, `user` and `group` are None."""

    op: Action | None
    user: Key | None
    group: Key | None
    status: Status
    detail: str
    line: int


def of_rejects(window: OpenWindow) -> Iterator[Outcome]:
    """Outcomes of the invalid lines of a window that was just opened."""
    columns = window.window.columns
    for reject in columns.rejects:
        yield Outcome(None, None, None, Status.REJECTED, reject.reason, int(columns.line[reject.index]))


def of_settlement(window: OpenWindow, settlement: Settlement) -> Iterator[Outcome]:
    """Outcomes of the changes that were settled, each after those that it superseded."""
    columns = window.window.columns
    losers = np.flatnonzero(window.losers[settlement.rows])
    superseded: dict[int, list[int]] = {int(settlement.rows[index]): [] for index in losers}
    if superseded:
        lost = np.flatnonzero(np.isin(window.winner, np.array(list(superseded))))
        for row in lost.tolist():
            winner = int(window.winner[row])
            if winner != row:
                superseded[winner].append(row)

    def outcome(row: int, status: Status, detail: str) -> Outcome:
        return Outcome(
            Action(int(columns.action[row])),
            columns.user.value(int(columns.user.codes[row])),
            columns.group.value(int(columns.group.codes[row])),
            status,
            detail,
            int(columns.line[row]),
        )

    for index, row in enumerate(settlement.rows.tolist()):
        for earlier in superseded.get(row, ()):
            yield outcome(earlier, Status.SUPERSEDED, f"superseded by line {int(columns.line[row])}")
        yield outcome(row, Status(int(settlement.status[index])), settlement.details.get(index, ""))
