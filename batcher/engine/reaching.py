"""What reaches or proves a target is not the run's: whoever goes on with a ledger may give it anew."""

from __future__ import annotations

from typing import Any

import msgspec

from batcher.core.address import place_of
from batcher.core.errors import ConfigurationError
from batcher.settings import Settings

Reach = dict[str, dict[str, Any]]
"""Sections with keys, as of `Settings.replace`."""
_PROVES = ("ca_file", "tls_fingerprint", "insecure", "timeout_seconds")


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
