"""A target plug-in as others might write it: one group per request, named in the URL; ids that are texts."""

from __future__ import annotations

from urllib.parse import quote

import orjson

from batcher.core.batch import Batch, Limits, Shape
from batcher.core.http import Request, Response
from batcher.core.model import KeyKind
from batcher.core.ordering import OrderBy
from batcher.core.replies import unsuccessful
from batcher.core.status import Status
from batcher.core.target import Credentials, Login
from batcher.core.verdict import Settled, Verdict
from batcher.core.wire import Wire


class Clubs:
    """`POST /clubs/{group}/members` with `{"add": […]}` or `{"remove": […]}`; 404 means no such club."""

    name = "clubs"
    wire = Wire(Shape.GROUP, request=256, op=16, id_key=3, name_key=3)
    limits = Limits(max_users=20, max_groups=1, max_ops=1, max_changes=20, max_bytes=64 * 1024, max_removals=5)
    meaningless_limits = frozenset({"max_users", "max_groups", "max_ops"})
    key_kind = KeyKind.TEXT
    order = OrderBy.GROUP
    default_rate = "10/s"
    hints: tuple[str, ...] = ()

    def __init__(self, url: str, env: str) -> None:
        self.url = url.rstrip("/")

    def encode(self, batch: Batch, token: str) -> Request:
        (op,) = batch.ops
        (club,) = batch.group.values(op.groups)
        address = f"{self.url}/clubs/{quote(str(club), safe='')}/members"
        return self._request("POST", address, token, orjson.dumps({op.action.label: batch.user.values(op.users)}))

    def interpret(self, batch: Batch, response: Response, now: float) -> Verdict:
        if response.status == 204:
            return Settled.all(len(batch), Status.APPLIED)
        if response.status == 404:
            statuses = Settled.all(len(batch), Status.FAILED).statuses
            return Settled(statuses, dict.fromkeys(range(len(batch)), "there is no such club"))
        return unsuccessful(response, response.text(), now)

    def probe(self, token: str) -> Request:
        return self._request("GET", f"{self.url}/clubs", token, b"")

    def interpret_probe(self, response: Response, now: float) -> Verdict:
        if response.status == 200:
            return Settled.all(0, Status.APPLIED)
        return unsuccessful(response, response.text(), now)

    def login(self, credentials: Credentials, now: float) -> Login | None:
        return None

    def _request(self, method: str, url: str, token: str, body: bytes) -> Request:
        return Request(method, url, {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}, body)
