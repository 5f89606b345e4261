"""Reads at the target what a ledger says that it has: proof instead of belief."""

from __future__ import annotations

import math
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from batcher.core.errors import NotBegunError
from batcher.core.keys import Key
from batcher.core.reading import OffersReading, ReadingFailed, Unread
from batcher.core.sampling import most_faulty
from batcher.core.target import Target
from batcher.delivery.shutdown import Abandoned
from batcher.engine.jobs.asking import Access, Asking, asking
from batcher.engine.jobs.job import not_begun
from batcher.engine.jobs.member_spool import MemberSpool
from batcher.engine.run.announced import Announced
from batcher.engine.run.group_reader import GroupReader
from batcher.engine.run.session import readable
from batcher.host.runtime import Runtime
from batcher.ledger.reader import LedgerReader
from batcher.state.proof import Claims, UnprovenPair
from batcher.state.store import StateStore

_AT_ONCE = 8
_MOST_SHOWN = 1000


@dataclass(frozen=True, slots=True)
class Proof:
    """What was read, and what it proves."""

    groups: int
    """How many groups the ledger's changes have touched."""
    read: int
    unread: Sequence[Unread]
    requests: int
    pairs: int
    """How many pairs of these groups the ledger says something about."""
    missing: int
    unexpected: int
    ambiguous: int
    unread_pairs: int
    """Those of the ambiguous whose groups were not read."""
    differences: Sequence[UnprovenPair]
    """The first thousand pairs that are not proven, in the order of the input."""
    most_faulty: int | None
    """If not all were read: in how many of all groups there may be a pair that is missing or unexpected, at a
    confidence of 95 %."""
    sampled: Sequence[Key] | None
    """If not all were read: those that were chosen."""

    @property
    def is_proven(self) -> bool:
        """Whether everything that was compared is as the ledger says."""
        return not (self.missing or self.unexpected or self.ambiguous)

    def as_fact(self) -> dict[str, object]:
        """The figures, for the ledger."""
        return {
            "groups": self.groups,
            "groups_read": self.read,
            "requests": self.requests,
            "changes": self.pairs,
            "changes_unread": self.unread_pairs,
            "not_so": self.missing + self.unexpected,
            "groups_with_differences_at_most": self.most_faulty,
            "unread": [{"group": one.group, "reason": one.reason} for one in self.unread[:_MOST_SHOWN]],
            "sampled": None if self.sampled is None else self.sampled[:_MOST_SHOWN],
        }


@dataclass(frozen=True, slots=True)
class Extent:
    """What is to be read, and written."""

    share: float | None = None
    """The share of the groups, chosen at random; None for all of them."""
    fewest: int = 1
    """So many of them at least, if there are so many."""
    most: int | None = None
    """So many of them at most."""
    since: int = 0
    """Only what was settled after the settlement with this number."""
    output: Path | None = None
    """A CSV file for all pairs that are not proven."""


@asynccontextmanager
async def compared(
    reader: LedgerReader, offer: OffersReading, asked: Asking, runtime: Runtime, extent: Extent
) -> AsyncIterator[tuple[Claims, Proof]]:
    """Read the groups that a ledger's changes have touched, and compare them with what it says.

    Raises:
        ReadingFailed: When nothing can be read.
        Abandoned: When the run ends first.
        LedgerError: When the ledger is damaged.

    """
    executor = runtime.executor
    with tempfile.TemporaryDirectory(prefix="batcher-") as folder, StateStore.passing(Path(folder)) as store:
        with reader.at_one_moment():
            claims = await executor(lambda: Claims(store, reader, extent.since))
        groups = await executor(claims.groups)
        chosen = _chosen(groups, extent, runtime.rng)
        with tempfile.TemporaryFile(dir=folder) as aside:
            spool = MemberSpool(aside, claims.user_type, claims.group_type)
            before = asked.inquiry.sent
            groups_of = GroupReader(offer, asked.dialect, asked.inquiry, Announced(asked.dialect, asked.inquiry))
            await groups_of.read(chosen, spool.take)
            requests = asked.inquiry.sent - before
            await executor(partial(claims.add, spool.batches(), spool.read, spool.unread))
        counts = await executor(claims.counts)
        bound, sampled = None, None
        if len(chosen) < len(groups):
            sampled = chosen
            bound = most_faulty(len(groups), len(chosen), await executor(claims.faulty_groups))
        shown = await executor(lambda: claims.differences(_MOST_SHOWN))
        unread = await executor(claims.unread)
        read = len(chosen) - len(unread)
        yield (
            claims,
            Proof(len(groups), read, unread, requests, differences=shown, most_faulty=bound, sampled=sampled, **counts),
        )


async def read_back(reader: LedgerReader, target: Target, access: Access, extent: Extent) -> Proof:
    """Read them in a connection of their own.

    Raises:
        ConfigurationError: When the target cannot be read.
        NotBegunError: When nothing can be read.
        LedgerError: When the ledger is damaged.

    """
    offer, runtime = readable(target), access.runtime
    try:
        async with (
            asking(target, access, _AT_ONCE) as asked,
            compared(reader, offer, asked, runtime, extent) as (claims, proof),
        ):
            if extent.output is not None:
                output, sources = extent.output, [source.name for source in reader.sources()]
                await runtime.executor(lambda: claims.write_differences(output, sources))
            return proof
    except ReadingFailed as failure:
        raise NotBegunError(f"{target.name} cannot be read: {failure}", failure.stop.cause.exit_code) from None
    except Abandoned:
        raise not_begun(access.shutdown) from None


def _chosen(groups: Sequence[Key], extent: Extent, rng: Callable[[], float]) -> Sequence[Key]:
    count = len(groups) if extent.share is None else max(extent.fewest, math.ceil(extent.share * len(groups)))
    count = min(count, len(groups), len(groups) if extent.most is None else extent.most)
    if count == len(groups):
        return groups
    order = sorted((rng(), place) for place in range(len(groups)))
    return [groups[place] for _, place in order[:count]]
