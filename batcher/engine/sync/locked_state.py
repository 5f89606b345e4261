"""A state that one run has to itself: locked against others, with the results of earlier ledgers taken over."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from batcher.core.clock import Stamp
from batcher.core.errors import StateError
from batcher.engine.jobs.in_doubt import CLOSED
from batcher.files import found, remove
from batcher.host.run_registry import RunRegistry
from batcher.ledger.writer import LedgerWriter
from batcher.state.folding import fold, is_own
from batcher.state.holding import check_there, copied, hold, lock_file
from batcher.state.store import Binding, KnownRun, StateStore

_log = logging.getLogger(__name__)


class LockedState:
    """A locked state; use it as a context manager.

    `runs` are the runs of the state whose ledgers exist, the latest first. A state that this run creates gets its name
    only once the run has begun; otherwise nothing is left behind.
    """

    def __init__(self, path: Path, binding: Binding, register: RunRegistry | None = None, *, is_new: bool) -> None:
        self.path = path
        self.runs: Sequence[KnownRun] = ()
        self._binding = binding
        self._register = register
        self._is_new = is_new
        self._file = path.with_name(f"{path.name}.new") if is_new else path
        self._made_lock = False
        self._is_kept = False
        self._ledgers: list[LedgerWriter] = []
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        """Lock the state.

        Raises:
            StateError: When it cannot be used for this target.
            LedgerHeldError: When another run holds it, or works on its last ledger.

        """
        if self._is_new:
            StateStore.check_new(self.path)
        else:
            check_there(self.path)
        self._made_lock = found(lock_file(self.path)) is None
        with ExitStack() as stack:
            stack.callback(os.close, hold(self.path))
            stack.callback(self._clear)  # before the lock is released, so that no file of another run is touched
            if self._is_new:
                StateStore.check_new(self.path)
                _remove(self._file)
                StateStore.create(self._file, self._binding).close()
            else:
                with self.opened() as store:
                    for run in news(store, self._register):
                        self._keep_from_others(run, stack)
                        take_in(store, run)
                    self.runs = [run for run in reversed(store.runs()) if run.ledger.is_file()]
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @contextmanager
    def opened(self) -> Iterator[StateStore]:
        """Open the state for a short time: its memory is needed for the run itself."""
        with StateStore.open(self._file, self._binding) as store:
            yield store

    def take_over(self, now: Stamp) -> None:
        """A run is about to begin: close the ledgers before it, so that they cannot be continued."""
        for ledger in self._ledgers:
            ledger.set_fact(CLOSED, str(now))

    def keep(self) -> None:
        """The run has begun: keep the state, under its name."""
        self._is_kept = True
        if self._file != self.path:
            self._file.rename(self.path)
            self._file = self.path

    def fold(self) -> None:
        """Take over the results from the last run's ledger."""
        with self.opened() as store:
            for run in store.runs()[-1:]:
                fold(store, run)

    def _keep_from_others(self, run: KnownRun, stack: ExitStack) -> None:
        if is_own(run):
            ledger = LedgerWriter.open(run.ledger)
            stack.callback(ledger.close)
            self._ledgers.append(ledger)

    def _clear(self) -> None:
        if self._file != self.path:
            _remove(self._file)
        if not self.path.exists() or (self._made_lock and not self._is_kept):
            remove(lock_file(self.path))


@contextmanager
def seen_state(path: Path, binding: Binding, register: RunRegistry | None, *, is_new: bool) -> Iterator[StateStore]:
    """The state as the next run will find it, for reading: a copy, so that the state itself is not locked.

    Raises:
        StateError: When it cannot be used for this target.
        LedgerHeldError: When a run holds it.

    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="batcher-")))
        if is_new:
            StateStore.check_new(path)
            store = StateStore.create(folder / path.name, binding)
        else:
            store = StateStore.open(copied(path, folder), binding)
        stack.enter_context(store)
        for run in () if is_new else news(store, register):
            take_in(store, run)
        yield store


def news(store: StateStore, register: RunRegistry | None) -> list[KnownRun]:
    """The runs whose ledgers may have results that the state does not know yet, the earliest first.

    These are its last run, as long as that may be continued, and runs that used this state according to the run
    registry although the state does not know them: then it was restored from an older copy.

    Raises:
        StateError: When the ledger of one of the latter is missing.

    """
    runs = store.runs()
    known = {run.run for run in runs}
    found = [run for run in runs if run.is_open]
    for number, other in enumerate(register.of_state(store.name) if register else (), len(runs) + 1):
        if other.run not in known:
            run = KnownRun(number, other.run, other.ledger, -1, is_open=True)
            if not is_own(run):
                raise StateError(
                    f"{store.path} is older than the run of {other.ledger}, which used it and is missing:"
                    " what that run changed is not known. Restore a newer copy of the state, or create a new one:"
                    " --bootstrap --current SNAPSHOT"
                )
            found.append(run)
    return found


def take_in(store: StateStore, run: KnownRun) -> None:
    """Take over the results from the ledger of a run into the state, and the run itself if it is not known yet."""
    if run.number not in {known.number for known in store.runs() if known.run == run.run}:
        _log.warning("the state was restored from an older copy: taking over the results of the run of %s", run.ledger)
        run = replace(run, number=store.begin_run(run.run, run.ledger))
    fold(store, run)


def _remove(state: Path) -> None:
    for suffix in ("", ".wal"):
        remove(state.with_name(state.name + suffix))


@contextmanager
def passing_state() -> Iterator[StateStore]:
    """A temporary state, deleted at the end."""
    with tempfile.TemporaryDirectory(prefix="batcher-") as folder, StateStore.passing(Path(folder)) as store:
        yield store
