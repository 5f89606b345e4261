"""The server side of Scrutinizer's API, from Plixer's page: a form in, one sentence per entry out."""

from __future__ import annotations

import random
from email.parser import BytesParser
from email.policy import HTTP

import orjson

from batcher.simulator.behaviour import Behaviour
from batcher.simulator.membership import Membership, MembershipRequest, Name
from batcher.simulator.messages import Arrival, Reply

PATH = "/fcgi/scrut_fcgi.fcgi"


def read_form(arrival: Arrival) -> dict[str, str]:
    """The fields of a multipart form; empty if it is not one."""
    head = f"Content-Type: {arrival.headers.get('content-type', '')}\r\n\r\n".encode()
    message = BytesParser(policy=HTTP).parsebytes(head + arrival.body)
    fields = {}
    for part in message.iter_parts() if message.is_multipart() else ():
        name = part.get_param("name", header="content-disposition")
        payload = part.get_payload(decode=True)
        if isinstance(name, str) and isinstance(payload, bytes):
            fields[name] = payload.decode("utf-8", "replace")
    return fields


def read_wishes(fields: dict[str, str]) -> list[MembershipRequest]:
    """The well-formed entries, each as a wish."""
    try:
        wanted = orjson.loads(fields.get("json", ""))["membership"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return []
    wishes = []
    for name in ("add", "remove"):
        for entry in _listed(wanted, name) if isinstance(wanted, dict) else ():
            user, group = (_name(entry, part) if isinstance(entry, dict) else None for part in ("user", "usergroup"))
            if user is not None and group is not None:
                wishes.append(MembershipRequest(name == "add", (user,), (group,)))
    return wishes


def miscounted(reply: Reply) -> Reply:
    """The same reply, each list without its last statement."""
    try:
        data = orjson.loads(reply.body)["data"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return reply
    return Reply.json(200, {"data": {said: statements[:-1] for said, statements in data.items()}})


class Appliance:
    """See `ServerSide`. Names are assigned ids, because the sentences name ids."""

    def __init__(self, behaviour: Behaviour, rng: random.Random) -> None:
        self.behaviour = behaviour
        self._rng = rng
        self._ids: dict[tuple[str, Name], int] = {}

    def method_of(self, path: str) -> str | None:
        """See `ServerSide`."""
        return "POST" if path == PATH else None

    def token_of(self, arrival: Arrival) -> str:
        """See `ServerSide`."""
        return read_form(arrival).get("authToken", "")

    def unauthorized(self) -> Reply:
        """See `ServerSide`."""
        return Reply.json(200, {"err": "The auth token is expired or invalid", "details": "invalidToken"})

    def log_in(self, arrival: Arrival) -> Reply | None:  # noqa: ARG002 — the protocol's signature
        """Tokens are made in the appliance's own pages."""
        return None

    def accepts(self, token: str) -> bool:  # noqa: ARG002 — the protocol's signature
        """None is given out."""
        return False

    def wishes(self, arrival: Arrival) -> list[MembershipRequest]:
        """See `ServerSide`."""
        return read_wishes(read_form(arrival))

    def miscounted(self, reply: Reply) -> Reply:
        """See `ServerSide`."""
        return miscounted(reply)

    def carry_out(self, arrival: Arrival, membership: Membership) -> Reply:
        """See `ServerSide`."""
        fields = read_form(arrival)
        if fields.get("rm") != "user_api" or fields.get("action") != "membership":
            return Reply.json(200, {"err": "unknown run mode or action"})
        try:
            content = orjson.loads(fields.get("json", ""))
        except orjson.JSONDecodeError:
            return Reply.json(200, {"err": "json could not be decoded"})
        wanted = content.get("membership") if isinstance(content, dict) else None
        if not isinstance(wanted, dict):
            return Reply.json(200, {"err": "membership is missing"})
        data = {
            said: self._shuffled([self._one(entry, membership, is_add=is_add) for entry in _listed(wanted, name)])
            for name, said, is_add in (("add", "added", True), ("remove", "removed", False))
        }
        return Reply.json(200, {"data": data})

    def _one(self, entry: object, membership: Membership, *, is_add: bool) -> str:
        if not isinstance(entry, dict):
            return "an entry must be an object"
        user, group = _name(entry, "user"), _name(entry, "usergroup")
        if user is None or group is None:
            return "an entry needs either an id or a name for the user and for the usergroup"
        wish = MembershipRequest(is_add, (user,), (group,))
        refusal = membership.refusal(wish)
        if refusal is not None:
            return f"Error: {refusal}"
        membership.apply(wish)
        verb = "added to" if is_add else "removed from"
        return f"User {self._said('user', user)} {verb} usergroup {self._said('usergroup', group)}"

    def _said(self, kind: str, name: Name) -> Name:
        if isinstance(name, int) or self.behaviour.says_names:
            return name
        return self._ids.setdefault((kind, name), 1001 + len(self._ids))

    def _shuffled(self, sentences: list[str]) -> list[str]:
        if self.behaviour.shuffles:
            self._rng.shuffle(sentences)
        return sentences


def _listed(wanted: dict[str, object], name: str) -> list[object]:
    entries = wanted.get(name)
    return entries if isinstance(entries, list) else []


def _name(entry: dict[str, object], part: str) -> Name | None:
    given = [entry.get(f"{part}_id"), entry.get(f"{part}_name")]
    found = [value for value in given if value is not None]
    value = found[0] if len(found) == 1 else None
    return value if type(value) in (int, str) else None  # type: ignore[return-value]  # a boolean is no id
