"""The server side of MinApp's API, from the vendor's pages: membership ops, groups, and the token flow."""

from __future__ import annotations

import random
from urllib.parse import parse_qs, urlsplit

import orjson

from batcher.simulator.behaviour import Behaviour
from batcher.simulator.membership import Membership, MembershipRequest
from batcher.simulator.messages import Arrival, Reply

MEMBERSHIP = "/oserve/v1/miniapp/group/membership/"
GROUPS = "/oserve/v1/user-group/"
USERS = "/oserve/v2.2/miniapp/user_profile/"
"""A query by `_group` is documented for another SDK only."""
AUTHORIZE = "/api/oauth2/hydrogen/openapi/authorize/"
TOKEN = "/api/oauth2/access_token/"  # noqa: S105 — a path


def read_ops(body: bytes) -> list[MembershipRequest] | str:
    """The array of ops, or why it is invalid."""
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError:
        return "the body is not JSON"
    if not isinstance(content, list) or not content:
        return "the body must be an array of operations"
    wishes = []
    for op in content:
        if not isinstance(op, dict) or op.get("op") not in ("add", "remove"):
            return "op must be add or remove"
        if op.get("path", "/membership") != "/membership":
            return "path must be /membership"
        lists = []
        for name in ("users", "groups"):
            ids = op.get(name)
            if not isinstance(ids, list) or not ids or any(type(i) is not int for i in ids):
                return f"{name} must be a list of integers that is not empty"
            lists.append(tuple(ids))
        wishes.append(MembershipRequest(op["op"] == "add", lists[0], lists[1]))
    return wishes


def change(body: bytes, membership: Membership, behaviour: Behaviour) -> Reply:
    """Carry out a membership request."""
    wishes = read_ops(body)
    if isinstance(wishes, str):
        return Reply.json(400, {"status": "error", "error_msg": wishes})
    if behaviour.is_atomic and not behaviour.refuses_repeats:
        refusal = next((why for wish in wishes if (why := membership.refusal(wish))), None)
        if refusal is not None:
            return Reply.json(400, {"status": "error", "error_msg": refusal})
        for wish in wishes:
            membership.apply(wish)
        return Reply(204)
    done: list[MembershipRequest] = []
    for wish in wishes:
        refusal = membership.refusal(wish)
        if refusal is not None:
            if behaviour.is_atomic:
                for earlier in done:
                    membership.apply(MembershipRequest(not earlier.is_add, earlier.users, earlier.groups))
            else:
                membership.apply_until_refused(wish)
            return Reply.json(400, {"status": "error", "error_msg": refusal})
        membership.apply(wish)
        done.append(wish)
    return Reply(204)


class MinAppServer:
    """See `ServerSide`."""

    def __init__(self, behaviour: Behaviour, rng: random.Random) -> None:
        self.behaviour = behaviour
        self._login = Login(self, rng)

    def method_of(self, path: str) -> str | None:
        """See `ServerSide`."""
        return {MEMBERSHIP: "PATCH", GROUPS: "GET", USERS: "GET"}.get(path)

    def token_of(self, arrival: Arrival) -> str:
        """See `ServerSide`."""
        scheme, _, token = arrival.headers.get("authorization", "").partition(" ")
        return token if scheme == "Bearer" else ""

    def unauthorized(self) -> Reply:
        """See `ServerSide`."""
        return Reply.json(401, {"status": "error", "error_msg": "unauthorized"})

    def log_in(self, arrival: Arrival) -> Reply | None:
        """See `ServerSide`."""
        return self._login.handle(arrival)

    def accepts(self, token: str) -> bool:
        """See `ServerSide`."""
        return self._login.accepts(token)

    def wishes(self, arrival: Arrival) -> list[MembershipRequest]:
        """See `ServerSide`."""
        wishes = read_ops(arrival.body)
        return wishes if isinstance(wishes, list) else []

    def carry_out(self, arrival: Arrival, membership: Membership) -> Reply:
        """See `ServerSide`."""
        if urlsplit(arrival.path).path == GROUPS:
            return Reply.json(200, {"meta": {"limit": 1, "offset": 0, "total_count": 0}, "objects": []})
        if urlsplit(arrival.path).path == USERS:
            return self._users(parse_qs(urlsplit(arrival.path).query), membership)
        return change(arrival.body, membership, self.behaviour)

    def _users(self, asked: dict[str, list[str]], membership: Membership) -> Reply:
        """The users of a group, `limit` (20, at most 1,000) from `offset` on."""
        try:
            group = orjson.loads(asked["where"][0])["_group"]["$in"][0]
            limit, offset = (int(asked.get(name, [usual])[0]) for name, usual in (("limit", "20"), ("offset", "0")))
        except (ValueError, LookupError, TypeError):
            return Reply.json(400, {"status": "error", "error_msg": "invalid query"})
        users = sorted(user for user in membership.groups[group] if isinstance(user, int))
        page = users[offset : offset + min(limit, 1000)]
        following = offset + len(page)
        meta: dict[str, object] = {"limit": limit, "offset": offset, "previous": None, "next": None}
        if following < len(users):
            meta["next"] = f"{USERS}?limit={limit}&offset={following}"
        if asked.get("return_total_count") == ["1"]:
            meta["total_count"] = len(users)
        return Reply.json(200, {"meta": meta, "objects": [{"id": user, "_group": [group]} for user in page]})

    def miscounted(self, reply: Reply) -> Reply:
        """See `ServerSide`."""
        return reply


class Login:
    """The authorize–code–token flow, with its two redirects and cookies."""

    def __init__(self, server: MinAppServer, rng: random.Random) -> None:
        self.tokens: dict[str, int] = {}
        """Tokens that were issued, and how often each was used."""
        self._server = server
        self._rng = rng
        self._steps: dict[str, int] = {}
        self._codes: set[str] = set()

    def handle(self, arrival: Arrival) -> Reply | None:
        """A step of the flow; None for any other address."""
        path = urlsplit(arrival.path).path
        if path == AUTHORIZE and arrival.method == "POST":
            return self._authorize(arrival)
        if path == AUTHORIZE and arrival.method == "GET":
            return self._follow(arrival)
        if path == TOKEN and arrival.method == "POST":
            return self._grant(arrival)
        return None

    def accepts(self, token: str) -> bool:
        """Whether a token is accepted for one more request; counts the use."""
        if token not in self.tokens:
            return False
        self.tokens[token] += 1
        return not self._server.behaviour.token_uses or self.tokens[token] <= self._server.behaviour.token_uses

    def _is_known(self, content: object) -> bool:
        known = (self._server.behaviour.client_id, self._server.behaviour.client_secret)
        return isinstance(content, dict) and (content.get("client_id"), content.get("client_secret")) == known

    def _authorize(self, arrival: Arrival) -> Reply:
        if not self._is_known(_json(arrival.body)):
            return Reply.json(200, {"status": "error", "error_msg": "invalid client credentials"})
        cookie = self._random()
        self._steps[cookie] = 1
        return self._redirect(cookie, 1)

    def _follow(self, arrival: Arrival) -> Reply:
        step = parse_qs(urlsplit(arrival.path).query).get("step", [""])[0]
        cookies = dict(
            part.strip().partition("=")[::2] for part in arrival.headers.get("cookie", "").split(";") if part
        )
        cookie = cookies.get("session", "")
        if step != str(self._steps.get(cookie)) or arrival.body:
            return Reply.json(400, {"status": "error", "error_msg": "the session is not known"})
        if step == "1":
            self._steps[cookie] = 2
            return self._redirect(cookie, 2)
        code = self._random()
        self._codes.add(code)
        return Reply.json(200, {"code": code, "expires_in": 600})

    def _grant(self, arrival: Arrival) -> Reply:
        content = _json(arrival.body)
        if not isinstance(content, dict) or content.get("grant_type") != "authorization_code":
            return Reply.json(400, {"error": "unsupported_grant_type"})
        if not self._is_known(content) or str(content.get("code")) not in self._codes:
            return Reply.json(400, {"error": "invalid_grant"})
        self._codes.discard(str(content["code"]))
        token = "sim-" + self._random()
        self.tokens[token] = 0
        answer = {
            "access_token": token,
            "token_type": "Bearer",
            "expires_in": 3600,
            "refresh_token": self._random(),
        }
        return Reply.json(200, answer | {"scope": ""})

    def _redirect(self, cookie: str, step: int) -> Reply:
        location = f"{AUTHORIZE}?step={step}"
        return Reply(302, b"", (("Location", location), ("Set-Cookie", f"session={cookie}; Path=/; HttpOnly")))

    def _random(self) -> str:
        return f"{self._rng.getrandbits(128):032x}"


def _json(body: bytes) -> object:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
