"""What one reply means. One classification feeds retry, limiter, blame and ledger."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TypeAlias

import numpy as np

from batcher.core.model import Bytes
from batcher.core.status import Status


class Cause(Enum):
    """Why a run stopped before its end; the exit code that says so, and what to do about it."""

    CREDENTIALS = (4, "renew the credentials")
    PERMISSION = (4, "have the permission granted")
    QUOTA = (6, "settle the account with the vendor")
    ENDPOINT = (6, "correct the URL")
    UNTRUSTED = (6, "see whether that is the right server; if it is, set its certificate")
    OUTAGE = (6, "wait until the target is back")
    SUSPICION = (6, "find out why the target refuses everything")
    FAILURES = (6, "look at the failures")
    CANARY = (6, "look at the first failures; to go on sends all the others")
    DEADLINE = (6, "go on when there is time again")
    MAX_WAIT = (6, "wait until the target accepts requests again")
    INPUT = (6, "repair the input")
    LEDGER = (6, "see to the ledger's disk and file")
    EXHAUSTED = (6, "allow more open files (ulimit -n), or fewer requests in flight")
    FOLLOWER = (6, "mend what follows the outcomes")
    DIALECT = (6, "repair the target's plug-in")
    STALLED = (6, "see what holds up the disk or the network")
    HANGUP = (129, "go on at any time")
    INTERRUPT = (130, "go on at any time")
    TERMINATED = (143, "go on at any time")

    def __init__(self, exit_code: int, remedy: str) -> None:
        self.exit_code = exit_code
        self.remedy = remedy

    @property
    def is_signal(self) -> bool:
        """Somebody asked the run to end."""
        return self.exit_code > 128  # noqa: PLR2004 — the shell's convention: 128 + signal number


@dataclass(frozen=True, slots=True, eq=False)
class Settled:
    """The target told what became of each change; `PENDING` marks those of which it did not."""

    statuses: Bytes
    details: dict[int, str] = field(default_factory=dict)

    @staticmethod
    def all(count: int, status: Status) -> Settled:
        """The same word for every change."""
        return Settled(np.frombuffer(bytes([status]) * count, np.int8))


@dataclass(frozen=True, slots=True)
class Retry:
    """Nothing was settled, the same request may fare better later.

    `after` is the target's own wish in seconds; `lost` says that the request may have taken effect;
    `counted` that this try uses up an attempt; `back_pressure` that the target asks for less.
    """

    reason: str
    after: float | None = None
    lost: bool = True
    counted: bool = True
    back_pressure: bool = False


@dataclass(frozen=True, slots=True)
class Split:
    """The target refused the request as a whole; alone, the innocent changes will pass.

    `is_size` when it said that the request is too large.
    """

    reason: str
    is_size: bool = False


@dataclass(frozen=True, slots=True)
class Stop:
    """Not these changes are at fault but the run: nothing is booked, the run ends or renews its token."""

    cause: Cause
    reason: str
    or_changes: bool = False
    """Whether the reply may as well speak of a user or a group of the request."""


Verdict: TypeAlias = Settled | Retry | Split | Stop
