"""Nights of a sync in virtual time: feeds as input, one target, one state, and a ledger per night."""

from __future__ import annotations

import shutil
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
from harness import Target, runtime, settings_for

from batcher.core.report import Report
from batcher.core.target import Credentials
from batcher.delivery.shutdown import Shutdown
from batcher.engine.jobs.context import RunContext
from batcher.engine.jobs.job import for_difference
from batcher.engine.preview.guardrails import Override
from batcher.engine.sync.goal import Goal
from batcher.engine.sync.sync import Terms, sync
from batcher.engine.sync.undo import Undo, compile_undo, undo_changes
from batcher.settings import Settings
from batcher.simulator.virtual_time import run_virtual
from batcher.source.windows import WINDOW_ROWS
from batcher.state.store import Known, StateStore

DAY = 86_400.0
Pair = tuple[int | str, int | str]


def plain(name: int | str) -> int | str:
    """The name as a target that folds names stores it."""
    return unicodedata.normalize("NFC", name.casefold()).strip() if isinstance(name, str) else name


@dataclass
class Nights:
    """A series of nights. The state is created on the first night, from nothing or from `snapshot`."""

    folder: Path
    target: Target = field(default_factory=Target)
    kind: str = "minapp"
    options: dict[str, Any] = field(default_factory=dict)
    snapshot: Iterable[Pair] | None = None
    window_rows: int = WINDOW_ROWS
    number: int = 0
    seconds: float = 0.0
    """The virtual time at which the last night ended."""
    is_live: bool = False
    """Whether each night reads the target."""
    has_state: bool = True
    host: Path | None = None
    """The state folder through which runs on the host know of each other."""

    @property
    def state(self) -> Path:
        return self.folder / "hr.state"

    @property
    def ledger(self) -> Path:
        """The ledger of the last night, whether it succeeded or not."""
        return self.folder / f"night-{self.number}.ledger"

    @property
    def settings(self) -> Settings:
        return settings_for(self.kind, **self.options)

    def sync(
        self,
        pairs: Iterable[Pair] | str,
        *,
        override: Sequence[str] = (),
        day: bool = True,
        shutdown: Shutdown | None = None,
        **options: Any,
    ) -> Report:
        """Run one night with a feed of these pairs, or with this text as its file."""
        self.number += 1
        self.seconds = (self.seconds // DAY + 1) * DAY if day else self.seconds
        feed = self.write(f"feed-{self.number}.csv", pairs)
        is_first = self.has_state and not self.state.exists()
        current = [self.write("snapshot.csv", self.snapshot)] if is_first and self.snapshot is not None else []
        settings = settings_for(self.kind, **(self.options | options))
        terms = Terms(Override.of(override, "a test")) if override else Terms()
        return self.play(
            lambda world: sync(
                Goal([feed], self.state if self.has_state else None, current, is_first, self.is_live),
                RunContext(
                    settings,
                    Credentials(token="a-token"),
                    self.ledger,
                    world,
                    shutdown or Shutdown(),
                    window_rows=self.window_rows,
                ),
                terms,
            )
        )

    def undo(self, ledger: Path) -> tuple[Undo, Report]:
        """Compile the undo of a night, and apply it."""
        self.number += 1
        settings = for_difference(self.settings)
        compiled = compile_undo(
            ledger, [], settings, self.folder / f"undo-{self.number}", state=None, state_folder=None, utc=float
        )
        credentials = Credentials(token="a-token")
        return compiled, self.play(
            lambda world: undo_changes(
                compiled.changes, self.state, RunContext(settings, credentials, self.ledger, world), Terms()
            )
        )

    def play(self, job: Callable[[Any], Any]) -> Any:
        """Run anything else, on the same clock."""

        async def main() -> Any:
            try:
                return await job(runtime(self.target, self.host))
            finally:
                self.seconds = anyio.current_time()

        return run_virtual(main, self.seconds)

    def write(self, name: str, pairs: Iterable[Pair] | str) -> Path:
        path = self.folder / name
        if not isinstance(pairs, str):
            pairs = "user,group\n" + "".join(f"{user},{group}\n" for user, group in pairs)
        path.write_text(pairs, encoding="utf-8")
        return path

    def known(self, known: Known) -> set[Pair]:
        """The pairs of which the state has this knowledge."""
        with StateStore.open(self.state) as store:
            rows = store.connection.execute(
                'SELECT "user", "group" FROM pair WHERE known = ?', (int(known),)
            ).fetchall()
        pairs = set(rows)
        assert len(pairs) == len(rows)
        return pairs

    def lies(self) -> set[Pair]:
        """Pairs about which the state is wrong; being uncertain is not wrong.

        If the target folds names, that one spelling is no member does not say anything about another spelling.
        """
        members = self.target.members()
        if not self.target.behaviour.folds_names:
            return (self.known(Known.IN) - members) | (self.known(Known.OUT) & members)
        inside = {tuple(map(plain, pair)) for pair in self.known(Known.IN)}
        outside = {tuple(map(plain, pair)) for pair in self.known(Known.OUT) | self.known(Known.UNCERTAIN)}
        return (inside - members) | ((outside & members) - inside)

    def crash_at(self, send: int) -> Callable[[], None]:
        """Simulate a crash at this request: the disk stays as it is then, and nothing is sent after it.

        Returns a function that restores that state of the disk, to be called after the run has ended.
        """
        kept = self.folder / "crashed"
        first = len(self.target.sends)
        next_ledger = self.folder / f"night-{self.number + 1}.ledger"

        def answer(count: int, _: object) -> None:
            if count - first == send:
                kept.mkdir()
                for path in self.folder.glob("*"):
                    if path.is_file() and (path.name.startswith((next_ledger.name, self.state.name))):
                        shutil.copy(path, kept / path.name)
                self.target.refuse_connections = lambda _: True

        def come_back() -> None:
            self.target.answer = lambda *_: None
            self.target.refuse_connections = lambda _: False
            for path in (*self.folder.glob(f"{next_ledger.name}*"), *self.folder.glob(f"{self.state.name}*")):
                path.unlink()
            for path in kept.iterdir():
                shutil.copy(path, self.folder / path.name)
            shutil.rmtree(kept)

        self.target.answer = answer
        return come_back
