"""Who and what the simulated SCIM service knows: `GET /Users` and `GET /Groups` with filters and pages (§3.4.2).

The id of a user or a group follows from its name, so that any name that is not excluded is known. With a `population`,
exactly so many users and groups exist, and they can be paged through.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from urllib.parse import parse_qs

from batcher.simulator.behaviour import Behaviour

_ENDLESS = 1_000_000
"""How many there are said to be if any name exists: too many to be listed."""
LIST = "urn:ietf:params:scim:api:messages:2.0:ListResponse"
_CORE = "urn:ietf:params:scim:schemas:core:2.0:"
_EQ = re.compile(r'\s*([\w.$]+)\s+eq\s+"((?:[^"\\]|\\.)*)"\s*', re.IGNORECASE)


def id_of(kind: str, name: str, generation: int = 0) -> str:
    """The id of the user or group with this name."""
    digits = hashlib.sha256(f"{kind}/{name}{f'/{generation}' if generation else ''}".encode()).hexdigest()
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:32]}"


class ServedDirectory:
    """The users and groups of a behaviour."""

    def __init__(self, behaviour: Behaviour) -> None:
        self._behaviour = behaviour
        self._traits = behaviour.scim

    def answer(self, kind: str, query: str) -> dict[str, object]:
        """A ListResponse.

        Raises:
            ValueError: When the filter or a number is not understood.

        """
        asked = {name.lower(): values[0] for name, values in parse_qs(query).items()}
        start, count = max(1, int(asked.get("startindex", "1"))), int(asked.get("count", str(self._traits.page)))
        if self._traits.refuses_more and count > self._traits.page:
            raise ValueError("count is too large")
        count = min(max(0, count), self._traits.page)
        if self._traits.repeats_first_page:
            start = 1
        if "filter" in asked and not self._traits.ignores_filters:
            names = list(self._found(kind, asked["filter"]))
            total, page = len(names), names[start - 1 : start - 1 + count]
        elif not self._traits.population:
            total, page = _ENDLESS, [_name(kind, number) for number in range(start, start + count)]
        else:
            names = self._everybody(kind)
            total, page = len(names), names[start - 1 : start - 1 + count]
        resources = [resource for name in page for resource in self._resources(kind, name)]
        if self._traits.cuts_pages and "filter" not in asked:
            resources = resources[: len(resources) // 2]
        return {
            "schemas": [LIST],
            "totalResults": total,
            "startIndex": start,
            "itemsPerPage": len(resources),
            "Resources": resources,
        }

    def _found(self, kind: str, text: str) -> Iterator[str]:
        matches = [_EQ.fullmatch(part) for part in re.split(r"\s+or\s+", text)]
        if self._traits.takes_first_of_or:
            matches = matches[:1]
        elif len(matches) > 1 and not self._traits.takes_or:
            raise ValueError("only one comparison is supported")
        attributes = {"username", "externalid", "emails.value"} if kind == "Users" else {"displayname", "externalid"}
        for match in matches:
            if match is None or match[1].lower() not in attributes:
                raise ValueError(f"the filter {text!r} is not supported")
            name = re.sub(r"\\(.)", r"\1", match[2])
            if self._traits.finds_nothing:
                continue
            name = name.removeprefix("ext-") if match[1].lower() == "externalid" else name
            if match[1].lower() == "username":
                name = name.lower()
            if self._exists(kind, name):
                yield name

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
