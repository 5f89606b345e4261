"""What a target is to the rest of the house. It knows its dialect and nothing else; all of it is pure."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from batcher.core.http import Request, Response
from batcher.core.lanes import OrderBy
from batcher.core.model import Batch, KeyKind, Limits
from batcher.core.verdict import Retry, Stop, Verdict
from batcher.core.wire import Wire


@dataclass(frozen=True, slots=True)
class Credentials:
    """What the user gave to prove who they are. Never shown."""

    token: str = field(default="", repr=False)
    client_id: str = field(default="", repr=False)
    client_secret: str = field(default="", repr=False)
    passwords: tuple[str, ...] = field(default=(), repr=False)
    """Of proxies. They are for the transport; here they are kept from being shown."""

    @property
    def secrets(self) -> tuple[str, ...]:
        """Everything that must not appear anywhere."""
        return tuple(value for value in (self.token, self.client_secret, *self.passwords) if value)


class LoginRefusedError(Exception):
    """No token was given; the verdict says what that means for the run."""

    def __init__(self, verdict: Retry | Stop) -> None:
        super().__init__(verdict.reason)
        self.verdict = verdict


Login: TypeAlias = Generator[Request, Response, str]
"""Yields requests, is sent their replies, returns the token; raises `LoginRefusedError`."""


class Target(Protocol):
    """One dialect. Instances are made with `(url, env)`; the rest are facts and pure functions."""

    name: str
    url: str
    wire: Wire
    limits: Limits
    """The cautious defaults."""
    meaningless_limits: frozenset[str]
    """Fields of `Limits` that this dialect has no use for."""
    key_kind: KeyKind
    order: OrderBy
    """What must keep its order: changes of a pair, or, where a request rewrites a whole group, of a group."""
    default_rate: str
    hints: tuple[str, ...]
    """What `plan` and `check` warn of."""

    def encode(self, batch: Batch, token: str) -> Request:
        """The request that asks for the batch."""
        ...

    def interpret(self, batch: Batch, response: Response, now: float) -> Verdict:
        """What the reply means for the batch; never raises, whatever the reply. `now` is UTC seconds."""
        ...

    def probe(self, token: str) -> Request:
        """A request that changes nothing, to see whether address and credentials are right."""
        ...

    def interpret_probe(self, response: Response, now: float) -> Verdict:
        """`Settled` of nothing when all is well."""
        ...

    def login(self, credentials: Credentials, now: float) -> Login | None:
        """How to get a token at `now` (UTC seconds); None when the token itself must be given."""
        ...
