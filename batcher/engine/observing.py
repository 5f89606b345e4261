"""Who looks on while a run works."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from batcher.core.model import Batch, Settlement
from batcher.delivery.delivery import Exchange
from batcher.engine.books import OpenWindow

if TYPE_CHECKING:
    from batcher.engine.session import Session


@dataclass(slots=True, eq=False)
class Observer:
    """Who looks on while a run works. All are called on the event loop and must not take long."""

    started: Callable[[Session], None] = lambda _: None
    opened: Callable[[OpenWindow], None] = lambda _: None
    settled: Callable[[OpenWindow, Settlement], None] = lambda *_: None
    exchanged: Callable[[Batch, Exchange], None] = lambda *_: None


def together(observers: Sequence[Observer]) -> Observer:
    """Several as one."""

    def started(session: Session) -> None:
        for observer in observers:
            observer.started(session)

    def opened(window: OpenWindow) -> None:
        for observer in observers:
            observer.opened(window)

    def settled(window: OpenWindow, settlement: Settlement) -> None:
        for observer in observers:
            observer.settled(window, settlement)

    def exchanged(batch: Batch, exchange: Exchange) -> None:
        for observer in observers:
            observer.exchanged(batch, exchange)

    return Observer(started, opened, settled, exchanged)
