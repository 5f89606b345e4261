"""Reading the members of groups: what a target offers for it, and what it lists. Pure data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import pyarrow as pa

from batcher.core.http import Request, Response
from batcher.core.keys import Key
from batcher.core.lookups import Place
from batcher.core.verdict import Stop, Verdict


@dataclass(frozen=True, slots=True)
class MembersPage:
    """What one reply says of the members of a group: a page of them, or all."""

    users: pa.Array
    """The ids of the members that are users, as texts or 64-bit integers; others, nested groups for example, are not
    among them."""
    count: int
    """How many members it lists, users or not."""
    total: int | None
    """How many there are altogether, as the target says; None if it does not."""
    next: str = ""
    """The cursor with which the next page begins; empty if there is none, or if pages are numbered."""
    is_list: bool = True
    """Whether the reply has a list at all. If not, the group has no members, or the target never lists any."""


@runtime_checkable
class OffersReading(Protocol):
    """A target at which the members of a group can be read."""

    can_be_read: bool
    """Whether it can be read as it is set up."""
    read_by: str
    """How, for people: what is asked, and what is only inferred."""

    @property
    def no_group(self) -> Key | None:
        """A group that cannot exist, if it takes asking for its members to see that the target's filters work."""
        ...

    @property
    def members_begin(self) -> Place | None:
        """Where the list of a group's members begins; None if one reply has all of them."""
        ...

    def members(self, group: Key, place: Place, count: int, token: str) -> Request:
        """The request for at most `count` members (0: as many as come) from this place on."""
        ...

    def members_page(self, group: Key, response: Response, now: float) -> MembersPage | Verdict:
        """What a reply lists; never raises. `now` is UTC seconds."""
        ...


@runtime_checkable
class InfersReading(Protocol):
    """A target that can be read if what its documents only hint at is believed."""

    def believe_documents(self) -> None:
        """From now on it can be read."""
        ...


@dataclass(frozen=True, slots=True)
class Members:
    """The users in a group, each once."""

    group: Key
    users: pa.Array


@dataclass(frozen=True, slots=True)
class Unread:
    """A group whose members could not be read: nobody in it counts as missing."""

    group: Key
    reason: str


class ReadingFailed(Exception):  # noqa: N818 — the run stops; not a failure of the program
    """Nothing can be read at the target."""

    def __init__(self, stop: Stop) -> None:
        super().__init__(stop.reason)
        self.stop = stop
