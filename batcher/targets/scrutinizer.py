"""Plixer Scrutinizer: `user_api`, action `membership`: add and remove lists in a form field, one sentence per entry.

Documented (seed 001): multipart form with `authToken`, `rm`, `action`, `json`; entries of a user (id or name) and
a group (id or name); a reply `{"data": {"added": […], "removed": […]}}` of sentences, successes and errors
mixed; the text of errors, their order and limits are not documented. Seen in Plixer's own Grafana plugin: an
invalid token is answered with HTTP 200 and `{"err": …, "details": "invalidToken"}`.

So a change counts as applied only if its sentence says exactly that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import orjson
import pyarrow as pa

from batcher.core.batch import Batch, Limits, Op, Shape
from batcher.core.errors import ConfigurationError
from batcher.core.http import Request, Response, brief
from batcher.core.keys import Dictionary, Keys
from batcher.core.model import Action, KeyKind
from batcher.core.ordering import OrderBy
from batcher.core.replies import parsed, unsuccessful
from batcher.core.status import Status
from batcher.core.target import Credentials, Login
from batcher.core.text_bytes import bytes_of, joined
from batcher.core.vectors import Ints
from batcher.core.verdict import Cause, Retry, Settled, Split, Stop, Verdict
from batcher.core.wire import Wire
from batcher.targets.scrutinizer_sentences import VERBS, match

_PATH = "/fcgi/scrut_fcgi.fcgi"
_MARKS = {Action.ADD: "as expected: added", Action.REMOVE: "as expected: removed"}
_ANCHOR = 64
"""How many bytes of a long text are searched for; the cost of preparing Python's search grows with the length."""
_LISTS = {Action.ADD: "added", Action.REMOVE: "removed"}
_BOUNDARY = b"batcher-form-field"
_ENVELOPE = 1024 + 2048
"""Bytes of the form around the JSON: its other fields and boundaries, and a token of up to 2 KiB."""


class Scrutinizer:
    """The API of a Scrutinizer appliance (18 to 19.6; 19.7 where `user_api` is unchanged)."""

    name = "scrutinizer"
    wire = Wire(Shape.PAIRS, request=_ENVELOPE, op=3, id_key=len('"usergroup_id":'), name_key=len('"usergroup_name":'))
    # Nothing is documented. One entry costs a sentence that must be matched, and the appliance works on one
    # database; its web server's stock body limit is 1 MiB.
    limits = Limits(max_users=1, max_groups=1, max_ops=2, max_changes=200, max_bytes=512 * 1024)
    meaningless_limits = frozenset({"max_users", "max_groups", "max_ops"})
    key_kind = KeyKind.ANY
    order = OrderBy.PAIR
    success_is_uniform = False  # the sentences name users and groups
    status_suffices = False
    default_rate = "5/s"
    hints: tuple[str, ...] = ()

    def __init__(self, url: str, env: str) -> None:
        if not url:
            raise ConfigurationError("scrutinizer needs the appliance's address: --url https://scrutinizer.example.org")
        if env:
            raise ConfigurationError("target.env applies to MinApp only; scrutinizer has no environments")
        self.url = url.rstrip("/")

    def encode(self, batch: Batch, token: str) -> Request:
        """One form, with adds and removes in separate lists, in the order of the batch's ops."""
        lists: dict[Action, list[bytes]] = {action: [] for action in Action}
        for op in batch.ops:
            lists[op.action].append(_entries(batch, op))
        said = b",".join(b'"%b":[%b]' % (action.label.encode(), b",".join(parts)) for action, parts in lists.items())
        return self._form(b'{"membership":{%b}}' % said, token)

    def interpret(self, batch: Batch, response: Response, now: float) -> Verdict:
        """Match sentences to entries; entries without a clear result stay `PENDING`."""
        if _is_plain_success(batch, response):
            return Settled.all(len(batch), Status.APPLIED)
        data = _data(response, now)
        if not isinstance(data, dict):
            return data
        statuses = np.full(len(batch), Status.PENDING, np.int8)
        details: dict[int, str] = {}
        start = 0
        for op in batch.ops:
            said = data.get(_LISTS[op.action], [])
            users, groups = op.pairs()
            entries = list(zip(batch.user.values(users), batch.group.values(groups), strict=True))
            for index, outcome in enumerate(match(op.action, entries, said if isinstance(said, list) else [])):
                if outcome is not None:
                    statuses[start + index] = outcome.status
                    if outcome.detail:
                        details[start + index] = outcome.detail
            start += len(op)
        return Settled(statuses, details)

    def probe(self, token: str) -> Request:
        """Two empty lists."""
        return self._form(b'{"membership":{"add":[],"remove":[]}}', token)

    def interpret_probe(self, response: Response, now: float) -> Verdict:
        """Any answer with data."""
        data = _data(response, now)
        return Settled.all(0, Status.APPLIED) if isinstance(data, dict) else data

    def login(self, credentials: Credentials, now: float) -> Login | None:  # noqa: ARG002 — the protocol's signature
        """None: tokens are created in the appliance's own web interface."""
        return None

    def _form(self, content: bytes, token: str) -> Request:
        fields = {"authToken": token.encode(), "rm": b"user_api", "action": b"membership", "json": content}
        boundary = _BOUNDARY  # RFC 7578: one that occurs in no value
        while any(boundary in value for value in fields.values()):
            boundary += b"-"
        parts = [
            b'--%b\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n' % (boundary, name.encode(), value)
            for name, value in fields.items()
        ]
        headers = {"Content-Type": f"multipart/form-data; boundary={boundary.decode()}"}
        return Request("POST", self.url + _PATH, headers, b"".join(parts) + b"--%b--\r\n" % boundary)


def _entries(batch: Batch, op: Op) -> bytes:
    """The op's entries as JSON, without the brackets."""
    users, groups = op.pairs()
    if _has_ids(batch):
        # One format over all numbers is several times faster than an object per entry.
        return (b'{"user_id":%b,"usergroup_id":%b},' * len(op) % _alternating(users, groups))[:-1]
    return _joined(_parts(batch.user, users, _user_of_entry), _parts(batch.group, groups, _group_of_entry))


def _is_plain_success(batch: Batch, response: Response) -> bool:
    """Whether every entry, in order, has its literal success sentence, as in nearly every reply.

    The expected texts are searched for as JSON without blanks and replaced by marks that occur nowhere else in the body
    (nor can they, since escapes are excluded). So only a few bytes are left to parse, and the marks then show where the
    texts were.
    """
    body = response.body
    if response.status != 200:
        return False
    for op in batch.ops:
        expected = _expected(batch, op)
        start = body.find(expected[:_ANCHOR])
        if start < 0 or not body.startswith(expected, start):
            return False
        body = body[:start] + b'"%b"' % _MARKS[op.action].encode() + body[start + len(expected) :]
    if b"\\" in body or any(body.count(_MARKS[op.action].encode()) != 1 for op in batch.ops):
        return False
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError:
        return False
    said = content.get("data") if isinstance(content, dict) and "err" not in content else None
    return isinstance(said, dict) and all(said.get(_LISTS[op.action]) == [_MARKS[op.action]] for op in batch.ops)


def _expected(batch: Batch, op: Op) -> bytes:
    """The expected success sentences of the op as JSON, without the brackets."""
    users, groups = op.pairs()
    if _has_ids(batch):
        verb = VERBS[op.action]
        return (b'"User %%b %b usergroup %%b",' % verb.encode() * len(op) % _alternating(users, groups))[:-1]
    group_of = _GROUP_OF_SENTENCE[op.action]
    return _joined(_parts(batch.user, users, _user_of_sentence), _parts(batch.group, groups, group_of))


def _has_ids(batch: Batch) -> bool:
    return batch.user.dictionary is None and batch.group.dictionary is None


def _user_of_entry(known: Dictionary) -> pa.Array:
    return known.where_id(
        joined('{"user_id":', known.escaped, ","),
        joined('{"user_name":"', known.escaped, '",'),
    )


def _group_of_entry(known: Dictionary) -> pa.Array:
    return known.where_id(
        joined('"usergroup_id":', known.escaped, "},"),
        joined('"usergroup_name":"', known.escaped, '"},'),
    )


def _user_of_sentence(known: Dictionary) -> pa.Array:
    return joined('"User ', known.escaped, " ")


def _added(known: Dictionary) -> pa.Array:
    return joined("added to usergroup ", known.escaped, '",')


def _removed(known: Dictionary) -> pa.Array:
    return joined("removed from usergroup ", known.escaped, '",')


_GROUP_OF_SENTENCE = {Action.ADD: _added, Action.REMOVE: _removed}


def _parts(keys: Keys, codes: Ints, make: Callable[[Dictionary], pa.Array]) -> pa.Array:
    """For each code the text that is made of its key; of names, made once for the window."""
    if keys.dictionary is not None:
        return keys.dictionary.made(make).take(pa.array(codes))
    return make(Dictionary.of_ids(codes))


def _joined(users: pa.Array, groups: pa.Array) -> bytes:
    """The texts of each user and group, one after the other, without the last comma."""
    return bytes_of(joined(users, groups))[:-1]


def _alternating(users: Ints, groups: Ints) -> tuple[bytes, ...]:
    both = [b""] * (2 * len(users))
    both[::2], both[1::2] = _texts(users), _texts(groups)
    return tuple(both)


def _texts(ids: Ints) -> list[bytes]:
    """Each id in decimal."""
    return orjson.dumps(np.ascontiguousarray(ids), option=orjson.OPT_SERIALIZE_NUMPY)[1:-1].split(b",")


def _data(response: Response, now: float) -> dict[str, object] | Verdict:
    """The reply's `data`, or the verdict if there is none."""
    content = parsed(response.body)
    if isinstance(content, dict) and "err" in content:
        said = brief(content["err"])
        if content.get("details") == "invalidToken":
            return Stop(Cause.CREDENTIALS, f"the token is invalid or expired ({said})")
        if response.status == 200:
            verdict = unsuccessful(Response(400, response.headers), said, now)
            return replace(verdict, reason=said) if isinstance(verdict, Split) else verdict
        return unsuccessful(response, said, now)
    if response.status != 200:
        if 200 <= response.status < 300:
            return Retry(f"undocumented reply {response.status}: {response.text()}")
        return unsuccessful(response, response.text(), now)
    if isinstance(content, dict) and isinstance(content.get("data"), dict):
        return content["data"]  # type: ignore[no-any-return]  # checked in the line above
    return Retry(f"the reply is not Scrutinizer's: {response.text()}")
