"""The content of a ledger, as the content of a page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import orjson

from batcher.core.durations import Durations
from batcher.core.keys import Key
from batcher.core.model import REJECTED_ROW
from batcher.core.report import SUMMARY_ORDER, Report, drifted, proven
from batcher.core.status import FAILURES, IN_EFFECT, Status, are, count_of
from batcher.core.units import spoken
from batcher.core.verdict import Cause
from batcher.engine.jobs.summary import report_of
from batcher.ledger.ahead import ahead
from batcher.ledger.facts import SessionFacts, WindowState
from batcher.ledger.reader import LedgerReader
from batcher.report.content import chart, made, milliseconds, numbers, settings, utc
from batcher.report.failures import Failures
from batcher.report.timeline import Timeline
from batcher.settings import Settings

MEANINGS = {
    Status.APPLIED: "the target reported success",
    Status.UNCHANGED: "the target reported that it was so already",
    Status.SUPERSEDED: "a later change of the same user and group replaced it",
    Status.REJECTED: "the line is invalid and was not sent",
    Status.FAILED: "the target refused it",
    Status.UNKNOWN: "sent, but whether it took effect could not be established",
    Status.PENDING: "not settled yet",
}
_SHOWN_GROUPS = 15
_MOST_GROUPS = 100_000
_PERCENTILES = (50, 90, 95, 99, 99.9)


def of_ledger(path: Path, now: float) -> dict[str, Any]:
    """Read it once, window by window; `now` (UTC seconds) is when the page is made.

    Raises:
        LedgerError: When it cannot be read.

    """
    with LedgerReader(path) as reader, reader.at_one_moment():
        facts, sessions, samples = reader.facts(), reader.sessions(), reader.samples()
        last = sessions[-1] if sessions else None
        cause = Cause[last.cause] if last and last.cause else None
        summary = report_of(reader, cause, (last.reason if last else "") or "")
        names = [source.name for source in reader.sources()]
        timeline, failures, groups = Timeline.of(sessions), Failures(names), _Groups()
        for state in ahead(reader.windows()):
            timeline.add(state.settlements)
            failures.add(state)
            groups.add(state)
    took = Durations()
    for session in sessions:
        took.update(session.took)
    return {
        "kind": "run",
        "title": f"{_inputs(names)} → {summary.target}",
        "sentence": _sentence(summary, sessions),
        "outcome": _outcome(summary, sessions),
        "facts": _facts(path, facts, summary, sessions),
        "counts": [
            {"name": status.label, "count": count, "meaning": MEANINGS[status]}
            for status in SUMMARY_ORDER
            if (count := summary.changes.get(status, 0))
        ],
        "total": {"name": "changes", "count": summary.total},
        "charts": [*timeline.charts(sessions, samples), *_latency_chart(took)],
        "tables": [*_latency_table(took), *_sessions_table(sessions)],
        "failures": failures.listed(),
        "more_failures": failures.more,
        "groups": groups.listed(),
        "guardrails": [_guardrail(item) for item in orjson.loads(facts.get("guardrails", "[]"))],
        "settings": _settings(facts["settings"]),
        "next": _next(summary, sessions),
        "made": made(now),
    }


class _Groups:
    """Changes per group; beyond a hundred thousand groups the smallest are dropped."""

    def __init__(self) -> None:
        self.total: Counter[Key] = Counter()
        self.applied: Counter[Key] = Counter()
        self.bad: Counter[Key] = Counter()

    def add(self, state: WindowState) -> None:
        group, valid = state.window.columns.group, state.window.columns.action != REJECTED_ROW
        bad = valid & are(state.status, FAILURES)
        applied = valid & are(state.status, IN_EFFECT)
        for counter, mask in ((self.total, valid), (self.applied, applied), (self.bad, bad)):
            for key, count in group.take(mask).counted():
                counter[key] += count
        if len(self.total) > _MOST_GROUPS:
            self.total = Counter(dict(self.total.most_common(_MOST_GROUPS // 2)))
            for counter in (self.applied, self.bad):
                for key in counter.keys() - self.total.keys():
                    del counter[key]

    def listed(self) -> list[dict[str, Any]]:
        return [
            {"group": str(key), "total": count, "applied": self.applied[key], "not_applied": self.bad[key]}
            for key, count in self.total.most_common(_SHOWN_GROUPS)
        ]


def _inputs(names: Sequence[str]) -> str:
    first = Path(names[0]).name if names else "nothing"
    return first if len(names) <= 1 else f"{first} and {len(names) - 1} more"


def _sentence(summary: Report, sessions: Sequence[SessionFacts]) -> str:
    changes = summary.changes
    done = count_of(changes, IN_EFFECT)
    parts = [f"{done:,} of {summary.total:,} changes were applied"]
    words = {
        Status.SUPERSEDED: "were superseded by later ones",
        Status.FAILED: "failed",
        Status.UNKNOWN: "are unknown",
        Status.REJECTED: "were invalid lines",
        Status.PENDING: "are still pending",
    }
    parts += [f"{changes[status]:,} {word}" for status, word in words.items() if changes[status]]
    told = ", ".join(parts)
    stopped = sessions[-1].reason if sessions and sessions[-1].cause else ""
    ending = f" The last session was stopped: {stopped}." if stopped else ""
    return f"{told}; {summary.requests.sent:,} requests in {spoken(summary.seconds)}.{ending}"


def _outcome(summary: Report, sessions: Sequence[SessionFacts]) -> str:
    if (sessions and sessions[-1].cause) or summary.changes[Status.PENDING] or not summary.input_complete:
        return "stopped"
    return "attention" if summary.exit_code else "good"


def _facts(path: Path, facts: Mapping[str, str], summary: Report, sessions: Sequence[SessionFacts]) -> list[list[str]]:
    rows = [["Run", summary.run], ["Target", f"{facts['target']}, {facts['url']}"]]
    rows += [["Environment", facts["env"]]] if facts.get("env") else []
    rows += [["Simulated", "no real target was touched"]] if "simulated" in facts else []
    rows += [["Started", utc(sessions[0].started)]] if sessions else []
    rows += [["Took", f"{summary.seconds:,.1f} s"], ["Exit code", str(summary.exit_code)], ["Ledger", path.name]]
    rows += [["Input", "read completely" if summary.input_complete else "not read completely"]]
    requests = summary.requests
    rows += [["Requests", f"{requests.sent:,} sent, {requests.retried:,} retried, {requests.split:,} split"]]
    rows += [["Read before", drifted(summary.drift)]] if summary.drift else []
    rows += [["Read back", f"{utc(summary.proof['at'])}: {proven(summary.proof)}"]] if summary.proof else []
    rows += [["Reason for the override", facts["reason"]]] if facts.get("reason") else []
    return rows


def _latency_chart(took: Durations) -> list[dict[str, Any]]:
    if not took:
        return []
    bounds = took.bounds()
    low, high = milliseconds(took.percentile(50)), milliseconds(took.percentile(99))
    summary = f"Half of the {took.total():,} replies took less than {low} ms, 99 of 100 less than {high} ms."
    axis = numbers("ms, at most", (round(bound * 1000, 3) for bound in bounds))
    return [chart("latency", "Response times", summary, axis, "replies", {"replies": list(bounds.values())}, "bars")]


def _latency_table(took: Durations) -> list[dict[str, Any]]:
    if not took:
        return []
    rows = [[f"p{percent:g}", milliseconds(took.percentile(percent))] for percent in _PERCENTILES]
    note = "From the sending of a request to its reply; upper bounds of buckets, at most a tenth too long."
    return [{"id": "latency", "title": "Latency", "head": ["percentile", "ms"], "rows": rows, "note": note}]


def _sessions_table(sessions: Sequence[SessionFacts]) -> list[dict[str, Any]]:
    rows = [
        [s.kind, utc(s.started), f"{s.seconds:,.1f}", f"{s.requests.get('sent', 0):,}", _ended(s)] for s in sessions
    ]
    head = ["command", "started", "seconds", "requests", "ended"]
    return [{"id": "sessions", "title": "Sessions", "head": head, "rows": rows, "note": ""}]


def _ended(session: SessionFacts) -> str:
    if session.ended is None:
        return "killed, or still running"
    return f"stopped: {session.reason}" if session.cause else "completed"


def _guardrail(item: Mapping[str, Any]) -> dict[str, str]:
    outcome = "overridden" if item["overridden"] else "refused" if item["refuses"] else "passes"
    return {"guardrail": item["guardrail"], "figures": item["figures"], "outcome": outcome}


def _settings(text: str) -> list[list[str]]:
    return settings(msgspec.to_builtins(Settings.from_json(text)), msgspec.to_builtins(Settings()))


def _next(summary: Report, sessions: Sequence[SessionFacts]) -> dict[str, str] | None:
    if summary.next is None:
        return None
    is_resume = summary.next.startswith("batcher resume")
    why = "The run was not finished" if is_resume else "Some changes were not applied; once the reasons are resolved"
    if is_resume and sessions and sessions[-1].cause:
        why = f"The run was stopped ({sessions[-1].reason})"
    return {"text": f"{why}:", "command": summary.next}
