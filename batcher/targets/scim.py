"""SCIM 2.0 (RFC 7643, RFC 7644): `PATCH /Groups/{id}`, one group per request, members by the server's ids.

Documented (RFC 7644 §3.5.2): a PATCH is atomic for its resource, adding a present member changes nothing, and success
is 200 with the group or 204. A member is removed by the path `members[value eq "ID"]`; a path without a filter would
remove all members, so it is never sent. Errors have a body with `scimType` and `detail` (§3.12). Seen: servers that
answer 200 and drop members that they do not know, or ignore a removal; so a group that comes back is looked at.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Self
from urllib.parse import quote, urlencode

import numpy as np
import pyarrow as pa

from batcher.core.batch import Batch, Limits, Op, Shape
from batcher.core.discovery import Announcement
from batcher.core.errors import ConfigurationError
from batcher.core.http import Request, Response
from batcher.core.keys import Dictionary, Key
from batcher.core.login_replies import field_of
from batcher.core.lookups import Attribute, Listing, Place, Side
from batcher.core.model import Action, KeyKind
from batcher.core.ordering import OrderBy
from batcher.core.reading import MembersPage
from batcher.core.replies import parsed
from batcher.core.status import Status
from batcher.core.target import Credentials, Login
from batcher.core.text_bytes import bytes_of, escaped, joined
from batcher.core.verdict import Settled, Split, Verdict
from batcher.core.wire import Wire
from batcher.targets.scim_bulk import BULK_BYTES, BULK_HEAD, BULK_OPERATIONS, OPERATION_BYTES, bulk, of_bulk
from batcher.targets.scim_directory import ScimDirectory, announced
from batcher.targets.scim_members import address, members_page
from batcher.targets.scim_profiles import Profile, profile_of
from batcher.targets.scim_replies import judged, unsuccessful_reply

_HEAD = b'{"schemas":["urn:ietf:params:scim:api:messages:2.0:PatchOp"],"Operations":['
_ENTRY = '{"op":"remove","path":"members[value eq \\"\\"]"},'
_AGENT = "batcher"
_ENVELOPE = 256
"""Bytes of a body around its members."""


class Scim:
    """A SCIM 2.0 service; its profile says what it takes in one request."""

    name = "scim"
    wire: Wire = Wire(Shape.GROUP, request=_ENVELOPE, op=0, id_key=len(_ENTRY), name_key=len(_ENTRY), nests_names=True)
    meaningless_limits: frozenset[str] = frozenset({"max_users", "max_groups", "max_ops"})
    key_kind = KeyKind.LOOKUP
    order = OrderBy.GROUP
    """Some servers read the whole group and write it back: two requests at once would lose members."""
    success_is_uniform = False  # a group that comes back names its members
    can_be_read = True
    status_suffices = True  # RFC 7644 §3.5.2; groups of 87,000 members exceed what is read of a reply

    limits: Limits

    def __init__(self, url: str, env: str) -> None:
        if not url:
            raise ConfigurationError("scim needs the service's base URL: --url https://example.org/scim/v2")
        if env:
            raise ConfigurationError("target.env applies to MinApp only; scim has no environments")
        self.url = url.rstrip("/")
        self._bulk = False
        self._take(Profile(), {})
        self._directory = ScimDirectory(self.url, {})

    def with_profile(self, profile: str, query: Mapping[str, str], names: Mapping[str, str], *, bulk: bool) -> Self:
        """See `OffersProfiles`."""
        known = profile_of(profile)
        self._take(known, {**known.query, **query})
        self._directory = ScimDirectory(self.url, names)
        if bulk:
            self._bulk = True
            self.wire = replace(
                self.wire, shape=Shape.GROUPS, request=len(BULK_HEAD) + 2, op=OPERATION_BYTES + len(self._query)
            )
            most = self.limits.max_users * BULK_OPERATIONS
            self.limits = replace(self.limits, max_ops=BULK_OPERATIONS, max_changes=most, max_bytes=BULK_BYTES)
            self.meaningless_limits = frozenset({"max_groups"})
        return self

    def _take(self, profile: Profile, query: Mapping[str, str]) -> None:
        self._profile = profile
        self._query = f"?{urlencode(query)}" if query else ""
        self.limits = Limits(
            max_users=profile.most_added,
            max_groups=1,
            max_ops=1,
            max_changes=profile.most_added,
            max_bytes=profile.max_bytes,
            max_removals=profile.most_removed,
        )
        self.default_rate = profile.rate
        self.hints = (profile.note,) if profile.note else ()

    @property
    def read_by(self) -> str:
        """See `OffersReading`."""
        how = "GET of each group" if self._profile.lists_members else "a filter of users by each group"
        return f"{how} (RFC 7644)"

    def encode(self, batch: Batch, token: str) -> Request:
        """One op that adds all users, or an op for each that is removed."""
        if self._bulk:
            parts = ((self._path(batch, op), self._patch(batch, op)) for op in batch.ops)
            return self._request("POST", f"{self.url}/Bulk", token, bulk(parts))
        (op,) = batch.ops
        return self._request("PATCH", self.url + self._path(batch, op), token, self._patch(batch, op))

    def _path(self, batch: Batch, op: Op) -> str:
        (group,) = batch.group.values(op.groups)
        return f"/Groups/{quote(str(group), safe='')}{self._query}"

    def _patch(self, batch: Batch, op: Op) -> bytes:
        if op.action is Action.ADD:
            said = b'{"op":"add","path":"members","value":[%b]}' % _joined(batch, op, _member)
        elif self._profile.removes_by_array:
            said = b'{"op":"remove","path":"members","value":[%b]}' % _joined(batch, op, _member)
        else:
            said = _joined(batch, op, _removal)
        return _HEAD + said + b"]}"

    def interpret(self, batch: Batch, response: Response, now: float) -> Verdict:
        """204, or 200 with the group, in which the changes can be seen if it has its members."""
        if self._bulk:
            return of_bulk(batch, response, now, lists_members=self._profile.lists_members)
        if response.status == 204:
            return Settled.all(len(batch), Status.APPLIED)
        (op,) = batch.ops
        if response.status == 200:
            users = [str(user) for user in batch.user.values(op.users)]
            (group,) = batch.group.values(op.groups)
            return judged(response, str(group), users, op.action, lists_members=self._profile.lists_members)
        return unsuccessful_reply(response, len(batch), op.action, now)

    def probe(self, token: str) -> Request:
        """List one group, without its members."""
        return self._request("GET", f"{self.url}/Groups?startIndex=1&count=1&excludedAttributes=members", token, b"")

    def interpret_probe(self, response: Response, now: float) -> Verdict:
        """200 with a list."""
        content = parsed(response.body) if response.status == 200 else None
        if isinstance(content, dict) and "totalResults" in content:  # RFC 7644 §3.4.2
            return Settled.all(0, Status.APPLIED)
        return unsuccessful_reply(response, 0, Action.ADD, now)

    def discovery(self, token: str) -> Request:
        """See `OffersDiscovery`."""
        return self._request("GET", f"{self.url}/ServiceProviderConfig", token, b"")

    def announced(self, response: Response) -> Announcement | None:
        """See `OffersDiscovery`."""
        return announced(response, bulk=self._bulk)

    def attribute(self, side: Side) -> Attribute:
        """See `OffersLookups`."""
        return self._directory.attributes[side]

    @property
    def first(self) -> Place:
        """See `OffersLookups`."""
        return "" if self._profile.lists_by_cursor else 1

    def page(self, side: Side, place: Place, count: int, token: str) -> Request:
        """See `OffersLookups`."""
        return self._request("GET", self._directory.page(side, place, count), token, b"")

    def filtered(self, side: Side, name: str, token: str) -> Request:
        """See `OffersLookups`."""
        return self._request("GET", self._directory.filtered(side, name), token, b"")

    def listing(self, side: Side, response: Response, now: float) -> Listing | Verdict:
        """See `OffersLookups`."""
        if response.is_cut:
            return Split("a page is too large to be read")
        listing = self._directory.listing(side, response)
        return unsuccessful_reply(response, 0, Action.ADD, now) if listing is None else listing

    @property
    def no_group(self) -> Key | None:
        """See `OffersReading`."""
        return None if self._profile.lists_members else "00000000-0000-4000-8000-000000000000"

    @property
    def members_begin(self) -> Place | None:
        """See `OffersReading`."""
        return None if self._profile.lists_members else self.first

    def members(self, group: Key, place: Place, count: int, token: str) -> Request:
        """See `OffersReading`."""
        lists_members = self._profile.lists_members
        return self._request(
            "GET", address(self.url, str(group), place, count, lists_members=lists_members), token, b""
        )

    def members_page(self, group: Key, response: Response, now: float) -> MembersPage | Verdict:
        """See `OffersReading`."""
        return members_page(str(group), response, now, lists_members=self._profile.lists_members)

    def login(self, credentials: Credentials, now: float) -> Login | None:
        """With a client id, a secret and a token URL: the client credentials grant (RFC 6749 §4.4)."""
        if not (credentials.client_id and credentials.client_secret and credentials.token_url):
            return None
        return _client_credentials(credentials, now)

    def _request(self, method: str, url: str, token: str, body: bytes) -> Request:
        headers = {"Authorization": f"Bearer {token}", "Accept": self._profile.accept, "User-Agent": _AGENT}
        if body:
            headers["Content-Type"] = "application/scim+json"
        return Request(method, url, headers, body)


def _client_credentials(credentials: Credentials, now: float) -> Login:
    known = ":".join(quote(part, safe="") for part in (credentials.client_id, credentials.client_secret))
    basic = b64encode(known.encode()).decode()  # RFC 6749 §2.3.1
    headers = {"Authorization": f"Basic {basic}", "Content-Type": "application/x-www-form-urlencoded"}
    asked = {"grant_type": "client_credentials"} | ({"scope": credentials.scope} if credentials.scope else {})
    response = yield Request("POST", credentials.token_url, headers, urlencode(asked).encode(), (basic,))
    return field_of(response, "access_token", now)


def _joined(batch: Batch, op: Op, make: Callable[[Dictionary], pa.Array]) -> bytes:
    """What is made of each of the op's users, separated by commas."""
    known = batch.user.dictionary
    if known is None:  # integers, of a run that mixes both
        known, codes = Dictionary.of_ids(op.users), np.arange(len(op.users))
    else:
        codes = op.users
    return bytes_of(known.made(make).take(pa.array(codes)))[:-1]


def _member(known: Dictionary) -> pa.Array:
    return joined('{"value":"', known.escaped, '"},')


def _removal(known: Dictionary) -> pa.Array:
    """The filter is a JSON string in itself (RFC 7644 §3.4.2.2), within that of the path."""
    return joined('{"op":"remove","path":"members[value eq \\"', escaped(known.escaped), '\\"]"},')
