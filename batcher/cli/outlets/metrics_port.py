"""The figures of a run while it runs, for a Prometheus on this machine to scrape."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from batcher.cli.outlets.metrics import families, summary_of
from batcher.core.durations import Durations
from batcher.core.errors import ConfigurationError
from batcher.core.rate import Waiting
from batcher.engine.run.observers import Observer, RunningParts

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Seconds."""


class Exporter(Collector):
    """Collects figures from the running parts at each scrape, in the server's thread."""

    def __init__(self) -> None:
        self._parts: RunningParts | None = None

    def __repr__(self) -> str:
        return f"<Exporter of {self._parts!r}>"

    def observer(self) -> Observer:
        """An observer that notices when a run starts."""
        return Observer(started=self._started)

    @contextmanager
    def served(self, port: int) -> Iterator[None]:
        """Serve on loopback while the body runs.

        Raises:
            ConfigurationError: When the port is taken.

        """
        registry = CollectorRegistry()
        registry.register(self)
        try:
            server, thread = start_http_server(port, "127.0.0.1", registry)
        except OSError as error:
            raise ConfigurationError(f"--metrics-port {port} cannot be used: {error.strerror}") from None
        try:
            yield
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def collect(self) -> Iterator[Metric]:
        """All figures; none before a run has started."""
        parts = self._parts
        if parts is None:
            return
        gate, figures = parts.gate, parts.figures()
        yield from families(summary_of(figures, dict(parts.committer.tally)), is_at_work=True)
        yield GaugeMetricFamily("batcher_in_flight", "Requests in flight.", gate.in_flight)
        yield GaugeMetricFamily("batcher_in_flight_limit", "Requests that may be in flight.", gate.limit.limit)
        yield from _waiting(parts)
        yield _reply_seconds(parts.deliverer.took.copy())
        yield GaugeMetricFamily("batcher_seconds", "Seconds since this invocation started.", figures.seconds)

    def _started(self, parts: RunningParts) -> None:
        self._parts = parts


def _waiting(parts: RunningParts) -> Iterator[Metric]:
    """Why no request is sent at the moment, and until when."""
    wait = parts.gate.waiting
    waiting = GaugeMetricFamily("batcher_waiting", "1 while sends wait for this reason.", labels=["reason"])
    for reason in (Waiting.RATE, Waiting.RETRY_AFTER, Waiting.BACKOFF):
        waiting.add_metric([reason.value], float(wait is not None and wait.because is reason))
    yield waiting
    if wait is not None:
        clock = parts.clock
        until = clock.utc() + wait.until - clock.now()
        yield GaugeMetricFamily("batcher_waiting_until_timestamp_seconds", "When the next request may be sent.", until)


def _reply_seconds(took: Durations) -> Metric:
    bounds = took.bounds()
    buckets = [(str(most), float(sum(n for bound, n in bounds.items() if bound <= most))) for most in _BUCKETS]
    total = sum(bound * count for bound, count in bounds.items())
    family = HistogramMetricFamily("batcher_reply_seconds", "Time from sending to reply; at most a tenth too long.")
    family.add_metric([], [*buckets, ("+Inf", float(took.total()))], total)
    return family
