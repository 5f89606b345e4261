"""Spans for OpenTelemetry: one per run, and one per delivery within it, with its attempts as events.

OpenTelemetry's own variables say where they go (OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_SERVICE_NAME, …). They contain
counts and statuses, but no users, groups, or texts of the target.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from batcher.cli.console import say
from batcher.core.batch import Batch
from batcher.core.errors import ConfigurationError
from batcher.delivery.delivery import Delivered, Exchange
from batcher.engine.run.observers import Observer, RunningParts

try:
    from opentelemetry.context import Context
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.trace import Span, Status, StatusCode, set_span_in_context
except ImportError:
    raise ConfigurationError("--traces needs OpenTelemetry: pip install 'batcher[otel]'") from None

_NANO = 1_000_000_000
_LONGEST_SECONDS = 2.0
"""How long the end of a run waits for the collector of the spans."""
_MOST_EVENTS = 128
"""Per span, as OpenTelemetry limits it."""


class Tracing:
    """Follows a run and reports it to a tracer."""

    def __init__(self, command: str, processor: SpanProcessor | None = None) -> None:
        self._provider = TracerProvider(resource=Resource.create({"service.name": "batcher"}), shutdown_on_exit=False)
        self._provider.add_span_processor(processor or BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("batcher")
        self._command = command
        self._exchanges: dict[int, list[Exchange]] = {}
        self._parts: RunningParts | None = None
        self._run: Span | None = None
        self._context: Context | None = None

    def __repr__(self) -> str:
        return f"<Tracing of {self._parts!r}>"

    def observer(self) -> Observer:
        """An observer that follows the run."""
        return Observer(started=self._started, exchanged=self._exchanged, delivered=self._delivered)

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """End the run's span with the body, and send what has not been sent."""
        try:
            yield
        finally:
            if self._run is not None:
                self._run.end()
            self._send_the_rest()

    def _send_the_rest(self) -> None:
        """The collector may be away; that must not delay the end of the run."""
        sending = threading.Thread(target=self._provider.shutdown, name="batcher spans", daemon=True)
        sending.start()
        sending.join(_LONGEST_SECONDS)
        if sending.is_alive():
            say(f"batcher: the last spans could not be sent within {_LONGEST_SECONDS:g} s; the run is not affected")

    def _started(self, parts: RunningParts) -> None:
        self._parts = parts
        known = {"batcher.run": parts.name, "batcher.target": parts.target}
        self._run = self._tracer.start_span(f"batcher {self._command}", attributes=known)
        self._context = set_span_in_context(self._run)

    def _exchanged(self, batch: Batch, exchange: Exchange) -> None:
        known = self._exchanges.setdefault(batch.id, [])
        known.append(exchange)
        if len(known) > _MOST_EVENTS:  # retries may go on for hours; the first and the latest are kept
            del known[1]

    def _delivered(self, batch: Batch, delivered: Delivered) -> None:
        exchanges = self._exchanges.pop(batch.id, [])
        if not exchanges:
            return
        first = exchanges[0].ended if exchanges[0].departed is None else exchanges[0].departed
        known: dict[str, str | int] = {"batcher.batch": batch.id, "batcher.changes": len(batch)}
        known["batcher.outcome"] = _outcome(delivered)
        span = self._tracer.start_span("deliver", self._context, attributes=known, start_time=self._utc(first))
        for exchange in exchanges:
            took = 0.0 if exchange.departed is None else exchange.ended - exchange.departed
            seen: dict[str, str | float] = {"http.response.status_code": exchange.status or 0, "batcher.seconds": took}
            if exchange.error:
                seen["error.type"] = exchange.error
            span.add_event("attempt", seen, self._utc(exchange.ended))
        if not delivered.accepted:
            span.set_status(Status(StatusCode.ERROR, _outcome(delivered)))
        span.end(self._utc(exchanges[-1].ended))

    def _utc(self, moment: float) -> int:
        clock = self._parts.clock if self._parts else None
        return int((moment + (clock.utc() - clock.now() if clock else 0.0)) * _NANO)


def _outcome(delivered: Delivered) -> str:
    if delivered.stop is not None:
        return "stopped"
    if delivered.accepted:
        return "accepted, in part" if delivered.pieces else "accepted"
    return "split" if delivered.pieces else "refused" if delivered.was_refused else "unknown"
