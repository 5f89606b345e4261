"""What a library user calls."""

from __future__ import annotations

import itertools
import os
from collections.abc import AsyncIterable, Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeAlias

from batcher.core.model import Settlement
from batcher.core.report import Report
from batcher.credentials import credentials
from batcher.engine import apply as applying
from batcher.engine import resume as resuming
from batcher.engine import retry as retrying
from batcher.engine.apply import Pipe
from batcher.engine.books import OpenWindow
from batcher.engine.job import settings_of
from batcher.engine.observing import Observer
from batcher.engine.outcomes import Outcome, of_rejects, of_settlement
from batcher.engine.register import state_folder
from batcher.engine.session import real_surroundings
from batcher.settings import Settings

Changes: TypeAlias = str | Path | Iterable[object] | AsyncIterable[object]
Follower: TypeAlias = Callable[[Outcome], None]


async def apply(
    changes: Changes,
    settings: Settings,
    *,
    ledger: Path | None = None,
    on_outcome: Follower | None = None,
) -> Report:
    """Send changes to the target and record what became of each in a new ledger.

    Args:
        changes: A path, several paths, or any (async) iterable of `(op, user, group)`, where op is `add` or
            `remove`, an integer is an id and a text is a name.
        settings: Where and how; credentials come from `BATCHER_TOKEN` and its kin, or from the files named there.
        ledger: A file or a folder; default: beside the input.
        on_outcome: Called for each change once its outcome is on disk; must not block.

    Returns:
        The summary; `report.exit_code` is 0 when everything is applied, and a stopped run is no exception.

    Raises:
        UsageError: When settings, input or ledger cannot be used; nothing was sent.
        GuardrailError: When a guardrail refused; nothing was sent.
        LedgerHeldError: When another run holds the ledger.

    """
    inputs = inputs_of(changes)
    surroundings = real_surroundings(state_folder(os.environ))
    path = ledger_path(inputs, ledger, surroundings.clock.utc())
    given = credentials(settings.auth, os.environ)
    return await applying.apply(inputs, settings, given, path, surroundings, observer=_observer(on_outcome))


async def resume(ledger: Path, *, on_outcome: Follower | None = None) -> Report:
    """Go on with an interrupted run; see `apply`."""
    return await resuming.resume(
        ledger,
        credentials(settings_of(ledger).auth, os.environ),
        real_surroundings(state_folder(os.environ)),
        observer=_observer(on_outcome),
    )


async def retry(ledger: Path, *, on_outcome: Follower | None = None) -> Report:
    """Send again what is failed or unknown; see `apply`."""
    return await retrying.retry(
        ledger,
        credentials(settings_of(ledger).auth, os.environ),
        real_surroundings(state_folder(os.environ)),
        observer=_observer(on_outcome),
    )


def inputs_of(changes: Changes) -> Sequence[Path | Pipe]:
    """Paths, or one pipe."""
    if isinstance(changes, str | Path):
        return [Path(changes)]
    if isinstance(changes, list | tuple) and changes and all(isinstance(item, str | Path) for item in changes):
        return [Path(item) for item in changes]
    return [Pipe("<changes>", changes)]


def ledger_path(inputs: Sequence[Path | Pipe], wish: Path | None, now: float) -> Path:
    """Where the ledger goes: the wish when it is a file, else `<name>.<UTC time>.ledger` there or beside the input.

    A second one within the same second gets a number.
    """
    if wish is not None and not wish.is_dir():
        return wish
    first = inputs[0]
    name = first.name if isinstance(first, Path) else Path(first.name.strip("<>")).name.replace("-", "stdin")
    folder = wish or (first.parent if isinstance(first, Path) else Path())
    stem = f"{name}.{datetime.fromtimestamp(now, UTC):%Y%m%dT%H%M%SZ}"
    names = itertools.chain([stem], (f"{stem}-{number}" for number in itertools.count(2)))
    return next(path for text in names if not (path := folder / f"{text}.ledger").exists())


def _observer(follower: Follower | None) -> Observer:
    if follower is None:
        return Observer()

    def opened(window: OpenWindow) -> None:
        for outcome in of_rejects(window):
            follower(outcome)

    def settled(window: OpenWindow, settlement: Settlement) -> None:
        for outcome in of_settlement(window, settlement):
            follower(outcome)

    return Observer(opened=opened, settled=settled)
