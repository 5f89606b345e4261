"""The simulated target as one state machine: a request and a time in, a reply or a fault out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from urllib.parse import urlsplit

from batcher.simulator import minapp, scrutinizer
from batcher.simulator.behaviour import Arrivals, Behaviour, dice
from batcher.simulator.membership import Membership
from batcher.simulator.messages import Arrival, Reply

STATE = "/_state"


class World:
    """Both dialects over one membership. Not for several threads."""

    def __init__(self, behaviour: Behaviour, journal: Callable[[bytes], object] | None = None) -> None:
        self.membership = Membership(behaviour, journal)
        self.statuses: Counter[str] = Counter()
        self.arrivals = Arrivals(behaviour.limit) if behaviour.limit else None
        self._behaviour = behaviour
        self._dice = dice(behaviour)
        self._login = minapp.Login(behaviour, self._dice)
        self._appliance = scrutinizer.Appliance(behaviour, self._dice)
        self._late: list[tuple[float, Arrival]] = []

    def __repr__(self) -> str:
        return f"<World {sum(self.statuses.values())} requests, {self.membership.applied} pairs applied>"

    def restore(self, lines: Iterable[bytes]) -> None:
        """Go on with the membership that a journal tells."""
        self.membership.restore(lines)

    def handle(self, arrival: Arrival, now: float) -> Reply:
        """What happens to a request that arrives at `now` (seconds of any clock)."""
        self.catch_up(now)
        path = urlsplit(arrival.path).path
        if path == STATE:
            return Reply.json(200, self.state())
        reply = self._answer(arrival, path, now)
        self.statuses[str(reply.status or "dropped")] += 1
        delay = self._behaviour.latency_seconds + self._behaviour.jitter_seconds * self._dice.random()
        return replace(reply, delay=delay)

    def catch_up(self, now: float) -> None:
        """Apply what was to be applied late, up to now."""
        due = [arrival for at, arrival in self._late if at <= now]
        self._late = [(at, arrival) for at, arrival in self._late if at > now]
        for arrival in due:
            self._carry_out(arrival, urlsplit(arrival.path).path)

    def state(self) -> dict[str, object]:
        """What the simulator was asked and what it holds, for `GET /_state`."""
        return {
            "groups": self.membership.as_dict(),
            "requests": sum(self.statuses.values()),
            "statuses": dict(sorted(self.statuses.items())),
            "changes": self.membership.applied,
            "repeats": self.membership.repeats,
            "limited": self.arrivals.refused if self.arrivals else 0,
        }

    def _answer(self, arrival: Arrival, path: str, now: float) -> Reply:
        if self.arrivals is not None and (wait := self.arrivals.wait(now)) > 0:
            return Reply(429, b"slow down", (("Retry-After", f"{wait:.3f}"),))
        login = self._login.handle(arrival)
        if login is not None:
            return login
        refused = self._unknown_address(arrival, path) or self._unauthorized(arrival, path)
        if refused is not None:
            return refused
        if path == minapp.GROUPS:
            return Reply.json(200, {"meta": {"limit": 1, "offset": 0, "total_count": 0}, "objects": []})
        return self._faulty(arrival, path, now)

    def _faulty(self, arrival: Arrival, path: str, now: float) -> Reply:
        roll = self._dice.random()
        for fault in self._behaviour.faults:
            roll -= fault.share
            if roll >= 0:
                continue
            if fault.kind.isdecimal():
                return Reply(int(fault.kind), b"simulated fault")
            if fault.kind == "late":
                self._late.append((now + self._behaviour.late_seconds, arrival))
                return Reply(None)
            if fault.kind == "drop-before":
                return Reply(None)
            reply = self._carry_out(arrival, path)
            if fault.kind == "html":
                return Reply(200, b"<html><body>Please sign in</body></html>", (("Content-Type", "text/html"),))
            return replace(reply, is_cut=True) if fault.kind == "cut" and reply.body else Reply(None)
        return self._carry_out(arrival, path)

    def _carry_out(self, arrival: Arrival, path: str) -> Reply:
        if path == minapp.MEMBERSHIP:
            return minapp.change(arrival.body, self.membership, self._behaviour)
        return self._appliance.change(scrutinizer.read_form(arrival), self.membership)

    def _unknown_address(self, arrival: Arrival, path: str) -> Reply | None:
        methods = {minapp.MEMBERSHIP: "PATCH", minapp.GROUPS: "GET", scrutinizer.PATH: "POST"}
        if path not in methods:
            return Reply.json(404, {"status": "error", "error_msg": "not found"})
        if arrival.method != methods[path]:
            return Reply.json(405, {"status": "error", "error_msg": "method not allowed"})
        return None

    def _unauthorized(self, arrival: Arrival, path: str) -> Reply | None:
        if not self._behaviour.token and not self._behaviour.client_id:
            return None
        if path == scrutinizer.PATH:
            token = scrutinizer.read_form(arrival).get("authToken", "")
        else:
            scheme, _, token = arrival.headers.get("authorization", "").partition(" ")
            token = token if scheme == "Bearer" else ""
        if (token and token == self._behaviour.token) or self._login.accepts(token):
            return None
        if path == scrutinizer.PATH:
            return Reply.json(200, {"err": "The auth token is expired or invalid", "details": "invalidToken"})
        return Reply.json(401, {"status": "error", "error_msg": "unauthorized"})
