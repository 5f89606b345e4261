"""The log of a run that nobody watches: JSON, one line per event."""

from __future__ import annotations

import logging
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

from batcher.cli.console import as_json, say
from batcher.core.batch import Settlement
from batcher.core.errors import ConfigurationError
from batcher.core.model import Action
from batcher.core.status import FAILURES, Status, count_of
from batcher.engine.run.committer import OpenWindow
from batcher.engine.run.observers import Observer, RunningParts
from batcher.engine.run.outcomes import of_rejects, of_settlement
from batcher.files import open_private, write_whole


class LogFile(logging.Handler):
    """JSON, a line per event: messages of the run, each batch, and each row that was not applied."""

    def __init__(self, path: Path) -> None:
        self._run = ""
        self._is_dead = False
        try:
            self._file = open_private(path, "ab", buffering=0)
        except OSError as error:
            raise ConfigurationError(f"{path} cannot be written: {error.strerror}") from None
        super().__init__(logging.INFO)

    def emit(self, record: logging.LogRecord) -> None:
        """Write a message of the run."""
        more = {"row": record.row} if hasattr(record, "row") else {}
        self.write(record.levelname.lower(), record.getMessage(), datetime.fromtimestamp(record.created, UTC), **more)

    def write(self, level: str, message: str, at: datetime, **more: object) -> None:
        """One line."""
        event = {"time": at.isoformat(timespec="milliseconds"), "level": level, "message": message, "run": self._run}
        try:
            write_whole(self._file.write, as_json(event | more))
        except OSError as error:
            if not self._is_dead:
                self._is_dead = True
                say(f"batcher: the log {self._file.name} cannot be written: {error.strerror}; the run continues")

    def close(self) -> None:
        """No more."""
        logging.getLogger("batcher").removeHandler(self)
        self._file.close()
        super().close()

    def observer(self) -> Observer:
        """An observer that logs batches and rows."""
        return Observer(self._started, self._opened, self._settled)

    def _started(self, parts: RunningParts) -> None:
        self._run = parts.name
        self.write("info", "started", datetime.now(UTC), ledger=str(parts.ledger), target=parts.target)

    def _opened(self, window: OpenWindow) -> None:
        for outcome in of_rejects(window):
            self.write("warning", outcome.detail, datetime.now(UTC), row=outcome.line, status=outcome.status.label)

    def _settled(self, window: OpenWindow, settlement: Settlement) -> None:
        for each in settlement.each():
            self._settled_batch(window, each)

    def _settled_batch(self, window: OpenWindow, settlement: Settlement) -> None:
        at = datetime.fromtimestamp(settlement.at, UTC)
        counts = Counter(map(Status, settlement.status.tolist()))
        told = ", ".join(f"{count} {status.label}" for status, count in sorted(counts.items()))
        self.write("info", f"batch {settlement.batch}: {told}", at, batch=settlement.batch)
        if not count_of(counts, FAILURES):
            return
        for outcome in of_settlement(window, settlement):
            if outcome.status in FAILURES and outcome.op is not None:
                self.write(
                    "warning",
                    outcome.detail,
                    at,
                    batch=settlement.batch,
                    row=outcome.line,
                    op=Action(outcome.op).label,
                    user=outcome.user,
                    group=outcome.group,
                    status=outcome.status.label,
                )
