"""The progress of a run: two lines that are redrawn on a terminal, or else a line from time to time."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import anyio

from batcher.cli.console import say, standard_error
from batcher.core.rate import Waiting
from batcher.core.status import PROBLEMS, Status, count_of
from batcher.core.units import spoken
from batcher.engine.run.committer import OpenWindow
from batcher.engine.run.observers import Observer, RunningParts

if TYPE_CHECKING:
    from rich.console import RenderableType

_REDRAW_SECONDS = 0.2
_FIRST_LINE_SECONDS, _LAST_LINE_SECONDS = 10.0, 600.0
_LINES = 20
"""Roughly how many lines are printed at the same interval before it grows."""
_SMOOTH = 0.05
_LONGEST_SECONDS = 30 * 86_400.0
"""A longer estimate would mean nothing."""
_WORTH_SAYING = 1.0
"""Seconds."""
_REASONS = {
    Waiting.RATE: "the rate limit",
    Waiting.RETRY_AFTER: "Retry-After",
    Waiting.BACKOFF: "the target to come back",
}


@dataclass(frozen=True, slots=True)
class View:
    """The state of a run at one moment."""

    phase: str
    settled: int = 0
    total: int = 0
    """An estimate; 0 if there is none."""
    pending: int = 0
    rate: float = 0.0
    """Changes per second."""
    in_flight: int = 0
    limit: int = 0
    bad: int = 0
    waiting: str = ""

    @property
    def share(self) -> float | None:
        """Share of the work that is done."""
        return min(1.0, self.settled / self.total) if self.total else None

    def parts(self) -> list[str]:
        """Everything but phase and share, the most important first."""
        if not self.limit:
            return []
        left = (self.total - self.settled) / self.rate if self.rate else math.inf
        eta = [f"ETA {spoken(left)}"] if 0 < left < _LONGEST_SECONDS else []
        waiting = [f"waiting for {self.waiting}"] if self.waiting else []
        bad = [f"{self.bad:,} not applied"] if self.bad else []
        return [*waiting, *bad, f"{self.rate:,.0f}/s", *eta, f"{self.in_flight} of {self.limit} in flight"]


@dataclass(slots=True)
class Progress:
    """Looks at the running parts; `sizes` are the inputs' bytes, for an estimate of how much is still to be read."""

    sizes: list[int]
    parts: RunningParts | None = None
    _read_bytes: int = 0
    _read_rows: int = 0
    _rate: float = 0.0
    _last: tuple[float, int] = field(default=(0.0, 0))

    def observer(self) -> Observer:
        """An observer that follows the run."""
        return Observer(started=self._started, opened=self._opened)

    async def show(self) -> None:
        """Until cancelled."""
        console = standard_error()
        if not console.is_terminal:
            passed, pause = 0.0, _FIRST_LINE_SECONDS
            while True:
                await anyio.sleep(pause)
                say(self.line())
                passed += pause
                pause = min(_LAST_LINE_SECONDS, max(_FIRST_LINE_SECONDS, passed / _LINES))

        from rich.live import Live

        with Live(console=console, auto_refresh=False, transient=True) as live:
            while True:
                await anyio.sleep(_REDRAW_SECONDS)
                live.update(drawn(self.view()), refresh=True)

    def line(self) -> str:
        """The state in one line."""
        view = self.view()
        share = f"{view.settled:,}"
        if view.share is not None:
            share += f" of about {view.total:,} ({view.share:.0%})"
        elif view.pending:
            share += f", {view.pending:,} read and waiting"
        return " · ".join([view.phase, *([f"{share} settled", *view.parts()] if view.limit else [])])

    def view(self) -> View:
        """The state."""
        parts = self.parts
        if parts is None:
            return View("reading the input")
        tally, now = parts.committer.tally, parts.clock.now()
        pending = tally[Status.PENDING]
        settled = sum(tally.values()) - pending
        self._measure(now, settled)
        return View(
            _phase(parts),
            settled,
            self._total(sum(tally.values()), all_read=parts.run.all_read),
            pending,
            self._rate,
            parts.gate.in_flight,
            parts.gate.limit.limit,
            count_of(tally, PROBLEMS),
            _waiting(parts, now),
        )

    def _measure(self, now: float, settled: int) -> None:
        then, before = self._last
        if now > then and then:
            current = (settled - before) / (now - then)
            weight = min(1.0, (now - then) / _REDRAW_SECONDS * _SMOOTH)
            self._rate = current if not self._rate else self._rate + weight * (current - self._rate)
        self._last = (now, settled)

    def _total(self, rows: int, *, all_read: bool) -> int:
        """All rows, estimated from the bytes read so far; 0 if there is no estimate."""
        if all_read:
            return rows
        size = sum(self.sizes)
        if not size or not self._read_bytes:
            return 0
        return max(rows, round(self._read_rows * size / min(self._read_bytes, size)))

    def _started(self, parts: RunningParts) -> None:
        self.parts = parts

    def _opened(self, window: OpenWindow) -> None:
        position = window.window.position
        self._read_rows = window.window.first_row + len(window.window.columns)
        self._read_bytes = sum(self.sizes[: position.source]) + position.offset


def drawn(view: View) -> RenderableType:
    """For a terminal of any width: the bar takes the room that is left, and the least important is cut off first."""
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    head = Table.grid(padding=(0, 1), expand=True)
    head.add_column(no_wrap=True, max_width=40, overflow="ellipsis")
    head.add_column(ratio=1)
    head.add_column(no_wrap=True, justify="right")
    share = view.share
    bar = ProgressBar(total=1.0 if share is not None else None, completed=share or 0.0, pulse=share is None)
    of = f"{view.settled:,} of {view.total:,}" if share is not None else f"{view.settled:,} settled"
    head.add_row(Text(view.phase), bar, Text(f"{of} {share:4.0%}" if share is not None else of))
    return Group(head, Text(" · ".join(view.parts()), no_wrap=True, overflow="ellipsis"))


def _phase(parts: RunningParts) -> str:
    if parts.shutdown.is_set:
        return f"stopping: {parts.shutdown.reason}"
    run = parts.run
    if run.all_read and not run.is_sending:
        return "recording results"
    return "sending" if run.all_read else "reading and sending"


def _waiting(parts: RunningParts, now: float) -> str:
    """What is waited for, and until when."""
    gate, run = parts.gate, parts.run
    if parts.shutdown.is_set:
        return ""
    if gate.waiting is not None:
        left = gate.waiting.until - now
        is_long = left >= _WORTH_SAYING
        return f"{_REASONS[gate.waiting.because]}, {_until(parts, left)}" if is_long else ""
    if run.held_until is not None and run.held_until - now >= _WORTH_SAYING:
        return f"requests that may still arrive late, {_until(parts, run.held_until - now)}"
    if parts.deliverer.is_backing_off and not gate.in_flight:
        return "the next attempt"
    if not gate.in_flight and not run.is_sending:
        return "" if run.all_read else "the input"
    return ""


def _until(parts: RunningParts, seconds: float) -> str:
    moment = datetime.fromtimestamp(parts.clock.utc() + seconds, UTC)
    return f"{spoken(seconds)} more, until {moment:%H:%M:%S} UTC"
