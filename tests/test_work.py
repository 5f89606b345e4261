"""What the work costs, counted instead of timed: calls, memory, requests and bytes, which do not depend on the machine.

The bounds are the measured values plus a fifth (requests and bytes: exactly the measured ones). A change that exceeds
one has made something slower.
"""

from __future__ import annotations

import sys
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from harness import Play, Target, settings_for

from batcher.core.http import Response
from batcher.core.model import Action, Position
from batcher.core.ordering import OrderBy
from batcher.engine.run.intake import Packing, take_in
from batcher.engine.run.window_reader import WorkItem
from batcher.source.inputs import Input, Reading
from batcher.source.layout import Fields
from batcher.source.lines import Waits
from batcher.source.reader import read
from batcher.source.windows import Windower
from batcher.targets import create


def calls(work: Callable[[], object]) -> int:
    """How many functions, in Python and in C, the work calls."""
    counted = 0

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal counted
        counted += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(before)
    return counted


def random_pairs(rows):
    rng = np.random.default_rng(1)
    op = np.where(rng.random(rows) < 0.1, "remove", "add").tolist()
    users, groups = 10_000_000 + rng.integers(0, 200_000, rows), rng.integers(0, 500, rows)
    return zip(op, users.tolist(), groups.tolist(), strict=True)


def profiles(rows, noise=0.0):
    """Users with one of 50 profiles of 8 groups; some of their pairs deviate from it."""
    rng = np.random.default_rng(2)
    shapes = [rng.choice(500, 8, replace=False).tolist() for _ in range(50)]
    pairs = [(user, group) for user in range(1, rows // 8 + 1) for group in shapes[int(rng.integers(50))]]
    return [("add", user, int(rng.integers(500)) if rng.random() < noise else group) for user, group in pairs]


def as_csv(path, changes):
    path.write_text("op,user_id,group_id\n" + "".join(f"{op},{u},{g}\n" for op, u, g in changes), "ascii")
    return path


def as_names(path, changes):
    lines = (f"{op},User {u}@example.org,Team {g}\n" for op, u, g in changes)
    path.write_text("op,user_name,group_name\n" + "".join(lines), "ascii")
    return path


def as_jsonl(path, changes):
    path = path.with_suffix(".jsonl")
    path.write_text("".join(f'{{"op":"{op}","user_id":{u},"group_id":{g}}}\n' for op, u, g in changes), "ascii")
    return path


def pipeline(kind: str, path: Path, changes: int) -> tuple[int, int]:
    """From the file to the request bodies, without network and ledger; returns the numbers of requests and bytes."""
    target = create(kind, "https://example.org", "")
    limits, windower = replace(target.limits, max_changes=changes), Windower()
    packing = Packing(limits, target.wire, OrderBy.PAIR, count().__next__)
    how = Reading(Fields.of({}, target.key_kind))
    windows = []
    for step in read(0, Input(path.name, path), how, Position()):
        if not isinstance(step, Waits):
            windows += windower.feed(*step)
    requests = size = 0
    for window in [*windows, *windower.flush()]:
        intake = take_in(WorkItem(window), OrderBy.PAIR)
        for batch in packing.batches(intake.window, intake.rows):
            body = target.encode(batch, "token").body
            requests, size = requests + 1, size + len(body)
            if target.name == "scrutinizer":
                target.interpret(batch, _all_well(batch), 0.0)
    return requests, size


def _all_well(batch):
    lists = {Action.ADD: ("added", "added to"), Action.REMOVE: ("removed", "removed from")}
    said = {}
    for op in batch.ops:
        listed, verb = lists[op.action]
        users, groups = (keys.values(codes) for keys, codes in zip((batch.user, batch.group), op.pairs(), strict=True))
        said[listed] = ",".join([f'"User {u} {verb} usergroup {g}"' for u, g in zip(users, groups, strict=True)])
    body = ",".join(f'"{listed}":[{text}]' for listed, text in said.items())
    return Response(200, {}, f'{{"data":{{{body}}}}}'.encode())


@pytest.mark.parametrize(
    ("kind", "write", "make"),
    [
        ("minapp", as_csv, random_pairs),
        ("minapp", as_csv, profiles),
        ("minapp", as_jsonl, profiles),
        ("scrutinizer", as_csv, random_pairs),
        ("scrutinizer", as_names, random_pairs),
    ],
    ids=["random", "profiles", "JSON Lines", "scrutinizer", "names"],
)
def test_changes_go_by_columns_from_the_file_to_the_wire(tmp_path, kind, write, make):
    """If the file grows by 60,000 rows, there is at most one more call for every two of them: those per request."""
    small, large = (write(tmp_path / f"{rows}.csv", make(rows)) for rows in (60_000, 120_000))
    pipeline(kind, small, 5000 if kind == "minapp" else 1000)
    costs = [
        calls(lambda path=path: pipeline(kind, path, 5000 if kind == "minapp" else 1000)) for path in (small, large)
    ]
    assert (costs[1] - costs[0]) / 60_000 < (0.42 if write is as_names else 0.3)


@pytest.mark.parametrize(("offers_lines", "most"), [(True, 780), (False, 960)], ids=["fast lane", "the other way"])
def test_a_request_costs_a_bounded_number_of_calls(tmp_path, offers_lines, most):
    """From the schedule through the network to the ledger, in virtual time, for requests of 100 changes."""
    costs = []
    for rows in (20_000, 60_000):
        folder = tmp_path / str(rows)
        folder.mkdir()
        path = as_csv(folder / "changes.csv", [("add", number, number % 7) for number in range(rows)])
        target = Target(offers_lines=offers_lines)
        play = Play(folder, target, settings_for("minapp", limits_max_changes=100))
        costs.append((calls(lambda play=play, path=path: play.apply_files(path)), len(target.sends)))
    (few_calls, few), (many_calls, many) = costs
    assert (many_calls - few_calls) / (many - few) < most


def test_the_memory_of_a_window(tmp_path):
    """The maximum of bytes per row, from reading to packing."""
    path = as_csv(tmp_path / "changes.csv", random_pairs(125_000))
    pipeline("minapp", path, 5000)
    tracemalloc.start()
    try:
        pipeline("minapp", path, 5000)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak / 125_000 < 230


@pytest.mark.parametrize(
    ("make", "requests", "economy"),
    [
        (lambda: random_pairs(100_000), 44, 10.1),
        (lambda: profiles(100_000), 22, 0.74),
        (lambda: profiles(100_000, 0.05), 29, 2.68),
    ],
    ids=["random", "profiles", "noisy profiles"],
)
def test_requests_and_bytes(tmp_path, make, requests, economy):
    changes = list(make())
    sent, size = pipeline("minapp", as_csv(tmp_path / "changes.csv", changes), 5000)
    assert sent <= requests
    assert size / len(changes) <= economy
