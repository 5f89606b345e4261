"""What an unattended job leaves behind: a log, metrics for Prometheus, and a notification."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batcher.cli.console import as_json, known_of, say
from batcher.core.errors import BatcherError, ConfigurationError
from batcher.core.model import Action, Settlement
from batcher.core.report import Report
from batcher.core.status import FAILURES, Status, count_of
from batcher.engine.run.committer import OpenWindow
from batcher.engine.run.observers import Observer, RunningParts
from batcher.engine.run.outcomes import of_rejects, of_settlement
from batcher.files import check_replaceable, open_private, write_whole
from batcher.sections import JobSettings

if TYPE_CHECKING:
    from batcher.cli.metrics_port import Exporter
    from batcher.cli.tracing import Tracing

_LONGEST_AFTER = 60.0
"""Seconds. A mail program that hangs must not hold up tomorrow's run."""
_SHOWN = 200
"""Characters of a command."""
_SECRETS = ("BATCHER_TOKEN", "BATCHER_CLIENT_SECRET", "BATCHER_PROXY_CREDENTIALS")
_LAST_SUCCESS = "batcher_last_success_timestamp_seconds"


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
                from batcher.cli.metrics_port import Exporter

                self.exporter = Exporter()
                stack.enter_context(self.exporter.served(self.settings.metrics_port))
            if self.settings.traces:
                from batcher.cli.tracing import Tracing

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
            write_metrics(Path(self.settings.metrics_file), summary, now.timestamp())
        if self.settings.run_after:
            _run_after(self.settings.run_after, summary)
        if self._tell:
            self._tell()


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


def write_metrics(path: Path, summary: Mapping[str, Any], now: float) -> None:
    """For the textfile collector of Prometheus' node exporter; replaced as a whole.

    The time of the last success survives later failures. Figures that a refused run does not have are left out.
    """
    from prometheus_client import CollectorRegistry, Gauge, write_to_textfile

    registry = CollectorRegistry()

    def gauge(name: str, text: str, value: float, **labels: str) -> None:
        made = gauges.get(name) or Gauge(name, text, list(labels), registry=registry)
        gauges[name] = made
        (made.labels(**labels) if labels else made).set(value)

    gauges: dict[str, Gauge] = {}
    gauge("batcher_last_run_timestamp_seconds", "When the last run ended.", now)
    gauge("batcher_exit_code", "Exit code of the last run.", summary["exit_code"])
    success = now if summary["exit_code"] == 0 else _last_success(path)
    if success is not None:
        gauge(_LAST_SUCCESS, "When a run last exited with 0.", success)
    if "seconds" in summary:
        gauge("batcher_duration_seconds", "Duration of the last run.", summary["seconds"])
    for name, text, label in (
        ("changes", "Changes by status.", "status"),
        ("requests", "Requests.", "kind"),
        ("waited", "Seconds waited.", "reason"),
        ("feed", "Lines of the feed, its invalid lines, and the pairs that it names.", "kind"),
    ):
        for kind, value in summary.get(name, {}).items():
            if kind != "total":
                suffix = "_seconds" if name == "waited" else ""
                gauge(f"batcher_{name}{suffix}", text, value, **{label: kind})
    try:
        write_to_textfile(str(path), registry)
    except OSError as error:
        say(f"batcher: {path} cannot be written: {error.strerror}")


def _last_success(path: Path) -> float | None:
    from prometheus_client.parser import text_string_to_metric_families

    try:
        families = list(text_string_to_metric_families(path.read_text("utf-8")))
    except (OSError, ValueError):
        return None
    samples = [sample for family in families for sample in family.samples if sample.name == _LAST_SUCCESS]
    return samples[0].value if samples else None


def _run_after(command: str, summary: Mapping[str, Any]) -> None:
    """The user's command, with the summary on its standard input and without the run's secrets."""
    environment = {name: value for name, value in os.environ.items() if name not in _SECRETS}
    try:
        done = subprocess.run(  # noqa: S602 — the user's own command, as in a crontab
            command,
            shell=True,
            input=as_json(summary),
            stdout=sys.stderr.fileno(),
            timeout=_LONGEST_AFTER,
            env=environment | {"BATCHER_EXIT_CODE": str(summary["exit_code"])},
            check=False,
        )
    except subprocess.TimeoutExpired:
        say(f"batcher: the run_after command did not finish within {_LONGEST_AFTER:.0f} s: {command}")
    except OSError as error:  # too long for the system, or there is no shell
        say(f"batcher: the run_after command cannot be run: {error.strerror}: {command[:_SHOWN]}")
    else:
        if done.returncode:
            say(f"batcher: the run_after command exited with {done.returncode}: {command}")
