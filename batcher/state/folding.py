"""Applying ledgers to the state: only settled outcomes make a pair in or out."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

import numpy as np
import orjson

from batcher.core.errors import LedgerError
from batcher.core.keys import Key
from batcher.core.look_alikes import Names
from batcher.core.model import REJECTED_ROW, Action, Columns
from batcher.core.status import IN_EFFECT, UNCLEAR, Status, are
from batcher.ledger.reader import LedgerReader
from batcher.state.pairs import Stretch, load
from batcher.state.spelling import spread
from batcher.state.store import Known, KnownRun, StateStore, Wish

_log = logging.getLogger(__name__)
FEED = "feed"
"""The fact in the ledger of a run that tells how large its feed was."""
NAMED = "named"
"""The fact in a ledger that lists the groups which its feed was the first to name, for a state that is restored."""
_GONE = -2
"""The value of `settled` for a ledger that is missing."""


def fold(store: StateStore, run: KnownRun) -> None:
    """Apply the outcomes in the ledger of a run to the state.

    A change that is applied or unchanged makes its pair in or out; one that was refused, and whose reply was never
    lost, changes nothing. A change that is unknown, or was opened for sending without an outcome, may have taken
    effect, so its pair becomes uncertain. If the ledger is missing or damaged, every pair that the run was to change
    becomes uncertain. What the run's feed was is taken over in the same transaction.
    """
    progress, names = _load_news(store, run)
    if progress is None:
        return
    connection = store.connection
    connection.begin()
    connection.execute(
        """UPDATE pair SET known = news.known, run = ? FROM news
        WHERE pair."user" = news."user" AND pair."group" = news."group" """,
        (run.number,),
    )
    connection.execute(
        f"""INSERT INTO pair SELECT "user", "group", known, {Wish.NONE:d}, ? FROM news
        ANTI JOIN pair USING ("user", "group")""",
        (run.number,),
    )
    spread(store, names, run.number)
    if progress != _GONE:
        _fold_feed(store, run)
    connection.execute("UPDATE run SET settled = ? WHERE number = ?", (progress, run.number))
    store.touched()
    connection.commit()


def _fold_feed(store: StateStore, run: KnownRun) -> None:
    """Take over what the feed of a run was: how many pairs it named, and which groups as the first one.

    The state knows that already, unless it was restored from a copy that is older than the run. Ledgers of earlier
    versions do not list the groups; at least those to which the run was to add somebody were named.
    """
    with LedgerReader(run.ledger) as reader:
        facts = reader.facts()
        if FEED not in facts:
            return
        if NAMED in facts:
            named = orjson.loads(facts[NAMED])
        else:
            named = [group for state in reader.windows() for group in _added_to(state.window.columns)]
    store.set_fact("last_pairs", str(orjson.loads(facts[FEED])["pairs"]))
    is_id = store.facts()["forms"].endswith("id")
    groups = [group for group in named if isinstance(group, int) is is_id]
    if groups:
        store.connection.execute(
            'INSERT INTO named SELECT DISTINCT "group" FROM (SELECT unnest(?) AS "group")'
            ' ANTI JOIN named USING ("group")',
            (groups,),
        )


def _added_to(columns: Columns) -> Sequence[Key]:
    return columns.group.values(np.unique(columns.group.codes[columns.action == Action.ADD]))


def _load_news(store: StateStore, run: KnownRun) -> tuple[int | None, Names]:
    """Fill the table `news`; returns how much of the ledger is applied then, or None if there is nothing new.

    Also returns how the run treated names that look alike.
    """
    if is_own(run):
        try:
            with LedgerReader(run.ledger) as reader:
                progress = reader.progress()
                names = _names_of(reader)
                if progress == run.settled:
                    return None, names
                load(store, "news", outcomes(reader))
                return progress, names
        except LedgerError as error:
            _log.warning("%s; the memberships that its run was to change are now uncertain", error)
    if run.settled == _GONE:
        return None, Names.UNSURE
    store.connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE news AS SELECT "user", "group", {Known.UNCERTAIN:d}::UTINYINT AS known
        FROM pair WHERE (wish = {Wish.IN:d} AND known <> {Known.IN:d})
        OR (wish = {Wish.OUT:d} AND known <> {Known.OUT:d})"""
    )
    return _GONE, Names.UNSURE


def _names_of(reader: LedgerReader) -> Names:
    target = orjson.loads(reader.facts().get("settings", "{}")).get("target", {})
    return Names(target.get("names", Names.UNSURE.value))


def is_own(run: KnownRun) -> bool:
    """Whether the ledger exists, can be read, and still belongs to the run."""
    if not run.ledger.is_file():
        return False
    try:
        with LedgerReader(run.ledger) as reader:
            return reader.facts().get("run") == run.run
    except LedgerError as error:
        _log.warning("%s", error)
        return False


def outcomes(reader: LedgerReader, since: int = 0) -> Iterator[Stretch]:
    """What a ledger says about each pair; rows that say nothing are below 0.

    With `since`, only rows that were settled after the settlement with this number say anything.
    """
    for state in reader.windows():
        columns, status = state.window.columns, state.status
        is_settled = are(status, IN_EFFECT)
        outcome = np.where(columns.action == Action.ADD, Known.IN, Known.OUT)
        known = np.where(is_settled, outcome, -1)
        was_lost = np.zeros(len(status), bool)
        for settlement in state.settlements:
            if any(attempt.lost for attempt in settlement.history):
                was_lost[settlement.rows] = True
        is_open = are(status, UNCLEAR)
        known[is_open | ((status == Status.FAILED) & was_lost)] = Known.UNCERTAIN
        known[columns.action == REJECTED_ROW] = -1
        if since:
            known[~reader.settled_since(state.window.id, since, len(known))] = -1
        yield columns, known.astype(np.int8)
