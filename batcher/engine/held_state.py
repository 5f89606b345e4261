"""A state in the hands of one run: held against others, with what earlier ledgers told taken in."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from batcher.core.clock import Stamp
from batcher.engine.job import CLOSED
from batcher.ledger.writer import LedgerWriter
from batcher.state.folding import fold, is_own
from batcher.state.store import Binding, KnownRun, StateStore, hold, lock_file


class HeldState:
    """Use it as a context. `runs` are those of the state, the last first, whose ledgers are there.

    A state that this run makes has its name only once something was begun; else it leaves nothing behind.
    """

    def __init__(self, path: Path, binding: Binding, *, is_new: bool) -> None:
        self.path = path
        self.runs: Sequence[KnownRun] = ()
        self._binding = binding
        self._is_new = is_new
        self._file = path.with_name(f"{path.name}.new") if is_new else path
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
            stack.callback(self._clear)  # before the lock goes: nobody else's files are touched
            if self._is_new:
                StateStore.check_new(self.path)
                _remove(self._file)
                StateStore.create(self._file, self._binding).close()
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
        with StateStore.open(self._file, self._binding) as store:
            yield store

    def take_over(self, now: Stamp) -> None:
        """A run is about to begin: nobody goes on with the ledger before it."""
        if self._ledger is not None:
            self._ledger.set_fact(CLOSED, str(now))

    def keep(self) -> None:
        """Something was begun: the state stays, and has its name."""
        if self._file != self.path:
            self._file.rename(self.path)
            self._file = self.path

    def fold(self) -> None:
        """Take in what the last run's ledger tells."""
        with self.opened() as store:
            for run in store.runs()[-1:]:
                fold(store, run)

    def _take_in(self, store: StateStore, stack: ExitStack) -> None:
        runs = store.runs()
        self.runs = [run for run in reversed(runs) if run.ledger.is_file()]
        for run in runs:
            if run.is_open:
                if is_own(run):
                    self._ledger = LedgerWriter.open(run.ledger)
                    stack.callback(self._ledger.close)
                fold(store, run)

    def _clear(self) -> None:
        if self._file != self.path:
            _remove(self._file)
        if not self.path.exists():
            lock_file(self.path).unlink(missing_ok=True)


def _remove(state: Path) -> None:
    for suffix in ("", ".wal"):
        state.with_name(state.name + suffix).unlink(missing_ok=True)


@contextmanager
def passing_state() -> Iterator[StateStore]:
    """A state that is forgotten at the end."""
    with tempfile.TemporaryDirectory(prefix="batcher-") as folder, StateStore.passing(Path(folder)) as store:
        yield store
