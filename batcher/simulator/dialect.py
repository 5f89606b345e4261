"""One dialect's side of the simulated target. A new one is one file here and an entry point `batcher.simulators`."""

from __future__ import annotations

import random
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Protocol, cast

from batcher.simulator.behaviour import Behaviour
from batcher.simulator.membership import Membership, MembershipRequest
from batcher.simulator.messages import Arrival, Reply

GROUP = "batcher.simulators"


class ServerSide(Protocol):
    """How a server of this dialect answers, written from its documents. Made with `(behaviour, rng)`."""

    behaviour: Behaviour
    """As it is now; it changes from stage to stage."""

    def method_of(self, path: str) -> str | None:
        """The methods that an address takes, separated by spaces; None for an address that is not of this dialect."""
        ...

    def token_of(self, arrival: Arrival) -> str:
        """What proves who asks; empty when nothing does."""
        ...

    def unauthorized(self) -> Reply:
        """The answer to who has not proven that."""
        ...

    def log_in(self, arrival: Arrival) -> Reply | None:
        """A step of the way to a token; None for every other request."""
        ...

    def accepts(self, token: str) -> bool:
        """Whether a token that was given out is good for one more request."""
        ...

    def wishes(self, arrival: Arrival) -> list[MembershipRequest]:
        """What a request asks for; empty when it cannot be read, or asks for nothing."""
        ...

    def carry_out(self, arrival: Arrival, membership: Membership) -> Reply:
        """Do what it asks for, and answer."""
        ...

    def miscounted(self, reply: Reply) -> Reply:
        """The same reply, without its last word on each kind of change; as it is where it has no such words."""
        ...


def server_sides(behaviour: Behaviour, rng: random.Random) -> list[ServerSide]:
    """One of each dialect that is installed."""
    return [cast("ServerSide", point.load()(behaviour, rng)) for _, point in sorted(_installed().items())]


@cache
def _installed() -> dict[str, EntryPoint]:
    """By kind. Nothing is installed while a program works, and to look takes a while."""
    return {point.name: point for point in reversed(list(entry_points(group=GROUP)))}
