"""A list at the target (all users, the members of a group), read page by page until it is complete or ends.

By index (RFC 7644 §3.4.2.4), pages are read by what came back; a page that brings nothing new ends the list, since some
servers repeat the first page for ever. By cursor (RFC 9865), the target says where the next page begins, and that there
is none; a cursor that it has given before ends the list. Either way a list is complete only if as many entries came as
the target says there are; by cursor it need not say that.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Generic, Protocol, TypeVar, cast

from batcher.core.http import Request, Response
from batcher.core.lookups import Place
from batcher.core.verdict import Cause, Retry, Settled, Split, Stop, Verdict
from batcher.delivery.inquiry import Inquiry

_VERDICTS = (Settled, Retry, Split, Stop)
_SIZES = (1000, 100, 0)
"""How many entries are asked for: some servers refuse a large number, and some any number (0: none given)."""
_MOST_BARREN = 10
"""Pages by cursor that bring nothing new, beyond those that are read again when the list begins anew."""
_MOST_STARTS = 3
"""How often a list is begun: cursors expire, and what changes while it is read by number is read again."""


class Page(Protocol):
    """A page of a list."""

    @property
    def count(self) -> int:
        """How many entries it has."""
        ...

    @property
    def total(self) -> int | None:
        """How many entries the list has, as the target says; None if it does not."""
        ...

    @property
    def next(self) -> str:
        """The cursor with which the next page begins; empty if there is none, or if pages are numbered."""
        ...


P = TypeVar("P", bound=Page)


class PageRefused(Exception):  # noqa: N818 — what it means is its reader's decision
    """Instead of a page there is a verdict."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict)
        self.verdict = verdict


@dataclass(frozen=True, slots=True)
class Pages(Generic[P]):
    """How the pages of a list are asked for, and understood."""

    first: Place
    request: Callable[[Place, int, str], Request]
    """The request for at most so many entries from a place on, with a token."""
    meaning: Callable[[Response, float], P | Verdict]
    """What a reply is; it is given UTC seconds, too."""
    learn: Callable[[P], Awaitable[int]]
    """Takes a page; returns how many of its entries are new."""


class WholeList(Generic[P]):
    """One list."""

    def __init__(self, pages: Pages[P], inquiry: Inquiry, *, restarts: bool = True) -> None:
        """With `restarts`, a list that changes while it is read is begun again; what has come of it stays."""
        self._most_starts = _MOST_STARTS if restarts else 1
        self._pages = pages
        self._inquiry = inquiry
        self.listed = 0
        """How many entries were read."""
        self.total: int | None = None
        """How many there are, as the target says."""
        self.is_complete = False
        self._is_over = False
        """Whether nothing more comes."""
        self._place = pages.first
        self._starts = 1
        self._has_switched = self._is_moving = False
        """Whether it was begun by cursor and goes on by number, and whether its total has changed while it was read."""
        self._given: set[Place] = set()
        """The cursors that were given."""
        self._fruitful = self._barren = 0
        """How many pages brought something new, and how many nothing."""
        self._page_count = 0
        self._sizes = _SIZES
        self._size: int | None = None
        """How many entries the target lets us ask for; None if that is not known yet."""

    def __repr__(self) -> str:
        return f"<WholeList: {self.listed} of {self.total}, complete: {self.is_complete}>"

    def heed(self, most: int | None, *, by_cursor: bool) -> None:
        """The target lists at most so many entries at once, and by cursor, unless the list has begun already."""
        if self._size is not None:
            return
        if most is not None:
            self._sizes = (min(most, _SIZES[0]), min(most, _SIZES[1]), 0)
        if by_cursor:
            self._place = ""

    @property
    def pages_left(self) -> int | None:
        """How many pages are still to be read, once one was; None if the target does not say."""
        if self.total is None or not self._page_count:
            return None
        return math.ceil(max(0, self.total - self.listed) / self._page_count)

    async def read_rest(self, most: float = math.inf) -> None:
        """Read pages until everything was listed, or nothing new comes, but at most so many; raises as `read`."""
        while not self._is_over and most > 0:
            await self.read()
            most -= 1

    async def read(self) -> None:
        """Read the next page.

        Raises:
            PageRefused: When there is none.
            Abandoned: When the run ends first.

        """
        found = await self._page()
        if isinstance(found, Split) and self._given and self._starts < self._most_starts:
            self._starts += 1  # the cursor is refused: it may have expired
            self._place = ""
            self._given.clear()
            return
        if isinstance(found, _VERDICTS) and self._has_switched:
            self._is_over = True  # it knew cursors after all
            return
        if isinstance(found, _VERDICTS):
            raise PageRefused(found)
        self._is_moving = self._is_moving or self.total not in {None, found.total}
        self._page_count, self.total = max(self._page_count, found.count), found.total
        new = await self._pages.learn(found)
        self.listed += new
        self._fruitful, self._barren = self._fruitful + (new > 0), self._barren + (not new)
        is_all = found.total is not None and self.listed >= found.total
        if isinstance(self._place, int):
            self._numbered(found.count, new)
            return
        if not found.next and not self._given and new and not is_all and found.total is not None:
            self._place, self._has_switched = 1 + self.listed, True  # it knows no cursors
            return
        self.is_complete = not found.next and (is_all or found.total is None) and not self._is_moving
        is_endless = found.next in self._given and not new
        most_barren = _MOST_BARREN + self._starts * self._fruitful
        self._is_over = not found.next or is_endless or self._barren > most_barren
        self._given.add(found.next)
        self._place = found.next

    def _numbered(self, count: int, new: int) -> None:
        """A page by number has come.

        If the target's total changes while a list is read, entries move from page to page and may be missed: it is
        read again then, until it holds still.
        """
        if self._starts == 1:
            self._place = 1 + self.listed
            is_all = self.total is not None and self.listed >= self.total
            self._is_over = is_all or not new
        else:
            self._place = cast("int", self._place) + count
            is_all = self.total is not None and self._place > self.total
            self._is_over = is_all or not count
        self.is_complete = is_all and not self._is_moving
        if self._is_over and self._is_moving and self._starts < self._most_starts:
            self._starts += 1
            self._place, self._is_over, self._is_moving = 1, False, False

    async def _page(self) -> P | Verdict:
        found = await self._sized()
        is_refused = isinstance(found, Split) or (isinstance(found, Stop) and found.cause is Cause.UNSUPPORTED)
        if not is_refused or self.listed or self._given:
            return found
        self._place = "" if isinstance(self._place, int) else 1  # it may list in the other way only
        other = await self._sized()
        return found if isinstance(other, _VERDICTS) else other

    async def _sized(self) -> P | Verdict:
        """The next page, of as many entries as the target lets us ask for."""
        *others, last = self._sizes if self._size is None else (self._size,)
        for size in others:
            found = await self._inquiry.once(partial(self._pages.request, self._place, size), self._pages.meaning)
            if not isinstance(found, _VERDICTS):
                self._size = size
                return found
            if isinstance(found, Stop):
                return found
            if isinstance(found, Retry) and found.back_pressure:
                last = size
                break
        found = await self._inquiry.insist(partial(self._pages.request, self._place, last), self._pages.meaning)
        if not isinstance(found, _VERDICTS):
            self._size = last
        return found
