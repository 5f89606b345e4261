"""Who looks on while a run works."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from batcher.core.model import Batch, Settlement
from batcher.delivery.delivery import Delivered, Exchange
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
    delivered: Callable[[Batch, Delivered], None] = lambda *_: None


def together(observers: Sequence[Observer]) -> Observer:
    """Several as one."""
    return Observer(*(_each([getattr(observer, field.name) for observer in observers]) for field in fields(Observer)))


def _each(callbacks: Sequence[Callable[..., None]]) -> Callable[..., None]:
    def call(*arguments: object) -> None:
        for callback in callbacks:
            callback(*arguments)

    return call
