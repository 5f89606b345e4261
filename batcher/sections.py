"""The sections of the configuration, each key with its default."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Literal

import msgspec

from batcher.core.errors import ConfigurationError
from batcher.core.guardrails import Bounds
from batcher.core.retry import RetryPolicy
from batcher.core.units import parse_duration, parse_share
from batcher.core.wholeness import NAME, ROWS, Demands, ExpectedRows


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A table of the configuration; unknown keys are errors."""


class TargetSettings(Section, frozen=True):
    """Where the changes go."""

    kind: str = ""
    url: str = ""
    env: str = ""
    profile: str = ""
    query: dict[str, str] = {}
    bulk: bool = False
    names_of_users: str = ""
    names_of_groups: str = ""
    names_max_age: str = "7d"
    readable: bool = False
    skip_unchanged: bool = False
    verify_after: Literal["none", "sample", "all"] = "none"
    repeats: Literal["accepted", "refused"] = "accepted"
    order_by: Literal["pair", "group"] = "pair"
    names: Literal["unsure", "folded", "exact"] = "unsure"
    ca_file: str = ""
    tls_fingerprint: str = ""
    insecure: bool = False
    client_cert: str = ""
    client_key: str = ""
    proxy: str = ""
    timeout_seconds: float = 60.0


class AuthSettings(Section, frozen=True):
    """Where the credentials are; the secrets themselves are never in the configuration."""

    token_file: str = ""
    client_id: str = ""
    client_secret_file: str = ""
    token_url: str = ""
    scope: str = ""
    proxy_file: str = ""


class InputSettings(Section, frozen=True):
    """How files are read, and in which order changes are sent."""

    format: str = ""
    delimiter: str = ""
    encoding: str = ""
    sheet: str = ""
    skip_rows: int = 0
    where: list[str] = []
    map: dict[str, str] = {}
    odd_names: Literal["reject", "allow"] = "reject"
    strict: bool = False
    ordered: bool = False


class FeedSettings(Section, frozen=True):
    """What the records of a feed mean."""

    groups: list[str] = []
    group_separator: str = ""
    user_map: str = ""
    group_map: str = ""
    valid_from: str = "valid_from"
    valid_to: str = "valid_to"
    date_format: str = ""
    as_of: str = ""


class SyncSettings(Section, frozen=True):
    """How a target is made to match a feed."""

    state: str = ""
    master_groups: list[str] = []
    master_users: list[str] = []
    changes: Literal["both", "add", "remove"] = "both"
    order: Literal["adds-first", "removals-first"] = "adds-first"


class LimitSettings(Section, frozen=True):
    """Bounds of one request; by default the target's own, which are cautious."""

    max_users: int | None = None
    max_groups: int | None = None
    max_ops: int | None = None
    max_changes: int | None = None
    max_bytes: int | None = None
    max_removals: int | None = None


class RateSettings(Section, frozen=True):
    """How fast to send; an empty `requests` means the target's cautious default."""

    requests: str = ""
    changes: str = "none"
    burst: int = 1
    margin: float = 0.03
    max_in_flight: int | Literal["auto"] = "auto"


class RetrySettings(Section, frozen=True):
    """How often and how long to retry."""

    max_attempts: int = 8
    base_seconds: float = 0.5
    max_seconds: float = 60.0
    grace_seconds: float = 30.0
    max_wait: str = "15m"

    def policy(self, rng: Callable[[], float]) -> RetryPolicy:
        """The same as delays; `rng` gives floats in [0, 1)."""
        patience = parse_duration(self.max_wait)
        return RetryPolicy(self.max_attempts, self.base_seconds, self.max_seconds, patience, rng)


class GuardSettings(Section, frozen=True):
    """When to refuse or to stop."""

    max_failures: str = ""
    deadline: str = ""
    canary: int = 0
    after_refusals: int = 0
    max_removals: int | None = None
    max_additions: int | None = None
    protected_users: list[str] = []
    protected_groups: list[str] = []
    empty_feed: Literal["refuse", "allow"] = "refuse"
    max_shrink: str = "20%"
    max_removal_share: str = "10%"
    removals_judged_from: int = 20
    max_group_share: str = "50%"
    groups_judged_from: int = 20
    max_addition_share: str = "50%"
    max_rejected_share: str = "1%"
    unread_lines: Literal["hold", "allow"] = "hold"
    max_look_alikes: str = "5%"
    look_alikes_judged_from: int = 20
    max_drift: str = "20%"
    drift_judged_from: int = 20
    settle: str = ""
    min_age: str = ""
    max_age: str = ""
    done_file: str = ""
    trailer: str = ""
    expect_rows: str = ""
    open_end: Literal["refuse", "allow"] = "refuse"

    def demands(self, *, is_feed: bool) -> Demands:
        """What input files must fulfil; stricter for a feed, where a truncated line may remove somebody.

        Raises:
            ConfigurationError: When a value is invalid.

        """
        if self.trailer and self.trailer.count(ROWS) != 1:
            raise ConfigurationError(
                f"guard.trailer {self.trailer!r} must contain {ROWS} once, for the number of records"
            )
        if re.search("[{}]", self.done_file.replace(NAME, "")):
            raise ConfigurationError(
                f"guard.done_file {self.done_file!r} may contain no braces but {NAME}, for the file's name"
            )
        return Demands(
            min_age=parse_duration(self.min_age) if self.min_age else 0.0,
            max_age=parse_duration(self.max_age) if self.max_age else None,
            rows=ExpectedRows.parse(self.expect_rows) if self.expect_rows else None,
            trailer=self.trailer,
            done_file=self.done_file,
            takes_open_end=not is_feed or self.open_end == "allow",
            takes_uploads=not is_feed,
        )

    def bounds(self) -> Bounds:
        """What the guardrails allow.

        Raises:
            ConfigurationError: When a share is invalid.

        """
        return Bounds(
            empty_feed=self.empty_feed == "allow",
            shrink=parse_share(self.max_shrink),
            removal_share=parse_share(self.max_removal_share),
            removals_from=self.removals_judged_from,
            group_share=parse_share(self.max_group_share),
            groups_from=self.groups_judged_from,
            addition_share=parse_share(self.max_addition_share),
            rejected_share=parse_share(self.max_rejected_share),
            look_alikes=parse_share(self.max_look_alikes),
            drift=parse_share(self.max_drift),
            drift_from=self.drift_judged_from,
            look_alikes_from=self.look_alikes_judged_from,
            removals=self.max_removals,
            additions=self.max_additions,
        )


class LedgerSettings(Section, frozen=True):
    """Where the ledger goes."""

    path: str = ""


class JobSettings(Section, frozen=True):
    """For unattended jobs."""

    log_file: str = ""
    metrics_file: str = ""
    metrics_port: int = 0
    traces: bool = False
    run_after: str = ""
    keep: int = 0
