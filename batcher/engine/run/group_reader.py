"""Reads who is in a group at the target. What cannot be read whole is not read: nobody counts as missing there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from itertools import chain

import pyarrow as pa
import pyarrow.compute as pc

from batcher.core.http import Response
from batcher.core.keys import Key
from batcher.core.reading import Members, MembersPage, OffersReading, ReadingFailed, Unread
from batcher.core.verdict import Cause, Retry, Split, Stop, Verdict
from batcher.delivery.dialect import Dialect
from batcher.delivery.inquiry import Inquiry
from batcher.engine.run.announced import Announced
from batcher.engine.run.tasks import for_each
from batcher.engine.run.whole_list import PageRefused, Pages, WholeList

_ATTEMPTS = 3
"""How often a group is read that changes while its pages come."""
_AT_ONCE = 8
"""How many groups are read at the same time; the target's rate and its limit in flight apply, too."""
NO_LIST = "the target shows no list of its members, and of no other group either: perhaps it never does"
"""The reason for groups that are empty, or hidden by a target that never lists members."""


class GroupReader:
    """Reads groups of one target."""

    def __init__(self, target: OffersReading, dialect: Dialect, inquiry: Inquiry, announced: Announced) -> None:
        self._begin = target.members_begin
        self._dialect = dialect
        self._inquiry = inquiry
        self._announced = announced
        self._no_group = target.no_group
        self._is_checked = False
        """Whether the target's filter was seen to find nobody in a group that cannot exist."""
        self._has_lists = False
        """Whether any group was shown with a list of members."""

    def __repr__(self) -> str:
        return f"<GroupReader {self._inquiry!r}>"

    async def read(self, groups: Iterable[Key], take: Callable[[Members | Unread], Awaitable[None]]) -> None:
        """Read these groups, in any order; `take` is called with each.

        Raises:
            ReadingFailed: When nothing can be read at the target.
            Abandoned: When the run ends first.

        """
        waiting, unlisted = iter(groups), list[Key]()
        first = next(waiting, None)
        if first is None:
            return
        await self._check_filters()

        async def read(group: Key) -> None:
            found = await self._one(group)
            if found is None:
                unlisted.append(group)
            else:
                await take(found)

        await for_each(chain([first], waiting), read, _AT_ONCE)
        for group in unlisted:
            await take(Members(group, pa.nulls(0, pa.string())) if self._has_lists else Unread(group, NO_LIST))

    async def _one(self, group: Key) -> Members | Unread | None:
        """The members of a group; None if it is shown without a list of them."""
        answered = self._inquiry.answered
        found = await self._whole(group) if self._begin is None else await self._paged(group)
        if isinstance(found, Stop):
            raise ReadingFailed(found)
        if isinstance(found, Retry) and self._inquiry.answered == answered:  # nobody else was answered either
            raise ReadingFailed(Stop(Cause.OUTAGE, found.reason))
        if isinstance(found, Retry | Split):
            return Unread(group, found.reason)
        return found if isinstance(found, Members | Unread | None) else Unread(group, "the reply has no members")

    async def _whole(self, group: Key) -> Members | Verdict | None:
        page = await self._inquiry.insist(partial(self._dialect.members, group, 1, 0), partial(self._meaning, group))
        if not isinstance(page, MembersPage):
            return page
        self._has_lists = self._has_lists or page.is_list
        return Members(group, pc.unique(page.users)) if page.is_list else None

    async def _paged(self, group: Key) -> Members | Unread | Verdict | None:
        """The members of a group that comes in pages; if it changes meanwhile, it is read again."""
        found: Members | Unread | Verdict = Unread(group, "")
        for _ in range(_ATTEMPTS):
            found = await self._in_pages(group)
            if not isinstance(found, Unread):
                break
        if not isinstance(found, Members) or self._no_group is None:
            return found
        self._has_lists = self._has_lists or len(found.users) > 0
        return found if len(found.users) else None

    async def _check_filters(self) -> None:
        """A filter that is ignored finds everybody, also in a group that cannot exist."""
        if self._no_group is None or self._is_checked:
            return
        found = await self._in_pages(self._no_group)
        if isinstance(found, Stop):
            raise ReadingFailed(found)
        if isinstance(found, Members) and len(found.users):
            raise ReadingFailed(Stop(Cause.UNREADABLE, "its filter finds members of a group that does not exist"))
        self._is_checked = True

    async def _in_pages(self, group: Key) -> Members | Unread | Verdict:
        pages: list[pa.Array] = []
        known: set[Key] = set()

        async def learn(page: MembersPage) -> int:
            before = len(known)
            known.update(page.users.to_pylist())
            pages.append(page.users)
            return len(known) - before + page.count - len(page.users)

        first = 1 if self._begin is None else self._begin
        members = WholeList(
            Pages(first, partial(self._dialect.members, group), partial(self._meaning, group), learn),
            self._inquiry,
            restarts=False,
        )
        announcement = await self._announced.get()
        if announcement is not None:
            members.heed(announcement.most_listed, by_cursor=announcement.lists_by_cursor)
        try:
            await members.read_rest()
        except PageRefused as refused:
            return refused.verdict
        if not members.is_complete:
            return Unread(group, f"its list is incomplete: {members.listed} of {members.total} members came")
        return Members(group, pc.unique(pa.chunked_array(pages)))

    def _meaning(self, group: Key, response: Response, now: float) -> MembersPage | Verdict:
        return self._dialect.of_members(group, response, now)
