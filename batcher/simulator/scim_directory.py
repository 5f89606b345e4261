"""Who and what the simulated SCIM service knows: `GET /Users` and `GET /Groups` with filters and pages.

See RFC 7644 §3.4.2, and RFC 9865 for cursors.

The id of a user or a group follows from its name, so that any name that is not excluded is known. With a `population`,
exactly so many users and groups exist, and they can be paged through.
"""

from __future__ import annotations

import hashlib
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from urllib.parse import parse_qs

import orjson

from batcher.simulator.behaviour import Behaviour, ScimTraits

_ENDLESS = 1_000_000
"""How many there are said to be if any name exists: too many to be listed."""
_NO_GROUPS: Mapping[int | str, Collection[int | str]] = MappingProxyType({})
_IN_GROUP = re.compile(r'\s*groups(?:\.value)?\s+eq\s+"((?:[^"\\]|\\.)*)"\s*', re.IGNORECASE)
LIST = "urn:ietf:params:scim:api:messages:2.0:ListResponse"
_CORE = "urn:ietf:params:scim:schemas:core:2.0:"
_EQ = re.compile(r'\s*([\w.$]+)\s+eq\s+"((?:[^"\\]|\\.)*)"\s*', re.IGNORECASE)


def id_of(kind: str, name: str, generation: int = 0) -> str:
    """The id of the user or group with this name."""
    digits = hashlib.sha256(f"{kind}/{name}{f'/{generation}' if generation else ''}".encode()).hexdigest()
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:32]}"


class Refused(Exception):  # noqa: N818 — an answer, not a failure of the program
    """A request is refused with this status, `scimType` and detail."""

    def __init__(self, status: int, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.status, self.kind, self.detail = status, kind, detail


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page begins, counted from 1, and how it was asked for."""

    start: int
    traits: ScimTraits
    is_by_cursor: bool = False
    is_empty: bool = False
    """Whether the page is to be empty, and the next one begins where it would have."""

    @staticmethod
    def asked(asked: Mapping[str, str], kind: str, traits: ScimTraits, now: float) -> Place:
        """What these parameters (with lower-case names) ask for; raises `Refused`."""
        if traits.pages_by == "index" or ("startindex" in asked and traits.pages_by == "both"):
            return Place(max(1, int(asked.get("startindex", "1"))), traits)
        if "startindex" in asked:
            raise Refused(501, "", "pages have cursors, not numbers")
        cursor = asked.get("cursor", "")
        if not cursor:
            return Place(1, traits, is_by_cursor=True)
        try:
            known, start, empty, at = orjson.loads(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        except ValueError:
            raise Refused(400, "invalidCursor", "this cursor was not given") from None
        if known != kind:
            raise Refused(400, "invalidCursor", "this cursor was given for another list")
        if traits.cursor_seconds and now > at + traits.cursor_seconds:
            raise Refused(400, "expiredCursor", "this cursor has expired")
        return Place(start, traits, is_by_cursor=True, is_empty=empty)

    def cursor_of(self, start: int, kind: str, now: float) -> str:
        """The cursor for a page that begins there."""
        is_empty = self.traits.has_empty_pages and not self.is_empty
        return urlsafe_b64encode(orjson.dumps([kind, start, is_empty, now])).decode().rstrip("=")


class ServedDirectory:
    """The users and groups of a behaviour."""

    def __init__(self, behaviour: Behaviour, groups: Mapping[int | str, Collection[int | str]] = _NO_GROUPS) -> None:
        self._behaviour = behaviour
        self._groups = groups
        self._traits = behaviour.scim

    def answer(self, kind: str, query: str, now: float) -> dict[str, object]:
        """A ListResponse. `now` is in seconds; of the same clock for all requests.

        Raises:
            ValueError: When the filter or a number is not understood.
            Refused: When it is asked in a way that it does not support, or for a cursor that it has not given.

        """
        asked = {name.lower(): values[0] for name, values in parse_qs(query, keep_blank_values=True).items()}
        count = int(asked.get("count", str(self._traits.page)))
        if self._traits.refuses_more and count > self._traits.page:
            raise ValueError("count is too large")
        count = min(max(0, count), self._traits.page)
        place = Place.asked(asked, kind, self._traits, now)
        start = 1 if self._traits.repeats_first_page else place.start
        group = _IN_GROUP.fullmatch(asked.get("filter", "")) if kind == "Users" else None
        if group is not None:
            users = sorted(map(str, self._groups.get(re.sub(r"\\(.)", r"\1", group[1]), ())))
            resources: list[dict[str, object]] = [{"id": user} for user in users[start - 1 : start - 1 + count]]
            total = len(users)
        else:
            total, names = self._names(kind, asked.get("filter"), start, count)
            resources = [resource for name in names for resource in self._resources(kind, name)]
        is_paged = "filter" not in asked or group is not None
        if self._traits.cuts_pages and is_paged:
            resources = resources[: len(resources) // 2]
        if place.is_empty:
            resources = []
        said: dict[str, object] = {"schemas": [LIST], "itemsPerPage": len(resources), "Resources": resources}
        if not place.is_by_cursor:
            return said | {"totalResults": total, "startIndex": start}
        following = start if place.is_empty else start + count
        if following <= total and is_paged:
            said["nextCursor"] = place.cursor_of(count + 1 if self._traits.repeats_cursor else following, kind, now)
        return said if self._traits.omits_total else said | {"totalResults": total}

    def _names(self, kind: str, filtered: str | None, start: int, count: int) -> tuple[int, list[str]]:
        """How many there are, and the names of these."""
        if filtered is None and not self._traits.population:
            return _ENDLESS, [_name(kind, number) for number in range(start, start + count)]
        is_filtered = filtered is not None and not self._traits.ignores_filters
        names = list(self._found(kind, filtered or "")) if is_filtered else self._everybody(kind)
        return len(names), names[start - 1 : start - 1 + count]

    def _found(self, kind: str, text: str) -> Iterator[str]:
        matches = [_EQ.fullmatch(part) for part in re.split(r"\s+or\s+", text)]
        if self._traits.takes_first_of_or:
            matches = matches[:1]
        elif len(matches) > 1:
            raise ValueError("only one comparison is supported")
        attributes = {"username", "externalid", "emails.value"} if kind == "Users" else {"displayname", "externalid"}
        for match in matches:
            if match is None or match[1].lower() not in attributes:
                raise ValueError(f"the filter {text!r} is not supported")
            name = re.sub(r"\\(.)", r"\1", match[2])
            if self._traits.finds_nothing:
                continue
            name = name.removeprefix("ext-") if match[1].lower() == "externalid" else name
            if match[1].lower() != "externalid" and not self._traits.compares_case:
                name = self._as_it_is(kind, name)
            if self._exists(kind, name):
                yield name

    def _as_it_is(self, kind: str, name: str) -> str:
        """The name in the case in which it exists: these attributes are compared without it (RFC 7643 §4)."""
        if not self._traits.population:
            return name.lower() if kind == "Users" else name
        return next((known for known in self._everybody(kind) if known.lower() == name.lower()), name)

    def _everybody(self, kind: str) -> list[str]:
        excluded = self._behaviour.bad_users if kind == "Users" else self._behaviour.bad_groups
        names = (_name(kind, number) for number in range(1, self._traits.population + 1))
        return [name for name in names if name not in excluded]

    def _exists(self, kind: str, name: str) -> bool:
        excluded = self._behaviour.bad_users if kind == "Users" else self._behaviour.bad_groups
        if name in excluded:
            return False
        return not self._traits.population or name in self._everybody(kind)

    def _resources(self, kind: str, name: str) -> Iterator[dict[str, object]]:
        yield self._resource(kind, name, id_of(kind, name, self._traits.generation))
        if name in self._traits.ambiguous:
            yield self._resource(kind, name, id_of(kind, f"{name}, the other one"))

    def _resource(self, kind: str, name: str, known: str) -> dict[str, object]:
        base: dict[str, object] = {"schemas": [_CORE + kind[:-1]], "id": known, "externalId": f"ext-{name}"}
        if kind == "Groups":
            return base | {"displayName": name}
        return base | {"userName": name, "emails": [{"value": name, "primary": True}]}


def _name(kind: str, number: int) -> str:
    return f"user{number}@example.org" if kind == "Users" else f"group {number}"
