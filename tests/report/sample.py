"""Contents of reports as the page gets them: of a run, of a load test, an empty, the largest, a hostile one."""

from __future__ import annotations

import math

START = 1795314600
HOSTILE = "</script><img src=x onerror=alert(1)>\"'&\u202e\u2028\ud800\x00<!--" + "W" * 10_000


def wave(at, base, swing, every):
    return base + swing * math.sin(at / every) + (at * 7919 % 13) / 3


def chart(ident, title, summary, kind, values, unit, series, style, x_label="time"):
    return {
        "id": ident,
        "title": title,
        "summary": summary,
        "x": {"label": x_label, "kind": kind, "values": values},
        "y": {"label": unit},
        "series": [{"label": label, "values": figures} for label, figures in series],
        "style": style,
    }


def empty():
    return {
        "kind": "run",
        "title": "nothing.csv → minapp",
        "sentence": "There was nothing to send.",
        "outcome": "good",
        "facts": [],
        "counts": [],
        "total": {"name": "changes", "count": 0},
        "charts": [],
        "tables": [],
        "failures": [],
        "more_failures": 0,
        "groups": [],
        "guardrails": [],
        "settings": [],
        "next": None,
        "made": "batcher 0.1.0, 2026-11-22 08:00:00 UTC",
    }


def run_charts():
    times = [START + 2 * at for at in range(301)]
    quiet = range(140, 165)
    applied = [None if at in quiet else wave(at, 38, 6, 17) for at in range(301)]
    failed = [None if at in quiet else (3 if at % 37 == 0 else 0) for at in range(301)]
    return [
        chart("throughput", "Changes settled per second", "On average 37.9 changes/s, at most 48.2; nothing from 02:34:40 to 02:35:28, while the target was away.", "time", times, "changes/s", [("applied", applied), ("failed", failed)], "stacked"),
        chart("latency", "Time of a request", "Half of the requests took less than 212 ms, 99 of 100 less than 1,480 ms.", "time", times, "ms", [("p50", [wave(at, 205, 20, 11) for at in range(301)]), ("p90", [wave(at, 520, 60, 9) for at in range(301)]), ("p99", [wave(at, 1300, 160, 7) for at in range(301)])], "line"),
        chart("rate", "Requests in the last minute", "Never more than the 50 that are allowed.", "time", times, "requests", [("sent", [min(50, at // 2) for at in range(301)]), ("allowed", [50] * 301)], "steps"),
        chart("sizes", "Changes per request", "Most requests carried 100 changes; 31 were split.", "number", [1, 2, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100], "requests", [("first sent", [0, 0, 1, 2, 0, 1, 3, 2, 0, 4, 1, 6, 110]), ("split", [9, 6, 4, 3, 2, 1, 1, 5, 0, 0, 0, 0, 0])], "bars", "changes in a request"),
    ]  # fmt: skip


def run():
    examples = [
        {"op": "add", "user": str(5 + at), "group": "53", "where": f"changes.csv, line {7 + at:,}"} for at in range(5)
    ]
    return empty() | {
        "title": "changes.csv → minapp",
        "sentence": "12,345 changes were read and all are settled; 11,871 were applied, 216 failed or were rejected, and of 3 it is unknown.",
        "outcome": "attention",
        "facts": [["Run", "4f2a91c07be3"], ["Target", "minapp, https://cloud.minapp.example"], ["Started", "2026-11-22 02:30:00 UTC"], ["Took", "10 min 0 s"], ["Invocations", "2, the first stopped by SIGTERM"], ["Input", "changes.csv, 1.2 MB, SHA-256 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"]],
        "counts": [
            {"name": "applied", "count": 11_871, "meaning": "the target reported success"},
            {"name": "unchanged", "count": 0, "meaning": "the target said that nothing was to be done"},
            {"name": "superseded", "count": 255, "meaning": "a later change of the same pair decided"},
            {"name": "rejected", "count": 14, "meaning": "the line is invalid and was not sent"},
            {"name": "failed", "count": 202, "meaning": "the target refused this change"},
            {"name": "unknown", "count": 3, "meaning": "sent, but whether it took effect could not be established"},
            {"name": "pending", "count": 0, "meaning": "not settled yet"},
        ],
        "total": {"name": "changes", "count": 12_345},
        "charts": run_charts(),
        "tables": [
            {"id": "requests", "title": "Requests", "head": ["answer", "requests", "share", "what was done"], "rows": [["200", "120", "82.2 %", "settled"], ["429", "11", "7.5 %", "waited as told, all together, then sent again"], ["503", "9", "6.2 %", "probed until the target was back"], ["no answer", "6", "4.1 %", "–"]], "note": "Requests that were sent again count each time."},
        ],
        "failures": [
            {"reason": "group 53 does not exist", "status": "failed", "count": 190, "examples": examples},
            {"reason": "user 99871 is not in this application", "status": "failed", "count": 12, "examples": examples[:2]},
            {"reason": "the user id is no integer: 'nobody'", "status": "rejected", "count": 1, "examples": [{"op": "add", "user": "nobody", "group": "1", "where": "changes.csv, line 6"}]},
        ],
        "more_failures": 16,
        "groups": [{"group": str(53 + at), "total": 3000 - 190 * at, "applied": 2900 - 190 * at, "not_applied": 100} for at in range(12)],
        "guardrails": [
            {"guardrail": "max_removals", "figures": "12 of at most 50", "outcome": "passes"},
            {"guardrail": "max_failures", "figures": "202 of at most 5 %", "outcome": "overridden"},
            {"guardrail": "max_share_of_a_group", "figures": "61 % of group 53, at most 50 %", "outcome": "refused"},
        ],
        "settings": [["target.kind", "minapp"], ["rate.requests", "50/min"], ["batch.changes", "100"], ["retry.attempts", "8"], ["retry.deadline", "2 h"], ["target.url", "https://cloud.minapp.example/a/rather/long/path/that/has/to/wrap/on/a/phone"]],
        "next": {"text": "Some changes failed; when the reasons for the failures are fixed:", "command": "batcher retry run.ledger"},
    }  # fmt: skip


def load():
    times = [START + at for at in range(120)]
    percentiles = [50, 75, 90, 95, 99, 99.9, 99.99]
    return empty() | {
        "kind": "load",
        "title": "600 requests/s for 2 min → simulator",
        "sentence": "The target kept up: 72,000 requests were intended, all were sent, and 99 of 100 were answered within 48 ms of when they were due.",
        "facts": [["Target", "simulator, http://127.0.0.1:8080"], ["Intended rate", "600/s, open loop"], ["Took", "2 min 0 s"]],
        "counts": [
            {"name": "success", "count": 71_958, "meaning": "answered 2xx"},
            {"name": "throttled", "count": 31, "meaning": "answered 429"},
            {"name": "server error", "count": 9, "meaning": "answered 5xx"},
            {"name": "no answer", "count": 2, "meaning": "connection lost or timed out"},
        ],
        "total": {"name": "requests", "count": 72_000},
        "charts": [
            chart("rate", "Requests per second", "599.8 requests/s on average against 600 intended.", "time", times, "requests/s", [("intended", [600] * 120), ("sent", [wave(at, 595, 9, 5) for at in range(120)]), ("answered", [wave(at, 570, 30, 8) for at in range(120)])], "line"),
            chart("percentiles", "Latency by percentile", "p50 3.1 ms, p99 48 ms, p99.99 412 ms from the intended start.", "percentile", percentiles, "ms", [("from the intended start", [3.1, 5.2, 11, 19, 48, 190, 412]), ("from the actual start", [2.9, 4.8, 9, 14, 31, 120, 300])], "line", "percentile"),
            chart("classes", "Answers over time", "Throttling in the first ten seconds only.", "time", times, "answers/s", [("success", [wave(at, 590, 6, 5) for at in range(120)]), ("throttled", [max(0, 31 - 3 * at) for at in range(120)]), ("server error", [8 if at == 70 else 0 for at in range(120)])], "stacked"),
        ],
        "tables": [
            {"id": "latency", "title": "Latency", "head": ["percentile", "from the intended start, ms", "from the actual start, ms"], "rows": [["p50", "3.1", "2.9"], ["p99", "48", "31"], ["p99.99", "412", "300"]], "note": "From the intended start: with the time that a request had to wait for its turn."},
        ],
        "settings": [["load.rate", "600/s"], ["load.duration", "2 min"]],
    }  # fmt: skip


def largest():
    """As many charts, series and points as there can be, with figures that do not compress."""
    times = [START + at + 0.123 for at in range(600)]
    styles = ["line", "steps", "stacked", "bars", "line", "stacked"]
    series = [
        (f"series {each}", [wave(at, 4321.98765 * each, 777.7, 13 + each) for at in range(600)]) for each in range(1, 6)
    ]
    return run() | {
        "charts": [
            chart(f"chart-{at}", f"Chart {at}", "Many figures.", "time", times, "changes/s", series, style)
            for at, style in enumerate(styles)
        ]
    }  # fmt: skip


def hostile(bad=HOSTILE):
    """Every text of a full report is what an attacker would have it be."""

    def poison(value, key=""):
        if isinstance(value, dict):
            return {each: poison(inner, each) for each, inner in value.items()}
        if isinstance(value, list):
            return [poison(inner) for inner in value]
        return bad if isinstance(value, str) and key not in {"kind", "style", "outcome"} else value

    content = poison(run())
    content["outcome"] = "stopped"
    return content
