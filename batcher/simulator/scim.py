"""The server side of SCIM 2.0, from RFC 7643 and RFC 7644: groups are patched, users and groups are looked up.

`Behaviour.scim` says in which ways this server is like real ones that do something else than the RFCs.
"""

from __future__ import annotations

import random
import re
from base64 import b64encode
from urllib.parse import parse_qs, quote, unquote, urlsplit

import orjson

from batcher.simulator.behaviour import Behaviour, ScimTraits
from batcher.simulator.membership import Membership, MembershipRequest
from batcher.simulator.messages import Arrival, Reply
from batcher.simulator.scim_directory import Refused, ServedDirectory

ERROR = "urn:ietf:params:scim:api:messages:2.0:Error"
GROUP = "urn:ietf:params:scim:schemas:core:2.0:Group"
CONFIG = "urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig"
TOKEN = "/oauth2/token"  # noqa: S105 — a path
BULK_RESPONSE = "urn:ietf:params:scim:api:messages:2.0:BulkResponse"
PATCH_OP = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
_ONE_MEMBER = re.compile(r'members\[value eq ("(?:[^"\\]|\\.)*")\]', re.IGNORECASE)
_LISTS = {"/Users", "/Groups"}


def read_patch(arrival: Arrival, traits: ScimTraits) -> list[MembershipRequest]:
    """What the operations of a PATCH ask for, in order.

    Raises:
        Refused: When one of them is not understood; then none is carried out (§3.5.2).

    """
    group = unquote(_path(arrival.path).split("/")[2])
    try:
        content = orjson.loads(arrival.body)
    except orjson.JSONDecodeError:
        raise Refused(400, "invalidSyntax", "the body is not JSON") from None
    if not isinstance(content, dict) or PATCH_OP not in (content.get("schemas") or ()):
        raise Refused(400, "invalidSyntax", "schemas lacks the PatchOp message")
    operations = content.get("Operations")
    if not isinstance(operations, list) or not operations:
        raise Refused(400, "invalidValue", "Operations is missing or empty")
    return [_wish(operation, group, traits) for operation in operations]


def _wish(operation: object, group: str, traits: ScimTraits) -> MembershipRequest:
    if not isinstance(operation, dict):
        raise Refused(400, "invalidSyntax", "an operation must be an object")
    verb, path, value = str(operation.get("op")).lower(), operation.get("path"), operation.get("value")
    one = _ONE_MEMBER.fullmatch(path) if isinstance(path, str) else None
    if verb == "remove" and one is not None:
        if traits.refuses_filters:
            raise Refused(501, "", "removing by a filter is not implemented")
        return MembershipRequest(False, (orjson.loads(one[1]),), (group,))
    if path != "members" or verb not in {"add", "remove"}:
        raise Refused(400, "invalidPath", f"{verb} {path} is not supported")
    if verb == "remove" and value is None:
        raise Refused(400, "noTarget", "all members would be removed")
    if verb == "remove" and not traits.takes_arrays:
        raise Refused(400, "invalidValue", "remove must not have a value")
    entries = value if isinstance(value, list) else [value]
    users = [entry.get("value") if isinstance(entry, dict) else None for entry in entries]
    if not all(isinstance(user, str) for user in users):
        raise Refused(400, "invalidValue", "a member needs a value")
    return MembershipRequest(verb == "add", tuple(str(user) for user in users), (group,))


class ScimServer:
    """See `ServerSide`. The base URL ends with nothing or with `/scim/v2`."""

    def __init__(self, behaviour: Behaviour, rng: random.Random) -> None:
        self.behaviour = behaviour
        self._rng = rng
        self._tokens: dict[str, int] = {}
        """Tokens that were given out, and how often each was used."""
        self._stale: dict[str, tuple[float, frozenset[object]]] = {}
        """Of a server that loses updates: until when a group that is being written is read as it was, and how."""

    def method_of(self, path: str) -> str | None:
        """See `ServerSide`."""
        parts = _path(path).split("/")
        if parts[1:] == ["Bulk"]:
            return "POST"
        if parts[1:2] == ["Groups"] and len(parts) == 3:
            return "PATCH GET"
        return "GET" if _path(path) in _LISTS | {"/ServiceProviderConfig"} else None

    def token_of(self, arrival: Arrival) -> str:
        """See `ServerSide`."""
        scheme, _, token = arrival.headers.get("authorization", "").partition(" ")
        return token if scheme.lower() == "bearer" else ""

    def unauthorized(self) -> Reply:
        """See `ServerSide`."""
        return self._error(401, "", "the token is not accepted")

    def log_in(self, arrival: Arrival) -> Reply | None:
        """See `ServerSide`: client credentials (RFC 6749 §4.4) at an address of their own."""
        if urlsplit(arrival.path).path != TOKEN or arrival.method != "POST":
            return None
        scheme, _, given = arrival.headers.get("authorization", "").partition(" ")
        asked = parse_qs(arrival.body.decode("utf-8", "replace"))
        if asked.get("grant_type") != ["client_credentials"]:
            return Reply.json(400, {"error": "unsupported_grant_type"})
        known = f"{quote(self.behaviour.client_id, safe='')}:{quote(self.behaviour.client_secret, safe='')}"
        if scheme != "Basic" or given != b64encode(known.encode()).decode():
            return Reply.json(401, {"error": "invalid_client"})
        token = f"sim-{self._rng.getrandbits(128):032x}"
        self._tokens[token] = 0
        return Reply.json(200, {"access_token": token, "token_type": "Bearer", "expires_in": 3600})

    def accepts(self, token: str) -> bool:
        """See `ServerSide`."""
        if token not in self._tokens:
            return False
        self._tokens[token] += 1
        return not self.behaviour.token_uses or self._tokens[token] <= self.behaviour.token_uses

    def wishes(self, arrival: Arrival) -> list[MembershipRequest]:
        """See `ServerSide`."""
        if arrival.method == "POST":
            return [wish for part in _operations(arrival) for wish in self.wishes(part)]
        try:
            return read_patch(arrival, self.behaviour.scim) if arrival.method == "PATCH" else []
        except Refused:
            return []

    def miscounted(self, reply: Reply) -> Reply:
        """See `ServerSide`: a group has no words on changes."""
        return reply

    def carry_out(self, arrival: Arrival, membership: Membership) -> Reply:
        """See `ServerSide`."""
        path = _path(arrival.path)
        if path == "/ServiceProviderConfig" and self.behaviour.scim.is_silent:
            return self._error(404, "", "Resource ServiceProviderConfig not found")
        if path == "/ServiceProviderConfig":
            return self._json(200, self._config())
        if path in _LISTS:
            return self._list(path[1:], arrival, membership)
        if arrival.method == "GET":
            return self._group(unquote(path.split("/")[2]), membership)
        if path == "/Bulk":
            return self._bulk(arrival, membership)
        try:
            return self._patch(arrival, membership)
        except Refused as refused:
            return self._error(refused.status, refused.kind, refused.detail)

    def _patch(self, arrival: Arrival, membership: Membership) -> Reply:
        traits = self.behaviour.scim
        wishes = read_patch(arrival, traits)
        group = str(wishes[0].groups[0])
        members = membership.groups[group]
        if group in self.behaviour.bad_groups:
            raise Refused(404, "", f"Resource {group} not found")
        kept = [wish for wish in (self._known(wish) for wish in wishes) if wish.users]
        for wish in kept:
            refusal = membership.refusal(wish)
            if refusal is not None:
                raise Refused(400, "invalidValue", refusal if traits.names_the_refused else "a value is not valid")
        after = len(members.union(*(wish.users for wish in kept if wish.is_add)))
        if traits.capacity and after > max(traits.capacity, len(members)):
            raise Refused(400, "tooMany", f"a maximum of {traits.capacity} members per group is allowed")
        self._lose_updates(group, membership)
        for wish in kept:
            membership.apply(wish)
        if not traits.returns_groups:
            return Reply(204)
        listed = [member for user in sorted(map(str, members)) for member in self._listed(user, wishes)]
        return self._json(200, {"schemas": [GROUP], "id": group, "displayName": group, "members": listed})

    def _group(self, group: str, membership: Membership) -> Reply:
        """§3.4.1: one group; it has all of its members."""
        traits = self.behaviour.scim
        if group in self.behaviour.bad_groups:
            return self._error(404, "", f"Resource {group} not found")
        members = [entry for user in sorted(map(str, membership.groups[group])) for entry in self._listed(user, [])]
        members += [{"value": f"{group}-{number}", "type": "Group"} for number in range(traits.nested)]
        said: dict[str, object] = {"schemas": [GROUP], "id": group, "displayName": group}
        if not traits.hides_members and (members or not traits.omits_empty_lists):
            said["members"] = members
        return self._json(200, said)

    def _bulk(self, arrival: Arrival, membership: Membership) -> Reply:
        """§3.7: each operation has a result; after too many errors the rest is left out."""
        traits, results, errors = self.behaviour.scim, [], 0
        operations = _operations(arrival)
        if not traits.bulk:
            return self._error(501, "", "bulk requests are not supported")
        if len(operations) > traits.bulk:
            return self._error(413, "tooMany", f"at most {traits.bulk} operations are allowed")
        for number, operation in enumerate(operations):
            reply = self.carry_out(operation, membership)
            done: dict[str, object] = {"method": "PATCH", "status": str(reply.status), "location": operation.path}
            if not traits.forgets_bulk_ids:
                done["bulkId"] = str(number)
            if reply.body:
                done["response"] = orjson.loads(reply.body)
            results.append(done)
            errors += reply.status is not None and reply.status >= 400
            if traits.bulk_errors and errors >= traits.bulk_errors:
                break
        return self._json(200, {"schemas": [BULK_RESPONSE], "Operations": results})

    def _known(self, wish: MembershipRequest) -> MembershipRequest:
        """The wish as this server understands it: some ignore users that they do not know, or removals by id."""
        traits, unknown = self.behaviour.scim, self.behaviour.bad_users
        users = wish.users
        if traits.drops_unknown:
            users = tuple(user for user in users if user not in unknown)
        if traits.lists_user_names and not wish.is_add:
            users = ()
        return MembershipRequest(wish.is_add, users, wish.groups)

    def _listed(self, user: str, wishes: list[MembershipRequest]) -> list[dict[str, str]]:
        traits = self.behaviour.scim
        value = f"name of {user}" if traits.lists_user_names else user
        entry = {"value": value, "type": "User"}
        is_again = traits.lists_twice and any(wish.is_add and user in wish.users for wish in wishes)
        return [entry, entry] if is_again else [entry]

    def _lose_updates(self, group: str, membership: Membership) -> None:
        """Go back to what the group was when an earlier request began that is still being written."""
        seconds = self.behaviour.scim.write_seconds
        if not seconds:
            return
        until, before = self._stale.get(group, (0.0, frozenset()))
        if membership.now < until:
            membership.groups[group].clear()
            membership.groups[group].update(before)  # type: ignore[arg-type]  # what it was
        self._stale[group] = (membership.now + seconds, frozenset(membership.groups[group]))

    def _list(self, kind: str, arrival: Arrival, membership: Membership) -> Reply:
        traits, query = self.behaviour.scim, unquote(arrival.path)
        if (traits.breaks_on_count and "count=" in query) or (traits.breaks_on_name and traits.breaks_on_name in query):
            return self._error(500, "", "internal error")
        try:
            served = ServedDirectory(self.behaviour, membership.groups)
            return self._json(200, served.answer(kind, urlsplit(arrival.path).query, membership.now))
        except Refused as refused:
            return self._error(refused.status, refused.kind, refused.detail)
        except ValueError as error:
            return self._error(400, "invalidFilter", str(error))

    def _config(self) -> dict[str, object]:
        traits = self.behaviour.scim
        paging: dict[str, object] = {"cursor": True, "index": traits.pages_by == "both", "maxPageSize": traits.page}
        if traits.pages_by == "both":
            paging["defaultPaginationMethod"] = "cursor"
        return ({} if traits.pages_by == "index" else {"pagination": paging}) | {
            "schemas": [CONFIG],
            "patch": {"supported": not traits.refuses_patch},
            "bulk": {"supported": traits.bulk > 0, "maxOperations": traits.bulk, "maxPayloadSize": 1 << 20},
            "filter": {"supported": True, "maxResults": traits.page},
            "changePassword": {"supported": False},
            "sort": {"supported": False},
            "etag": {"supported": False},
            "authenticationSchemes": [{"type": "oauthbearertoken", "name": "Bearer", "description": "RFC 6750"}],
        }

    def _json(self, status: int, content: object) -> Reply:
        return Reply(status, orjson.dumps(content), (("Content-Type", "application/scim+json"),))

    def _error(self, status: int, kind: str, detail: str) -> Reply:
        if self.behaviour.scim.says_html:
            return Reply(status, f"<html><body>Error {status}</body></html>".encode(), (("Content-Type", "text/html"),))
        content = {"schemas": [ERROR], "status": str(status), "detail": detail}
        return self._json(status, content | ({"scimType": kind} if kind else {}))


def _operations(arrival: Arrival) -> list[Arrival]:
    """The operations of a bulk request, each as a request of its own."""
    try:
        content = orjson.loads(arrival.body)
        return [
            Arrival(str(part["method"]), str(part["path"]), arrival.headers, orjson.dumps(part["data"]))
            for part in content["Operations"]
        ]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return []


def _path(path: str) -> str:
    """The path below the base URL."""
    return urlsplit(path).path.removeprefix("/scim/v2")
