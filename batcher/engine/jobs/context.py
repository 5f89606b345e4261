"""What every job that makes a ledger is told once, by whoever starts it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from batcher.core.target import Credentials
from batcher.delivery.shutdown import Shutdown
from batcher.engine.run.observers import Observer
from batcher.host.runtime import Runtime
from batcher.settings import Settings
from batcher.source.windows import WINDOW_ROWS


@dataclass(frozen=True, slots=True, eq=False)
class RunContext:
    """How a run is made, into which ledger, in which world, and who looks on."""

    settings: Settings
    credentials: Credentials
    ledger: Path
    """Of this run; there is no such file yet."""
    runtime: Runtime
    shutdown: Shutdown = field(default_factory=Shutdown)
    observer: Observer = field(default_factory=Observer)
    is_simulated: bool = False
    """Whether the target is the embedded server, of which other runs need not know."""
    window_rows: int = WINDOW_ROWS
    """Rows that are read before any of them is sent."""

    @property
    def state_folder(self) -> Path | None:
        """Where runs on this host know of each other; None where they need not, or cannot."""
        return None if self.is_simulated else self.runtime.state_folder
