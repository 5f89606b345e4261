"""Time, passed in as an argument: a clock for durations, one for people, and one shared by all processes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Stamp:
    """A moment whose age other processes can determine, even after a restart of the machine.

    `utc` is what people read (seconds since 1970), and the fallback where nothing else is known. `boot` is the time in
    seconds since the machine was booted, by the kernel's clock; `boot_id` identifies that boot (empty: not known).
    """

    utc: float
    boot: float = 0.0
    boot_id: str = ""

    def __str__(self) -> str:
        return f"{self.utc!r} {self.boot!r} {self.boot_id}".rstrip() if self.boot_id else repr(self.utc)

    @staticmethod
    def parse(text: str) -> Stamp:
        """The inverse of `str`; also accepts a bare number, as in older ledgers.

        Raises:
            ValueError: When the text is neither.

        """
        utc, *boot = text.split()
        return Stamp(float(utc), float(boot[0]), boot[1]) if len(boot) > 1 else Stamp(float(utc))


@dataclass(frozen=True, slots=True)
class Clock:
    """`now` for durations, `utc` (seconds since 1970) for what people read.

    The wall clock may be set at any moment, so no decision depends on it. Where processes must agree, `boot` is used:
    the seconds since the boot `boot_id`, including time in suspension. Where it is not available, `utc` is used.
    """

    now: Callable[[], float]
    utc: Callable[[], float]
    boot: Callable[[], float] | None = None
    boot_id: str = ""

    def stamp(self) -> Stamp:
        """This moment."""
        return Stamp(self.utc()) if self.boot is None else Stamp(self.utc(), self.boot(), self.boot_id)

    def shared(self) -> float:
        """This moment, in seconds of a clock that all processes of the machine share."""
        return self.utc() if self.boot is None else self.boot()

    def age(self, stamp: Stamp) -> float:
        """How many seconds ago a moment was, at least; never negative.

        For a moment before the last boot this is the time since that boot, whatever the wall clock said or says.
        """
        if self.boot is None or not stamp.boot_id:
            return max(0.0, self.utc() - stamp.utc)
        return max(0.0, self.boot() - (stamp.boot if stamp.boot_id == self.boot_id else 0.0))
