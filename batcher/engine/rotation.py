"""Old ledgers go, once everything they tell is in the state."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from batcher.core.errors import BatcherError
from batcher.engine.job import difference_files, spool_path
from batcher.state.folding import is_own
from batcher.state.store import StateStore


def rotate(state: Path, keep: int) -> list[Path]:
    """Remove the ledgers of this state but for the last `keep`, with the files beside them; gives what went.

    One that may still tell news, and one that holds another run by now, stays.
    """
    with StateStore.open(state) as store:
        runs = store.runs()
    gone = []
    for run in runs[: max(0, len(runs) - keep)]:
        with suppress(BatcherError):  # what cannot be read is not ours to remove
            if not run.is_open and is_own(run):
                for file in (*difference_files(run.ledger), spool_path(run.ledger), run.ledger):
                    file.unlink(missing_ok=True)
                gone.append(run.ledger)
    return gone
