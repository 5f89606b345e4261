"""The delivery's view of a target: whatever its plug-in does, the result is a verdict that can be recorded.

Targets are plug-ins, perhaps written by somebody else. If one raises or returns nonsense, that is a fault of the run,
and nothing is recorded for the changes. Secrets are removed here from what it says about replies, before anybody else
sees it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar, cast

import numpy as np

from batcher.core.batch import Batch
from batcher.core.discovery import Announcement, OffersDiscovery
from batcher.core.http import Request, Response
from batcher.core.keys import Key
from batcher.core.lookups import Listing, OffersLookups, Place, Side
from batcher.core.reading import MembersPage, OffersReading
from batcher.core.secrets import Secrets
from batcher.core.status import Status
from batcher.core.target import Target
from batcher.core.verdict import Cause, Retry, Settled, Split, Stop, Verdict

T = TypeVar("T")
_FINAL = {Status.PENDING, Status.APPLIED, Status.UNCHANGED, Status.FAILED, Status.UNKNOWN}
"""The statuses that a target may report for a change; it can neither reject nor supersede one."""


class DialectError(Exception):
    """The target's plug-in is broken."""


class Dialect:
    """See the module. `repeats_accepted`: whether the target reports success for a change that is already in effect."""

    def __init__(self, target: Target, secrets: Secrets, *, repeats_accepted: bool = True) -> None:
        self.repeats_accepted = repeats_accepted
        self.secrets = secrets
        self._target = target
        self.success_is_uniform: bool = getattr(target, "success_is_uniform", False)  # plug-ins may be older
        """See `Target`."""
        self.status_suffices: bool = getattr(target, "status_suffices", False)
        """See `Target`."""

    def __repr__(self) -> str:
        return f"<Dialect {self._target.name}>"

    def encode(self, batch: Batch, token: str) -> Request:
        """The request for a batch.

        Raises:
            DialectError: When the plug-in does not return one.

        """
        return self._request("encode", lambda: self._target.encode(batch, token))

    def probe(self, token: str) -> Request:
        """The request that changes nothing; raises like `encode`."""
        return self._request("probe", lambda: self._target.probe(token))

    def of_reply(self, batch: Batch, response: Response, now: float) -> Verdict:
        """What a reply means for a batch; never raises."""
        return self._verdict("interpret", lambda: self._target.interpret(batch, response, now), len(batch))

    def of_probe(self, response: Response, now: float) -> Verdict:
        """What a reply to a probe means; never raises."""
        return self._verdict("interpret_probe", lambda: self._target.interpret_probe(response, now), 0)

    @property
    def announces(self) -> bool:
        """Whether the target may announce what it supports."""
        return isinstance(self._target, OffersDiscovery)

    def discovery(self, token: str) -> Request:
        """The request for what the target announces; raises like `encode`."""
        return self._request("discovery", lambda: cast("OffersDiscovery", self._target).discovery(token))

    def of_discovery(self, response: Response, now: float) -> Announcement | Verdict:  # noqa: ARG002 — as other meanings
        """What it announces; never raises."""
        try:
            found: object = cast("OffersDiscovery", self._target).announced(response)
        except Exception as error:  # noqa: BLE001 — as above
            return Stop(Cause.DIALECT, self._broken("announced", f"raised {type(error).__name__}"))
        return found if isinstance(found, Announcement) else Settled.all(0, Status.APPLIED)

    def page(self, side: Side, place: Place, count: int, token: str) -> Request:
        """The request for a page of all users or groups; raises like `encode`."""
        return self._request("page", lambda: self._lookups.page(side, place, count, token))

    def filtered(self, side: Side, name: str, token: str) -> Request:
        """The request for those with this name; raises like `encode`."""
        return self._request("filtered", lambda: self._lookups.filtered(side, name, token))

    def of_listing(self, side: Side, response: Response, now: float) -> Listing | Verdict:
        """What a reply to either lists; never raises."""
        return self._found("listing", Listing, lambda: self._lookups.listing(side, response, now))

    def members(self, group: Key, place: Place, count: int, token: str) -> Request:
        """The request for members of a group; raises like `encode`."""
        return self._request("members", lambda: self._reading.members(group, place, count, token))

    def of_members(self, group: Key, response: Response, now: float) -> MembersPage | Verdict:
        """What a reply to that lists; never raises."""
        return self._found("members_page", MembersPage, lambda: self._reading.members_page(group, response, now))

    @property
    def _reading(self) -> OffersReading:
        return cast("OffersReading", self._target)

    @property
    def _lookups(self) -> OffersLookups:
        return cast("OffersLookups", self._target)

    def _request(self, name: str, make: Callable[[], Request]) -> Request:
        try:
            request: object = make()
        except Exception as error:  # noqa: BLE001 — a plug-in may raise anything, and quote anything
            raise DialectError(self._broken(name, f"raised {type(error).__name__}")) from None
        if not isinstance(request, Request) or not isinstance(request.body, bytes):
            raise DialectError(self._broken(name, f"returned {type(request).__name__} instead of a request"))
        return request

    def _found(self, name: str, kind: type[T], make: Callable[[], object]) -> T | Verdict:
        """What a reply lists, or the verdict on it."""
        try:
            found = make()
        except Exception as error:  # noqa: BLE001 — as above
            return Stop(Cause.DIALECT, self._broken(name, f"raised {type(error).__name__}"))
        return found if isinstance(found, kind) else self._verdict(name, lambda: cast("Verdict", found), 0)

    def _verdict(self, name: str, judge: Callable[[], Verdict], size: int) -> Verdict:
        verdict: Verdict | None = None
        try:
            verdict = judge()
            wrong = what_is_wrong(verdict, size)
        except Exception as error:  # noqa: BLE001 — as above
            wrong = f"raised {type(error).__name__}"
        if wrong or verdict is None:
            return Stop(Cause.DIALECT, self._broken(name, wrong))
        return self.secrets.scrub_verdict(verdict)

    def _broken(self, name: str, wrong: str) -> str:
        return f"the plug-in for {self._target.name} is broken: {name} {wrong}"


def what_is_wrong(verdict: object, size: int) -> str:
    """Why a verdict on `size` changes cannot be recorded; empty if it can.

    May raise anything if something else is wrong than what is checked here.
    """
    match verdict:
        case Settled():
            statuses, details = np.asarray(verdict.statuses), verdict.details
            if statuses.shape != (size,):
                return f"reported on {statuses.size} changes, not on {size}"
            if statuses.dtype != np.int8 or not set(np.unique(statuses).tolist()) <= _FINAL:
                return "reported statuses that a target cannot report"
            if not all(0 <= place < size and isinstance(text, str) for place, text in details.items()):
                return "reported details of changes that it was not asked about"
            return ""
        case Retry(reason=str(), after=after):
            return "" if after is None or (math.isfinite(after) and after >= 0) else f"asked for a wait of {after}"
        case Split(reason=str()):
            return ""
        case Stop(cause=Cause(), reason=str()):
            return ""
        case _:
            pass
    return f"returned {type(verdict).__name__} instead of a verdict"
