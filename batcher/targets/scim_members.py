"""Who is in a group at a SCIM service: the group itself has its members, or its users are found by a filter.

RFC 7644 has no pages of members: a group has all of them, or none, as attributes may be left out (RFC 7643 §2.5).
AWS IAM Identity Center and Microsoft Entra ID document lists that are always empty, and a filter instead.
"""

from __future__ import annotations

from urllib.parse import quote

import msgspec
import orjson
import pyarrow as pa

from batcher.core.http import Response
from batcher.core.lookups import Place
from batcher.core.model import Action
from batcher.core.reading import MembersPage
from batcher.core.verdict import Retry, Split, Verdict
from batcher.targets.scim_replies import is_missing, unsuccessful_reply


class _Member(msgspec.Struct):
    value: str
    type: str | None = None
    ref: str | None = msgspec.field(default=None, name="$ref")

    @property
    def is_user(self) -> bool:
        """A member may be a group (RFC 7643 §4.2); without a word on it, it is taken for a user."""
        if self.type is not None:
            return self.type.lower() != "group"
        return self.ref is None or "/groups/" not in self.ref.lower()


class _Group(msgspec.Struct):
    id: str | None = None
    members: list[_Member | str] | msgspec.UnsetType | None = msgspec.UNSET


class _ScimUser(msgspec.Struct):
    id: str


class _Users(msgspec.Struct):
    resources: list[_ScimUser] | msgspec.UnsetType = msgspec.field(name="Resources", default=msgspec.UNSET)
    total: int | None = msgspec.field(name="totalResults", default=None)
    next: str | None = msgspec.field(name="nextCursor", default=None)


def address(url: str, group: str, place: Place, count: int, *, lists_members: bool) -> str:
    """Where the members of a group are: the group, or a page of its users."""
    if lists_members:
        return f"{url}/Groups/{quote(group, safe='')}"
    asked = quote(f"groups.value eq {orjson.dumps(group).decode()}", safe="")
    where = f"startIndex={place}" if isinstance(place, int) else f"cursor={quote(place, safe='')}"
    most = f"&count={count}" if count else ""
    return f"{url}/Users?filter={asked}&{where}{most}&attributes=id"


def members_page(group: str, response: Response, now: float, *, lists_members: bool) -> MembersPage | Verdict:
    """What the reply lists."""
    if is_missing(response):
        return Split("there is no such group")
    if response.status != 200:
        return unsuccessful_reply(response, 0, Action.ADD, now)
    if response.is_cut:
        return Split("the group is too large to be read")
    try:
        return _of_group(group, response.body) if lists_members else _of_users(response.body)
    except msgspec.MsgspecError as error:
        return Retry(f"the reply is not SCIM's: {error}")


def _of_group(group: str, body: bytes) -> MembersPage | Verdict:
    found = msgspec.json.decode(body, type=_Group)
    if found.id != group:
        return Retry(f"the reply is about the group {found.id!r}")
    if found.members is msgspec.UNSET or found.members is None:
        return MembersPage(pa.nulls(0, pa.string()), 0, 0, is_list=False)
    listed = found.members
    users = [entry if isinstance(entry, str) else entry.value for entry in listed if _is_user(entry)]
    return MembersPage(pa.array(users, pa.string()), len(listed), len(listed))


def _is_user(entry: _Member | str) -> bool:
    return isinstance(entry, str) or entry.is_user


def _of_users(body: bytes) -> MembersPage | Verdict:
    found = msgspec.json.decode(body, type=_Users)
    if found.resources is msgspec.UNSET and found.total != 0:  # an empty list may be left out (RFC 7644 §3.4.2)
        return Retry("the reply has no list of users")
    listed = [] if found.resources is msgspec.UNSET else found.resources
    users = pa.array([user.id for user in listed], pa.string())
    return MembersPage(users, len(users), found.total, found.next or "")
