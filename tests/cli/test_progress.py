"""What a run looks like while it works."""

from __future__ import annotations

import io
import re

import anyio
from harness import Target, runtime, settings_for, write_changes
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from batcher.cli.outlets.progress import Progress, View, drawn
from batcher.core.target import Credentials
from batcher.engine.jobs.apply import apply
from batcher.engine.jobs.context import RunContext
from batcher.simulator.behaviour import Behaviour, Fault
from batcher.simulator.virtual_time import run_virtual

VIEWS = st.builds(
    View,
    phase=st.sampled_from(["sending", "reading and sending", "stopping: " + "a reason that is long " * 9]),
    settled=st.integers(0, 10**12),
    total=st.integers(0, 10**12),
    pending=st.integers(0, 10**9),
    rate=st.floats(0, 1e9),
    in_flight=st.integers(0, 512),
    limit=st.integers(1, 512),
    bad=st.integers(0, 10**12),
    waiting=st.sampled_from(["", "Retry-After, 12 min 3 s more, until 02:31:20 UTC"]),
)


def lines_of(view, width):
    out = io.StringIO()
    Console(file=out, width=width, height=24, force_terminal=True, color_system=None).print(drawn(view), end="")
    return out.getvalue().rstrip("\n").split("\n")


@given(VIEWS, st.integers(40, 200))
def test_it_is_two_lines_on_any_terminal(view, width):
    lines = lines_of(view, width)
    assert len(lines) == 2
    assert all(len(line) <= width for line in lines)


def test_what_is_waited_for_is_read_first():
    view = View("sending", 5, 10, 5, 2.0, 1, 8, 3, "Retry-After, 20 s more, until 02:31:20 UTC")
    head, rest = lines_of(view, 80)
    assert head.startswith("sending ")
    assert head.endswith("5 of 10  50%")
    assert rest.startswith("waiting for Retry-After, 20 s more, until 02:31:20 UTC · 3 not applied · 2/s · ")


def said_at(moment, folder, behaviour, **settings):
    """What the line says at this moment (seconds) of a run of forty requests."""
    changes = write_changes(folder / "c.jsonl", [("add", user, 1) for user in range(200)])
    chosen = settings_for("minapp", limits_max_changes=5, rate_max_in_flight=2, **settings)
    progress, told = Progress([changes.stat().st_size]), []

    async def look():
        await anyio.sleep_until(moment)
        told.append(progress.line())

    async def main():
        async with anyio.create_task_group() as group:
            group.start_soon(look)
            world = runtime(Target(behaviour))
            given = Credentials(token="a-token")
            context = RunContext(chosen, given, folder / "run.ledger", world, observer=progress.observer())
            await apply([changes], context)
            group.cancel_scope.cancel()

    run_virtual(main)
    return told[0]


def test_it_says_what_it_waits_for_and_until_when(tmp_path):
    said = said_at(7.0, tmp_path, Behaviour(latency_seconds=0.1), rate_requests="10/min")
    assert re.search(r"waiting for the rate limit, 5 s more, until \d\d:\d\d:\d\d UTC", said)
    assert "10 of about 200 (5%) settled" in said


def test_it_says_how_much_is_in_flight(tmp_path):
    said = said_at(5.0, tmp_path, Behaviour(latency_seconds=30.0))
    assert said == "sending · 0 of about 200 (0%) settled · 0/s · 2 of 2 in flight"


def test_it_says_that_the_target_wants_to_be_left_alone(tmp_path):
    busy = Behaviour(faults=(Fault("429", 1.0),), fault_retry_after=600.0)
    said = said_at(60.0, tmp_path, busy, retry_max_wait="1h")
    assert "waiting for Retry-After, 9 min 0 s more, until" in said


def test_before_anything_is_read_it_says_so():
    assert Progress([]).line() == "reading the input"
