"""What the options of a command say, as settings and as the plain values that jobs ask for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from batcher.cli.console import set_up

if TYPE_CHECKING:
    from batcher.engine.preview.guardrails import Override
    from batcher.engine.sync.goal import Goal
    from batcher.settings import Settings

_KEYS = {
    "target": "target.kind",
    "url": "target.url",
    "names": "target.names",
    "verify_after": "target.verify_after",
    "skip_unchanged": "target.skip_unchanged",
    "rate": "rate.requests",
    "max_in_flight": "rate.max_in_flight",
    "max_failures": "guard.max_failures",
    "deadline": "guard.deadline",
    "after_refusals": "guard.after_refusals",
    "canary": "guard.canary",
    "max_removals": "guard.max_removals",
    "max_additions": "guard.max_additions",
    "protect_user": "guard.protected_users",
    "protect_group": "guard.protected_groups",
    "max_removal_share": "guard.max_removal_share",
    "max_group_share": "guard.max_group_share",
    "max_addition_share": "guard.max_addition_share",
    "max_look_alikes": "guard.max_look_alikes",
    "unread_lines": "guard.unread_lines",
    "open_end": "guard.open_end",
    "settle": "guard.settle",
    "min_age": "guard.min_age",
    "max_age": "guard.max_age",
    "done_file": "guard.done_file",
    "trailer": "guard.trailer",
    "expect_rows": "guard.expect_rows",
    "max_shrink": "guard.max_shrink",
    "max_rejected_share": "guard.max_rejected_share",
    "empty_feed": "guard.empty_feed",
    "state": "sync.state",
    "master_group": "sync.master_groups",
    "master_user": "sync.master_users",
    "changes": "sync.changes",
    "order": "sync.order",
    "group_for_all": "feed.groups",
    "group_separator": "feed.group_separator",
    "user_map": "feed.user_map",
    "group_map": "feed.group_map",
    "valid_from": "feed.valid_from",
    "valid_to": "feed.valid_to",
    "date_format": "feed.date_format",
    "as_of": "feed.as_of",
    "log_file": "job.log_file",
    "metrics_file": "job.metrics_file",
    "metrics_port": "job.metrics_port",
    "traces": "job.traces",
    "run_after": "job.run_after",
    "keep": "job.keep",
    "max_wait": "retry.max_wait",
    "map_": "input.map",
    "format_": "input.format",
    "delimiter": "input.delimiter",
    "encoding": "input.encoding",
    "sheet": "input.sheet",
    "skip_rows": "input.skip_rows",
    "odd_names": "input.odd_names",
    "where": "input.where",
    "strict": "input.strict",
    "ordered": "input.ordered",
    "ledger": "ledger.path",
}
"""The setting that each flag changes."""


def is_of_environment(name: str) -> bool:
    """Whether this option of the current command came from the environment and not from the command line."""
    source = click.get_current_context().get_parameter_source(name)
    return source is click.core.ParameterSource.ENVIRONMENT


@dataclass(frozen=True, slots=True)
class Speaking:
    """How a command reports."""

    json: bool
    quiet: bool
    verbose: bool
    no_color: bool

    def set_up(self) -> None:
        """Set up where and how the command reports."""
        set_up(quiet=self.quiet, verbose=self.verbose, no_color=self.no_color)


@dataclass(frozen=True, slots=True)
class OverrideFlags:
    """Which guardrails are overridden in this run, and why."""

    override: tuple[str, ...]
    reason: str

    def parsed(self) -> Override:
        """The override.

        Raises:
            ConfigurationError: When a guardrail is unknown, or there is no reason.

        """
        from batcher.engine.preview.guardrails import Override

        return Override.of([name.strip() for text in self.override for name in text.split(",")], self.reason)


@dataclass(frozen=True, slots=True)
class Baseline:
    """What a feed is compared with, besides a state."""

    current: tuple[Path, ...]
    current_from_target: bool
    bootstrap: bool
    from_nothing: bool

    @property
    def is_given(self) -> bool:
        """Whether a feed is compared with anything but a state."""
        return bool(self.current or self.current_from_target or self.bootstrap)

    def goal(self, feed: Sequence[Path], settings: Settings) -> Goal:
        """What a sync is to bring about.

        Raises:
            ConfigurationError: When the flags do not state what the state is created from.

        """
        from batcher.core.errors import ConfigurationError
        from batcher.engine.sync.goal import Goal
        from batcher.files import expanded

        if self.bootstrap and bool(self.current) + self.current_from_target + self.from_nothing != 1:
            raise ConfigurationError(
                "--bootstrap needs exactly one of --current SNAPSHOT, --current-from-target and --from-nothing to"
                " create the state from"
            )
        if self.from_nothing and not self.bootstrap:
            raise ConfigurationError("--from-nothing needs --bootstrap, which creates the state")
        state = expanded(settings.sync.state, "sync.state") if settings.sync.state else None
        return Goal(feed, state, self.current, self.bootstrap, self.current_from_target)


def load_settings(config: Path | None, flags: Mapping[str, Any]) -> Settings:
    """The configuration with the flags on top; None and False mean that a flag was not given.

    Raises:
        ConfigurationError: When they cannot be used.

    """
    from batcher.settings import Settings

    return Settings.load(config, overrides(flags))


def overrides(flags: Mapping[str, Any]) -> dict[str, Any]:
    """Flags that were given as settings: `{"rate.requests": "5/s"}`.

    Raises:
        ConfigurationError: When one is invalid.

    """
    given = {name: value for name, value in flags.items() if value is not None and value is not False and value != ()}
    given |= {name: list(value) for name, value in given.items() if isinstance(value, tuple)}
    with suppress(ValueError):  # `auto`, or a value that is refused later, as a setting
        given["max_in_flight"] = int(given.get("max_in_flight", ""))
    only = [name.removesuffix("_only") for name in ("add_only", "remove_only") if given.pop(name, False)]
    if len(only) > 1:
        from batcher.core.errors import ConfigurationError

        raise ConfigurationError("--add-only and --remove-only together leave nothing to do; use only one of them")
    if only:
        given["changes"] = only[0]
    if "map_" in given:
        given["map_"] = _mapping(given["map_"])
    return {_KEYS[name]: value for name, value in given.items()}


def _mapping(text: str) -> dict[str, str]:
    """`user=EmpID,group=Dept` as a table."""
    from batcher.core.errors import ConfigurationError

    pairs = [part.partition("=") for part in text.split(",")]
    for name, equals, column in pairs:
        if not (name and equals and column):
            raise ConfigurationError(f"--map {text!r}: expected a form like user=EmpID,group=Dept,op=Action")
    return {name.strip(): column.strip() for name, _, column in pairs}
