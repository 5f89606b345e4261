"""The simulated target as one state machine: a request and a time in, a reply or a fault out."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from urllib.parse import urlsplit

from batcher.simulator import minapp, scrutinizer
from batcher.simulator.behaviour import Behaviour, Stage
from batcher.simulator.membership import Membership, Wish
from batcher.simulator.messages import Arrival, Reply
from batcher.simulator.traffic import Traffic, too_large, too_much

STATE = "/_state"


class World:
    """Both dialects over one membership. Not for several threads."""

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
        self._dice = random.Random(behaviour.seed)  # noqa: S311 — not for secrets
        self._login = minapp.Login(behaviour, self._dice)
        self._appliance = scrutinizer.Appliance(behaviour, self._dice)
        self._late: list[tuple[float, Arrival]] = []
        self.behave(behaviour)

    def __repr__(self) -> str:
        return f"<World {sum(self.statuses.values())} requests, {self.membership.applied} pairs applied>"

    def restore(self, lines: Iterable[bytes]) -> None:
        """Go on with the membership that a journal tells."""
        self.membership.restore(lines)

    def behave(self, behaviour: Behaviour) -> None:
        """From now on like this; its seed means nothing any more."""
        self._behaviour = behaviour
        self.membership.behaviour = self._login.behaviour = self._appliance.behaviour = behaviour

    def is_away(self, now: float) -> bool:
        """Whether nobody answers the door at `now` (seconds of any clock, always the same)."""
        self._advance(now)
        return self._behaviour.is_away

    def handle(self, arrival: Arrival, now: float) -> Reply:
        """What happens to a request that arrives at `now` (seconds of any clock, always the same)."""
        self.catch_up(now)
        path = urlsplit(arrival.path).path
        if path == STATE:
            return Reply.json(200, self.state())
        self._advance(now)
        behaviour = self._behaviour
        seconds = behaviour.latency_seconds + behaviour.jitter_seconds * self._dice.random()
        seconds += behaviour.latency_growth * (now - (self._first or 0.0))
        wait = self.traffic.wait(behaviour, now)
        if wait > 0:
            reply = replace(too_much(behaviour, wait, now + self._utc_offset), delay=seconds)
        else:
            changes = self._size(arrival, path) if behaviour.seconds_per_change or behaviour.max_changes else 0
            seconds += behaviour.seconds_per_change * changes
            reply = too_large(behaviour, changes, len(arrival.body)) or self._answer(arrival, path, now)
            reply = replace(reply, delay=self.traffic.serve(behaviour, now, seconds))
        self.statuses[str(reply.status or "dropped")] += 1
        return reply

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
            "limited": self.traffic.refused,
            "seconds": self._latest - (self._first or 0.0),
        }

    def _advance(self, now: float) -> None:
        """Enter the next stages, if their time has come."""
        if self._first is None:
            self._first = now
        self._latest = now
        requests = sum(self.statuses.values())
        while self._stages and (
            now - self._first >= self._stages[0].after_seconds or requests >= self._stages[0].after_requests
        ):
            self.behave(self._stages.pop(0).behaviour)

    def _wishes(self, arrival: Arrival, path: str) -> list[Wish]:
        if path == minapp.MEMBERSHIP:
            wishes = minapp.read_ops(arrival.body)
        else:
            wishes = scrutinizer.read_wishes(scrutinizer.read_form(arrival))
        return wishes if isinstance(wishes, list) else []

    def _size(self, arrival: Arrival, path: str) -> int:
        return sum(len(wish.users) * len(wish.groups) for wish in self._wishes(arrival, path))

    def _answer(self, arrival: Arrival, path: str, now: float) -> Reply:
        login = self._login.handle(arrival)
        if login is not None:
            return login
        refused = self._unknown_address(arrival, path) or self._unauthorized(arrival, path)
        if refused is not None:
            return refused
        return self._faulty(arrival, path, now)

    def _faulty(self, arrival: Arrival, path: str, now: float) -> Reply:
        poison = self._behaviour.poisonous_users
        if poison and any(poison.intersection(wish.users) for wish in self._wishes(arrival, path)):
            return Reply(500, b"internal server error")
        roll = self._dice.random()
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
            reply = self._carry_out(arrival, path)
            if fault.kind == "html":
                return Reply(200, b"<html><body>Please sign in</body></html>", (("Content-Type", "text/html"),))
            if fault.kind == "truncated":
                return replace(reply, body=reply.body[: len(reply.body) // 2])
            if fault.kind == "miscounted":
                return scrutinizer.miscounted(reply)
            return replace(reply, is_cut=True) if fault.kind == "cut" and reply.body else Reply(None)
        return self._carry_out(arrival, path)

    def _carry_out(self, arrival: Arrival, path: str) -> Reply:
        if path == minapp.GROUPS:
            return Reply.json(200, {"meta": {"limit": 1, "offset": 0, "total_count": 0}, "objects": []})
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
