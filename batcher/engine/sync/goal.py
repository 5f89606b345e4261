"""What a target is to look like, and what that is compared with: a state, or a snapshot."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from batcher.core.errors import ConfigurationError
from batcher.core.target import Target
from batcher.engine.preview.named import Resolve
from batcher.engine.sync.diff import take_snapshot
from batcher.engine.sync.locked_state import LockedState, passing_state, seen_state
from batcher.files import check_file
from batcher.host.run_registry import RunRegistry
from batcher.settings import Settings
from batcher.state.pairs import adopt
from batcher.state.store import Binding, StateStore


@dataclass(frozen=True, slots=True)
class Goal:
    """The feed, and what it is compared with: a state or, without one, the snapshot `current`, or the target.

    With `is_first`, the state is created: from `current` or the target, or else from nothing.
    """

    feed: Sequence[Path]
    state: Path | None = None
    current: Sequence[Path] = ()
    is_first: bool = False
    is_live: bool = False
    """Whether the target is read: instead of `current`, or beside the state."""


class SyncBasis:
    """What a goal is compared with: `store`, open until something is sent. Use it as a context manager.

    With `is_look`, nothing will be sent: the state is not locked, and is left unchanged.
    """

    def __init__(
        self,
        goal: Goal,
        target: Target,
        settings: Settings,
        state_folder: Path | None,
        *,
        is_simulated: bool,
        is_look: bool = False,
    ) -> None:
        check_goal(goal)
        env = settings.target.env
        self._register = None if state_folder is None else RunRegistry(state_folder, target.name, target.url, env)
        self._is_look = is_look
        self.goal = goal
        self.held: LockedState | None = None
        self.store: StateStore
        self._target = target
        url = "the embedded server" if is_simulated else target.url
        self._binding = Binding(target.name, url, settings.target.env)
        self._stack = ExitStack()
        self._opened = ExitStack()

    def __enter__(self) -> Self:
        """Lock the state, and take over the results from earlier ledgers."""
        with ExitStack() as stack:
            state, is_new = self.goal.state, self.goal.is_first
            opened = passing_state()
            if state is not None and self._is_look:
                opened = seen_state(state, self._binding, self._register, is_new=is_new)
            elif state is not None:
                self.held = stack.enter_context(LockedState(state, self._binding, self._register, is_new=is_new))
                opened = self.held.opened()
            stack.enter_context(self._opened)
            self.store = self._opened.enter_context(opened)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.__exit__(*error)  # type: ignore[arg-type]  # the three of any exit

    def take_snapshot(self, resolve: Resolve) -> None:
        """Begin with the current memberships, if the goal names files with them.

        Raises:
            InputError: When these are not known.

        """
        if not self.goal.current:
            return
        take_snapshot(self.store, self.goal.current, self._target, resolve)
        if self.goal.state is not None:
            adopt(self.store, "snapshot")

    def close_store(self) -> None:
        """Close the store, as its memory is needed for what follows; the state stays locked."""
        self._opened.close()


def check_goal(goal: Goal) -> None:
    """Check that there is something to compare the feed with.

    Raises:
        UsageError: When there is not, or a file does not exist.

    """
    if goal.state is None and not goal.current and not goal.is_live:
        raise ConfigurationError(
            "nothing to compare the feed with: --state FILE, --current SNAPSHOT, or --current-from-target"
        )
    if goal.current and goal.is_live:
        raise ConfigurationError("--current and --current-from-target exclude each other")
    if goal.state is None and goal.is_first:
        raise ConfigurationError("--bootstrap creates a state; give its path with --state FILE")
    if goal.state is not None and goal.current and not goal.is_first:
        raise ConfigurationError("--current with --state needs --bootstrap, which creates the state; else omit --state")
    for file in (*goal.feed, *goal.current):
        check_file(file)
