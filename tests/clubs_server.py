"""The server for `clubs`, as its documentation would describe it."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

import orjson

from batcher.simulator.behaviour import Behaviour
from batcher.simulator.membership import Membership, MembershipRequest
from batcher.simulator.messages import Arrival, Reply


class ClubsServer:
    """Clubs whose names begin with `closed` do not exist."""

    def __init__(self, behaviour: Behaviour, rng: object) -> None:
        self.behaviour = behaviour

    def method_of(self, path: str) -> str | None:
        return "GET" if path == "/clubs" else "POST" if path.startswith("/clubs/") else None

    def token_of(self, arrival: Arrival) -> str:
        return arrival.headers.get("authorization", "").removeprefix("Bearer ")

    def unauthorized(self) -> Reply:
        return Reply(401)

    def log_in(self, arrival: Arrival) -> Reply | None:
        return None

    def accepts(self, token: str) -> bool:
        return False

    def wishes(self, arrival: Arrival) -> list[MembershipRequest]:
        if arrival.method != "POST":
            return []
        club = unquote(urlsplit(arrival.path).path.split("/")[2])
        asked = orjson.loads(arrival.body)
        return [
            MembershipRequest(word == "add", tuple(asked[word]), (club,)) for word in ("add", "remove") if word in asked
        ]

    def carry_out(self, arrival: Arrival, membership: Membership) -> Reply:
        for wish in self.wishes(arrival):
            if wish.groups[0].startswith("closed"):
                return Reply(404)
            refusal = membership.refusal(wish)
            if refusal is not None:
                return Reply.json(400, {"error": refusal})
            membership.apply(wish)
        return Reply.json(200, []) if arrival.method == "GET" else Reply(204)

    def miscounted(self, reply: Reply) -> Reply:
        return reply
