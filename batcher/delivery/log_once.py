"""Messages about what limits a run: a warning only the first time, since each may recur a thousand times in a night."""

from __future__ import annotations

import logging

_log = logging.getLogger("batcher.run")
_ALOUD = 10
"""So many different subjects of one text get a warning."""


class LogOnce:
    """Shared by all parts of a run."""

    def __init__(self) -> None:
        self._said: dict[str, set[str]] = {}

    def __repr__(self) -> str:
        return f"<LogOnce {sum(map(len, self._said.values()))}>"

    def say(self, text: str, *arguments: object, subject: str = "") -> None:
        """Log a warning the first time for this text and subject, and a debug message (`--verbose`) from then on."""
        said = self._said.setdefault(text, set())
        is_new = subject not in said and len(said) < _ALOUD
        _log.log(logging.WARNING if is_new else logging.DEBUG, text, *arguments)
        if is_new:
            said.add(subject)
