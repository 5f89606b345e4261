"""Reads at the target what a ledger says that it has: proof instead of belief."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

import pyarrow as pa

from batcher.core.errors import ConfigurationError, NotBegunError
from batcher.core.keys import Key
from batcher.core.reading import Members, OffersReading, ReadingFailed, Unread
from batcher.core.sampling import most_faulty
from batcher.core.target import Target
from batcher.delivery.shutdown import Abandoned
from batcher.engine.jobs.asking import Access, asking
from batcher.engine.jobs.job import not_begun
from batcher.engine.run.announced import Announced
from batcher.engine.run.group_reader import GroupReader
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
    differences: Sequence[UnprovenPair]
    """The first thousand pairs that are not proven, in the order of the input."""
    most_faulty: int | None
    """Of a sample: in how many of all groups there may be a pair that is missing or unexpected, at a confidence of
    95 %."""

    @property
    def is_proven(self) -> bool:
        """Whether everything that was compared is as the ledger says."""
        return not (self.missing or self.unexpected or self.ambiguous)


def readable(target: Target) -> OffersReading:
    """The same target, which must be one that can be read.

    Raises:
        ConfigurationError: When it cannot.

    """
    if not isinstance(target, OffersReading):
        raise ConfigurationError(f"the members of groups cannot be read at {target.name}")
    if not target.can_be_read:
        raise ConfigurationError(
            f"how {target.name} is read is only inferred from its documents; to believe that: target.readable = true"
        )
    return target


@dataclass(frozen=True, slots=True)
class Extent:
    """What is to be read, and written."""

    share: float | None = None
    """The share of the groups, chosen at random; None for all of them."""
    output: Path | None = None
    """A CSV file for all pairs that are not proven."""


async def read_back(reader: LedgerReader, target: Target, access: Access, wanted: Extent) -> Proof:
    """Read the groups that a ledger's changes have touched, and compare.

    Raises:
        ConfigurationError: When the target cannot be read.
        NotBegunError: When nothing can be read.
        LedgerError: When the ledger is damaged.

    """
    executor = access.runtime.executor
    offer = readable(target)
    with tempfile.TemporaryDirectory(prefix="batcher-") as folder, StateStore.passing(Path(folder)) as store:
        with reader.at_one_moment():
            claims = await executor(lambda: Claims(store, reader))
        groups = await executor(claims.groups)
        chosen = _sample(groups, wanted.share, access)
        with tempfile.TemporaryFile(dir=folder) as aside:
            spool = _Spool(aside, claims.user_type, claims.group_type)
            requests = await _read(chosen, offer, target, access, spool)
            await executor(partial(claims.add, spool.batches(), spool.read, spool.unread))
        counts = await executor(claims.counts)
        faulty = await executor(claims.faulty_groups)
        shown = await executor(lambda: claims.differences(_MOST_SHOWN))
        if wanted.output is not None:
            output, sources = wanted.output, [source.name for source in reader.sources()]
            await executor(lambda: claims.write_differences(output, sources))
    bound = None if wanted.share is None else most_faulty(len(groups), len(chosen), faulty) if groups else 0
    return Proof(len(groups), len(spool.read), spool.unread, requests, differences=shown, most_faulty=bound, **counts)


def _sample(groups: Sequence[Key], share: float | None, access: Access) -> Sequence[Key]:
    if share is None or not groups:
        return groups
    order = sorted((access.runtime.rng(), place) for place in range(len(groups)))
    return [groups[place] for _, place in order[: max(1, math.ceil(share * len(groups)))]]


async def _read(groups: Sequence[Key], offer: OffersReading, target: Target, access: Access, spool: _Spool) -> int:
    """Read these groups into the spool; returns how many requests that took."""
    async with asking(target, access, _AT_ONCE) as asked:
        reader = GroupReader(offer, asked.dialect, asked.inquiry, Announced(asked.dialect, asked.inquiry))
        try:
            await reader.read(groups, spool.take)
        except ReadingFailed as failure:
            raise NotBegunError(f"{target.name} cannot be read: {failure}", failure.stop.cause.exit_code) from None
        except Abandoned:
            raise not_begun(access.shutdown) from None
        return asked.inquiry.sent


class _Spool:
    """What was read, in a file: memory does not grow with the groups."""

    def __init__(self, aside: IO[bytes], user: pa.DataType, group: pa.DataType) -> None:
        self.read: list[Key] = []
        self.unread: list[Unread] = []
        self._aside = aside
        self._schema = pa.schema([("user", user), ("group", group)])
        self._writer = pa.ipc.new_stream(aside, self._schema)

    async def take(self, one: Members | Unread) -> None:
        """Keep what was read of a group."""
        if isinstance(one, Unread):
            self.unread.append(one)
            return
        self.read.append(one.group)
        users = one.users.cast(self._schema.field("user").type)
        group = pa.array([one.group] * len(users), self._schema.field("group").type)
        self._writer.write_batch(pa.RecordBatch.from_arrays([users, group], schema=self._schema))

    def batches(self) -> pa.RecordBatchReader:
        """Everything that was kept."""
        self._writer.close()
        self._aside.seek(0)
        return pa.ipc.open_stream(self._aside)
