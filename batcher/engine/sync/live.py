"""Reads the groups that a feed governs at the target: what the feed is compared with, instead of a snapshot."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from batcher.core.errors import NotBegunError
from batcher.core.id_forms import STRANGE, forms_of
from batcher.core.keys import Key
from batcher.core.model import REJECTED_ROW, Columns, KeyKind
from batcher.core.patterns import Patterns
from batcher.core.reading import Members, ReadingFailed, Unread
from batcher.core.target import Target
from batcher.delivery.shutdown import Abandoned
from batcher.engine.jobs.asking import Access, asking
from batcher.engine.jobs.in_doubt import quiet_in
from batcher.engine.jobs.job import not_begun
from batcher.engine.jobs.member_spool import MemberSpool
from batcher.engine.run.announced import Announced
from batcher.engine.run.group_reader import NO_LIST, GroupReader
from batcher.engine.run.session import readable
from batcher.state.live import Drift, as_snapshot, find_drift, known_groups, load_live
from batcher.state.pairs import adopt
from batcher.state.store import StateStore

_log = logging.getLogger(__name__)
DRIFT = "drift"
"""The fact of a ledger that says what was read before the run, and what others had changed."""
_AT_ONCE = 8
_MOST_LISTED = 1000
_TOLD = 10
_WILD = frozenset("*?[")


@dataclass(frozen=True, slots=True)
class LiveReading:
    """What was read at the target before a feed was compared with it."""

    drift: Drift = field(default_factory=Drift)
    read: int = 0
    requests: int = 0
    unread: Sequence[Unread] = ()
    """Nobody is removed from these groups, and nothing is concluded for them."""
    is_compared: bool = False
    """Whether it is compared with a state that knew something before."""

    def as_dict(self) -> dict[str, Any]:
        """For programs and the ledger; lists have at most 1,000 groups."""
        drift, silent = self.drift, sum(one.reason == NO_LIST for one in self.unread)
        return {
            "gained": drift.gained,
            "lost": drift.lost,
            "groups_changed": len(drift.groups),
            "groups": [
                {"group": one.group, "gained": one.gained, "lost": one.lost} for one in drift.groups[:_MOST_LISTED]
            ],
            "groups_read": self.read,
            "groups_unread": len(self.unread) - silent,
            "groups_silent": silent,
            "requests": self.requests,
            "unread": [{"group": one.group, "reason": one.reason} for one in self.unread[:_MOST_LISTED]],
        }


@dataclass(frozen=True, slots=True)
class Governed:
    """The groups that a feed governs, as far as that is known before it is loaded."""

    stretches: Iterator[Columns]
    """The feed, by ids."""
    master_groups: Sequence[str]
    """The patterns of the scope, ids among them; none: all groups that feeds have named."""

    def groups(self, store: StateStore, kind: KeyKind) -> tuple[list[Key], int]:
        """The groups to be read, each once, and how the feed's users are written (`forms_of`)."""
        found: dict[Key, None] = {}
        forms = 0
        for columns in self.stretches:
            valid = columns.action != REJECTED_ROW
            found |= dict.fromkeys(columns.group.values(np.unique(columns.group.codes[valid])))
            if valid.any():
                codes, texts = np.unique(columns.user.codes[valid]), columns.user.dictionary
                forms |= forms_of(pa.array(codes) if texts is None else texts.texts.take(pa.array(codes)))
        known = known_groups(store)
        if not self.master_groups:
            return list(found | dict.fromkeys(known)), forms
        meant = Patterns(self.master_groups)
        found |= dict.fromkeys(meant.among(known))
        plain = (pattern for pattern in self.master_groups if not _WILD.intersection(pattern))
        return list(found | dict.fromkeys(_keys(plain, kind))), forms


def _keys(texts: Iterable[str], kind: KeyKind) -> Iterator[Key]:
    for text in texts:
        if kind is not KeyKind.INTEGER:
            yield text
        elif text.isdecimal():
            yield int(text)


async def read_live(
    store: StateStore, governed: Governed, target: Target, access: Access, *, is_first: bool, is_passing: bool
) -> LiveReading:
    """Read the groups that the feed governs, and compare with these from now on.

    Without a state (`is_passing`) they are the snapshot; a new state (`is_first`) begins with them; any other will take
    over what was changed since, once the difference is accepted.

    Raises:
        ConfigurationError: When the target cannot be read.
        NotBegunError: When nothing can be read.
        InputError: When the state identifies users and groups in another form.

    """
    offer, executor = readable(target), access.runtime.executor
    await _await_quiet(access, target, store)
    groups, forms = await executor(partial(governed.groups, store, target.key_kind))
    is_integer = target.key_kind is KeyKind.INTEGER
    kind = pa.int64() if is_integer else pa.string()
    with tempfile.TemporaryFile() as aside:
        spool = MemberSpool(aside, kind, kind)

        async def take(one: Members | Unread) -> None:
            is_strange = isinstance(one, Members) and forms and len(one.users) and not forms & forms_of(one.users)
            await spool.take(Unread(one.group, STRANGE) if is_strange else one)

        try:
            async with asking(target, access, _AT_ONCE) as asked:
                reader = GroupReader(offer, asked.dialect, asked.inquiry, Announced(asked.dialect, asked.inquiry))
                await reader.read(groups, take)
                requests = asked.inquiry.sent
        except ReadingFailed as failure:
            raise NotBegunError(f"{target.name} cannot be read: {failure}", failure.stop.cause.exit_code) from None
        except Abandoned:
            raise not_begun(access.shutdown) from None
        form = "id" if is_integer else "name"
        await executor(lambda: load_live(store, spool.batches(), spool.read, form, [one.group for one in spool.unread]))
    _tell(spool.unread)
    find = partial(_begin, store, is_first=is_first) if is_passing or is_first else partial(find_drift, store)
    return LiveReading(await executor(find), len(spool.read), requests, spool.unread, not (is_passing or is_first))


async def _await_quiet(access: Access, target: Target, store: StateStore) -> None:
    """Wait until no request of an earlier run can still arrive: it would change what is read."""
    ledgers = [run.ledger for run in store.runs()[-1:] if run.ledger.is_file()]
    seconds = await access.runtime.executor(lambda: quiet_in(access, target, ledgers))
    if seconds <= 0:
        return
    _log.warning("requests of an earlier run may still arrive; the target is read in %.0f s", seconds)
    try:
        await access.shutdown.pause(seconds)
    except Abandoned:
        raise not_begun(access.shutdown) from None


def _begin(store: StateStore, *, is_first: bool) -> Drift:
    as_snapshot(store)
    if is_first:
        adopt(store, "snapshot")
    return Drift()


def _tell(unread: Sequence[Unread]) -> None:
    for one in unread[:_TOLD]:
        _log.warning("group %s could not be read (%s): nobody is removed from it", one.group, one.reason)
    if len(unread) > _TOLD:
        _log.warning("… and %d more groups could not be read", len(unread) - _TOLD)
