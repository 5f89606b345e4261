"""When things happened in a run: from settlements, which record when each attempt ended, and sampled figures."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from batcher.core.batch import Settlement
from batcher.core.status import Status
from batcher.ledger.facts import FigureSample, SessionFacts
from batcher.report.content import POINTS, WAITS, chart, places_chart, times, waits_chart

_LEAST_SECONDS = 1.0


@dataclass(slots=True)
class Timeline:
    """Counts per stretch of `width` seconds from `start` (UTC seconds) on."""

    start: float
    width: float
    settled: dict[str, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    tries: dict[str, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    _seen: set[tuple[int, float]] = field(default_factory=set)

    @staticmethod
    def of(sessions: Sequence[SessionFacts]) -> Timeline:
        """For a run whose sessions are known."""
        start = sessions[0].started if sessions else 0.0
        end = max((session.ended or session.started + session.seconds for session in sessions), default=start)
        return Timeline(start, max(_LEAST_SECONDS, (end - start) / POINTS))

    def add(self, settlements: Sequence[Settlement]) -> None:
        """Those of a window."""
        for settlement in settlements:
            place = self._place(settlement.at)
            for status, count in enumerate(np.bincount(settlement.status, minlength=len(Status)).tolist()):
                if count and status != Status.PENDING:  # a change that was merely reopened
                    self.settled[Status(status).label][place] += count
            for attempt in settlement.history:
                if attempt.batch != settlement.batch:  # all pieces of a batch carry its attempts
                    if (attempt.batch, attempt.at) in self._seen:
                        continue
                    self._seen.add((attempt.batch, attempt.at))
                kind = "accepted" if not attempt.said else str(attempt.http_status or "no reply")
                self.tries[kind][self._place(attempt.at)] += attempt.times

    def charts(self, sessions: Sequence[SessionFacts], samples: Sequence[FigureSample]) -> list[dict[str, Any]]:
        """The charts, if anything happened."""
        return [*self._of_changes(), *self._of_tries(), *_of_places(sessions, samples), *_of_waits(sessions, samples)]

    def _place(self, at: float) -> int:
        return max(0, int((at - self.start) / self.width))

    def _axis(self, counts: dict[str, Counter[int]]) -> list[float]:
        last = max(max(counter) for counter in counts.values())
        return [self.start + place * self.width for place in range(last + 1)]

    def _of_changes(self) -> list[dict[str, Any]]:
        if not self.settled:
            return []
        axis = self._axis(self.settled)
        series = {label: self._per_second(counter, len(axis)) for label, counter in self.settled.items()}
        total = sum(counter.total() for counter in self.settled.values())
        most = max(map(sum, zip(*series.values(), strict=True)))
        summary = (
            f"{total:,} changes were settled, at most {most:,.0f} per second in any interval of {self.width:.3g} s."
        )
        return [chart("changes", "Changes settled", summary, times(axis), "changes per second", series, "stacked")]

    def _of_tries(self) -> list[dict[str, Any]]:
        if not self.tries:
            return []
        axis = self._axis(self.tries)
        totals = {kind: counter.total() for kind, counter in self.tries.items()}
        kinds = sorted(totals, key=lambda kind: (kind != "accepted", -totals[kind]))
        series = {kind: self._per_second(self.tries[kind], len(axis)) for kind in kinds[:4]}
        if rest := kinds[4:]:
            others: Counter[int] = sum((self.tries[kind] for kind in rest), Counter())
            series["other errors"] = self._per_second(others, len(axis))
        errors = sum(count for kind, count in totals.items() if kind != "accepted")
        told = ", ".join(f"{totals[kind]:,} × {kind}" for kind in kinds if kind != "accepted") or "none"
        summary = f"{sum(totals.values()):,} requests were answered or lost; {errors:,} errors: {told}."
        return [chart("tries", "Requests and errors", summary, times(axis), "per second", series, "stacked")]

    def _per_second(self, counter: Counter[int], places: int) -> list[float | None]:
        return [counter[place] / self.width for place in range(places)]


def _of_places(sessions: Sequence[SessionFacts], samples: Sequence[FigureSample]) -> list[dict[str, Any]]:
    if not samples:
        return []
    shown = samples[:: -(-len(samples) // POINTS)]
    axis = times(sessions[sample.session].started + sample.seconds for sample in shown)
    return [places_chart(axis, [sample.in_flight for sample in shown], [sample.limit for sample in shown])]


def _of_waits(sessions: Sequence[SessionFacts], samples: Sequence[FigureSample]) -> list[dict[str, Any]]:
    """The share of the time between two samples that was spent waiting, for each reason."""
    steps = [(a, b) for a, b in pairwise(samples) if a.session == b.session]
    if not steps:
        return []
    shown = steps[:: -(-len(steps) // POINTS)]
    totals = {name: sum(session.waited.get(name, 0.0) for session in sessions) for name in WAITS}

    def shares(name: str) -> list[float]:
        return [(b.waited.get(name, 0.0) - a.waited.get(name, 0.0)) / (b.seconds - a.seconds) for a, b in shown]

    axis = times(sessions[b.session].started + b.seconds for _, b in shown)
    return waits_chart(axis, totals, shares)
