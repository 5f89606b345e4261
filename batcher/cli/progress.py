"""What a run looks like while it works: a line that is redrawn on a terminal, a line now and then elsewhere."""

from __future__ import annotations

from dataclasses import dataclass, field

import anyio

from batcher.cli.console import say, standard_error
from batcher.core.model import Status
from batcher.core.units import spoken
from batcher.engine.books import OpenWindow
from batcher.engine.observing import Observer
from batcher.engine.session import Session

_REDRAW_SECONDS = 0.2
_LINE_SECONDS = 10.0
_SMOOTH = 0.3


@dataclass(slots=True)
class Progress:
    """Looks at the session; `sizes` are the inputs' bytes, for an estimate of how much is still to be read."""

    sizes: list[int]
    session: Session | None = None
    _read_bytes: int = 0
    _read_rows: int = 0
    _rate: float = 0.0
    _last: tuple[float, int] = field(default=(0.0, 0))

    def observer(self) -> Observer:
        """To be told what happens."""
        return Observer(started=self._started, opened=self._opened)

    async def show(self) -> None:
        """Until cancelled."""
        console = standard_error()
        if not console.is_terminal:
            while True:
                await anyio.sleep(_LINE_SECONDS)
                say(self.line())

        from rich.live import Live
        from rich.text import Text

        with Live(console=console, auto_refresh=False, transient=True) as live:
            while True:
                await anyio.sleep(_REDRAW_SECONDS)
                live.update(Text(self.line(), no_wrap=True, overflow="ellipsis"), refresh=True)

    def line(self) -> str:
        """The state in one line."""
        session = self.session
        if session is None or session.books is None or session.turnstile is None:
            return "starting"
        tally, now = session.books.tally, session.surroundings.clock.now()
        pending = tally[Status.PENDING]
        settled = sum(tally.values()) - pending
        self._measure(now, settled)
        total = self._total(sum(tally.values()))
        failed = tally[Status.FAILED] + tally[Status.UNKNOWN] + tally[Status.REJECTED]
        share = f" of {total:,} ({settled / total:.0%})" if total else f", {pending:,} read and waiting"
        eta = f", ETA {spoken((total - settled) / self._rate)}" if total > settled and self._rate else ""
        parts = [f"{settled:,}{share} settled", f"{self._rate:,.0f}/s{eta}"]
        parts += [f"{session.turnstile.in_flight} in flight"]
        parts += [f"{failed:,} not applied"] if failed else []
        waiting = session.turnstile.waiting
        if session.stopping.is_set:
            parts.append(f"stopping: {session.stopping.reason}")
        elif waiting is not None and waiting.until - now > 1:
            reason = {"rate": "the rate", "retry_after": "Retry-After", "backoff": "the target to come back"}
            parts.append(f"waiting for {reason[waiting.because.value]}, {spoken(waiting.until - now)} more")
        return " · ".join(parts)

    def _measure(self, now: float, settled: int) -> None:
        then, before = self._last
        if now > then and then:
            current = (settled - before) / (now - then)
            self._rate = current if not self._rate else self._rate + _SMOOTH * (current - self._rate)
        self._last = (now, settled)

    def _total(self, rows: int) -> int:
        """All rows, estimated from the bytes read so far; 0 when nothing can be said."""
        size = sum(self.sizes)
        if not size or not self._read_bytes:
            return 0
        return max(rows, round(self._read_rows * size / min(self._read_bytes, size)))

    def _started(self, session: Session) -> None:
        self.session = session

    def _opened(self, window: OpenWindow) -> None:
        position = window.window.position
        self._read_rows = window.window.first_row + len(window.window.columns)
        self._read_bytes = sum(self.sizes[: position.source]) + position.offset
