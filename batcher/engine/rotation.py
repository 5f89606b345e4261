"""Old ledgers go, once everything they tell is in the state."""

from __future__ import annotations

import logging
from pathlib import Path

from batcher.engine.job import difference_files, rejects_file
from batcher.state.folding import is_own
from batcher.state.store import StateStore

_log = logging.getLogger(__name__)


def rotate(state: Path, keep: int) -> list[Path]:
    """Remove the ledgers of a state that is held, but for the last `keep`, with the files beside; gives what went.

    One that may still tell news, and one that holds another run by now, stays.
    """
    with StateStore.open(state) as store:
        runs = store.runs()
    gone = []
    for run in runs[: max(0, len(runs) - keep)]:
        if run.is_open or not is_own(run):  # what cannot be read is not ours to remove
            continue
        try:
            for file in (*difference_files(run.ledger), rejects_file(run.ledger), run.ledger):
                file.unlink(missing_ok=True)
        except OSError as error:
            _log.warning("the old ledger %s cannot be removed: %s", run.ledger, error.strerror)
        else:
            gone.append(run.ledger)
            _log.info("the ledger %s is older than the last %d and was removed", run.ledger, keep)
    return gone
