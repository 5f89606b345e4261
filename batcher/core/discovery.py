"""What a target announces about itself. It may be wrong, so it only ever makes a run more careful."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from batcher.core.http import Request, Response


@dataclass(frozen=True, slots=True)
class Announcement:
    """What a target says that it supports."""

    facts: Mapping[str, object]
    """As it says it, for the ledger."""
    lacks: str = ""
    """What it says that it does not support, and without which nothing can be sent; empty if there is no such thing."""
    filters: bool | None = None
    """Whether it can be searched; None if it does not say."""
    bounds: Mapping[str, int] = field(default_factory=dict)
    """Fields of `Limits`, and the most that they may be."""
    most_listed: int | None = None
    """The most entries that it lists at once; None if it does not say."""
    lists_by_cursor: bool = False
    """Whether a list is to be read by cursors instead of numbers."""


@runtime_checkable
class OffersDiscovery(Protocol):
    """A target that announces what it supports."""

    def discovery(self, token: str) -> Request:
        """The request for what it announces."""
        ...

    def announced(self, response: Response) -> Announcement | None:
        """What it announces; None if the reply says nothing of that. Never raises."""
        ...
