"""Virtual time for all asynchronous tests except those marked `real_time`; the user's own state is not touched."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from batcher.simulator.virtual_time import VirtualLoop

for name, examples in (("quick", 20), ("gate", 60), ("long", 2_000)):  # by hand, in .ci/run, and for a thorough search
    settings.register_profile(name, max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell does that to what it starts in the background, and
    signal.signal(signal.SIGINT, signal.default_int_handler)  # programs that the tests interrupt would inherit it


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    if item.get_closest_marker("real_time"):
        return {"real": asyncio.new_event_loop}
    return {"virtual": VirtualLoop}


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """One process more than there are cores: the one with the real-time tests is waiting most of the time."""
    return (os.cpu_count() or 1) + 1


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run all real-time tests in one process, so that they do not disturb each other."""
    for item in items:
        if item.get_closest_marker("real_time"):
            item.add_marker(pytest.mark.xdist_group("real_time"))


@pytest.fixture(autouse=True)
def _own_log() -> Iterator[None]:
    """Restore the logging that a command sets up for its whole process."""
    logger = logging.getLogger("batcher")
    before = logger.level, logger.handlers, logger.propagate
    yield
    logger.setLevel(before[0])
    _, logger.handlers, logger.propagate = before


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for name in list(os.environ):
        if name.startswith("BATCHER_") or name == "NO_COLOR":
            monkeypatch.delenv(name)
