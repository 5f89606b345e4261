"""A state in the hands of one run: held against others, with what earlier ledgers told taken in."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from batcher.engine.job import CLOSED
from batcher.ledger.writer import LedgerWriter
from batcher.state.folding import fold, is_own
from batcher.state.store import Binding, KnownRun, StateStore, hold


class HeldState:
    """Use it as a context. `earlier` is the ledger of the last run, as long as it may tell news.

    A state that was made by this run, and never begun, leaves nothing behind.
    """

    def __init__(self, path: Path, binding: Binding, *, is_new: bool) -> None:
        self.path = path
        self.earlier: KnownRun | None = None
        self._binding = binding
        self._is_new = is_new
        self._is_kept = not is_new
        self._ledger: LedgerWriter | None = None
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        """Take hold of it.

        Raises:
            StateError: When it cannot be used for this target.
            LedgerHeldError: When another run has it, or works on the last ledger.

        """
        with ExitStack() as stack:
            stack.callback(os.close, hold(self.path))
            if self._is_new:
                StateStore.create(self.path, self._binding).close()
                stack.callback(self._drop)
            else:
                with self.opened() as store:
                    self._take_in(store, stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @contextmanager
    def opened(self) -> Iterator[StateStore]:
        """The state, for a short time: its memory is needed while a run works."""
        with StateStore.open(self.path, self._binding) as store:
            yield store

    def begun(self) -> None:
        """A run begins: nobody goes on with the ledger before it."""
        self._is_kept = True
        if self._ledger is not None:
            self._ledger.set_fact(CLOSED, "yes")

    def fold(self) -> None:
        """Take in what the last run's ledger tells."""
        with self.opened() as store:
            for run in store.runs()[-1:]:
                fold(store, run)

    def _take_in(self, store: StateStore, stack: ExitStack) -> None:
        for run in store.runs():
            if run.is_open:
                if is_own(run):
                    self._ledger = LedgerWriter.open(run.ledger)
                    stack.callback(self._ledger.close)
                    self.earlier = run
                fold(store, run)

    def _drop(self) -> None:
        if not self._is_kept:
            self.path.unlink(missing_ok=True)


@contextmanager
def passing_state() -> Iterator[StateStore]:
    """A state that is forgotten at the end."""
    with tempfile.TemporaryDirectory(prefix="batcher-") as folder, StateStore.passing(Path(folder)) as store:
        yield store
