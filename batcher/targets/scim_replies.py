"""What SCIM's replies mean (RFC 7644 §3.5.2 and §3.12), and what the members of a group that came back prove."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from batcher.core.http import Response, brief
from batcher.core.id_forms import forms_of
from batcher.core.model import Action
from batcher.core.replies import parsed, unsuccessful
from batcher.core.status import Status
from batcher.core.verdict import Cause, Retry, Settled, Stop, Verdict

_GROUP = "urn:ietf:params:scim:schemas:core:2.0:Group"
_ERROR = "urn:ietf:params:scim:api:messages:2.0:Error"
_FULL = re.compile(
    r"\bgroup\b[^.]{0,40}\b(?:is full|maximum|limit|quota)\b|\b(?:maximum|limit|at most)\b[^.]{0,40}\bper group\b"
    r"|\bmembers per group\b",
    re.IGNORECASE,
)


def judged(response: Response, group: str, users: Sequence[str], action: Action, *, lists_members: bool) -> Verdict:
    """What a 200 means for these users of the group.

    If the reply has a list of members, it must show the change: a server may answer 200 and drop who it does not know.
    If it lists members by another kind of value than the ids that were sent, it shows nothing.
    """
    if response.is_cut:  # a large group; its status is enough (RFC 7644 §3.5.2)
        return Settled.all(len(users), Status.APPLIED)
    content = parsed(response.body)
    if not isinstance(content, dict) or _ERROR in _listed(content.get("schemas")):
        return Retry(f"the reply is not SCIM's: {response.text()}")
    if content.get("id") != group and _GROUP not in _listed(content.get("schemas")):
        return Retry(f"the reply is not about a group: {response.text()}")
    if not lists_members or not isinstance(content.get("members"), list):
        return Settled.all(len(users), Status.APPLIED)
    return _proven(users, action, [_id_of(member) for member in content["members"]])


def _proven(users: Sequence[str], action: Action, members: Sequence[str]) -> Settled:
    known = set(members)
    is_listed = np.array([user in known for user in users], bool)
    if action is Action.ADD:
        if is_listed.all():
            return Settled.all(len(users), Status.APPLIED)
        reason = "the target answered 200, but the user is not among the members that it lists"
    else:
        reason = "the target answered 200, but the user is still among the members that it lists"
    if known and not is_listed.any() and not _are_alike(users, members):
        unknown = "the target answered 200, but lists members by something else than the ids that were sent"
        return Settled(Settled.all(len(users), Status.UNKNOWN).statuses, dict.fromkeys(range(len(users)), unknown))
    is_done = is_listed if action is Action.ADD else ~is_listed
    statuses = np.where(is_done, Status.APPLIED, Status.FAILED).astype(np.int8)
    return Settled(statuses, dict.fromkeys(np.flatnonzero(~is_done).tolist(), reason))


def _id_of(member: object) -> str:
    """The id of a member as listed: its `value` (RFC 7643 §4.2), also of a server that lists plain values."""
    value = member.get("value") if isinstance(member, dict) else member
    return value if isinstance(value, str) else ""


def _are_alike(users: Sequence[str], members: Sequence[str]) -> bool:
    """Whether any member is written like any of the users."""
    return bool(forms_of(pa.array(users, pa.string())) & forms_of(pa.array(members, pa.string())))


def _listed(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def is_missing(response: Response) -> bool:
    """Whether a service says that there is no such resource; another 404 may be of a wrong address."""
    content = parsed(response.body) if response.status == 404 else None
    return isinstance(content, dict) and _ERROR in _listed(content.get("schemas"))


def unsuccessful_reply(response: Response, count: int, action: Action, now: float) -> Verdict:
    """The verdict on a reply with any other status, to a request of so many changes."""
    content = parsed(response.body)
    is_scim = isinstance(content, dict) and _ERROR in _listed(content.get("schemas"))
    said = _said(content) if isinstance(content, dict) else response.text()
    match response.status:
        case 404 if is_scim and count:
            return _failed(count, f"there is no such group ({said})")
        case 412:  # somebody else has changed the group; nothing was applied (RFC 7644 §3.14)
            return Retry(f"412: {said}", lost=False)
        case 501:
            what = "adding members" if action is Action.ADD else "removing members in this way"
            return Stop(Cause.UNSUPPORTED, f"the target does not support {what} (501: {said})")
        case 400 | 403 | 409 | 422 | 507 if count and action is Action.ADD and _FULL.search(said):
            return _failed(count, f"the group is full ({response.status}: {said})")
        case status if 200 <= status < 300:
            return Retry(f"undocumented reply {status}: {response.text()}")
        case _:
            return unsuccessful(response, said, now)


def _failed(count: int, reason: str) -> Settled:
    return Settled(Settled.all(count, Status.FAILED).statuses, dict.fromkeys(range(count), reason))


def _said(content: dict[str, object]) -> str:
    """What a SCIM error says, or whatever another body says in the usual places."""
    kind, detail = content.get("scimType"), content.get("detail", content.get("message", content.get("error")))
    parts = [brief(part) for part in (kind, detail) if part]
    return ": ".join(parts) or brief(content)
