"""Removes old ledgers once all of their results are in the state."""

from __future__ import annotations

import logging
from pathlib import Path

from batcher.core.clock import Clock
from batcher.core.errors import LedgerError
from batcher.engine.jobs.in_doubt import may_still_arrive
from batcher.engine.jobs.job import difference_files, rejects_file
from batcher.ledger.reader import LedgerReader
from batcher.state.folding import is_own
from batcher.state.store import StateStore

_log = logging.getLogger(__name__)


def rotate(state: Path, keep: int, clock: Clock, grace: float) -> list[Path]:
    """Remove all but the last `keep` ledgers of a locked state, and the files beside them; returns what was removed.

    A ledger stays if it may have results that the state does not know, if it has requests that may still arrive (for
    `grace` seconds), or if its file holds another run by now.
    """
    with StateStore.open(state) as store:
        runs = store.runs()
    gone = []
    for run in runs[: max(0, len(runs) - keep)]:
        if run.is_open or not is_own(run):  # a file that cannot be read is not removed
            continue
        try:
            with LedgerReader(run.ledger) as reader:
                if may_still_arrive(reader, clock, grace):
                    continue
        except LedgerError as error:
            _log.warning("an old ledger is kept: %s", error)
            continue
        try:
            for file in (*difference_files(run.ledger), rejects_file(run.ledger), run.ledger):
                file.unlink(missing_ok=True)
        except OSError as error:
            _log.warning("the old ledger %s cannot be removed: %s", run.ledger, error.strerror)
        else:
            gone.append(run.ledger)
            _log.info("removed the ledger %s, which is older than the last %d", run.ledger, keep)
    return gone
