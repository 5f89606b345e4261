"""The history of one pair: its lines and their outcomes, the batches and replies."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy as np

from batcher.core.keys import Key, Keys, Word
from batcher.core.model import REJECTED_ROW, Action, Columns, Given
from batcher.core.status import Status
from batcher.core.vectors import Mask
from batcher.ledger.facts import WindowState
from batcher.ledger.reader import LedgerReader
from batcher.ledger.results import utc_text


def story(reader: LedgerReader, user: str, group: str) -> list[dict[str, Any]]:
    """One record per line that names the pair, in input order. A string of digits also matches the id."""
    sources = [source.name for source in reader.sources()]
    return [record for state in reader.windows() for record in _of_window(state, user, group, sources)]


def _of_window(state: WindowState, user: str, group: str, sources: list[str]) -> Iterator[dict[str, Any]]:
    columns = state.window.columns
    given = columns.given or Given(None, None)
    is_user = _is(columns.user, user) | _was(given.user, user, columns)
    is_group = _is(columns.group, group) | _was(given.group, group, columns)
    matches = is_user & is_group & (columns.action != REJECTED_ROW)
    for row in np.flatnonzero(matches).tolist():
        status = Status(int(state.status[row]))
        record: dict[str, Any] = {
            "source": sources[int(columns.source[row])],
            "line": int(columns.line[row]),
            "op": Action(int(columns.action[row])).label,
            "status": status.label,
            "user_id": columns.user.value(int(columns.user.codes[row])),
            "group_id": columns.group.value(int(columns.group.codes[row])),
        }
        winner = int(state.winner[row])
        if winner != row:
            yield record | {"decided_by_line": int(columns.line[winner])}
            continue
        words = [(s, np.flatnonzero(s.rows == row)) for s in state.settlements]
        yield record | {
            "settled": [
                {
                    "at": utc_text(settlement.at),
                    "batch": settlement.batch or None,
                    "status": Status(int(settlement.status[found[0]])).label,
                    "detail": settlement.details.get(int(found[0]), ""),
                    "attempts": [
                        {
                            "at": utc_text(attempt.at),
                            "batch": attempt.batch,
                            "changes": attempt.changes,
                            "http_status": attempt.http_status,
                            "reply": attempt.said or "accepted",
                            "lost": attempt.lost,
                            "times": attempt.times,
                        }
                        for attempt in settlement.history
                    ],
                }
                for settlement, found in words
                if len(found)
            ]
        }


def _was(keys: Keys | None, text: str, columns: Columns) -> Mask:
    """Whether the input had this name."""
    return np.zeros(len(columns), bool) if keys is None else _is(keys, Word(text))


def _is(keys: Keys, text: str) -> Mask:
    wanted: set[Key] = {text}
    with suppress(ValueError):
        wanted.add(int(text))
    if keys.dictionary is None:
        ids = [key for key in wanted if isinstance(key, int) and -(2**63) <= key < 2**63]
        return np.isin(keys.codes, ids)
    known = keys.dictionary.values(np.arange(len(keys.dictionary)))
    return np.isin(keys.codes, [code for code, key in enumerate(known) if key in wanted])
