"""The user's secrets: from the environment, else from the files that the configuration names."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping
from urllib.parse import unquote

from batcher.core.errors import ConfigurationError
from batcher.core.target import Credentials
from batcher.files import expanded
from batcher.sections import AuthSettings
from batcher.small_files import read_text

_LONGEST_SECRET = 64 << 10
"""Bytes."""
_AROUND = "\ufeff\u200b\u2060"
_PROXIES = {"http_proxy", "https_proxy", "all_proxy"}


def credentials(auth: AuthSettings, environment: Mapping[str, str]) -> Credentials:
    """The user's credentials.

    Raises:
        ConfigurationError: When a file cannot be read, or does not hold what it should.

    """
    token = environment.get("BATCHER_TOKEN") or _secret(auth.token_file, "auth.token_file")
    secret = environment.get("BATCHER_CLIENT_SECRET") or _secret(auth.client_secret_file, "auth.client_secret_file")
    client_id = environment.get("BATCHER_CLIENT_ID") or auth.client_id
    passwords = (password_of(proxy_credentials(auth, environment)), *_passwords(environment))
    masked = tuple(filter(None, passwords))
    given = Credentials(_stripped(token), _stripped(client_id), _stripped(secret), masked, auth.token_url, auth.scope)
    for name, value in (("token", given.token), ("client secret", given.client_secret)):
        odd = next((char for char in value if not (char.isascii() and char.isprintable())), None)
        if odd is not None:
            raise ConfigurationError(
                f"the {name} contains {_named(odd)} after {value.index(odd)} characters, which is invalid; its file"
                f" must hold the {name} and nothing else"
            )
    return given


def proxy_credentials(auth: AuthSettings, environment: Mapping[str, str]) -> str:
    """The credentials for the configured proxy, as `user:password`; empty for none.

    Raises:
        ConfigurationError: When the file cannot be read, or does not hold what it should.

    """
    given = _stripped(environment.get("BATCHER_PROXY_CREDENTIALS") or _secret(auth.proxy_file, "auth.proxy_file"))
    if given and (":" not in given or not given.isprintable()):
        raise ConfigurationError("the credentials for the proxy must be written as user:password, on one line")
    return given


def password_of(user_and_password: str) -> str:
    """The password of `user:password`."""
    return user_and_password.partition(":")[2]


def _passwords(environment: Mapping[str, str]) -> Iterator[str]:
    """The passwords in proxy URLs."""
    for name, value in environment.items():
        if name.lower() in _PROXIES and "@" in value:
            password = password_of(value.partition("://")[2].rpartition("@")[0] or value.rpartition("@")[0])
            yield from {password, unquote(password)}


def _stripped(text: str) -> str:
    """Strip what editors and shells add around a text: blanks, line breaks, and invisible marks."""
    return text.strip().strip(_AROUND).strip()


def _named(char: str) -> str:
    if char in "\r\n":
        return "a line break"
    name = unicodedata.name(char, "").lower()
    return f"U+{ord(char):04X}" + (f" ({name})" if name else "")


def _secret(file: str, key: str) -> str:
    if not file:
        return ""
    try:
        return read_text(expanded(file, key), _LONGEST_SECRET)
    except OSError as error:
        raise ConfigurationError(f"{key}: {file} cannot be read: {error.strerror}") from None
