"""How a target is reached and verified is not fixed by a run: it may be given anew when the run is continued."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec

from batcher.core.address import place_of
from batcher.core.errors import ConfigurationError
from batcher.settings import Settings

Reach = dict[str, dict[str, Any]]
"""Sections with keys and values, as `Settings.replace` takes them."""
_PROVES = ("ca_file", "tls_fingerprint", "insecure", "client_cert", "client_key", "proxy", "timeout_seconds")


@dataclass(frozen=True, slots=True)
class Anew:
    """What is given anew when a run is continued: `reach` is kept in the ledger, `overrides` are for this session."""

    reach: Reach = field(default_factory=dict)
    overrides: Reach = field(default_factory=dict)
    despite_later_runs: bool = False
    """Whether to continue although a newer run worked on the same target."""

    def for_simulation(self, url: str) -> Anew:
        """The same for the embedded server, which has another address each time and needs no verification."""
        overrides = self.overrides | {"target": self.overrides.get("target", {}) | {"url": url}}
        return Anew({}, overrides, self.despite_later_runs)


NOTHING_ANEW = Anew()


def reach_anew(run: Settings, now: Settings, url: str) -> Reach:
    """The part of the present configuration that applies to an existing run: how its target is reached and verified.

    Args:
        run: The settings of the run.
        now: The present configuration.
        url: The target's new address, if the user states that it is the same system; else empty.

    Raises:
        ConfigurationError: When the configuration is for another target.

    """
    if now.target.kind not in {"", run.target.kind}:
        raise ConfigurationError(f"the run is for {run.target.kind}, the configuration for {now.target.kind}")
    if now.target.env not in {"", run.target.env}:
        raise ConfigurationError(
            f"the run is for environment {run.target.env!r}, the configuration for {now.target.env!r}"
        )
    if now.target.url and not url and place_of(now.target.url) != place_of(run.target.url):
        raise ConfigurationError(
            f"the run is for {run.target.url or 'the default address'}, the configuration for {now.target.url};"
            f" if this is the same system at another address: --url {now.target.url}"
        )
    proven = {key: getattr(now.target, key) for key in _PROVES}
    if url or now.target.url:
        proven["url"] = url or now.target.url
    return {"target": proven, "auth": msgspec.structs.asdict(now.auth)}
