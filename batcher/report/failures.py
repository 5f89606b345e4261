"""What was not applied, by reason: the same sentence about different users is one reason."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from batcher.core.model import REJECTED_ROW, Action
from batcher.core.status import PROBLEMS, Status, are
from batcher.ledger.facts import WindowState

_SHOWN, _EXAMPLES = 20, 5
_MOST = 10_000
"""Reasons that are distinguished."""
_NUMBER, _STATUS = re.compile(r"\d+"), re.compile(r"\d{3}: ")


@dataclass(slots=True)
class Failures:
    """Counts and first examples per status and reason."""

    sources: Sequence[str]
    counts: Counter[tuple[Status, str]] = field(default_factory=Counter)
    examples: dict[tuple[Status, str], list[dict[str, str]]] = field(default_factory=dict)
    uncounted: int = 0
    """Changes with further reasons, which are not distinguished."""

    def add(self, state: WindowState) -> None:
        """Those of a window."""
        rows = np.flatnonzero(are(state.status, PROBLEMS))
        if not len(rows):
            return
        texts = _reasons(state)
        for row in rows.tolist():
            self._add(state, row, texts.get(row, ""))

    def listed(self) -> list[dict[str, Any]]:
        """The most frequent ones."""
        return [
            {
                "reason": reason or "no reason was given",
                "status": status.label,
                "count": count,
                "examples": self.examples[status, reason],
            }
            for (status, reason), count in self.counts.most_common(_SHOWN)
        ]

    @property
    def more(self) -> int:
        """Changes with other reasons than those listed."""
        return self.counts.total() + self.uncounted - sum(count for _, count in self.counts.most_common(_SHOWN))

    def _add(self, state: WindowState, row: int, text: str) -> None:
        columns = state.window.columns
        user = group = op = ""
        if columns.action[row] != REJECTED_ROW:
            op = Action(int(columns.action[row])).label
            user = str(columns.user.value(int(columns.user.codes[row])))
            group = str(columns.group.value(int(columns.group.codes[row])))
        key = (Status(int(state.status[row])), _general(text, user, group))
        if key not in self.counts and len(self.counts) >= _MOST:
            self.uncounted += 1
            return
        self.counts[key] += 1
        known = self.examples.setdefault(key, [])
        if len(known) < _EXAMPLES:
            where = f"{self.sources[int(columns.source[row])]}, line {int(columns.line[row])}"
            known.append({"op": op or "–", "user": user or "–", "group": group or "–", "where": where})


def _reasons(state: WindowState) -> dict[int, str]:
    texts = {reject.index: reject.reason for reject in state.window.columns.rejects}
    for settlement in state.settlements:
        for index, reason in settlement.details.items():
            texts[int(settlement.rows[index])] = reason
    return texts


def _general(text: str, user: str, group: str) -> str:
    """The reason without the names and numbers of the user and group that it is about."""
    for name in sorted({user, group}, key=len, reverse=True):
        if name and not name.isdecimal():
            text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", "…", text)
    status = _STATUS.match(text)
    start = status.end() if status else 0
    return text[:start] + _NUMBER.sub("#", text[start:])
