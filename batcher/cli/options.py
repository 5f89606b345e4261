"""The options that several commands share, and how they become settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from batcher.engine.preview.guardrails import Override
    from batcher.engine.sync.sync import Goal
    from batcher.settings import Settings

_SHOWN = 60
F = TypeVar("F", bound=Callable[..., Any])
FILE = click.Path(path_type=Path)
NAME = click.Path()
"""A file's name as it was given: `-` is one, too."""


class Text(click.types.StringParamType):
    """Text, and no bytes that are none: those come from a shell as halves of characters (PEP 383)."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:  # noqa: ANN401 — as of click
        """The same text."""
        text: str = super().convert(value, param, ctx)
        try:
            text.encode()
        except UnicodeEncodeError:
            self.fail(f"{text[:_SHOWN]!r} is no text; write it as UTF-8", param, ctx)
        return text


def together(*options: Callable[[F], F]) -> Callable[[F], F]:
    """Several options as one decorator, in the order in which the help shows them."""

    def add(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return add


files = click.argument("files", nargs=-1, required=True, type=NAME, metavar="FILE…")
files_or_plan = click.argument("files", nargs=-1, type=NAME, metavar="FILE…")
ledger = click.argument("ledger", type=FILE, metavar="LEDGER")

target = together(
    click.option("--config", "-c", type=FILE, envvar="BATCHER_CONFIG", help="Configuration file (TOML)."),
    click.option("--target", envvar="BATCHER_TARGET", metavar="KIND", help="minapp or scrutinizer."),
    click.option("--url", envvar="BATCHER_URL", metavar="URL", help="The target's address."),
)
reaching = together(
    click.option("--config", "-c", type=FILE, envvar="BATCHER_CONFIG", help="For certificates and credentials (TOML)."),
    click.option("--url", metavar="URL", help="The same target's address, where it has another one by now."),
)
simulate = click.option(
    "--simulate", is_flag=True, help="Start the embedded server for this run and use it; needs no account."
)
ledger_path = click.option(
    "--ledger",
    envvar="BATCHER_LEDGER",
    metavar="PATH",
    help="File or folder (with a / at its end) for the ledger; default: beside the input.",
)
rate = click.option(
    "--rate", envvar="BATCHER_RATE", metavar="RATE", help="Requests per unit: 50/min, 5/s, 1000/h, none."
)
max_in_flight = click.option("--max-in-flight", envvar="BATCHER_MAX_IN_FLIGHT", metavar="N", help="A number, or auto.")
sending = together(
    rate,
    max_in_flight,
    click.option(
        "--max-failures",
        envvar="BATCHER_MAX_FAILURES",
        metavar="N|N%",
        help="Stop beyond so many failures: 100, or 5% (of what is settled, from 1,000 on).",
    ),
    click.option(
        "--after-refusals",
        type=click.IntRange(min=0),
        metavar="N",
        help="Once N changes of a user or group were refused, and none accepted, do not ask about its others.",
    ),
    click.option("--deadline", envvar="BATCHER_DEADLINE", metavar="TIME", help="Stop after so long: 2h, 30m."),
    click.option(
        "--max-wait",
        envvar="BATCHER_MAX_WAIT",
        metavar="TIME",
        help="Stop when no request was accepted for so long; default 15m.",
    ),
)
reading = together(
    click.option("--map", "map_", metavar="NAME=COLUMN,…", help="Other column names: user=EmpID,group=Dept,op=Action."),
    click.option(
        "--format", "format_", metavar="KIND", help="csv, jsonl or json, where the file's name does not tell."
    ),
    click.option("--delimiter", metavar="CHAR", help="Of CSV; default: the header tells (comma, semicolon, tab)."),
    click.option("--encoding", metavar="NAME", help="Default UTF-8, or UTF-16 with its mark; windows-1252, …."),
    click.option("--sheet", metavar="NAME", help="Of a spreadsheet; default the first that can be seen."),
    click.option(
        "--names", metavar="WORD", help="Names that look alike are one for the target (folded), or several (exact)."
    ),
    click.option("--odd-names", type=click.Choice(["reject", "allow"]), help="With what nobody sees; default reject."),
    click.option("--skip-rows", type=click.IntRange(min=0), metavar="N", help="Lines before the header of a CSV."),
    click.option(
        "--where",
        multiple=True,
        metavar="COLUMN=PATTERN",
        help="Only records whose column matches (* and ?), or does not: EmpID!=Total*. All of several must hold.",
    ),
    click.option("--strict", is_flag=True, help="Read everything first; send nothing if one line is invalid."),
    click.option("--ordered", is_flag=True, help="Send strictly in input order, one request in flight."),
)
_count = click.IntRange(min=0)
guarding = together(
    click.option("--max-removals", type=_count, metavar="N", help="Send nothing if more would be removed."),
    click.option("--max-additions", type=_count, metavar="N", help="Send nothing if more would be added."),
    click.option("--protect-user", multiple=True, metavar="PATTERN", help="Send nothing if such a user is touched."),
    click.option("--protect-group", multiple=True, metavar="PATTERN", help="Send nothing if such a group is touched."),
    click.option("--override", multiple=True, metavar="NAME,…", help="Guardrails that do not stop this one run."),
    click.option("--reason", default="", metavar="TEXT", help="Why; it stands in the ledger."),
)
arriving = together(
    click.option("--settle", metavar="TIME", help="Look twice, so far apart: 10s; a file that moves is not taken."),
    click.option("--min-age", metavar="TIME", help="Files that were written later than so long ago are not taken."),
    click.option("--max-age", metavar="TIME", help="Nor those that are older: 26h for a nightly one."),
    click.option("--done-file", metavar="NAME", help="Must be beside each, and not older: {name}.done."),
    click.option("--trailer", metavar="TEXT", help="How the last line counts the records: 'Total: {rows}'."),
    click.option("--expect-rows", metavar="N..M", help="So many records: 1200, 1000..1500, 1000.., ..1500."),
)
canary = click.option("--canary", type=_count, metavar="N", help="Send N changes first; go on if all are applied.")
feed_guarding = together(
    click.option("--max-removal-share", metavar="N%", help="Of what is in force, from 21 pairs on; default 10%."),
    click.option("--max-group-share", metavar="N%", help="Of a group of 20 or more to be removed; default 50%."),
    click.option("--max-addition-share", metavar="N%", help="On top of what is in force; default 50%."),
    click.option("--max-look-alikes", metavar="N%", help="Pairs held because others look like them; default 5%."),
    click.option("--unread-lines", metavar="WORD", help="Lines that may be of anybody: hold removals, or allow."),
    click.option("--max-shrink", metavar="N%", help="Shorter than the last good feed; default 20%."),
    click.option("--max-rejected-share", metavar="N%", help="Of the feed's lines that are invalid; default 1%."),
    click.option(
        "--open-end", type=click.Choice(["refuse", "allow"]), help="A last line without an end; default refuse."
    ),
    click.option("--empty-feed", type=click.Choice(["refuse", "allow"]), help="Default refuse."),
)
comparing = together(
    click.option("--state", metavar="FILE", help="What is known of the target, from night to night."),
    click.option("--current", type=FILE, multiple=True, metavar="FILE", help="A snapshot of the target's pairs."),
    click.option("--bootstrap", is_flag=True, help="Make the state, from --current or --from-nothing."),
    click.option("--from-nothing", is_flag=True, help="The target has no members yet that the feed is master of."),
)
meaning = together(
    click.option("--group-for-all", multiple=True, metavar="GROUP", help="A group of every user of the feed."),
    click.option("--group-separator", metavar="TEXT", help="Between several groups in one field."),
    click.option("--user-map", metavar="FILE", help="CSV: what the feed calls a user, what the target does."),
    click.option("--group-map", metavar="FILE", help="The same for groups; several lines, several groups."),
    click.option("--valid-from", metavar="COLUMN", help="The first day of a record; default valid_from."),
    click.option("--valid-to", metavar="COLUMN", help="The last day of a record; default valid_to."),
    click.option("--date-format", metavar="FORMAT", help="As of strptime: %d.%m.%Y; default ISO 8601."),
    click.option("--as-of", metavar="DAY", help="Instead of today: 2026-11-22."),
)
scope = together(
    click.option("--master-group", multiple=True, metavar="PATTERN", help="Remove from these groups only."),
    click.option("--master-user", multiple=True, metavar="PATTERN", help="Remove these users only."),
    click.option("--add-only", is_flag=True, help="Remove nobody."),
    click.option("--remove-only", is_flag=True, help="Add nobody."),
    click.option("--order", type=click.Choice(["adds-first", "removals-first"]), help="Default adds-first."),
)
despite_later_runs = click.option(
    "--despite-later-runs", is_flag=True, help="Go on although a newer run worked on the same target."
)
unattended = together(
    click.option("--log-file", metavar="FILE", help="JSON lines of what happened, batch by batch; is added to."),
    click.option("--metrics-file", metavar="FILE", help="For Prometheus' textfile collector: a name ending in .prom."),
    click.option(
        "--metrics-port", type=click.IntRange(1, 65535), metavar="N", help="Serve them meanwhile, on 127.0.0.1."
    ),
    click.option("--traces", is_flag=True, help="Spans for OpenTelemetry, to where OTEL_EXPORTER_OTLP_ENDPOINT says."),
    click.option("--run-after", metavar="COMMAND", help="Run at the end, with the summary on its standard input."),
)
plan_file = click.option("--plan", type=FILE, metavar="FILE", help="Refuse if anything has changed since this plan.")
json = click.option("--json", is_flag=True, help="One JSON object on standard output, nothing else.")
quiet = click.option("--quiet", "-q", is_flag=True, help="Only errors and the summary.")
speaking = together(
    json,
    quiet,
    click.option("--verbose", "-v", is_flag=True, help="Say more about what happens."),
    click.option("--no-color", is_flag=True, help="No colours; NO_COLOR in the environment does the same."),
)

_KEYS = {
    "target": "target.kind",
    "url": "target.url",
    "names": "target.names",
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
"""Which setting a flag changes."""


def is_of_environment(name: str) -> bool:
    """Whether the present command's option was not given, but found in the environment."""
    source = click.get_current_context().get_parameter_source(name)
    return source is click.core.ParameterSource.ENVIRONMENT


def goal_of(
    feed: Sequence[Path], settings: Settings, current: Sequence[Path], *, bootstrap: bool, from_nothing: bool
) -> Goal:
    """What a sync is to bring about.

    Raises:
        ConfigurationError: When it is not said what the state is made from.

    """
    from batcher.core.errors import ConfigurationError
    from batcher.engine.sync.sync import Goal
    from batcher.files import expanded

    if bootstrap and bool(current) is from_nothing:
        raise ConfigurationError("--bootstrap makes the state from something: --current SNAPSHOT, or --from-nothing")
    if from_nothing and not bootstrap:
        raise ConfigurationError("--from-nothing belongs to --bootstrap, which makes the state")
    state = expanded(settings.sync.state, "sync.state") if settings.sync.state else None
    return Goal(feed, state, current, bootstrap)


def override_of(names: Sequence[str], reason: str) -> Override:
    """Which guardrails do not stop this run.

    Raises:
        ConfigurationError: When there is no such guardrail, or no reason.

    """
    from batcher.engine.preview.guardrails import Override

    return Override.of([name.strip() for text in names for name in text.split(",")], reason)


def load_settings(config: Path | None, flags: Mapping[str, Any]) -> Settings:
    """The configuration with the flags on top; None and False are no flags.

    Raises:
        ConfigurationError: When they cannot be used.

    """
    from batcher.settings import Settings

    return Settings.load(config, overrides(flags))


def overrides(flags: Mapping[str, Any]) -> dict[str, Any]:
    """Flags that were given as settings: `{"rate.requests": "5/s"}`.

    Raises:
        ConfigurationError: When one cannot be understood.

    """
    given = {name: value for name, value in flags.items() if value is not None and value is not False and value != ()}
    given |= {name: list(value) for name, value in given.items() if isinstance(value, tuple)}
    with suppress(ValueError):  # `auto`, or what is refused as a setting
        given["max_in_flight"] = int(given.get("max_in_flight", ""))
    only = [name.removesuffix("_only") for name in ("add_only", "remove_only") if given.pop(name, False)]
    if len(only) > 1:
        from batcher.core.errors import ConfigurationError

        raise ConfigurationError("--add-only and --remove-only together leave nothing to do; give one of them")
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
            raise ConfigurationError(f"--map {text!r}: write user=EmpID,group=Dept,op=Action")
    return {name.strip(): column.strip() for name, _, column in pairs}
