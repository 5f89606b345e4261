"""Who looks on while a run works."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Protocol

from batcher.core.batch import Batch, Settlement
from batcher.core.clock import Clock
from batcher.delivery.deliverer import Deliverer
from batcher.delivery.delivery import Delivered, Exchange
from batcher.delivery.request_gate import RequestGate
from batcher.delivery.shutdown import Shutdown
from batcher.engine.run.committer import Committer, OpenWindow
from batcher.ledger.sessions import Figures


class RunProgress(Protocol):
    """How far a run is."""

    @property
    def all_read(self) -> bool:
        """Whether every window was admitted."""
        ...

    @property
    def is_sending(self) -> bool:
        """Whether there is anything to be sent that was read."""
        ...

    @property
    def held_until(self) -> float | None:
        """Until when (monotonic seconds) nothing may leave, for requests that may still arrive late."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class RunningParts:
    """What there is to look at while a run works: its parts, as they are at this moment. Nobody changes them."""

    name: str
    """Of the run."""
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
    """Who looks on while a run works. All are called on the event loop and must not take long."""

    started: Callable[[RunningParts], None] = lambda _: None
    opened: Callable[[OpenWindow], None] = lambda _: None
    settled: Callable[[OpenWindow, Settlement], None] = lambda *_: None
    exchanged: Callable[[Batch, Exchange], None] = lambda *_: None
    delivered: Callable[[Batch, Delivered], None] = lambda *_: None


def together(observers: Sequence[Observer]) -> Observer:
    """One observer that tells all of these, in their order."""
    return Observer(*(_each([getattr(observer, field.name) for observer in observers]) for field in fields(Observer)))


def _each(callbacks: Sequence[Callable[..., None]]) -> Callable[..., None]:
    def call(*arguments: object) -> None:
        for callback in callbacks:
            callback(*arguments)

    return call
