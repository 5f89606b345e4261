"""The interface between targets and everything else. A target knows only its own API, and its code is pure."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias, runtime_checkable

from batcher.core.batch import Batch, Limits
from batcher.core.http import Request, Response
from batcher.core.model import KeyKind
from batcher.core.ordering import OrderBy
from batcher.core.verdict import Retry, Stop, Verdict
from batcher.core.wire import Wire


@dataclass(frozen=True, slots=True)
class Credentials:
    """The credentials that the user provided. Never shown."""

    token: str = field(default="", repr=False)
    client_id: str = field(default="", repr=False)
    client_secret: str = field(default="", repr=False)
    passwords: tuple[str, ...] = field(default=(), repr=False)
    """Passwords of proxies. The transport uses them; they are listed here so that they are masked."""
    token_url: str = field(default="", repr=False)
    """Where tokens are given out, if the target does not do that itself."""
    scope: str = field(default="", repr=False)
    """What a token is asked for."""

    @property
    def secrets(self) -> tuple[str, ...]:
        """Everything that must not appear anywhere."""
        return tuple(value for value in (self.token, self.client_secret, *self.passwords) if value)


class LoginRefusedError(Exception):
    """The login returned no token; the verdict says what that means for the run."""

    def __init__(self, verdict: Retry | Stop) -> None:
        super().__init__(verdict.reason)
        self.verdict = verdict


Login: TypeAlias = Generator[Request, Response, str]
"""Yields requests, is sent their replies, returns the token; raises `LoginRefusedError`."""


@runtime_checkable
class OffersProfiles(Protocol):
    """A target whose figures depend on whose service it is."""

    def with_profile(self, profile: str, query: Mapping[str, str], names: Mapping[str, str], *, bulk: bool) -> Target:
        """The same target with the figures of a profile.

        Args:
            profile: Its name; empty for the default.
            query: Further query parameters of requests with changes.
            names: What names of a `user` and of a `group` are at the target, if not what they usually are.
            bulk: Whether a request is to change several groups.

        Raises:
            ConfigurationError: When something of this is not known.

        """
        ...


class Target(Protocol):
    """The API of one target. Instances are created with `(url, env)`; everything else is facts and pure functions."""

    name: str
    url: str
    wire: Wire
    limits: Limits
    """Cautious default limits."""
    meaningless_limits: frozenset[str]
    """Fields of `Limits` that do not apply to this target."""
    key_kind: KeyKind
    order: OrderBy
    """What must stay in order: the changes of a pair, or of a group if each request rewrites the whole group."""
    default_rate: str
    success_is_uniform: bool
    """Whether a reply that means success for all changes of one batch means the same for any other batch."""
    status_suffices: bool
    """Whether a reply whose body is too large to be read (`Response.is_cut`) still says by its status what it means."""
    hints: tuple[str, ...]
    """Warnings that `plan` and `check` show."""

    def encode(self, batch: Batch, token: str) -> Request:
        """The request that asks for the batch."""
        ...

    def interpret(self, batch: Batch, response: Response, now: float) -> Verdict:
        """What the reply means for the batch; never raises, whatever the reply. `now` is UTC seconds."""
        ...

    def probe(self, token: str) -> Request:
        """A request that changes nothing, to check the address and the credentials."""
        ...

    def interpret_probe(self, response: Response, now: float) -> Verdict:
        """An empty `Settled` if all is well."""
        ...

    def login(self, credentials: Credentials, now: float) -> Login | None:
        """How to get a token at `now` (UTC seconds); None when the token itself must be given."""
        ...
