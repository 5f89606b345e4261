"""TOML, environment and flags as one frozen value; the defaults are in `sections`."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from batcher.core.address import is_loopback
from batcher.core.batch import Limits
from batcher.core.errors import ConfigurationError
from batcher.core.rate import Rate
from batcher.core.target import Target
from batcher.core.units import LONGEST, check_day_format, parse_day, parse_duration, parse_failures, parse_rate
from batcher.files import expanded, is_unicode
from batcher.sections import (
    AuthSettings,
    FeedSettings,
    GuardSettings,
    InputSettings,
    JobSettings,
    LedgerSettings,
    LimitSettings,
    RateSettings,
    RetrySettings,
    Section,
    SyncSettings,
    TargetSettings,
)
from batcher.small_files import read_text

_LEAST_BYTES = 16 * 1024
"""Enough for any single pair, even of the longest names."""
_GREATEST = 2**53
_MOST_CHANGES, _MOST_BYTES = 1_000_000, 1 << 30
"""Far more than any target accepts in one request, or a run could handle."""
MOST_IN_FLIGHT = 10_000
"""Requests; each has a task, a connection and a descriptor."""
_LAST_PORT = 65_535


class Settings(Section, frozen=True):
    """Everything that can be configured for a run."""

    target: TargetSettings = TargetSettings()
    auth: AuthSettings = AuthSettings()
    input: InputSettings = InputSettings()
    feed: FeedSettings = FeedSettings()
    sync: SyncSettings = SyncSettings()
    limits: LimitSettings = LimitSettings()
    rate: RateSettings = RateSettings()
    retry: RetrySettings = RetrySettings()
    guard: GuardSettings = GuardSettings()
    ledger: LedgerSettings = LedgerSettings()
    job: JobSettings = JobSettings()

    @classmethod
    def load(cls, file: Path | None = None, overrides: Mapping[str, Any] | None = None) -> Settings:
        """The file's settings, with `overrides` such as `{"rate.requests": "5/s"}` on top.

        Raises:
            ConfigurationError: When the file cannot be read, a key is unknown, or a value is invalid.

        """
        content: dict[str, Any] = {}
        if file is not None:
            try:
                content = msgspec.toml.decode(read_text(file))
            except OSError as error:
                raise ConfigurationError(f"{file}: cannot be read: {error.strerror}") from None
            except (
                msgspec.DecodeError,
                ValueError,
            ) as error:  # ValueError: Python's own, about an integer with too many digits
                raise ConfigurationError(f"{file}: {error}") from None
            except RecursionError:
                raise ConfigurationError(f"{file}: a value is nested too deeply") from None
        for key, value in (overrides or {}).items():
            section, _, name = key.partition(".")
            if not name or not isinstance(content.setdefault(section, {}), dict):
                raise ConfigurationError(f"invalid setting {key!r}; expected section.key")
            content[section][name] = value
        where = str(file) if file is not None else "settings"
        settings = cls._of(content, where)
        return settings.replace(
            target=_absolute(settings, "target", "ca_file", "client_cert", "client_key"),
            auth=_absolute(settings, "auth", "token_file", "client_secret_file", "proxy_file"),
            feed=_absolute(settings, "feed", "user_map", "group_map"),
            job=_absolute(settings, "job", "log_file", "metrics_file"),
        )

    @classmethod
    def _of(cls, content: Mapping[str, Any], where: str) -> Settings:
        for section, keys in content.items():
            _check_plain(section, keys)  # before the conversion, which may raise any error about invalid text
        try:
            settings = msgspec.convert(content, cls)
        except msgspec.ValidationError as error:
            raise ConfigurationError(f"{where}: {_explain(str(error))}") from None
        settings.check()
        return settings

    @classmethod
    def from_json(cls, text: str) -> Settings:
        """What `to_json` gave."""
        return msgspec.json.decode(text, type=cls)

    def to_json(self) -> str:
        """For the ledger; it contains no secrets."""
        return msgspec.json.encode(self).decode()

    def replace(self, **sections: Mapping[str, Any]) -> Settings:
        """The same settings with some keys changed: `replace(target={"url": …})`.

        Raises:
            ConfigurationError: When a key is unknown, or a value is invalid.

        """
        content = msgspec.to_builtins(self)
        for name, keys in sections.items():
            content[name] |= keys
        return self._of(content, "settings")

    def for_simulation(self, url: str = "http://localhost") -> Settings:
        """The same settings for the embedded server: MinApp's dialect and no rate, unless something else was set."""
        kind, rate = self.target.kind or "minapp", self.rate.requests or "none"
        plain = {"ca_file": "", "tls_fingerprint": "", "insecure": False, "client_cert": "", "client_key": ""}
        plain |= {"proxy": "none"}
        return self.replace(target={"kind": kind, "url": url, **plain}, rate={"requests": rate})

    def check(self) -> None:
        """Check that every value is valid.

        Raises:
            ConfigurationError: When one is not.

        """
        most = self.rate.max_in_flight
        bounds: dict[str, tuple[float | None, float, float]] = {
            "limits.max_users": (self.limits.max_users, 1, _MOST_CHANGES),
            "limits.max_groups": (self.limits.max_groups, 1, _MOST_CHANGES),
            "limits.max_ops": (self.limits.max_ops, 1, _MOST_CHANGES),
            "limits.max_changes": (self.limits.max_changes, 1, _MOST_CHANGES),
            "limits.max_bytes": (self.limits.max_bytes, _LEAST_BYTES, _MOST_BYTES),
            "limits.max_removals": (self.limits.max_removals, 1, _MOST_CHANGES),
            "rate.burst": (self.rate.burst, 1, _MOST_CHANGES),
            "rate.margin": (self.rate.margin, 0, 1),
            "rate.max_in_flight": (None if most == "auto" else most, 1, MOST_IN_FLIGHT),
            "retry.max_attempts": (self.retry.max_attempts, 1, _MOST_CHANGES),
            "retry.base_seconds": (self.retry.base_seconds, 0, LONGEST),
            "retry.max_seconds": (self.retry.max_seconds, 0, LONGEST),
            "retry.grace_seconds": (self.retry.grace_seconds, 0, LONGEST),
            "guard.max_removals": (self.guard.max_removals, 0, _GREATEST),
            "guard.max_additions": (self.guard.max_additions, 0, _GREATEST),
            "guard.removals_judged_from": (self.guard.removals_judged_from, 0, _GREATEST),
            "guard.look_alikes_judged_from": (self.guard.look_alikes_judged_from, 0, _GREATEST),
            "guard.groups_judged_from": (self.guard.groups_judged_from, 1, _GREATEST),
            "guard.canary": (self.guard.canary, 0, _GREATEST),
            "guard.after_refusals": (self.guard.after_refusals, 0, _GREATEST),
            "input.skip_rows": (self.input.skip_rows, 0, _MOST_CHANGES),
            "job.keep": (self.job.keep, 0, _GREATEST),
            "job.metrics_port": (self.job.metrics_port, 0, _LAST_PORT),
            "target.timeout_seconds": (self.target.timeout_seconds, 0.001, LONGEST),
        }
        for key, (value, least, greatest) in bounds.items():
            if value is not None and not least <= value <= greatest:  # NaN fails both comparisons
                raise ConfigurationError(f"{key} = {value} is out of range; expected {least:,} to {greatest:,}")
        if self.rate.margin >= 1:
            raise ConfigurationError("rate.margin must be a share below 1, such as 0.03")
        parse_duration(self.retry.max_wait)
        parse_duration(self.target.names_max_age)
        parse_rate(self.rate.changes)
        if self.rate.requests:
            parse_rate(self.rate.requests)
        if self.guard.max_failures:
            parse_failures(self.guard.max_failures)
        if self.guard.deadline:
            parse_duration(self.guard.deadline)
        self.guard.bounds()
        self.guard.demands(is_feed=True)
        if self.guard.settle:
            parse_duration(self.guard.settle)
        if self.feed.as_of:
            parse_day(self.feed.as_of)
        if self.feed.date_format:
            check_day_format(self.feed.date_format)
        self._check_texts()
        self._check_urls()

    def _check_texts(self) -> None:
        for section in self.__struct_fields__:
            _check_plain(section, msgspec.structs.asdict(getattr(self, section)))
        for key, path in (("sync.state", self.sync.state), ("ledger.path", self.ledger.path)):
            if path and not expanded(path, key).name and key == "sync.state":
                raise ConfigurationError(f"{key} = {path!r} is a folder; expected a file")
        delimiter = self.input.delimiter
        if len(delimiter) > 1 or not delimiter.isascii() or delimiter in set('"\r\n\0') - {""}:
            raise ConfigurationError(
                "input.delimiter must be a single ASCII character, not a quote or line break, such as ; or a tab"
            )
        if not (self.target.env.isascii() and self.target.env.isprintable()):
            raise ConfigurationError("target.env may contain only printable ASCII characters")
        fingerprint = self.target.tls_fingerprint.replace(":", "")
        if fingerprint and re.fullmatch("[0-9a-fA-F]{64}", fingerprint) is None:
            raise ConfigurationError(
                f"target.tls_fingerprint must be a SHA-256 of 64 hexadecimal digits, but these are {len(fingerprint)}"
                " characters (to print it: openssl x509 -noout -fingerprint -sha256 -in FILE)"
            )

    def _check_urls(self) -> None:
        for key, text in (("target.url", self.target.url), ("auth.token_url", self.auth.token_url)):
            if text:
                self._check_url(key, text)

    def _check_url(self, key: str, text: str) -> None:
        if "@" in text:
            raise ConfigurationError(f"{key} must not contain credentials; use BATCHER_TOKEN or auth.token_file")
        if re.fullmatch(r"https?://[!-~]+", text) is None or set("?#") & set(text):
            shown = re.sub(r"(?s)(?<=[?#]).+", "***", text)  # a query may contain a token
            raise ConfigurationError(f"invalid {key} {shown!r}; expected https://host")
        try:
            url = urlsplit(text)
            has_host = bool(url.hostname) and (url.port is None or url.port > 0)
            (url.hostname or "").encode("idna")  # as for resolving it; fails if a label is empty or too long
        except ValueError as error:
            raise ConfigurationError(f"invalid {key} {text!r}: {error}") from None
        if not has_host:
            raise ConfigurationError(f"{key} {text!r} has no host; expected https://host")
        if url.scheme == "http" and not is_loopback(url.hostname or "") and not self.target.insecure:
            raise ConfigurationError(
                f"{key} {text} would send the credentials unencrypted; use https (or set target.insecure = true)"
            )

    def limits_for(self, target: Target) -> Limits:
        """The bounds of one request to this target.

        Raises:
            ConfigurationError: When one is set that has no meaning for this target.

        """
        given = {key: value for key, value in msgspec.structs.asdict(self.limits).items() if value is not None}
        for key in given.keys() & target.meaningless_limits:
            raise ConfigurationError(f"limits.{key} does not apply to {target.name}; remove it")
        limits = Limits(**{name: given.get(name, getattr(target.limits, name)) for name in Limits.__dataclass_fields__})
        changes = parse_rate(self.rate.changes)
        if changes is not None and changes.count < limits.max_changes:
            # A request with more changes than the rate allows per unit could never be sent.
            limits = replace(limits, max_changes=changes.count)
        return limits

    def requests_rate(self, target: Target) -> Rate | None:
        """The maximum request rate; None for no bound."""
        return parse_rate(self.rate.requests or target.default_rate)


def _absolute(settings: Settings, section: str, *names: str) -> dict[str, str]:
    """Files of a section as absolute paths, so that `resume` finds them from any folder."""
    files = {name: getattr(getattr(settings, section), name) for name in names}
    return {name: str(expanded(file, f"{section}.{name}").absolute()) if file else "" for name, file in files.items()}


def _check_plain(section: str, keys: object) -> None:
    """Check that every text in a section is valid Unicode without NUL."""
    for key, value in keys.items() if isinstance(keys, dict) else [("", keys)]:
        if any("\0" in text or not is_unicode(text) for text in (section, key, *_texts(value))):
            name = f"{section}.{key}".rstrip(".")
            shown = name if is_unicode(name) else ascii(name)
            raise ConfigurationError(f"{shown} contains a NUL or invalid text; write it as UTF-8")


def _texts(value: object) -> Iterator[str]:
    """Every text in a value of the configuration."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.items():
            yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)


def _explain(message: str) -> str:
    """Msgspec's message, with the most similar known key."""
    match = re.search(r"unknown field `([^`]*)`(?: - at `\$\.?([^`]*)`)?", message)
    if match is None:
        return message.replace("$.", "")
    key, section = match[1], match[2] or ""
    owner = type(getattr(Settings(), section)) if section else Settings
    known = list(owner.__struct_fields__)
    near = difflib.get_close_matches(key, known, 1, 0.4)
    hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(known)}"
    return f"unknown key {section + '.' if section else ''}{key}; {hint}"
