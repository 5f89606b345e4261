"""Time as an argument: one clock for durations, one for people, and one that all processes of a machine share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Stamp:
    """A moment as other processes, perhaps after a restart of the machine, can judge how long ago it was.

    `utc` is what people read (seconds since 1970), and what is left where nothing else is known. `boot` are the seconds
    of the kernel's clock since the machine was started, `boot_id` the name of that start; empty: not known.
    """

    utc: float
    boot: float = 0.0
    boot_id: str = ""

    def __str__(self) -> str:
        return f"{self.utc!r} {self.boot!r} {self.boot_id}".rstrip() if self.boot_id else repr(self.utc)

    @staticmethod
    def parse(text: str) -> Stamp:
        """What `str` gave; also a bare number, as older ledgers have it.

        Raises:
            ValueError: When it is neither.

        """
        utc, *boot = text.split()
        return Stamp(float(utc), float(boot[0]), boot[1]) if len(boot) > 1 else Stamp(float(utc))


@dataclass(frozen=True, slots=True)
class Clock:
    """`now` for durations, `utc` (seconds since 1970) for what people read.

    The wall clock may be set at any moment, so it decides nothing. What processes must agree on is told by `boot`, the
    seconds since the machine `boot_id` was started, suspension included. Without it there is only the wall clock.
    """

    now: Callable[[], float]
    utc: Callable[[], float]
    boot: Callable[[], float] | None = None
    boot_id: str = ""

    def stamp(self) -> Stamp:
        """This moment."""
        return Stamp(self.utc()) if self.boot is None else Stamp(self.utc(), self.boot(), self.boot_id)

    def shared(self) -> float:
        """This moment in the seconds that all processes of the machine count."""
        return self.utc() if self.boot is None else self.boot()

    def age(self, stamp: Stamp) -> float:
        """How many seconds ago a moment was, at least; never negative.

        What was before the machine was started was before that, whatever the wall clock said then and says now.
        """
        if self.boot is None or not stamp.boot_id:
            return max(0.0, self.utc() - stamp.utc)
        return max(0.0, self.boot() - (stamp.boot if stamp.boot_id == self.boot_id else 0.0))
