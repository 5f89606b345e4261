"""What must not appear anywhere, taken out of whatever comes in from outside."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import quote

from batcher.core.verdict import Settled, Verdict

_MASK = "***"
_SHORTEST = 4
"""Shorter secrets would mask ordinary words; nobody issues such."""


class Secrets:
    """All credentials that this process knows."""

    def __init__(self) -> None:
        self._texts: set[str] = set()

    def __repr__(self) -> str:
        return f"<Secrets {len(self._texts)}>"

    def add(self, *secrets: str) -> None:
        """Know these too, also as they look inside a URL."""
        for secret in secrets:
            if len(secret) >= _SHORTEST:
                self._texts |= {secret, quote(secret, safe="")}

    def scrub(self, text: str) -> str:
        """The text without any of them."""
        for secret in self._ordered():
            text = text.replace(secret, _MASK)
        return text

    def scrub_bytes(self, data: bytes) -> bytes:
        """The same for raw replies."""
        for secret in self._ordered():
            if (raw := secret.encode()) in data:
                data = data.replace(raw, _MASK.encode())
        return data

    def scrub_verdict(self, verdict: Verdict) -> Verdict:
        """The same for what a target made of a reply: an echo may have been escaped there."""
        if isinstance(verdict, Settled):
            if not verdict.details:
                return verdict
            return replace(verdict, details={index: self.scrub(text) for index, text in verdict.details.items()})
        return replace(verdict, reason=self.scrub(verdict.reason))

    def _ordered(self) -> list[str]:
        """Longest first, so that no part of a secret is left over."""
        return sorted(self._texts, key=len, reverse=True)
