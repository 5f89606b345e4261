"""The functions for library users."""

from __future__ import annotations

import itertools
import os
from collections.abc import AsyncIterable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from inspect import iscoroutinefunction
from pathlib import Path
from typing import TypeAlias

from batcher.core.errors import LedgerError
from batcher.core.report import Report
from batcher.core.verdict import Cause
from batcher.credentials import credentials
from batcher.delivery.shutdown import Shutdown
from batcher.engine.jobs.apply import Pipe
from batcher.engine.jobs.apply import apply as apply_changes
from batcher.engine.jobs.context import RunContext
from batcher.engine.jobs.job import settings_of
from batcher.engine.jobs.resume import resume as resume_run
from batcher.engine.jobs.retry import retry as retry_run
from batcher.engine.run.observers import Observer
from batcher.engine.run.outcomes import Outcome, of_rejects, of_settlement
from batcher.files import is_folder, open_private, shortened
from batcher.host.run_registry import state_folder
from batcher.host.runtime import real_clock, real_runtime
from batcher.settings import Settings

_BEHIND = 100
"""Bytes that may follow the input's name in a ledger's name, and in the longest name derived from that."""
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
        settings: Where and how; credentials come from `BATCHER_TOKEN` and the like, or from the files named there.
        ledger: A file or a folder; default: next to the input.
        on_outcome: Called for each change once its outcome is on disk; must not block. If it raises, it is not called
            again, the run shuts down cleanly and can be resumed, and then the same exception is raised.

    Returns:
        The summary; `report.exit_code` is 0 when everything is applied, and a stopped run is no exception.

    Raises:
        UsageError: When settings, input or ledger cannot be used; nothing was sent.
        GuardrailError: When a guardrail refused; nothing was sent.
        LedgerHeldError: When another run holds the ledger.

    """
    inputs, following = inputs_of(changes), _Following(on_outcome)
    with named_ledger(inputs, ledger, real_clock().utc()) as path:
        report = await apply_changes(inputs, _context(settings, path, following))
    return following.ended(report)


async def resume(ledger: str | Path, *, on_outcome: Follower | None = None) -> Report:
    """Continue an interrupted run; see `apply`."""
    following = _Following(on_outcome)
    return following.ended(await resume_run(_context(settings_of(Path(ledger)), Path(ledger), following)))


async def retry(ledger: str | Path, *, on_outcome: Follower | None = None) -> Report:
    """Send failed and unknown changes again; see `apply`."""
    following = _Following(on_outcome)
    return following.ended(await retry_run(_context(settings_of(Path(ledger)), Path(ledger), following)))


def _context(settings: Settings, ledger: Path, following: _Following) -> RunContext:
    given, runtime = credentials(settings.auth, os.environ), real_runtime(state_folder(os.environ))
    return RunContext(settings, given, ledger, runtime, following.shutdown, following.observer())


def inputs_of(changes: Changes) -> Sequence[Path | Pipe]:
    """Paths, or one pipe."""
    if isinstance(changes, str | Path):
        return [Path(changes)]
    if isinstance(changes, list | tuple) and changes and all(isinstance(item, str | Path) for item in changes):
        return [Path(item) for item in changes]
    return [Pipe("<changes>", changes)]


@contextmanager
def named_ledger(inputs: Sequence[Path | Pipe], wish: Path | None, now: float) -> Iterator[Path]:
    """Where the ledger goes: the wish if it is a file, else `<name>.<UTC time>.ledger` there or next to the input.

    A second one within the same second gets a number: a generated name is claimed by an empty file at once, which is
    removed in the end if it is still empty.

    Raises:
        LedgerError: When nothing can be written there.

    """
    if wish is not None and not is_folder(wish):
        yield wish
        return
    first = inputs[0]
    name = first.name if isinstance(first, Path) else Path(first.name.strip("<>")).name.replace("-", "stdin")
    folder = wish or (first.parent if isinstance(first, Path) else Path())
    path = _claimed(folder, f"{shortened(name, _BEHIND)}.{datetime.fromtimestamp(now, UTC):%Y%m%dT%H%M%SZ}")
    try:
        yield path
    finally:
        if path.is_file() and not path.stat().st_size:
            path.unlink()


def _claimed(folder: Path, stem: str) -> Path:
    for text in itertools.chain([stem], (f"{stem}-{number}" for number in itertools.count(2))):
        path = folder / f"{text}.ledger"
        try:
            open_private(path, "xb").close()
        except FileExistsError:
            continue
        except OSError as error:
            hint = "use --ledger FOLDER/ to put it elsewhere"
            raise LedgerError(f"the ledger {path} cannot be written: {error.strerror}; {hint}") from None
        return path
    raise LedgerError("no free ledger name was found")  # pragma: no cover


class _Following:
    """Passes outcomes to a follower until it raises; its exception is raised again when the run has ended."""

    def __init__(self, follower: Follower | None) -> None:
        if iscoroutinefunction(follower) or iscoroutinefunction(getattr(follower, "__call__", None)):  # noqa: B004
            raise TypeError("on_outcome must be a plain function: it is called, not awaited")
        self.shutdown = Shutdown()
        self._follower = follower
        self._error: Exception | None = None

    def observer(self) -> Observer:
        """An observer that follows the run."""
        if self._follower is None:
            return Observer()
        return Observer(
            opened=lambda window: self._tell(of_rejects(window)),
            settled=lambda window, settlement: self._tell(of_settlement(window, settlement)),
        )

    def ended(self, report: Report) -> Report:
        """The report; or raises what the follower raised, unchanged."""
        if self._error is not None:
            raise self._error
        return report

    def _tell(self, outcomes: Iterable[Outcome]) -> None:
        if self._follower is None or self._error is not None:
            return
        try:
            for outcome in outcomes:
                self._follower(outcome)
        except Exception as error:  # noqa: BLE001 — it may raise anything; it is raised again when all is recorded
            self._error = error
            self.shutdown.stop(Cause.FOLLOWER, f"on_outcome raised {type(error).__name__}")
