"""What an unattended job leaves behind: a log, metrics for Prometheus, and a notification."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batcher.cli.console import known_of
from batcher.cli.outlets.log_file import LogFile
from batcher.cli.outlets.run_after import run_after
from batcher.core.errors import BatcherError
from batcher.core.report import Report
from batcher.engine.run.observers import Observer
from batcher.files import check_replaceable
from batcher.sections import JobSettings

if TYPE_CHECKING:
    from batcher.cli.outlets.metrics_port import Exporter
    from batcher.cli.outlets.tracing import Tracing


@dataclass(slots=True)
class Job:
    """One invocation, from its settings to its end.

    `ended` is given the report, if there is one, and the function that prints it. Printing comes last: whoever is to
    read standard output may never do so, and the last line must be the command that continues the run.
    """

    settings: JobSettings
    command: str
    log: LogFile | None = None
    exporter: Exporter | None = field(default=None, init=False)
    tracing: Tracing | None = field(default=None, init=False)
    report: Report | None = field(default=None, init=False)
    _tell: Callable[[], None] | None = field(default=None, init=False)

    def run(self, work: Callable[[Job], int]) -> int:
        """Do the work; whatever its result is, it is logged, counted and reported.

        An error of the work is raised again.

        """
        if self.settings.metrics_file:
            check_replaceable(Path(self.settings.metrics_file))
        if self.settings.log_file:
            self.log = LogFile(Path(self.settings.log_file))
            logger = logging.getLogger("batcher")
            logger.addHandler(self.log)
            logger.setLevel(min(logger.level, logging.INFO))
        try:
            with self._watched():
                code = work(self)
        except Exception as error:
            known = known_of(error)
            self._end(known.exit_code if known else BatcherError.exit_code, str(known or error))
            raise
        self._end(code, self.report.reason if self.report else "")
        return code

    def ended(self, report: Report, tell: Callable[[], None]) -> None:
        """The run has come to its end."""
        self.report, self._tell = report, tell

    def observers(self) -> list[Observer]:
        """Those that observe the run."""
        return [part.observer() for part in (self.log, self.exporter, self.tracing) if part is not None]

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """Serve metrics and send spans, as configured, while the body runs."""
        with ExitStack() as stack:
            if self.settings.metrics_port:
                from batcher.cli.outlets.metrics_port import Exporter

                self.exporter = Exporter()
                stack.enter_context(self.exporter.served(self.settings.metrics_port))
            if self.settings.traces:
                from batcher.cli.outlets.tracing import Tracing

                self.tracing = Tracing(self.command)
                stack.enter_context(self.tracing.recorded())
            yield

    def _end(self, code: int, reason: str) -> None:
        summary: dict[str, Any] = self.report.as_dict() if self.report else {"exit_code": code}
        summary |= {"command": self.command, "reason": reason}
        now = datetime.now(UTC)
        if self.log:
            level = "info" if code == 0 else "error"
            self.log.write(level, f"{self.command} ended with {code}", now, summary=summary)
            self.log.close()
        if self.settings.metrics_file:
            from batcher.cli.outlets.metrics_file import write_metrics

            counted = {} if self.report is None else {"requests": asdict(self.report.requests)}
            write_metrics(Path(self.settings.metrics_file), summary | counted, now.timestamp())
        if self.settings.run_after:
            run_after(self.settings.run_after, summary)
        if self._tell:
            self._tell()
