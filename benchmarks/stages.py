"""Each stage alone, in this process: CPU seconds for a million rows, medians of several runs.

    python benchmarks/stages.py [--rows 1000000] [--runs 3]

read → join → coalesce → pack → encode → interpret → ledger, on the same windows as in life.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path

import data
import orjson

from batcher.core.batch import Batch, Settlement
from batcher.core.clock import Stamp
from batcher.core.http import Response
from batcher.core.look_alikes import Names
from batcher.core.model import Position
from batcher.core.ordering import OrderBy
from batcher.core.report import Requests, Waited
from batcher.core.status import Status
from batcher.core.verdict import Settled
from batcher.engine.run.intake import Packing, take_in
from batcher.engine.run.window_reader import WorkItem
from batcher.ledger.sessions import Figures
from batcher.ledger.writer import LedgerWriter
from batcher.source.inputs import Input, Reading
from batcher.source.layout import Fields
from batcher.source.lines import Waits
from batcher.source.reader import read
from batcher.source.windows import Windower
from batcher.targets import create

CASES = [
    ("minapp, random", "minapp", data.random_ids, 5000),
    ("minapp, profiles", "minapp", data.profiles, 5000),
    ("minapp, JSON Lines", "minapp", data.jsonl, 5000),
    ("scrutinizer, random", "scrutinizer", data.random_ids, 1000),
    ("scrutinizer, names", "scrutinizer", data.names, 1000),
    ("scrutinizer, UUIDs", "scrutinizer", data.uuids, 1000),
    ("scrutinizer, UUIDs as JSON Lines", "scrutinizer", data.uuids_jsonl, 1000),
    ("minapp, 100 changes per request", "minapp", data.random_ids, 100),
]


class Clock:
    """Adds up seconds by stage."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        started = time.process_time()
        yield
        self.seconds[stage] += time.process_time() - started


def run(kind: str, path: Path, changes: int, ledger_path: Path) -> dict[str, float]:
    clock = Clock()
    target = create(kind, "https://example.org", "")
    limits = replace(target.limits, max_changes=changes)
    windower = Windower(names=Names.UNSURE)
    steps = read(
        0,
        Input(path.name, path),
        Reading(Fields.of({}, target.key_kind)),
        Position(),
    )
    ledger_path.unlink(missing_ok=True)
    ledger = LedgerWriter.create(ledger_path)
    ledger.begin_run({"run": "x"}, [])
    ledger.begin_session("apply", Stamp(0.0))
    packing = Packing(limits, target.wire, OrderBy.PAIR, count().__next__)
    figures = Figures(0.0, Requests(), Waited(), 0, 0, {})
    windows = []
    while True:
        with clock("read"):
            step = next(steps, None)
        if step is None:
            break
        if not isinstance(step, Waits):
            with clock("join"):
                windows += windower.feed(*step)
    with clock("join"):
        windows += windower.flush()
    size = sent = 0
    for window in windows:
        with clock("coalesce"):
            intake = take_in(WorkItem(window), OrderBy.PAIR)
            opened, rows = intake.window, intake.hold_back([])
        with clock("pack"):
            made = packing.batches(opened, rows)
        with clock("encode"):
            requests = [target.encode(batch, "token") for batch in made]
        size += sum(len(request.body) for request in requests)
        sent += len(requests)
        replies = [reply(kind, batch) for batch in made]
        with clock("interpret"):
            verdicts = [target.interpret(b, r, 0.0) for b, r in zip(made, replies, strict=True)]
        with clock("ledger"):
            ledger.add_window(window, opened.unsettled)
            words = [settled(batch, verdict) for batch, verdict in zip(made, verdicts, strict=True)]
            for start in range(0, len(words), 16):
                part = words[start : start + 16]
                ledger.settle(part, Counter({Status.APPLIED: sum(len(word.rows) for word in part)}), figures)
    with clock("ledger"):
        ledger.close()
    total = sum(len(window.columns) for window in windows)
    return dict(clock.seconds) | {
        "all": sum(clock.seconds.values()),
        "requests": sent,
        "bytes per change": size / total,
    }


def reply(kind: str, batch: Batch) -> Response:
    if kind == "minapp":
        return Response(204)
    said: dict[str, list[str]] = {"added": [], "removed": []}
    verbs = {"add": ("added", "added to"), "remove": ("removed", "removed from")}
    for op in batch.ops:
        listed, verb = verbs[op.action.label]
        users, groups = op.pairs()
        pairs = zip(batch.user.values(users), batch.group.values(groups), strict=True)
        said[listed] += [f"User {user} {verb} usergroup {group}" for user, group in pairs]
    return Response(200, {}, orjson.dumps({"data": said}))


def settled(batch: Batch, verdict: object) -> Settlement:
    assert isinstance(verdict, Settled)  # noqa: S101 — the replies above are successes
    return Settlement(batch.window, batch.id, batch.rows, verdict.statuses, verdict.details, 0.0, ())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        makers: set[Callable[[Path, int], Path]] = {case[2] for case in CASES}
        inputs = {make: make(folder / make.__name__, options.rows) for make in makers}
        runs: dict[str, list[dict[str, float]]] = defaultdict(list)
        for _ in range(options.runs):
            for label, kind, make, changes in CASES:
                runs[label].append(run(kind, inputs[make], changes, folder / "run.ledger"))
    keys = list(runs[CASES[0][0]][0])
    print("| case | " + " | ".join(keys) + " |\n" + "|---" * (len(keys) + 1) + "|")
    for label, figures in runs.items():
        print(
            f"| {label} | "
            + " | ".join(f"{statistics.median(run[key] for run in figures):,.3f}" for key in keys)
            + " |"
        )


if __name__ == "__main__":
    main()
