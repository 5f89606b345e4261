"""Several groups in one request (RFC 7644 §3.7): each is an operation with a result of its own; nothing is rolled back.

A result is found by its `bulkId`, or by its place where a server does not repeat that for a PATCH (seen). What has no
result was not carried out: a server stops after too many errors, and leaves the rest out.
"""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import unquote

import numpy as np
import orjson

from batcher.core.batch import Batch, Op
from batcher.core.http import Response
from batcher.core.replies import parsed
from batcher.core.status import Status
from batcher.core.verdict import Cause, Retry, Settled, Stop, Verdict
from batcher.targets.scim_replies import judged, unsuccessful_reply

BULK_HEAD = b'{"schemas":["urn:ietf:params:scim:api:messages:2.0:BulkRequest"],"Operations":['
OPERATION_BYTES = 256
"""Of an operation, without its members and its group."""
BULK_OPERATIONS, BULK_BYTES = 100, 512 * 1024
"""Of one request; what a service announces may be less."""
_RESPONSE = "urn:ietf:params:scim:api:messages:2.0:BulkResponse"
_UNSUPPORTED = {404, 405, 501}


def bulk(parts: Iterable[tuple[str, bytes]]) -> bytes:
    """The body of a request with a PATCH for each path."""
    operations = (
        b'{"method":"PATCH","path":%b,"bulkId":"%d","data":%b}' % (orjson.dumps(path), number, patch)
        for number, (path, patch) in enumerate(parts)
    )
    return BULK_HEAD + b",".join(operations) + b"]}"


def of_bulk(batch: Batch, response: Response, now: float, *, lists_members: bool) -> Verdict:
    """What the results mean for the changes of each operation; those without a clear result stay `PENDING`."""
    action = batch.ops[0].action
    if response.status in _UNSUPPORTED:
        return Stop(Cause.UNSUPPORTED, f"the target does not take bulk requests ({response.status}: {response.text()})")
    content = parsed(response.body) if response.status == 200 else None
    if not isinstance(content, dict) or _RESPONSE not in (content.get("schemas") or ()):
        if response.is_success:
            return Retry(f"the reply is not that to a bulk request: {response.text()}")
        return unsuccessful_reply(response, 0, action, now)
    statuses = np.full(len(batch), Status.PENDING, np.int8)
    details: dict[int, str] = {}
    refusals: list[Retry] = []
    start = 0
    for op, result in zip(batch.ops, _results(content.get("Operations"), len(batch.ops)), strict=True):
        found = None if result is None else _verdict(batch, op, result, now, lists_members=lists_members)
        if isinstance(found, Settled):
            statuses[start : start + len(op)] = found.statuses
            details |= {start + place: reason for place, reason in found.details.items()}
        elif isinstance(found, Retry):
            refusals.append(found)
        start += len(op)
    if refusals and (statuses == Status.PENDING).all():
        return refusals[0]
    return Settled(statuses, details)


def _results(given: object, count: int) -> list[dict[str, object] | None]:
    """The result of each operation; None where there is none."""
    results = [result for result in given if isinstance(result, dict)] if isinstance(given, list) else []
    if all(isinstance(result.get("bulkId"), str) for result in results):
        known = {result["bulkId"]: result for result in results}
        return [known.get(str(number)) for number in range(count)]
    if len(results) > count or any("bulkId" in result for result in results):
        return [None] * count
    return [*results, *[None] * (count - len(results))]


def _verdict(batch: Batch, op: Op, result: dict[str, object], now: float, *, lists_members: bool) -> Verdict | None:
    """What one result means for the changes of its operation; None if it has to be asked for again."""
    (group,) = batch.group.values(op.groups)
    location = result.get("location")
    if isinstance(location, str) and "/Groups/" in location and not _names(location, str(group)):
        return None  # it is about another group
    status = result.get("status")
    code = status.get("code") if isinstance(status, dict) else status  # an object in drafts of the RFC
    number = int(code) if isinstance(code, str | int) and str(code).isdecimal() and len(str(code)) == 3 else 0
    body = result.get("response")
    reply = Response(number, {}, orjson.dumps(body) if body else b"")
    users = [str(user) for user in batch.user.values(op.users)]
    if reply.is_success:
        if not isinstance(body, dict) or "members" not in body:
            return Settled.all(len(op), Status.APPLIED)
        return judged(Response(200, {}, reply.body), str(group), users, op.action, lists_members=lists_members)
    found = unsuccessful_reply(reply, len(op), op.action, now) if number else None
    if isinstance(found, Settled | Retry):
        return found
    if found is None or len(op) > 1:
        return None
    return Settled(Settled.all(1, Status.FAILED).statuses, {0: found.reason})


def _names(location: str, group: str) -> bool:
    return unquote(location.rpartition("/Groups/")[2].partition("?")[0].rstrip("/")) == group
