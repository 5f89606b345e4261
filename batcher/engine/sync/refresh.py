"""`state refresh`: a state learns from the target what is uncertain, and what others have changed."""

from __future__ import annotations

from pathlib import Path

from batcher.core.errors import ConfigurationError
from batcher.engine.jobs.asking import Access
from batcher.engine.jobs.job import preflight
from batcher.engine.jobs.names import looked_up
from batcher.engine.sync.goal import Goal, SyncBasis
from batcher.engine.sync.live import Governed, LiveReading, read_live
from batcher.state.live import refresh, uncertain


async def refresh_state(state: Path, access: Access) -> tuple[LiveReading, int]:
    """Read all groups that the state knows of and that are in scope; returns that, and how many pairs stay uncertain.

    Raises:
        ConfigurationError: When the target cannot be read.
        StateError: When the file is not the state of this target.
        LedgerHeldError: When a run holds the state.
        NotBegunError: When nothing can be read.

    """
    settings, runtime = access.settings, access.runtime
    target = preflight(settings, access.credentials)
    if not state.exists():
        raise ConfigurationError(f"{state}: no such state; batcher sync --bootstrap creates one")
    goal = Goal([], state, is_live=True)
    with SyncBasis(goal, target, settings, runtime.state_folder, is_simulated=False) as comparison:
        async with looked_up(iter(()), access, target) as named:
            governed = Governed(iter(()), named.settings.sync.master_groups)
            live = await read_live(comparison.store, governed, target, access, is_first=False, is_passing=False)
        await runtime.executor(lambda: refresh(comparison.store))
        left = await runtime.executor(lambda: uncertain(comparison.store))
        comparison.close_store()
    return live, left
