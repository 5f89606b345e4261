"""The simulated target as one state machine: a request and a time in, a reply or a fault out."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from urllib.parse import urlsplit

from batcher.simulator.behaviour import Behaviour, Stage
from batcher.simulator.dialect import ServerSide, server_sides
from batcher.simulator.membership import Membership
from batcher.simulator.messages import Arrival, Reply
from batcher.simulator.traffic import Traffic, too_large, too_much

STATE = "/_state"


class World:
    """All dialects over one set of memberships. Not thread-safe."""

    def __init__(
        self,
        behaviour: Behaviour,
        journal: Callable[[bytes], object] | None = None,
        stages: Sequence[Stage] = (),
        utc_offset: float = 0.0,
    ) -> None:
        self.membership = Membership(behaviour, journal)
        self.statuses: Counter[str] = Counter()
        self.traffic = Traffic()
        self._stages = list(stages)
        self._utc_offset = utc_offset
        self._first: float | None = None
        self._latest = 0.0
        self._rng = random.Random(behaviour.seed)  # noqa: S311 — not for secrets
        self._sides = server_sides(behaviour, self._rng)
        self._late: list[tuple[float, Arrival]] = []
        self.behave(behaviour)

    def __repr__(self) -> str:
        return f"<World {sum(self.statuses.values())} requests, {self.membership.applied} pairs applied>"

    def restore(self, lines: Iterable[bytes]) -> None:
        """Restore the memberships from a journal."""
        self.membership.restore(lines)

    def behave(self, behaviour: Behaviour) -> None:
        """Change the behaviour from now on; its seed is ignored."""
        self._behaviour = self.membership.behaviour = behaviour
        for side in self._sides:
            side.behaviour = behaviour

    def is_away(self, now: float) -> bool:
        """Whether the target is unreachable at `now` (in seconds; always of the same clock)."""
        self._advance(now)
        return self._behaviour.is_away

    def handle(self, arrival: Arrival, now: float) -> Reply:
        """Handle a request that arrives at `now` (in seconds; always of the same clock)."""
        self.catch_up(now)
        self.membership.now = now
        path = urlsplit(arrival.path).path
        if path == STATE:
            return Reply.json(200, self.state())
        self._advance(now)
        behaviour = self._behaviour
        seconds = behaviour.latency_seconds + behaviour.jitter_seconds * self._rng.random()
        seconds += behaviour.latency_growth * (now - (self._first or 0.0))
        wait = self.traffic.wait(behaviour, now)
        if wait > 0:
            reply = replace(too_much(behaviour, wait, now + self._utc_offset), delay=seconds)
        else:
            side, method = self._side(path)
            changes = _size(side, arrival) if behaviour.seconds_per_change or behaviour.max_changes else 0
            seconds += behaviour.seconds_per_change * changes
            reply = too_large(behaviour, changes, len(arrival.body)) or self._answer(side, method, arrival, now)
            reply = replace(reply, delay=self.traffic.serve(behaviour, now, seconds))
        self.statuses[str(reply.status or "dropped")] += 1
        return reply

    def catch_up(self, now: float) -> None:
        """Apply the late requests that are due by now."""
        due = [arrival for at, arrival in self._late if at <= now]
        self._late = [(at, arrival) for at, arrival in self._late if at > now]
        for arrival in due:
            side, _ = self._side(urlsplit(arrival.path).path)
            if side is not None:
                side.carry_out(arrival, self.membership)

    def state(self) -> dict[str, object]:
        """The requests so far and the memberships, for `GET /_state`."""
        return {
            "groups": self.membership.as_dict(),
            "requests": sum(self.statuses.values()),
            "statuses": dict(sorted(self.statuses.items())),
            "changes": self.membership.applied,
            "repeats": self.membership.repeats,
            "limited": self.traffic.refused,
            "seconds": self._latest - (self._first or 0.0),
        }

    def _advance(self, now: float) -> None:
        """Enter the next stages if they are due."""
        if self._first is None:
            self._first = now
        self._latest = now
        requests = sum(self.statuses.values())
        while self._stages and (
            now - self._first >= self._stages[0].after_seconds or requests >= self._stages[0].after_requests
        ):
            self.behave(self._stages.pop(0).behaviour)

    def _side(self, path: str) -> tuple[ServerSide | None, str]:
        """The dialect that has this address, and the method that the address takes."""
        for side in self._sides:
            method = side.method_of(path)
            if method is not None:
                return side, method
        return None, ""

    def _answer(self, side: ServerSide | None, method: str, arrival: Arrival, now: float) -> Reply:
        if side is None:
            login = next((reply for each in self._sides if (reply := each.log_in(arrival)) is not None), None)
            return Reply.json(404, {"status": "error", "error_msg": "not found"}) if login is None else login
        if arrival.method not in method.split():
            return Reply.json(405, {"status": "error", "error_msg": "method not allowed"})
        if (self._behaviour.token or self._behaviour.client_id) and not self._accepts(side.token_of(arrival)):
            return side.unauthorized()
        return self._faulty(side, arrival, now)

    def _accepts(self, token: str) -> bool:
        return (bool(token) and token == self._behaviour.token) or any(side.accepts(token) for side in self._sides)

    def _faulty(self, side: ServerSide, arrival: Arrival, now: float) -> Reply:
        poison = self._behaviour.poisonous_users
        if poison and any(poison.intersection(wish.users) for wish in side.wishes(arrival)):
            return Reply(500, b"internal server error")
        roll = self._rng.random()
        for fault in self._behaviour.faults:
            roll -= fault.share
            if roll >= 0:
                continue
            if fault.kind.isdecimal():
                wish = self._behaviour.fault_retry_after
                headers = (("Retry-After", f"{wish:g}"),) if wish else ()
                return Reply(int(fault.kind), b"simulated fault", headers)
            if fault.kind == "late":
                self._late.append((now + self._behaviour.late_seconds, arrival))
                return Reply(None)
            if fault.kind == "drop-before":
                return Reply(None)
            reply = side.carry_out(arrival, self.membership)
            if fault.kind == "html":
                return Reply(200, b"<html><body>Please sign in</body></html>", (("Content-Type", "text/html"),))
            if fault.kind == "truncated":
                return replace(reply, body=reply.body[: len(reply.body) // 2])
            if fault.kind == "miscounted":
                return side.miscounted(reply)
            return replace(reply, is_cut=True) if fault.kind == "cut" and reply.body else Reply(None)
        return side.carry_out(arrival, self.membership)


def _size(side: ServerSide | None, arrival: Arrival) -> int:
    return sum(len(wish.users) * len(wish.groups) for wish in side.wishes(arrival)) if side is not None else 0
