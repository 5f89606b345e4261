"""The load on the simulated target: what it refuses as too much or too large, and how long it takes."""

from __future__ import annotations

import heapq
from collections import deque
from email.utils import formatdate

from batcher.core.rate import Rate
from batcher.simulator.behaviour import Behaviour, Insists
from batcher.simulator.messages import Reply

_THREE_YEARS = 3 * 365 * 86_400


class Traffic:
    """Counts arrivals and active requests, as a strict server does. Times are seconds of one clock."""

    def __init__(self) -> None:
        self.refused = 0
        """How many requests were refused as too much."""
        self._seen: dict[Rate, deque[float]] = {}
        self._at_work: list[float] = []
        self._slots: list[float] = []

    def wait(self, behaviour: Behaviour, now: float) -> float:
        """Seconds until one more request would be allowed; if 0.0, this request is counted."""
        self._at_work = [end for end in self._at_work if end > now]
        waits = [0.0]
        if behaviour.most_at_once and len(self._at_work) >= behaviour.most_at_once:
            waits.append(min(self._at_work) - now)
        for limit in behaviour.limits:
            seen = self._seen.setdefault(limit, deque())
            while seen and seen[0] <= now - limit.seconds:
                seen.popleft()
            if len(seen) >= limit.count:
                waits.append(seen[0] + limit.seconds - now)
        longest = max(waits)
        if longest > 0:
            self.refused += 1
        else:
            for limit in behaviour.limits:
                self._seen[limit].append(now)
        return longest

    def serve(self, behaviour: Behaviour, now: float, seconds: float) -> float:
        """Serve a request that needs `seconds`; returns how long it takes from now, including the queue."""
        start = now
        if behaviour.capacity:
            while len(self._slots) < behaviour.capacity:
                heapq.heappush(self._slots, now)
            start = max(now, heapq.heappop(self._slots))
            heapq.heappush(self._slots, start + seconds)
        self._at_work.append(start + seconds)
        return start + seconds - now


def too_much(behaviour: Behaviour, wait: float, utc: float) -> Reply:
    """The refusal of a request that came too soon."""
    said = {
        Insists.INTEGER: ("Retry-After", f"{-int(-wait // 1)}"),
        Insists.DECIMAL: ("Retry-After", f"{wait:.3f}"),
        Insists.DATE: ("Retry-After", formatdate(utc + wait + 1, usegmt=True)),
        Insists.PAST: ("Retry-After", formatdate(utc - 3600, usegmt=True)),
        Insists.NEGATIVE: ("Retry-After", "-5"),
        Insists.ABSURD: ("Retry-After", str(_THREE_YEARS)),
        Insists.RESET: ("X-RateLimit-Reset", f"{utc + wait:.0f}"),
    }
    header = said.get(behaviour.insists)
    return Reply(behaviour.limit_status, b"too many requests, slow down", (header,) if header else ())


def too_large(behaviour: Behaviour, changes: int, size: int) -> Reply | None:
    """The refusal of a request that is too large; None if it is not."""
    if behaviour.max_changes and changes > behaviour.max_changes:
        return Reply(behaviour.size_status, f"too many changes, {behaviour.max_changes} are allowed".encode())
    if behaviour.max_request_bytes and size > behaviour.max_request_bytes:
        return Reply(behaviour.size_status, b"request entity too large")
    return None
