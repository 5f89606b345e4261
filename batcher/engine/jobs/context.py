"""The context of a run, which every job gets from its caller."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from batcher.core.target import Credentials
from batcher.delivery.shutdown import Shutdown
from batcher.engine.jobs.asking import Access
from batcher.engine.run.observers import Observer
from batcher.host.runtime import Runtime
from batcher.settings import Settings
from batcher.source.windows import WINDOW_ROWS


@dataclass(frozen=True, slots=True, eq=False)
class RunContext:
    """The settings and surroundings of a run: its ledger, its runtime, and its observer."""

    settings: Settings
    """For a run that is continued, those that its ledger holds (`settings_of`)."""
    credentials: Credentials
    ledger: Path
    """The ledger of this run; it exists only if the run is continued."""
    runtime: Runtime
    shutdown: Shutdown = field(default_factory=Shutdown)
    observer: Observer = field(default_factory=Observer)
    is_simulated: bool = False
    """Whether the target is the embedded server, which other runs need not know about."""
    window_rows: int = WINDOW_ROWS
    """The number of rows in a window of input."""

    @property
    def access(self) -> Access:
        """How the target is reached."""
        return Access(self.settings, self.credentials, self.runtime, self.shutdown)

    @property
    def state_folder(self) -> Path | None:
        """The folder through which runs on this host know of each other; None if they need not, or cannot."""
        return None if self.is_simulated else self.runtime.state_folder
