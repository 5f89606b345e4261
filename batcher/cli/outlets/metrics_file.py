"""The figures of the last run, for the textfile collector of Prometheus' node exporter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, write_to_textfile
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from batcher.cli.console import say
from batcher.cli.outlets.metrics import families

_LAST_SUCCESS = "batcher_last_success_timestamp_seconds"


class _LastRun(Collector):
    def __init__(self, summary: Mapping[str, Any], ended: float, last_success: float | None) -> None:
        self._summary, self._ended, self._last_success = summary, ended, last_success

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily("batcher_last_run_timestamp_seconds", "When the last run ended.", self._ended)
        yield GaugeMetricFamily("batcher_exit_code", "Exit code of the last run.", self._summary["exit_code"])
        if self._last_success is not None:
            yield GaugeMetricFamily(_LAST_SUCCESS, "When a run last exited with 0.", self._last_success)
        if "seconds" in self._summary:
            yield GaugeMetricFamily("batcher_duration_seconds", "Duration of the last run.", self._summary["seconds"])
        yield from families(self._summary, is_at_work=False)


def write_metrics(path: Path, summary: Mapping[str, Any], now: float) -> None:
    """Replace the file as a whole; `now` is in UTC seconds.

    The time of the last success survives later failures. Figures that a refused run does not have are left out.
    """
    registry = CollectorRegistry()
    success = now if summary["exit_code"] == 0 else _known_success(path)
    registry.register(_LastRun(summary, now, success))
    try:
        write_to_textfile(str(path), registry)
    except OSError as error:
        say(f"batcher: {path} cannot be written: {error.strerror}")


def _known_success(path: Path) -> float | None:
    try:
        known = list(text_string_to_metric_families(path.read_text("utf-8")))
    except (OSError, ValueError):
        return None
    samples = [sample for family in known for sample in family.samples if sample.name == _LAST_SUCCESS]
    return samples[0].value if samples else None
