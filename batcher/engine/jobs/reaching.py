"""What reaches or proves a target is not the run's: whoever goes on with a ledger may give it anew."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec

from batcher.core.address import place_of
from batcher.core.errors import ConfigurationError
from batcher.settings import Settings

Reach = dict[str, dict[str, Any]]
"""Sections with keys, as of `Settings.replace`."""
_PROVES = ("ca_file", "tls_fingerprint", "insecure", "client_cert", "client_key", "proxy", "timeout_seconds")


@dataclass(frozen=True, slots=True)
class Anew:
    """What whoever goes on with a run gives anew: for good how the target is reached, for this session the rest."""

    reach: Reach = field(default_factory=dict)
    overrides: Reach = field(default_factory=dict)
    despite_later_runs: bool = False
    """A newer run on the same target is known of, and may be overtaken."""

    def for_simulation(self, url: str) -> Anew:
        """The same with the embedded server, which has another address each time and proves nothing."""
        overrides = self.overrides | {"target": self.overrides.get("target", {}) | {"url": url}}
        return Anew({}, overrides, self.despite_later_runs)


NOTHING_ANEW = Anew()


def reach_anew(run: Settings, now: Settings, url: str) -> Reach:
    """What of a configuration counts for a run that has settings of its own: how its target is reached and proven.

    Args:
        run: The settings of the run.
        now: What the user gives now.
        url: The target's address now, where the user says that it is the same system.

    Raises:
        ConfigurationError: When it is of another target.

    """
    if now.target.kind not in {"", run.target.kind}:
        raise ConfigurationError(f"the run is of {run.target.kind}, the configuration of {now.target.kind}")
    if now.target.env not in {"", run.target.env}:
        raise ConfigurationError(
            f"the run is of environment {run.target.env!r}, the configuration of {now.target.env!r}"
        )
    if now.target.url and not url and place_of(now.target.url) != place_of(run.target.url):
        raise ConfigurationError(
            f"the run is of {run.target.url or 'the default address'}, the configuration of {now.target.url};"
            f" if that is the same system at another address: --url {now.target.url}"
        )
    proven = {key: getattr(now.target, key) for key in _PROVES}
    if url or now.target.url:
        proven["url"] = url or now.target.url
    return {"target": proven, "auth": msgspec.structs.asdict(now.auth)}
