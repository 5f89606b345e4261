"""A target as the delivery speaks with it: whatever a plug-in does, what comes of it is a verdict that can be booked.

Targets are plug-ins, perhaps of somebody else. One that raises, or answers nonsense, is a fault of the run: nothing
of it is booked on rows. What it says of replies is scrubbed here, before anybody else sees it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar

import numpy as np

from batcher.core.batch import Batch
from batcher.core.http import Request, Response
from batcher.core.secrets import Secrets
from batcher.core.status import Status
from batcher.core.target import Target
from batcher.core.verdict import Cause, Retry, Settled, Split, Stop, Verdict

T = TypeVar("T")
_FINAL = {Status.PENDING, Status.APPLIED, Status.UNCHANGED, Status.FAILED, Status.UNKNOWN}
"""What a target may say of a change; it is not the target's to reject or to supersede."""


class DialectError(Exception):
    """The target's plug-in is broken."""


class Dialect:
    """See the module. `repeats_accepted` is whether the target takes what it has already for a success."""

    def __init__(self, target: Target, secrets: Secrets, *, repeats_accepted: bool = True) -> None:
        self.repeats_accepted = repeats_accepted
        self.secrets = secrets
        self._target = target

    def __repr__(self) -> str:
        return f"<Dialect {self._target.name}>"

    def encode(self, batch: Batch, token: str) -> Request:
        """The request for a batch.

        Raises:
            DialectError: When the plug-in makes none.

        """
        return self._request("encode", lambda: self._target.encode(batch, token))

    def probe(self, token: str) -> Request:
        """The request that changes nothing; raises as `encode`."""
        return self._request("probe", lambda: self._target.probe(token))

    def of_reply(self, batch: Batch, response: Response, now: float) -> Verdict:
        """What a reply means for a batch; never raises."""
        return self._verdict("interpret", lambda: self._target.interpret(batch, response, now), len(batch))

    def of_probe(self, response: Response, now: float) -> Verdict:
        """What a reply to a probe means; never raises."""
        return self._verdict("interpret_probe", lambda: self._target.interpret_probe(response, now), 0)

    def _request(self, name: str, make: Callable[[], Request]) -> Request:
        try:
            request: object = make()
        except Exception as error:  # noqa: BLE001 — a plug-in may raise anything, and quote anything
            raise DialectError(self._broken(name, f"raised {type(error).__name__}")) from None
        if not isinstance(request, Request) or not isinstance(request.body, bytes):
            raise DialectError(self._broken(name, f"gave {type(request).__name__} instead of a request"))
        return request

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
    """Why a verdict on so many changes cannot be booked; empty when it can.

    Whatever is wrong beyond what is looked for may raise anything.
    """
    match verdict:
        case Settled():
            statuses, details = np.asarray(verdict.statuses), verdict.details
            if statuses.shape != (size,):
                return f"told of {statuses.size} changes, not of {size}"
            if statuses.dtype != np.int8 or not set(np.unique(statuses).tolist()) <= _FINAL:
                return "told of statuses that a target cannot give"
            if not all(0 <= place < size and isinstance(text, str) for place, text in details.items()):
                return "told details of changes that it was not asked about"
            return ""
        case Retry(reason=str(), after=after):
            return "" if after is None or (math.isfinite(after) and after >= 0) else f"asked for a wait of {after}"
        case Split(reason=str()):
            return ""
        case Stop(cause=Cause(), reason=str()):
            return ""
        case _:
            pass
    return f"gave {type(verdict).__name__} instead of a verdict"
