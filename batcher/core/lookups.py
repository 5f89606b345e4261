"""Looking up ids by names: what a target offers for it, and what it found. Pure data."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol, TypeAlias, runtime_checkable

from batcher.core.http import Request, Response
from batcher.core.verdict import Cause, Retry, Split, Stop, Verdict


class Side(Enum):
    """What a name is a name of."""

    USER = "user"
    GROUP = "group"


@dataclass(frozen=True, slots=True)
class Attribute:
    """What names are, at the target."""

    name: str
    """As the target calls it."""
    ignores_case: bool


Place: TypeAlias = int | str
"""Where a page of a list begins: the number of its first entry, counted from 1, or a cursor, empty for the first."""


@dataclass(frozen=True, slots=True)
class Listing:
    """What one reply lists: a page of all users or groups, or those that a filter found."""

    entries: tuple[tuple[str, str], ...]
    """The attribute and the id of each; the attribute may occur several times, or be empty."""
    count: int
    """How many resources it lists, with or without the attribute."""
    total: int | None
    """How many there are altogether, as the target says; None if it does not."""
    next: str = ""
    """The cursor with which the next page begins; empty if there is none, or if pages are numbered."""


@runtime_checkable
class OffersLookups(Protocol):
    """A target at which ids can be looked up."""

    @property
    def first(self) -> Place:
        """Where a list begins: 1 if pages are numbered, empty if they have cursors."""
        ...

    def attribute(self, side: Side) -> Attribute:
        """What names of users or of groups are."""
        ...

    def page(self, side: Side, place: Place, count: int, token: str) -> Request:
        """The request for at most `count` (0: as many as come) of all users or groups, from this place on."""
        ...

    def filtered(self, side: Side, name: str, token: str) -> Request:
        """The request for those with this name."""
        ...

    def listing(self, side: Side, response: Response, now: float) -> Listing | Verdict:
        """What a reply to either lists; never raises. `now` is UTC seconds."""
        ...


def compared(name: str, attribute: Attribute) -> str:
    """The form in which names are compared: composed, and without case where the target ignores it."""
    composed = unicodedata.normalize("NFC", name)
    # Case folding would take `Strasse` for `Straße`, who may be somebody else.
    return composed.lower() if attribute.ignores_case else composed


@dataclass(frozen=True, slots=True)
class FoundIds:
    """The id of each name that was found, and why others have none."""

    ids: Mapping[str, str] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class LookupFigures:
    """What became of names, each counted once per run, and what it took."""

    known: int = 0
    """Names whose ids were known from earlier runs."""
    found: int = 0
    refused: int = 0
    """Names that nobody has, or several have."""
    requests: int = 0
    is_listed: bool = False
    """Whether all users (or groups) were listed, and not each name asked for alone."""

    @property
    def names(self) -> int:
        """All names."""
        return self.known + self.found + self.refused


Ids: TypeAlias = dict[str, set[str]]
"""The ids of each name, in its compared form; more than one if it is ambiguous."""


class LookupFailed(Exception):  # noqa: N818 — the run stops; not a failure of the program
    """It cannot be established which ids names have."""

    def __init__(self, stop: Stop) -> None:
        super().__init__(stop.reason)
        self.stop = stop

    @staticmethod
    def of(found: Verdict, what: str = "") -> LookupFailed:
        """What it means for a run that a reply is this, and not a list; `what` was asked for."""
        if isinstance(found, Stop):
            return LookupFailed(found)
        reason = found.reason if isinstance(found, Retry | Split) else "it answered without a list"
        cause = Cause.OUTAGE if isinstance(found, Retry) else Cause.UNREADABLE
        return LookupFailed(Stop(cause, f"names cannot be looked up: {what}{reason}"))
