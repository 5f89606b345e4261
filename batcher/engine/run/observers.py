"""Observers of a run: callbacks for progress, metrics and traces."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Protocol

from batcher.core.batch import Batch, Settlement
from batcher.core.clock import Clock
from batcher.delivery.deliverer import Deliverer
from batcher.delivery.delivery import Delivered, Exchange
from batcher.delivery.request_gate import RequestGate
from batcher.delivery.shutdown import Shutdown
from batcher.engine.run.committer import Committer, OpenWindow
from batcher.ledger.sessions import Figures


class RunProgress(Protocol):
    """The progress of a run."""

    @property
    def all_read(self) -> bool:
        """Whether every window was admitted."""
        ...

    @property
    def is_sending(self) -> bool:
        """Whether anything that was read is still to be sent."""
        ...

    @property
    def held_until(self) -> float | None:
        """Until when (monotonic seconds) nothing may be sent because of in-doubt requests; None if not so."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class RunningParts:
    """The live parts of a run, for observers to read and not to change."""

    name: str
    """The name of the run."""
    ledger: Path
    target: str
    clock: Clock
    shutdown: Shutdown
    gate: RequestGate
    deliverer: Deliverer
    committer: Committer
    run: RunProgress
    figures: Callable[[], Figures]


@dataclass(slots=True, eq=False)
class Observer:
    """Callbacks during a run. All are called on the event loop and must return quickly."""

    started: Callable[[RunningParts], None] = lambda _: None
    opened: Callable[[OpenWindow], None] = lambda _: None
    settled: Callable[[OpenWindow, Settlement], None] = lambda *_: None
    exchanged: Callable[[Batch, Exchange], None] | None = None
    delivered: Callable[[Batch, Delivered], None] | None = None
    """Who wants each outcome keeps all requests off the fast lane, where there is none but plain success."""


def together(observers: Sequence[Observer]) -> Observer:
    """One observer that calls all of these, in this order."""
    merged: dict[str, Any] = {}
    for name in (field.name for field in fields(Observer)):
        callbacks = [wanted for observer in observers if (wanted := getattr(observer, name)) is not None]
        if callbacks:
            merged[name] = _each(callbacks)
    return Observer(**merged)


def _each(callbacks: Sequence[Callable[..., None]]) -> Callable[..., None]:
    def call(*arguments: object) -> None:
        for callback in callbacks:
            callback(*arguments)

    return call
