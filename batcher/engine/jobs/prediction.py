"""Predicts the course of a run: the whole engine runs against a simulated target in virtual time; nothing is sent."""

from __future__ import annotations

import logging
import os
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import anyio

from batcher.core.clock import Clock
from batcher.core.http import Request, Response
from batcher.core.report import Report
from batcher.core.target import Credentials
from batcher.engine.jobs.apply import Occasion, apply
from batcher.engine.jobs.context import RunContext
from batcher.host.runtime import Runtime
from batcher.settings import Settings
from batcher.simulator.in_memory import InMemory
from batcher.simulator.scenario import Scenario
from batcher.simulator.virtual_time import run_virtual
from batcher.simulator.world import World

T = TypeVar("T")
_EPOCH = 1_800_000_000.0
_SEED = 0
_MEMORY = Path("/dev/shm")  # noqa: S108 — a folder of our own in it; if it does not exist, on disk
"""In memory, so that writing the ledger takes no time."""
_TIMES = 10
_JUDGED = Occasion({}, lambda _: None, is_judged=True)
"""The caller has checked the changes against the guardrails and reports the result."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """The predicted report, and what the simulated target saw: its replies by status, and requests in flight."""

    report: Report
    seconds: float
    """Time that the target and the rate take; this machine's own work comes on top."""
    statuses: dict[str, int]
    highest_in_flight: int

    @property
    def requests(self) -> int:
        """All requests to the target, including logins and probes."""
        return sum(self.statuses.values())


def predict(files: Sequence[Path], settings: Settings, scenario: Scenario) -> Prediction:
    """Simulate the run to its end, in virtual time and without the network.

    Raises:
        UsageError: When settings or files cannot be used.

    """
    # Credentials are not part of the prediction.
    first = replace(scenario.first, token="", client_id="")
    stages = [replace(stage, behaviour=replace(stage.behaviour, token="", client_id="")) for stage in scenario.stages]
    world = World(first, stages=stages, utc_offset=_EPOCH)
    transport = _Counting(world, settings.target.timeout_seconds)

    @asynccontextmanager
    async def in_memory(_: Settings) -> AsyncIterator[_Counting]:
        yield transport

    async def main() -> tuple[Report, float]:
        clock = Clock(anyio.current_time, lambda: _EPOCH + anyio.current_time())
        rng = random.Random(_SEED)  # noqa: S311 — the same prediction every time
        runtime = Runtime(clock, rng.random, _inline, in_memory)
        with tempfile.TemporaryDirectory(prefix="batcher-", dir=_room(files)) as folder:
            # The simulated target checks no credentials, so any token will do.
            given, ledger = Credentials(token="simulated"), Path(folder) / "ledger"  # noqa: S106
            report = await apply(list(files), RunContext(settings, given, ledger, runtime), occasion=_JUDGED)
            return report, clock.now()

    with _silence():
        report, seconds = run_virtual(main)
    return Prediction(report, seconds, dict(transport.statuses), transport.highest)


class _Counting(InMemory):
    """Also counts the replies, and the most requests that were in flight at once."""

    def __init__(self, world: World, timeout: float) -> None:
        super().__init__(world, timeout)
        self.highest = 0
        self._in_flight = 0

    @property
    def statuses(self) -> Counter[str]:
        return self.world.statuses

    async def reply(self, request: Request) -> Response:
        self._in_flight += 1
        self.highest = max(self.highest, self._in_flight)
        try:
            return await super().reply(request)
        finally:
            self._in_flight -= 1


def _room(files: Sequence[Path]) -> Path | None:
    """A folder with plenty of room for a ledger of these files; None for the default for temporary files."""
    if not os.access(_MEMORY, os.W_OK):
        return None
    needed = _TIMES * sum(file.stat().st_size for file in files if file.is_file())
    return _MEMORY if shutil.disk_usage(_MEMORY).free > needed else None


async def _inline(work: Callable[[], T]) -> T:
    return work()


@contextmanager
def _silence() -> Iterator[None]:
    """Suppress log messages, which would look as if the simulated events had happened."""
    logger = logging.getLogger("batcher")
    handlers, logger.handlers = logger.handlers, [logging.NullHandler()]
    propagates, logger.propagate = logger.propagate, False
    try:
        yield
    finally:
        logger.handlers, logger.propagate = handlers, propagates
