"""Reading back what a run has changed (`target.verify_after`): first of all, and at the end.

What the target answered with success and does not have counts as failed, so that `retry` sends it again; of what was
not known, the target knows it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import partial

import numpy as np
import orjson

from batcher.core.batch import Settlement
from batcher.core.model import Action
from batcher.core.reading import ReadingFailed
from batcher.core.status import IN_EFFECT, Status, are
from batcher.core.verdict import Cause
from batcher.delivery.shutdown import Abandoned, Shutdown
from batcher.engine.jobs.asking import Access, Asking, asking
from batcher.engine.jobs.reading_back import Extent, Proof, compared
from batcher.engine.run.parts import Parts
from batcher.engine.run.pipeline import Run
from batcher.engine.run.session import Session, readable
from batcher.ledger.reader import LedgerReader
from batcher.ledger.sessions import Figures
from batcher.ledger.writer import LedgerWriter
from batcher.settings import Settings
from batcher.state.proof import Claims, Discrepancy

PROOF = "proof"
"""The fact in a ledger that tells what was read back."""
_NOT_SO = "read back: the target does not have it"
_AT_ONCE = 8
_FEW_GROUPS = 10
_SAMPLE = Extent(share=0.05, fewest=_FEW_GROUPS)
_EXTENTS = {"sample": _SAMPLE, "all": Extent()}


def is_wanted(settings: Settings) -> bool:
    """Whether anything is to be read back."""
    return settings.target.verify_after in _EXTENTS


def outdate(session: Session) -> None:
    """More is about to be sent: what was read back before does not prove that."""
    if is_wanted(session.settings):
        session.ledger.set_fact(PROOF, "")


async def look_at_first(session: Session, parts: Parts) -> str:
    """See `FirstLook`: reads some groups of the first changes back."""
    asked = Asking(parts.deliverer.dialect, parts.deliverer.inquiry, parts.gate)
    extent = Extent(most=_FEW_GROUPS)
    try:
        with LedgerReader(session.ledger.path) as reader:
            async with compared(reader, readable(session.target), asked, session.runtime, extent) as (_, proof):
                return _told(proof)
    except ReadingFailed as failure:
        return f"the first changes cannot be read back: {failure}"


def _told(proof: Proof) -> str:
    wrong = proof.missing + proof.unexpected
    if not wrong:
        return ""
    one = next(one for one in proof.differences if one.finding is not Discrepancy.AMBIGUOUS)
    what = "is not there" if not one.is_there else "is still there"
    return (
        f"{wrong:,} of the first {proof.pairs:,} changes that were read back are not as the target has answered:"
        f" user {one.user} in group {one.group} {what} (line {one.line})"
    )


async def prove(session: Session, access: Access, run: Run, since: int = 0) -> None:
    """Read back what the run has changed, once all of it is settled or the first look has found something.

    With `since`, only what was settled after the settlement with this number: others may have changed the rest by now.
    """
    shutdown, clock = session.shutdown, session.runtime.clock
    is_at_end = not shutdown.is_set and run.admission.all_read
    is_disproven = shutdown.cause is Cause.UNPROVEN
    if not is_wanted(session.settings) or not (is_at_end or is_disproven):
        return
    if is_disproven:  # what has ended the run does not end this
        shutdown = Shutdown()
    mode = session.settings.target.verify_after
    told: dict[str, object] = {"mode": mode, "at": clock.utc()}
    try:
        if run.tally[Status.UNKNOWN]:  # a request that was lost may still be at work
            await shutdown.pause(session.settings.retry.grace_seconds)
        reaching = Access(session.settings, access.credentials, session.runtime, shutdown)
        async with asking(session.target, reaching, _AT_ONCE) as asked:
            with LedgerReader(session.ledger.path) as reader:
                offer, extent = readable(session.target), replace(_EXTENTS[mode], since=since)
                async with compared(reader, offer, asked, session.runtime, extent) as (claims, proof):
                    settle = partial(_settle, claims, reader, session.ledger, run.figures(), clock.utc())
                    told |= proof.as_fact() | {"settled": await session.runtime.executor(settle)}
    except ReadingFailed as failure:
        told["failed"] = str(failure)
    except Abandoned:
        told["failed"] = shutdown.reason
    session.ledger.set_fact(PROOF, orjson.dumps(told).decode())


def _settle(claims: Claims, reader: LedgerReader, ledger: LedgerWriter, figures: Figures, now: float) -> int:
    """Record what the target has; returns how many outcomes were not known, or known wrongly as failed, before."""
    windows, found = reader.window_ids(), 0
    for number, places, is_there in claims.disproven():
        state = reader.state(windows[number])
        before = state.status[places]
        is_so = (state.window.columns.action[places] == Action.ADD) == is_there
        after = np.where(is_so, Status.APPLIED, Status.FAILED).astype(np.int8)
        new = np.flatnonzero((after != before) & ~(is_so & are(before, IN_EFFECT)))
        if not len(new):
            continue
        changed = Counter(map(Status, after[new].tolist()))
        changed.subtract(map(Status, before[new].tolist()))
        details = dict.fromkeys(np.flatnonzero(~is_so[new]).tolist(), _NOT_SO)
        settlement = Settlement(state.window.id, 0, places[new], after[new], details, now, ())
        ledger.settle([settlement], changed, figures)
        found += int(np.count_nonzero(~are(before[new], IN_EFFECT)))
    return found
