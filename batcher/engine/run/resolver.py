"""Windows whose names have become ids: names are looked up before coalescing, or two names of one user would be two.

The rows and bounds of a window stay as they are; rows whose names have no single id are rejected.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from batcher.core.address import place_of
from batcher.core.keys import Dictionary, Keys, Word, words_of
from batcher.core.lookups import FoundIds, LookupFailed, OffersLookups, Side
from batcher.core.model import REJECTED_ROW, Columns, Given, Reject
from batcher.core.target import Target
from batcher.core.units import parse_duration
from batcher.core.vectors import Ints
from batcher.core.verdict import Cause, Stop
from batcher.delivery.dialect import Dialect
from batcher.delivery.inquiry import Inquiry
from batcher.engine.run.announced import Announced
from batcher.engine.run.name_lookup import NameLookup
from batcher.engine.run.session import Session
from batcher.engine.run.window_reader import WorkItem
from batcher.host.name_cache import NameCache
from batcher.ledger.reader import LedgerReader
from batcher.settings import Settings

_NOTHING = FoundIds()


class Resolver:
    """Resolves windows, one at a time."""

    def __init__(
        self,
        lookups: Mapping[Side, NameLookup],
        announced: Announced,
        close: Callable[[], None],
    ) -> None:
        """`close` is called at the end."""
        self._lookups = lookups
        self._announced = announced
        self.bounds: Mapping[str, int] = {}
        """What the target announces as the most of fields of `Limits`."""
        self.close = close

    def __repr__(self) -> str:
        return f"<Resolver {list(self._lookups.values())}>"

    async def resolve(self, work: WorkItem) -> WorkItem:
        """The same window with ids instead of names.

        Raises:
            LookupFailed: When it cannot be established which ids names have.
            Abandoned: When the run ends first.

        """
        columns = work.window.columns
        if columns.given is not None:  # it was resolved before, and stays as it was
            return work
        await self._heed()
        found = dict.fromkeys(Side, _NOTHING)
        for side, keys in ((Side.USER, columns.user), (Side.GROUP, columns.group)):
            if (words := words_of(keys)) is not None:
                found[side] = await self._lookups[side].ids(words)
        return replace(work, window=replace(work.window, columns=with_ids(columns, found)))

    def doubt(self, columns: Columns, rows: Ints) -> None:
        """The changes of these rows failed: the ids of their names may be out of date, and no other run uses them."""
        given = columns.given or Given(None, None)
        for side, keys in ((Side.USER, given.user), (Side.GROUP, given.group)):
            if keys is not None:
                names = keys.values(np.unique(keys.codes[rows]))
                self._lookups[side].doubt([name for name in names if isinstance(name, Word)])

    async def _heed(self) -> None:
        announcement = await self._announced.get()
        if announcement is not None and announcement.lacks:
            said = f"the target announces that it does not support {announcement.lacks}"
            raise LookupFailed(Stop(Cause.UNSUPPORTED, said))
        self.bounds = {} if announcement is None else announcement.bounds


def with_ids(columns: Columns, found: Mapping[Side, FoundIds]) -> Columns:
    """The columns with the ids that were found; rows with names that have none are rejected."""
    user, no_user = _resolved(columns.user, found[Side.USER])
    group, no_group = _resolved(columns.group, found[Side.GROUP])
    reasons = {
        row: f"{side.value} {reason}"
        for side, lacking in ((Side.GROUP, no_group), (Side.USER, no_user))
        for row, reason in lacking.items()
        if columns.action[row] != REJECTED_ROW
    }
    action = columns.action.copy()
    action[list(reasons)] = REJECTED_ROW
    new = (Reject(row, reason, _whose(user, row) if row not in no_user else ()) for row, reason in reasons.items())
    rejects = sorted((*columns.rejects, *new), key=_index)
    given = Given(*(None if words_of(keys) is None else keys for keys in (columns.user, columns.group)))
    return replace(columns, action=action, user=user, group=group, rejects=tuple(rejects), given=given)


def _whose(user: Keys, row: int) -> tuple[str, ...]:
    return (str(user.value(int(user.codes[row]))),)


def _index(reject: Reject) -> int:
    return reject.index


def _resolved(keys: Keys, found: FoundIds) -> tuple[Keys, dict[int, str]]:
    """The column with ids, and why rows have none."""
    known = keys.dictionary
    if known is None or known.is_word is None:
        return keys, {}
    texts = known.texts.to_pylist()
    ids: list[str] = []
    lacking: dict[int, str] = {}
    for code, (text, is_word) in enumerate(zip(texts, known.is_word.tolist(), strict=True)):
        if is_word and text not in found.ids:
            lacking[code] = found.reasons[text]
        ids.append(found.ids.get(text, text) if is_word else text)
    encoded = pa.array(ids, pa.string()).dictionary_encode()
    codes: Ints = encoded.indices.to_numpy().astype(np.int64)
    rows = np.flatnonzero(np.isin(keys.codes, list(lacking)))
    return Keys(codes[keys.codes], Dictionary(encoded.dictionary)), {
        int(row): lacking[int(keys.codes[row])] for row in rows
    }


def cache_of(target: Target, settings: Settings, folder: Path | None, utc: Callable[[], float]) -> NameCache:
    """The names of a target that are known, from the state folder, if there is one. `utc` returns UTC seconds."""
    place, max_age = f"{target.name} {place_of(target.url)}", parse_duration(settings.target.names_max_age)
    return NameCache(folder, place, max_age, utc)


def resolver_of(session: Session, dialect: Dialect, inquiry: Inquiry, announced: Announced) -> Resolver | None:
    """The resolver for a run; None if nothing is looked up at this target.

    What earlier invocations of the run have looked up stays as it was.
    """
    target, runtime = session.target, session.runtime
    if not isinstance(target, OffersLookups):
        return None
    cache = cache_of(target, session.settings, runtime.state_folder, runtime.clock.utc)
    lookups = {side: NameLookup(side, target, dialect, inquiry, cache, runtime.executor, announced) for side in Side}
    with LedgerReader(session.ledger.path) as reader:
        for number in reader.window_ids():
            columns = reader.window(number).columns
            if columns.given is not None:
                for side, given, keys in (
                    (Side.USER, columns.given.user, columns.user),
                    (Side.GROUP, columns.given.group, columns.group),
                ):
                    if given is not None:
                        lookups[side].remember(_pairs(columns, given, keys))

    return Resolver(lookups, announced, cache.close)


def _pairs(columns: Columns, given: Keys, keys: Keys) -> dict[str, str]:
    """The ids of the names in a column that was resolved."""
    rows = np.flatnonzero(columns.action != REJECTED_ROW)
    _, first = np.unique(given.codes[rows], return_index=True)
    rows = rows[first]
    names, ids = given.values(given.codes[rows]), keys.values(keys.codes[rows])
    return {str(name): str(known) for name, known in zip(names, ids, strict=True) if isinstance(name, Word)}
