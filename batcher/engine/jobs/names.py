"""The names in an input, looked up before a run: for what is compared with ids, a state or protected users, say."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing, contextmanager
from functools import partial
from glob import escape
from pathlib import Path
from typing import TypeAlias, TypeVar

import anyio

from batcher.core.errors import InputError, NotBegunError
from batcher.core.keys import words_of
from batcher.core.lookups import FoundIds, LookupFailed, OffersLookups, Side
from batcher.core.model import Columns
from batcher.core.target import Target
from batcher.core.units import parse_duration
from batcher.core.verdict import Cause
from batcher.delivery.shutdown import Abandoned, Shutdown
from batcher.engine.jobs.asking import Access, asking
from batcher.engine.jobs.job import not_begun
from batcher.engine.preview.named import Named
from batcher.engine.run.announced import Announced
from batcher.engine.run.known_names import KnownNames
from batcher.engine.run.name_lookup import NameLookup
from batcher.engine.run.resolver import cache_of, with_ids
from batcher.engine.run.tasks import alongside
from batcher.host.runtime import Executor
from batcher.settings import Settings

T = TypeVar("T")
_Place: TypeAlias = tuple[str, str]
"""The section and the key of a setting."""

_PATTERNS = (
    ("guard", "protected_users", Side.USER),
    ("guard", "protected_groups", Side.GROUP),
    ("sync", "master_users", Side.USER),
    ("sync", "master_groups", Side.GROUP),
)
_AT_ONCE = 4


def of_ids(columns: Columns) -> Columns:
    """The same columns, which must have no names.

    Raises:
        InputError: When they have.

    """
    if any(words_of(keys) is not None for keys in (columns.user, columns.group)):
        raise InputError("names cannot be looked up here; give the target's ids")
    return columns


@asynccontextmanager
async def looked_up(stretches: Iterator[Columns], access: Access, target: Target) -> AsyncIterator[Named]:
    """Look up all names in these stretches of input, and in the patterns of the settings.

    Raises:
        InputError: When there are names, and the target looks up none.
        NotBegunError: When it cannot be established which ids they have.

    """
    settings, runtime = access.settings, access.runtime
    if not isinstance(target, OffersLookups):
        yield Named(of_ids, settings)
        return
    cache = cache_of(target, settings, runtime.state_folder, runtime.clock.utc)
    try:
        async with asking(target, access, _AT_ONCE) as asked:
            dialect, inquiry, executor = asked.dialect, asked.inquiry, runtime.executor
            announced = Announced(dialect, inquiry)
            lookups = {side: NameLookup(side, target, dialect, inquiry, cache, executor, announced) for side in Side}
            deadline = parse_duration(settings.guard.deadline) if settings.guard.deadline else math.inf
            try:
                ids = await _within(
                    deadline, access.shutdown, partial(_look_up, stretches, lookups, settings, executor)
                )
            except LookupFailed as failure:
                raise NotBegunError(str(failure), failure.stop.cause.exit_code) from None
            except Abandoned:
                raise not_begun(access.shutdown) from None
        known = {side: lookup.found for side, lookup in lookups.items()}
        figures = {side: lookup.figures for side, lookup in lookups.items()}
        yield Named(partial(_with_known, known), _with_ids(settings, ids), figures=figures)
    finally:
        cache.close()


async def _look_up(
    stretches: Iterator[Columns], lookups: Mapping[Side, NameLookup], settings: Settings, executor: Executor
) -> dict[_Place, set[str]]:
    """Look up all names; returns the ids for each setting with patterns."""
    while (columns := await executor(partial(next, stretches, None))) is not None:
        for side, keys in ((Side.USER, columns.user), (Side.GROUP, columns.group)):
            if (words := words_of(keys)) is not None:
                await lookups[side].ids(words)
    return {place: await lookups[side].matching(given) for place, side, given in _patterns(settings)}


async def _within(seconds: float, shutdown: Shutdown, work: Callable[[], Awaitable[T]]) -> T:
    """Do this work; after so many seconds, the run is to end."""

    async def end() -> None:
        await anyio.sleep(seconds)
        shutdown.stop(Cause.DEADLINE, "the deadline was reached while names were looked up")

    return await alongside(end, work)


@contextmanager
def known_before(target: Target, settings: Settings, folder: Path | None, utc: Callable[[], float]) -> Iterator[Named]:
    """As `looked_up`, without asking the target: names that no run has looked up lately have no ids."""
    if not isinstance(target, OffersLookups):
        yield Named(of_ids, settings)
        return
    with closing(cache_of(target, settings, folder, utc)) as cache:
        names = {side: KnownNames(side, target, cache) for side in Side}
        ids = {place: names[side].matching(given) for place, side, given in _patterns(settings)}
        known = {side: each.ids for side, each in names.items()}
        count = partial(_count, known)
        yield Named(partial(_with_known, known), _with_ids(settings, ids), count)


def _count(known: Mapping[Side, Callable[[Sequence[str]], FoundIds]], side: Side, names: Sequence[str]) -> int:
    return len(known[side](names).ids)


def _patterns(settings: Settings) -> Iterator[tuple[_Place, Side, Sequence[str]]]:
    """The settings with patterns of users or groups, and the patterns."""
    for section, key, side in _PATTERNS:
        if patterns := getattr(getattr(settings, section), key):
            yield (section, key), side, patterns


def _with_ids(settings: Settings, ids: Mapping[_Place, set[str]]) -> Settings:
    """The settings with these ids beside the names."""
    more: dict[str, dict[str, list[str]]] = {}
    for (section, key), found in ids.items():
        given = getattr(getattr(settings, section), key)
        more.setdefault(section, {})[key] = [*given, *sorted(map(escape, found))]
    return settings.replace(**more) if more else settings


def _with_known(known: Mapping[Side, Callable[[Sequence[str]], FoundIds]], columns: Columns) -> Columns:
    sides = ((Side.USER, columns.user), (Side.GROUP, columns.group))
    return with_ids(columns, {side: known[side](words_of(keys) or []) for side, keys in sides})
