"""What a load run shows while it runs, and what it reports at the end."""

from __future__ import annotations

import sys
import time

import anyio
import msgspec

from batcher.cli.console import say, standard_error, worth_less_than_the_run, write_lines
from batcher.cli.runs.runner import Output
from batcher.core.units import spoken
from batcher.load.load_run import LoadSpec, Looking
from batcher.load.measurement import Measurement
from batcher.load.thresholds import figures

_REDRAW_SECONDS = 0.5
_LINE_SECONDS = 10.0
_SHOWN_ERRORS = 5
_WORTH_SAYING = 0.1
"""Seconds."""


class Live:
    """A line that is redrawn on a terminal, a line now and then elsewhere."""

    def __init__(self) -> None:
        self.looking = Looking()
        self._wish: LoadSpec | None = None
        self._began = 0.0
        self._cleans = False

    def __repr__(self) -> str:
        return f"<Live {self.line()}>"

    def begin(self, spec: LoadSpec) -> None:
        """A run, or a step of a search, begins."""
        self._wish, self._began = spec, time.monotonic()

    def clean_up(self) -> None:
        """The run is over, and what it added is being removed."""
        self._cleans = True

    async def show(self) -> None:
        """Until cancelled."""
        console = standard_error()
        if not console.is_terminal:
            while True:
                await anyio.sleep(_LINE_SECONDS)
                say(self.line())

        from rich.live import Live as Display
        from rich.text import Text

        with Display(console=console, auto_refresh=False, transient=True) as display:
            while True:
                await anyio.sleep(_REDRAW_SECONDS)
                display.update(Text(self.line(), no_wrap=True, overflow="ellipsis"), refresh=True)

    def line(self) -> str:
        """The state in one line."""
        if self._wish is None:
            return "starting"
        if self._cleans:
            return "cleaning up"
        parts = [f"{spoken(time.monotonic() - self._began)} · {self._wish.arrivals or 'closed loop'}"]
        if self.looking.flights is not None:
            parts += self.looking.flights.told_so_far()
        return " · ".join(parts)


def tell(measurement: Measurement, output: Output) -> None:
    """On standard output: JSON, one line, or a small table."""
    if output.is_simulated and not output.quiet:
        say("batcher: simulated: no real target was touched")
    with worth_less_than_the_run():
        if output.as_json:
            sys.stdout.buffer.write(msgspec.json.encode(measurement) + b"\n")
        else:
            write_lines(["; ".join(_head(measurement))] if output.quiet else describe(measurement))
    if measurement.stopped:
        say(f"batcher: stopped: {measurement.reason}", "red")
    if measurement.generator.is_bottleneck:
        say(f"batcher: the generator itself may have been the bottleneck: {measurement.generator.reason}", "yellow")
    for item in measurement.expectations:
        if not item["holds"]:
            say(f"batcher: not as expected: {item['text']} (found {item['found']:g})", "red")


def describe(measurement: Measurement) -> list[str]:
    """The measurement, for people."""
    lines = [*_head(measurement), *_steps(measurement), *_latencies(measurement)]
    if measurement.errors:
        shown = list(measurement.errors.items())[:_SHOWN_ERRORS]
        told = ", ".join(f"{count:,} × {name}" for name, count in shown)
        lines.append(f"errors: {figures(measurement)['errors']:.2%} of the requests: {told}")
    requests = measurement.requests
    lines.append(
        f"late {requests['late']:,}, dropped {requests['dropped']:,}, sent again {requests['retried']:,},"
        f" split {requests['split']:,}"
    )
    waits = [f"{name.replace('_', '-')} {value:.1f} s" for name, value in measurement.waited.items()]
    waits = [text for text, value in zip(waits, measurement.waited.values(), strict=True) if value >= _WORTH_SAYING]
    lines.append(f"waited for {', '.join(waits) or 'nothing'}; server time {measurement.server_seconds:.1f} s")
    generator = measurement.generator
    lines.append(
        f"generator: {generator.cpu_share:.0%} of a core, 99 % of requests ready within {generator.lag_ms:g} ms"
    )
    if measurement.cleaned_up:
        changes = measurement.cleaned_up["changes"]
        lines.append(f"cleaned up: {changes['applied']:,} of {changes['total']:,} removals applied")
    if measurement.limit is not None:
        good = measurement.limit["last_good"]
        told = "the first step already failed" if good is None else f"{good:,.1f} requests/s were fine"
        lines.append(f"limit: {told}; then: {measurement.limit['why']}")
    lines += [
        f"{item['text']}: {'yes' if item['holds'] else 'no'}, {item['found']:g}" for item in measurement.expectations
    ]
    return [*lines, *(f"ledger: {ledger}" for ledger in measurement.ledgers)]


def _head(measurement: Measurement) -> list[str]:
    rates, answered = measurement.per_second, measurement.requests["ok"] + measurement.requests["failed"]
    how = f"open loop, {measurement.arrivals}" if measurement.loop == "open" else "closed loop"
    if measurement.processes > 1:
        how += f", {measurement.processes} processes"
    return [
        f"{how}: {answered:,} requests with {measurement.accepted:,} accepted changes in {measurement.seconds:.1f} s",
        f"{rates['requests']:,.1f} requests/s, {rates['changes']:,.0f} changes/s, {rates['bytes'] / 1e6:.2f} MB/s",
    ]


def _latencies(measurement: Measurement) -> list[str]:
    intended, actual = measurement.latency["intended"], measurement.latency["actual"]
    lines = [f"{'':>8}{'from the intended start':>26}{'from the actual one':>24}"]
    names = {"mean": (intended.mean, actual.mean)}
    names |= {name: (value, actual.percentiles[name]) for name, value in intended.percentiles.items()}
    names["max"] = (intended.max, actual.max)
    return lines + [f"{name:>8}{first:>23,.3f} ms{second:>21,.3f} ms" for name, (first, second) in names.items()]


def _steps(measurement: Measurement) -> list[str]:
    return [
        f"  {step['requests_per_second']:>9,.1f}/s: p99 {step['intended.p99']:,.1f} ms, errors {step['errors']:.2%}"
        + (f": {step['why']}" if step["why"] else "")
        for step in measurement.steps
    ]
