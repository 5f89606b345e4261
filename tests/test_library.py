"""The library interface: runs that are cancelled, blocked, raise errors, or run at the same time."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from itertools import product

import anyio
import pytest

import batcher
from batcher.ledger.reader import LedgerReader
from batcher.ledger.verify import differences
from batcher.simulator.behaviour import Behaviour
from batcher.simulator.server import serve

pytestmark = pytest.mark.real_time


@pytest.fixture(autouse=True)
def _token(monkeypatch):
    monkeypatch.setenv("BATCHER_TOKEN", "tok-12345")


def settings(url, **more):
    given = {"target.kind": "minapp", "target.url": url, "rate.requests": "none"}
    return batcher.Settings.load(overrides=given | {key.replace("_", ".", 1): value for key, value in more.items()})


def changes(count=20):
    return [("add", user, 53) for user in range(count)]


def sound(ledger):
    with LedgerReader(ledger) as reader:
        return differences(reader) == []


@pytest.mark.parametrize("how", ["a time-out", "a cancelled task", "a cancelled scope"])
@pytest.mark.parametrize("given", ["a list", "a generator", "an async generator"])
async def test_a_cancelled_run_can_be_gone_on_with(tmp_path, how, given):
    ledger = tmp_path / "x.ledger"

    async def give():
        for item in changes():
            yield item

    def items():
        return {"a list": changes(), "a generator": (item for item in changes()), "an async generator": give()}[given]

    async with serve(Behaviour(latency_seconds=0.1)) as url:
        run = batcher.apply(items(), settings(url, limits_max_changes=1, rate_max_in_flight=1), ledger=ledger)
        if how == "a time-out":
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.4):
                    await run
        elif how == "a cancelled task":
            task = asyncio.ensure_future(run)
            await anyio.sleep(0.4)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        else:
            with anyio.move_on_after(0.4) as scope:
                await run
            assert scope.cancelled_caught
        assert sound(ledger)
    async with serve(Behaviour()) as url:
        with LedgerReader(ledger) as reader:
            tally = reader.tally()
            assert 0 < tally[batcher.Status.APPLIED] < 20
            assert reader.sessions()[-1].ended is not None
        from batcher.credentials import credentials  # noqa: PLC0415 — the address is another one, which the API cannot say
        from batcher.engine.jobs.context import RunContext  # noqa: PLC0415 — as above
        from batcher.engine.jobs.reaching import Anew  # noqa: PLC0415 — as above
        from batcher.engine.jobs.resume import resume  # noqa: PLC0415 — as above
        from batcher.host.run_registry import state_folder  # noqa: PLC0415 — as above
        from batcher.host.runtime import real_runtime  # noqa: PLC0415 — as above

        given_now = credentials(settings(url).auth, {"BATCHER_TOKEN": "t"})
        runtime = real_runtime(state_folder({"XDG_STATE_HOME": str(tmp_path)}))
        report = await resume(RunContext(settings(url), given_now, ledger, runtime), Anew({"target": {"url": url}}))
    assert report.changes[batcher.Status.PENDING] == 0
    assert sound(ledger)


@pytest.mark.parametrize("raises", [ValueError("mine"), KeyError("mine"), batcher.BatcherError("mine")])
@pytest.mark.parametrize("at", [0, 3])
async def test_what_a_follower_raises_is_raised_as_it_is(tmp_path, raises, at):
    told = []

    def follow(outcome):
        told.append(outcome)
        if len(told) > at:
            raise raises

    ledger = tmp_path / "x.ledger"
    async with serve(Behaviour(latency_seconds=0.05)) as url:
        with pytest.raises(type(raises)) as raised:
            await batcher.apply(
                [("nonsense", 1, 2), *changes()],
                settings(url, limits_max_changes=1, rate_max_in_flight=1),
                ledger=ledger,
                on_outcome=follow,
            )
        assert raised.value is raises
        assert len(told) == at + 1
        assert sound(ledger)
        report = await batcher.resume(str(ledger))
        assert (report.exit_code, report.total) == (3, 21)


ENDINGS = [SystemExit, KeyboardInterrupt, GeneratorExit]
"""Exceptions that end the program if they are raised in a task of the caller's own loop, as they should."""


@pytest.mark.parametrize(
    ("error", "is_async"),
    [*((error, False) for error in ENDINGS), *product([ValueError, asyncio.CancelledError], [False, True])],
)
async def test_whatever_an_iterable_raises_is_an_error_of_the_input(tmp_path, error, is_async):
    def give():
        yield from changes(3)
        raise error("x")

    async def give_async():
        for item in changes(3):
            yield item
        if error is asyncio.CancelledError:
            other = asyncio.ensure_future(anyio.sleep(60))
            asyncio.get_running_loop().call_soon(other.cancel)
            await other
        raise error("x")

    async with serve(Behaviour()) as url:
        ledger = tmp_path / "x.ledger"
        with anyio.fail_after(20):
            report = await batcher.apply(give_async() if is_async else give(), settings(url), ledger=ledger)
    assert report.exit_code == 6
    assert report.changes[batcher.Status.APPLIED] + report.changes[batcher.Status.PENDING] in {0, 3}
    assert report.next.startswith(f"batcher resume {ledger}")


async def test_a_follower_that_would_have_to_be_awaited_is_refused_at_once(tmp_path):
    async def follower(outcome):
        pass

    class Follower:
        async def __call__(self, outcome):
            pass

    for given in (follower, Follower()):
        with pytest.raises(TypeError, match="called, not awaited"):
            await batcher.apply(changes(), settings("http://127.0.0.1:9"), ledger=tmp_path / "x", on_outcome=given)
    assert not list(tmp_path.iterdir())


async def test_an_item_that_cannot_even_be_shown_is_one_rejected_line(tmp_path):
    class Odd:
        def __repr__(self):
            raise RuntimeError("no")

    class Surrogate:
        def __repr__(self):
            return "\ud800"

    items = [("add", 1, 1), Odd(), ("add", Odd(), 1), (Odd(),), Surrogate(), ("add", 2, 1)]
    async with serve(Behaviour()) as url:
        report = await batcher.apply(items, settings(url), ledger=tmp_path / "x.ledger")
    assert report.changes[batcher.Status.REJECTED] == 4
    assert report.changes[batcher.Status.APPLIED] == 2


async def test_an_iterable_that_blocks_for_ever_holds_nobody_up(tmp_path):
    """Neither a run that ends first nor, in the test below, the program has to wait for it."""
    let_go = threading.Event()

    def give():
        yield ("add", 1, 2)
        let_go.wait()

    try:
        async with serve(Behaviour()) as url:
            with anyio.move_on_after(1.5) as scope:
                await batcher.apply(give(), settings(url), ledger=tmp_path / "x.ledger")
            assert scope.cancelled_caught
        with LedgerReader(tmp_path / "x.ledger") as reader:
            assert reader.tally()[batcher.Status.APPLIED] == 1
    finally:
        let_go.set()


def test_a_program_whose_iterable_blocks_ends(tmp_path):
    script = """
import asyncio, threading, batcher
def give():
    yield ("add", 1, 2)
    threading.Event().wait()
async def main():
    settings = batcher.Settings.load(overrides={"target.kind": "minapp", "target.url": "http://127.0.0.1:9"})
    try:
        async with asyncio.timeout(1):
            await batcher.apply(give(), settings)
    except TimeoutError:
        print("timed out")
asyncio.run(main())
"""
    environment = {"BATCHER_TOKEN": "t", "XDG_STATE_HOME": str(tmp_path), "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, timeout=30, check=False
    )
    assert (done.returncode, done.stdout) == (0, b"timed out\n"), done.stderr


async def test_several_runs_in_one_loop(tmp_path):
    reports = []

    async def run(number):
        wanted = [("add", user, number) for user in range(50)]
        reports.append(await batcher.apply(wanted, settings(url), ledger=tmp_path / f"{number}.ledger"))

    async with serve(Behaviour()) as url, anyio.create_task_group() as group:
        for number in range(5):
            group.start_soon(run, number)
    assert [report.exit_code for report in reports] == [0] * 5
    assert len({report.run for report in reports}) == 5


async def test_several_runs_in_threads(tmp_path):
    codes = []

    def run(number):
        wanted = [("add", user, number) for user in range(50)]
        report = asyncio.run(batcher.apply(wanted, settings(url), ledger=tmp_path / f"{number}.ledger"))
        codes.append(report.exit_code)

    async with serve(Behaviour()) as url:
        threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            await anyio.to_thread.run_sync(thread.join)
    assert codes == [0] * 4


async def test_default_names_of_several_runs_at_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    async with serve(Behaviour()) as url, anyio.create_task_group() as group:
        for _ in range(4):
            group.start_soon(batcher.apply, changes(), settings(url))
    assert len(list(tmp_path.glob("changes.*.ledger"))) == 4
    with pytest.raises(batcher.UsageError):
        await batcher.apply([("add", 1, 2)], settings("https://127.0.0.1:9", target_ca_file="none.pem"))
    assert len(list(tmp_path.glob("changes.*"))) == 4
