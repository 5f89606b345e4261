"""What one reply means. Retries, rate limiting, blame and the ledger all use this one classification."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TypeAlias

import numpy as np

from batcher.core.status import Status
from batcher.core.vectors import Bytes


class Cause(Enum):
    """Why a run stopped early, with its exit code and what to do about it."""

    CREDENTIALS = (4, "renew the credentials")
    PERMISSION = (4, "have the permission granted")
    QUOTA = (6, "settle the account with the vendor")
    ENDPOINT = (6, "correct the URL")
    UNTRUSTED = (6, "check that this is the right server; if it is, configure its certificate")
    OUTAGE = (6, "wait until the target is back")
    SUSPICION = (6, "find out why the target refuses everything")
    FAILURES = (6, "look into the failures")
    CANARY = (6, "look into the first failures; resuming sends all the other changes")
    DEADLINE = (6, "resume when there is time again")
    MAX_WAIT = (6, "wait until the target accepts requests again")
    INPUT = (6, "fix the input")
    LEDGER = (6, "check the ledger's disk and file")
    EXHAUSTED = (6, "allow more open files (ulimit -n) or fewer requests in flight")
    FOLLOWER = (6, "fix the code that consumes the outcomes")
    UNREADABLE = (6, "find out why the target cannot be read, or give ids instead of names")
    UNPROVEN = (6, "find out why the target does not do what it answers; resuming sends the other changes")
    DIALECT = (6, "fix the target's plug-in")
    UNSUPPORTED = (6, "configure what the target supports (target.profile)")
    STALLED = (6, "find out what blocks the disk or the network")
    HANGUP = (129, "resume at any time")
    INTERRUPT = (130, "resume at any time")
    TERMINATED = (143, "resume at any time")

    def __init__(self, exit_code: int, remedy: str) -> None:
        self.exit_code = exit_code
        self.remedy = remedy

    @property
    def is_signal(self) -> bool:
        """Somebody asked the run to end."""
        return self.exit_code > 128  # noqa: PLR2004 — the shell's convention: 128 + signal number


@dataclass(frozen=True, slots=True, eq=False)
class Settled:
    """The target reported the outcome of each change; `PENDING` marks changes that it did not report on."""

    statuses: Bytes
    details: dict[int, str] = field(default_factory=dict)

    @staticmethod
    def all(count: int, status: Status) -> Settled:
        """The same status for every change."""
        return Settled(np.frombuffer(bytes([status]) * count, np.int8))


@dataclass(frozen=True, slots=True)
class Retry:
    """Nothing was settled; the same request may succeed later.

    `after` is how many seconds the target asked us to wait; `lost` says that the request may have taken effect;
    `counted` that this try counts as an attempt; `back_pressure` that the target asks for less load.
    """

    reason: str
    after: float | None = None
    lost: bool = True
    counted: bool = True
    back_pressure: bool = False


@dataclass(frozen=True, slots=True)
class Split:
    """The target refused the request as a whole; sent separately, the valid changes will be accepted.

    `is_size` is set when it said that the request is too large.
    """

    reason: str
    is_size: bool = False


@dataclass(frozen=True, slots=True)
class Stop:
    """The run is at fault, not these changes: nothing is recorded for them, and the run ends or renews its token."""

    cause: Cause
    reason: str
    or_changes: bool = False
    """Whether the reply may as well speak of a user or a group of the request."""


Verdict: TypeAlias = Settled | Retry | Split | Stop
