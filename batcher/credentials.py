"""The user's secrets: from the environment, else from the files that the configuration names."""

from __future__ import annotations

from collections.abc import Mapping

from batcher.core.errors import ConfigurationError
from batcher.core.target import Credentials
from batcher.files import expanded, read_small
from batcher.sections import AuthSettings

_LONGEST_SECRET = 64 << 10
"""Bytes."""


def credentials(auth: AuthSettings, environment: Mapping[str, str]) -> Credentials:
    """What the user gave.

    Raises:
        ConfigurationError: When a file cannot be read.

    """
    token = environment.get("BATCHER_TOKEN") or _secret(auth.token_file, "auth.token_file")
    secret = environment.get("BATCHER_CLIENT_SECRET") or _secret(auth.client_secret_file, "auth.client_secret_file")
    given = Credentials(token.strip(), (environment.get("BATCHER_CLIENT_ID") or auth.client_id).strip(), secret.strip())
    for name, value in (("token", given.token), ("client secret", given.client_secret)):
        if not value.isascii() or not value.isprintable():
            raise ConfigurationError(f"the {name} holds characters that no {name} has; look for a line break within it")
    return given


def _secret(file: str, key: str) -> str:
    if not file:
        return ""
    try:
        return read_small(expanded(file, key), _LONGEST_SECRET).decode().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{key}: {file} cannot be read: {error}") from None
