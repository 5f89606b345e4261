"""Which ids names have at the target, with the fewest requests, and never by guessing.

What the target does not clearly say is never taken for "there is no such name":

- An entry counts only if its attribute equals the name. A filter that finds nothing proves something only if the same
  filter finds what is known to be there: some servers answer any filter with nothing, or with everything.
- A list proves that a name is not there only if it is complete (`whole_list`).
- If neither can be had, the run stops before any change with such a name is sent.

Either everything is listed, or each name is looked up alone, whichever takes fewer requests. The order of both was
found with real servers (docs/scim.md).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import partial

from batcher.core.http import Response
from batcher.core.id_forms import looks_like_id
from batcher.core.lookups import (
    FoundIds,
    Listing,
    LookupFailed,
    LookupFigures,
    OffersLookups,
    Side,
    compared,
)
from batcher.core.verdict import Cause, Retry, Split, Stop, Verdict
from batcher.delivery.dialect import Dialect
from batcher.delivery.inquiry import Inquiry
from batcher.engine.run.announced import Announced
from batcher.engine.run.known_names import matching
from batcher.engine.run.tasks import for_each
from batcher.engine.run.whole_list import PageRefused, Pages, WholeList
from batcher.host.name_cache import NameCache
from batcher.host.runtime import Executor

_log = logging.getLogger(__name__)
_AT_ONCE = 8
"""How many names are looked up at the same time; the target's rate and its limit in flight apply, too."""
_MORE = "(and more)"
"""Stands for the ids that a reply does not have."""
_WILD = frozenset("*?[")
_FEW = 2
"""So many names are asked for one by one without looking at how many there are."""


class NameLookup:
    """The names of users, or of groups, of one target, for one run."""

    def __init__(
        self,
        side: Side,
        target: OffersLookups,
        dialect: Dialect,
        inquiry: Inquiry,
        cache: NameCache,
        runs: Executor,
        announced: Announced,
    ) -> None:
        self._side = side
        self._attribute = target.attribute(side)
        self._key = f"{side.value}.{self._attribute.name}"
        self._dialect = dialect
        self._inquiry = inquiry
        self._cache = cache
        self._runs = runs
        self._announced = announced
        self.figures = LookupFigures()
        learn = partial(self._learn, is_list=True)
        self._list = WholeList(Pages(target.first, partial(dialect.page, side), self._meaning, learn), inquiry)
        self._filters: bool | None = None
        """Whether filters do what they should; None if that is not known yet."""
        self._has_missed = self._is_case_proven = False
        """Whether a filter has found nothing, and whether one has found what was written in another case."""

    def __repr__(self) -> str:
        return f"<NameLookup of {self._key}, {self._list}, filters: {self._filters}>"

    async def ids(self, names: Sequence[str]) -> FoundIds:
        """The ids of these names.

        Raises:
            LookupFailed: When something about them cannot be established.
            Abandoned: When the run ends first.

        """
        forms = {name: compared(name, self._attribute) for name in names}
        spelled = {form: name for name, form in reversed(forms.items())}
        known = await self._runs(partial(self._cache.known, self._key, list(spelled)))
        refused = await self._runs(partial(self._cache.refused, self._key, list(spelled)))
        missing = {form: name for form, name in spelled.items() if form not in known and form not in refused}
        self.figures.known += await self._runs(partial(self._cache.use, self._key, known))
        if missing:
            before = self._inquiry.sent
            try:
                new = await self._established(missing)
            except PageRefused as none:
                raise LookupFailed.of(none.verdict) from None
            await self._runs(partial(self._cache.keep, self._key, new))
            await self._runs(partial(self._cache.use, self._key, new))
            refused = [form for form in missing if form not in new]
            await self._runs(partial(self._cache.refuse, self._key, refused))
            known |= new
            requests = self._inquiry.sent - before
            self._count(len(new), len(refused), requests)
            said = "looked up %d of %d names of %ss with %d requests"
            _log.info(said, len(missing), len(spelled), self._side.value, requests)
        lacking = [form for form in spelled if form not in known]
        told = await self._runs(partial(self._cache.told, self._key, lacking))
        return FoundIds(
            {name: known[form] for name, form in forms.items() if form in known},
            {name: self._reason(name, len(told.get(form, ()))) for name, form in forms.items() if form not in known},
        )

    async def matching(self, patterns: Sequence[str]) -> set[str]:
        """The ids of the names that match any of these patterns, whoever has them.

        Raises:
            LookupFailed: When that cannot be established.
            Abandoned: When the run ends first.

        """
        plain = [pattern for pattern in patterns if not _WILD.intersection(pattern)]
        before = self._inquiry.sent
        try:
            found = await self._holders(plain)
            if len(plain) < len(patterns):
                await self._heed()
                await self._list.read_rest()
                if not self._list.is_complete:
                    self._fail("its list is incomplete, so patterns of names cannot be compared with it")
                known = await self._runs(partial(self._cache.all_told, self._key))
                found |= matching(patterns, self._attribute, known)
        except PageRefused as none:
            raise LookupFailed.of(none.verdict) from None
        finally:
            self._count(0, 0, self._inquiry.sent - before)
        return found

    async def _holders(self, names: Sequence[str]) -> set[str]:
        """The ids of everybody who has one of these names now: what another run has found does not count."""
        spaced = {" ".join(name.split()) for name in names}
        forms = {compared(name, self._attribute): name for name in [*spaced, *names]}
        if forms:
            await self._established(forms)
        told = await self._runs(partial(self._cache.told, self._key, list(forms)))
        for name in names:
            if compared(name, self._attribute) not in told and not looks_like_id(name):
                users = f"{self._side.value}s"
                said = "none of the %s has the %s %r of a protection or a scope; as an id it counts all the same"
                _log.warning(said, users, self._attribute.name, name)
        return {found for ids in told.values() for found in ids}

    def found(self, names: Sequence[str]) -> FoundIds:
        """What `ids` has found before, of these names; blocking, and from any thread."""
        forms = {name: compared(name, self._attribute) for name in names}
        different = list(set(forms.values()))
        used, told = self._cache.used(self._key, different), self._cache.told(self._key, different)
        return FoundIds(
            {name: used[form] for name, form in forms.items() if form in used},
            {name: self._reason(name, len(told.get(form, ()))) for name, form in forms.items() if form not in used},
        )

    def remember(self, ids: Mapping[str, str]) -> None:
        """This run has relied on these ids of names before."""
        self._cache.use(self._key, {compared(name, self._attribute): found for name, found in ids.items()})

    def doubt(self, names: Sequence[str]) -> None:
        """The ids of these names may be out of date."""
        self._cache.forget(self._key, [compared(name, self._attribute) for name in names])

    def _count(self, found: int, refused: int, requests: int) -> None:
        figures = self.figures
        figures.found += found
        figures.refused += refused
        figures.requests += requests
        figures.is_listed = self._list.is_complete

    def _reason(self, name: str, count: int) -> str:
        what = f"{self._attribute.name} {name!r}"
        if count:
            return f"{what} is ambiguous: the target has {count} {self._side.value}s with it"
        return f"{what} was not found: the target has no {self._side.value} with it"

    async def _established(self, missing: Mapping[str, str]) -> dict[str, str]:
        """The ids of these names, by compared form; what is not among them, nobody has, or several have."""
        await self._heed()
        listed = self._list
        if not listed.is_complete and (len(missing) > _FEW or self._filters is False):
            await self._begin_list(missing)
        # A part of a list does not show that there is no second one of the same name.
        if not listed.is_complete and self._filters is not False:
            await self._look_up_each(missing)
        if not listed.is_complete and self._filters is False:
            await listed.read_rest()
            if not listed.is_complete:
                self._fail("its list is incomplete, and it cannot be searched")
        if listed.listed and await self._runs(partial(self._cache.any_told, self._key)) is None:
            self._fail("nothing in its list has that attribute")
        told = await self._runs(partial(self._cache.told, self._key, list(missing)))
        return {form: next(iter(ids)) for form, ids in told.items() if len(ids) == 1}

    async def _heed(self) -> None:
        """What the target announces; that it can be searched is not believed before it was seen."""
        announcement = await self._announced.get()
        if announcement is None:
            return
        if announcement.filters is False:
            self._filters = False
        self._list.heed(announcement.most_listed, by_cursor=announcement.lists_by_cursor)

    async def _begin_list(self, missing: Mapping[str, str]) -> None:
        """Read the first page, and the others, too, if that takes fewer requests than asking for each name."""
        if not self._list.listed:
            await self._list.read()
        if self._list.is_complete or not self._list.listed:
            return
        left = self._list.pages_left
        if self._filters is False or (left is not None and len(missing) > left):
            await self._list.read_rest()
        elif left is None:  # nobody knows: the half of these requests at most is in vain
            await self._list.read_rest(len(missing))

    async def _look_up_each(self, names: Mapping[str, str]) -> None:
        """Ask for each of these names; if any is not found, make sure that the filter finds what is there."""
        waiting = iter(names.items())
        if self._filters is None:  # one alone may show that asking for the others is of no use
            await self._look_up(*next(waiting))

        async def look_up(spelling: tuple[str, str]) -> None:
            if self._filters is not False:
                await self._look_up(*spelling)

        await for_each(waiting, look_up, _AT_ONCE)
        is_unsure = self._filters is None or (self._has_missed and not self._is_case_proven)
        if is_unsure and self._filters is not False:
            await self._prove_filters()

    async def _look_up(self, form: str, name: str) -> None:
        found = await self._inquiry.insist(partial(self._dialect.filtered, self._side, name), self._meaning)
        if isinstance(found, Split) or (isinstance(found, Retry) and self._inquiry.answered):
            self._filters = False  # it does not know this attribute, or no filters at all; or it fails for this name
            return
        if not isinstance(found, Listing):
            raise LookupFailed.of(found, f"{self._attribute.name} {name!r}: ")
        mine = tuple(entry for entry in found.entries if compared(entry[0], self._attribute) == form)
        if {known for _, known in found.entries} != {known for _, known in mine}:
            self._filters = False  # it gives others as well: perhaps everybody
        elif not mine:
            self._has_missed = True
        else:
            is_more = found.next or (found.total or 0) > found.count
            more = ((form, _MORE),) if is_more else ()
            await self._learn(Listing((*mine, *more), len(mine), len(mine)), is_list=False)
            self._filters = self._filters is not False

    async def _prove_filters(self) -> None:
        """Nothing was found: ask for what is known to be there."""
        known = await self._runs(partial(self._cache.any_told, self._key))
        if known is None:
            await self._list.read()
            known = await self._runs(partial(self._cache.any_told, self._key))
        if self._list.is_complete or known is None:
            self._filters = self._filters is True
            return
        # In another case, if that makes no difference: some compare with case although they must not (RFC 7643 §4.1.1).
        asked = known.swapcase() if self._attribute.ignores_case else known
        self._filters = None
        await self._look_up(compared(asked, self._attribute), asked)
        self._filters = self._is_case_proven = self._filters is True

    async def _learn(self, listing: Listing, *, is_list: bool) -> int:
        entries = [(compared(name, self._attribute), found) for name, found in listing.entries]
        return await self._runs(partial(self._cache.learn, self._key, entries, is_list=is_list))

    def _meaning(self, response: Response, now: float) -> Listing | Verdict:
        return self._dialect.of_listing(self._side, response, now)

    def _fail(self, why: str) -> None:
        reason = f"the {self._attribute.name} of {self._side.value}s cannot be looked up at the target: {why}"
        raise LookupFailed(Stop(Cause.UNREADABLE, reason))
