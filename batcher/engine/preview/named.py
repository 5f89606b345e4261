"""What is known of the names in an input before it is scanned."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from batcher.core.lookups import LookupFigures, Side
from batcher.core.model import Columns
from batcher.settings import Settings

Lookups: TypeAlias = Mapping[Side, LookupFigures]
"""What it took to look up names; empty if the target was not asked."""
Resolve: TypeAlias = Callable[[Columns], Columns]
"""Gives the same columns with ids instead of names."""


@dataclass(frozen=True, slots=True)
class Named:
    """What is known of names."""

    resolve: Resolve
    """Gives columns with ids instead of names."""
    settings: Settings
    """The same, with the ids of names among the patterns of scopes and protected users and groups."""
    is_known: Callable[[Side, Sequence[str]], int] = lambda *_: 0
    """How many of these names have ids."""
    figures: Lookups = field(default_factory=dict)

    @property
    def is_final(self) -> bool:
        """Whether the target was asked, so that a name without an id has none."""
        return bool(self.figures)
