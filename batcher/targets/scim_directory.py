"""SCIM's users and groups, listed and filtered (RFC 7644 §3.4.2), and what a service announces (RFC 7643 §5)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from urllib.parse import quote

import orjson

from batcher.core.discovery import Announcement
from batcher.core.errors import ConfigurationError
from batcher.core.http import Response
from batcher.core.lookups import Attribute, Listing, Place, Side
from batcher.core.replies import parsed

_PATHS = {Side.USER: "Users", Side.GROUP: "Groups"}
_USUAL = {Side.USER: "userName", Side.GROUP: "displayName"}
_KNOWN: Mapping[Side, Mapping[str, Attribute]] = {
    # RFC 7643 §4.1 and §8.7.1: only externalId is compared with case.
    Side.USER: {
        "userName": Attribute("userName", ignores_case=True),
        "externalId": Attribute("externalId", ignores_case=False),
        "emails.value": Attribute("emails.value", ignores_case=True),
        "displayName": Attribute("displayName", ignores_case=True),
    },
    Side.GROUP: {
        "displayName": Attribute("displayName", ignores_case=True),
        "externalId": Attribute("externalId", ignores_case=False),
    },
}


class ScimDirectory:
    """The directory of a service. `names` says which attribute names of a `user` and of a `group` are."""

    def __init__(self, url: str, names: Mapping[str, str]) -> None:
        """Check the attributes.

        Raises:
            ConfigurationError: When one is not known.

        """
        self._url = url
        self.attributes: dict[Side, Attribute] = {}
        for side, known in _KNOWN.items():
            name = names.get(side.value, _USUAL[side])
            if name not in known:
                raise ConfigurationError(
                    f"target.names_of_{side.value}s = {name!r} is not an attribute that can be looked up; known are"
                    f" {', '.join(known)}"
                )
            self.attributes[side] = known[name]

    def page(self, side: Side, place: Place, count: int) -> str:
        """The address of a page, by index (RFC 7644 §3.4.2.4) or by cursor (RFC 9865 §2)."""
        where = f"startIndex={place}" if isinstance(place, int) else f"cursor={quote(place, safe='')}"
        asked = f"&count={count}" if count else ""
        return f"{self._url}/{_PATHS[side]}?{where}{asked}&attributes={self._wanted(side)}"

    def filtered(self, side: Side, name: str) -> str:
        """The address of those that have this name."""
        said = f"{self.attributes[side].name} eq {orjson.dumps(name).decode()}"
        return f"{self._url}/{_PATHS[side]}?filter={quote(said, safe='')}&attributes={self._wanted(side)}"

    def listing(self, side: Side, response: Response) -> Listing | None:
        """What the reply lists; None if it is not a list."""
        content = parsed(response.body) if response.status == 200 else None
        if not isinstance(content, dict) or not ("totalResults" in content or "Resources" in content):
            return None
        # By cursor, a service that cannot tell how many there are may leave the number out (RFC 9865 §2).
        total, following, resources = (
            content.get("totalResults"),
            content.get("nextCursor"),
            content.get("Resources", []),
        )
        if not (total is None or type(total) is int) or not isinstance(following, str | None):
            return None
        if not isinstance(resources, list) or not all(isinstance(resource, dict) for resource in resources):
            return None
        entries = [entry for resource in resources for entry in self._entries(side, resource)]
        return Listing(tuple(entries), len(resources), total, following or "")

    def _entries(self, side: Side, resource: Mapping[str, object]) -> Iterator[tuple[str, str]]:
        known = resource.get("id")
        if isinstance(known, str) and known:
            yield from ((name, known) for name in self._names(side, resource))

    def _names(self, side: Side, resource: Mapping[str, object]) -> Iterator[str]:
        outer, _, inner = self.attributes[side].name.partition(".")
        value = resource.get(outer)
        for item in value or [None] if isinstance(value, list) else [value]:
            name = item.get(inner) if inner and isinstance(item, dict) else item
            yield name if isinstance(name, str) else ""

    def _wanted(self, side: Side) -> str:
        return f"id,{self.attributes[side].name.partition('.')[0]}"


_ANNOUNCED = ("patch", "bulk", "filter", "etag", "pagination")


def announced(response: Response, *, bulk: bool) -> Announcement | None:
    """What a ServiceProviderConfig says, to somebody who wants `bulk` requests or not; None if it is none.

    A number beside `supported: false` means nothing.
    """
    content = parsed(response.body) if response.status == 200 else None
    if not isinstance(content, dict):
        return None
    facts = {name: content[name] for name in _ANNOUNCED if isinstance(content.get(name), dict)}
    if not facts:
        return None
    supported = {name: fact.get("supported") for name, fact in facts.items()}
    found = [facts.get("filter", {}).get("maxResults") if supported.get("filter") is True else None]
    found.append(facts.get("pagination", {}).get("maxPageSize"))  # RFC 9865 §4
    most = min((number for number in found if type(number) is int and number > 0), default=None)
    lacks = "changing groups by PATCH" if supported.get("patch") is False else ""
    bounds: dict[str, int] = {}
    if bulk and not lacks:
        lacks = "" if supported.get("bulk") is True else "bulk requests (target.bulk)"
        names = {"max_ops": "maxOperations", "max_bytes": "maxPayloadSize"}
        numbers = {name: facts.get("bulk", {}).get(known) for name, known in names.items()}
        bounds = {name: number for name, number in numbers.items() if type(number) is int and number > 0}
    filters = supported.get("filter") if isinstance(supported.get("filter"), bool) else None
    return Announcement(facts, lacks, filters, bounds, most, _lists_by_cursor(facts.get("pagination", {})))


def _lists_by_cursor(said: Mapping[str, object]) -> bool:
    """Whether the service lists by cursor, and not by index, or not by default (RFC 9865 §4)."""
    is_default = str(said.get("defaultPaginationMethod")).lower() == "cursor"
    return said.get("cursor") is True and (said.get("index") is not True or is_default)
