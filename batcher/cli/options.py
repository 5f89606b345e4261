"""The options that several commands share."""

from __future__ import annotations

import click

from batcher.cli.flags import Baseline, OverrideFlags, Speaking
from batcher.cli.option_types import FILE, NAME, gathered, together

files = click.argument("files", nargs=-1, required=True, type=NAME, metavar="FILE…")
files_or_plan = click.argument("files", nargs=-1, type=NAME, metavar="FILE…")
ledger = click.argument("ledger", type=FILE, metavar="LEDGER")

target = together(
    click.option("--config", "-c", type=FILE, envvar="BATCHER_CONFIG", help="Configuration file (TOML)."),
    click.option("--target", envvar="BATCHER_TARGET", metavar="KIND", help="Target API: minapp, scrutinizer or scim."),
    click.option("--url", envvar="BATCHER_URL", metavar="URL", help="Address of the target."),
)
reaching = together(
    click.option(
        "--config",
        "-c",
        type=FILE,
        envvar="BATCHER_CONFIG",
        help="Configuration file for certificates and credentials (TOML).",
    ),
    click.option("--url", metavar="URL", help="New address of the same target, if it has changed."),
)
simulate = click.option(
    "--simulate", is_flag=True, help="Send to an embedded server that is started for this run; needs no account."
)
ledger_path = click.option(
    "--ledger",
    envvar="BATCHER_LEDGER",
    metavar="PATH",
    help="Ledger file, or a folder for it (ending in /); default: next to the input.",
)
skip_unchanged = click.option(
    "--skip-unchanged", is_flag=True, help="Read the groups at the target first, and send only what is not so already."
)
rate = click.option(
    "--rate", envvar="BATCHER_RATE", metavar="RATE", help="Maximum request rate: 50/min, 5/s, 1000/h, or none."
)
max_in_flight = click.option(
    "--max-in-flight",
    envvar="BATCHER_MAX_IN_FLIGHT",
    metavar="N",
    help="Maximum number of requests in flight, or auto.",
)
sending = together(
    rate,
    max_in_flight,
    click.option(
        "--verify-after",
        type=click.Choice(["none", "sample", "all"]),
        help="Read back at the target what was changed: some groups, or all; default: none.",
    ),
    click.option(
        "--max-failures",
        envvar="BATCHER_MAX_FAILURES",
        metavar="N|N%",
        help="Stop after more than this many failures: 100, or 5% (of settled changes, checked from 1,000 on).",
    ),
    click.option(
        "--after-refusals",
        type=click.IntRange(min=0),
        metavar="N",
        help="Once N changes of a user or group were refused and none accepted, fail its others without sending them.",
    ),
    click.option(
        "--deadline", envvar="BATCHER_DEADLINE", metavar="TIME", help="Stop the run after this long: 2h, 30m."
    ),
    click.option(
        "--max-wait",
        envvar="BATCHER_MAX_WAIT",
        metavar="TIME",
        help="Stop when no request has been accepted for this long; default 15m.",
    ),
)
reading = together(
    click.option("--map", "map_", metavar="NAME=COLUMN,…", help="Columns to read: user=EmpID,group=Dept,op=Action."),
    click.option(
        "--format",
        "format_",
        metavar="KIND",
        help="Input format, if the file name does not show it: csv, jsonl or json.",
    ),
    click.option(
        "--delimiter", metavar="CHAR", help="CSV delimiter; default: comma, semicolon or tab, as found in the header."
    ),
    click.option(
        "--encoding",
        metavar="NAME",
        help="Text encoding, e.g. windows-1252; default: UTF-8, or UTF-16 with a byte order mark.",
    ),
    click.option("--sheet", metavar="NAME", help="Sheet to read from a spreadsheet; default: the first visible one."),
    click.option(
        "--names",
        metavar="WORD",
        help="Whether look-alike names are the same for the target (folded) or different (exact); default: unsure.",
    ),
    click.option(
        "--odd-names",
        type=click.Choice(["reject", "allow"]),
        help="What to do with names that contain invisible or lost characters; default: reject.",
    ),
    click.option(
        "--skip-rows", type=click.IntRange(min=0), metavar="N", help="Lines to skip before the header of a CSV file."
    ),
    click.option(
        "--where",
        multiple=True,
        metavar="COLUMN=PATTERN",
        help="Only read records whose column matches (* and ?), or does not: EmpID!=Total*. Repeatable; all must hold.",
    ),
    click.option("--strict", is_flag=True, help="Read all input first; send nothing if any line is invalid."),
    click.option("--ordered", is_flag=True, help="Send strictly in input order, one request in flight."),
)
_count = click.IntRange(min=0)
guarding = together(
    click.option(
        "--max-removals", type=_count, metavar="N", help="Send nothing if more than N pairs would be removed."
    ),
    click.option("--max-additions", type=_count, metavar="N", help="Send nothing if more than N pairs would be added."),
    click.option(
        "--protect-user", multiple=True, metavar="PATTERN", help="Send nothing if a change affects a matching user."
    ),
    click.option(
        "--protect-group", multiple=True, metavar="PATTERN", help="Send nothing if a change affects a matching group."
    ),
    gathered(
        "override",
        OverrideFlags,
        click.option(
            "--override",
            multiple=True,
            metavar="NAME,…",
            help="Guardrails to override for this one run; needs --reason.",
        ),
        click.option("--reason", default="", metavar="TEXT", help="Reason for --override; recorded in the ledger."),
    ),
)
arriving = together(
    click.option("--settle", metavar="TIME", help="Refuse a file that changes between two checks this far apart: 10s."),
    click.option("--min-age", metavar="TIME", help="Refuse a file that was written less than this long ago: 5m."),
    click.option(
        "--max-age", metavar="TIME", help="Refuse a file that was written longer ago than this: 26h for a nightly one."
    ),
    click.option(
        "--done-file",
        metavar="NAME",
        help="Require a marker file next to each input, and not older than it: {name}.done.",
    ),
    click.option(
        "--trailer", metavar="TEXT", help="Require a last line that states the number of records: 'Total: {rows}'."
    ),
    click.option(
        "--expect-rows", metavar="N..M", help="Require this number of records: 1200, 1000..1500, 1000.., ..1500."
    ),
)
canary = click.option(
    "--canary", type=_count, metavar="N", help="Send N changes first; continue only if all of them are applied."
)
feed_guarding = together(
    click.option(
        "--max-removal-share",
        metavar="N%",
        help="Maximum share of current memberships to remove (checked above 20 removals); default 10%.",
    ),
    click.option(
        "--max-group-share",
        metavar="N%",
        help="Maximum share of members to remove from any group of 20 or more; default 50%.",
    ),
    click.option(
        "--max-addition-share",
        metavar="N%",
        help="Maximum number of additions, as a share of current memberships; default 50%.",
    ),
    click.option(
        "--max-look-alikes",
        metavar="N%",
        help="Maximum share of pairs held back because of look-alike names; default 5%.",
    ),
    click.option(
        "--unread-lines",
        metavar="WORD",
        help="If an invalid line does not show whose it is: hold all removals (default), or allow them.",
    ),
    click.option("--max-shrink", metavar="N%", help="Maximum decrease in pairs since the last good feed; default 20%."),
    click.option("--max-rejected-share", metavar="N%", help="Maximum share of invalid lines in the feed; default 1%."),
    click.option(
        "--open-end",
        type=click.Choice(["refuse", "allow"]),
        help="A feed whose last line is unterminated; default: refuse.",
    ),
    click.option(
        "--empty-feed",
        type=click.Choice(["refuse", "allow"]),
        help="An empty feed, or an empty file of it; default: refuse.",
    ),
)
comparing = together(
    click.option("--state", metavar="FILE", help="State file: what is known of the target between runs."),
    gathered(
        "baseline",
        Baseline,
        click.option(
            "--current", type=FILE, multiple=True, metavar="FILE", help="Snapshot of the target's current pairs."
        ),
        click.option(
            "--current-from-target", is_flag=True, help="Read the current pairs at the target, where that is possible."
        ),
        click.option("--bootstrap", is_flag=True, help="Create the state, from --current… or --from-nothing."),
        click.option(
            "--from-nothing", is_flag=True, help="Assume that the target has no members yet that the feed manages."
        ),
    ),
)
meaning = together(
    click.option(
        "--group-for-all", multiple=True, metavar="GROUP", help="A group that every user of the feed belongs to."
    ),
    click.option("--group-separator", metavar="TEXT", help="Separator between several groups in one field."),
    click.option("--user-map", metavar="FILE", help="CSV that maps the feed's users to the target's."),
    click.option("--group-map", metavar="FILE", help="The same for groups; a group on several lines maps to several."),
    click.option("--valid-from", metavar="COLUMN", help="Column with a record's first valid day; default: valid_from."),
    click.option("--valid-to", metavar="COLUMN", help="Column with a record's last valid day; default: valid_to."),
    click.option(
        "--date-format", metavar="FORMAT", help="Format of these days, as for strptime: %d.%m.%Y; default: ISO 8601."
    ),
    click.option("--as-of", metavar="DAY", help="Day to use instead of today: 2026-11-22."),
)
scope = together(
    click.option("--master-group", multiple=True, metavar="PATTERN", help="Remove only from matching groups."),
    click.option("--master-user", multiple=True, metavar="PATTERN", help="Remove only matching users."),
    click.option("--add-only", is_flag=True, help="Only add; remove nobody."),
    click.option("--remove-only", is_flag=True, help="Only remove; add nobody."),
    click.option(
        "--order",
        type=click.Choice(["adds-first", "removals-first"]),
        help="Which changes to send first; default: adds-first.",
    ),
)
despite_later_runs = click.option(
    "--despite-later-runs", is_flag=True, help="Continue even though a newer run worked on the same target."
)
unattended = together(
    click.option("--log-file", metavar="FILE", help="Append a log of the run, batch by batch, as JSON Lines."),
    click.option(
        "--metrics-file",
        metavar="FILE",
        help="Write metrics for Prometheus' textfile collector: a name ending in .prom.",
    ),
    click.option(
        "--metrics-port",
        type=click.IntRange(1, 65535),
        metavar="N",
        help="Serve metrics on this port of 127.0.0.1 during the run.",
    ),
    click.option("--traces", is_flag=True, help="Send OpenTelemetry spans to OTEL_EXPORTER_OTLP_ENDPOINT."),
    click.option(
        "--run-after",
        metavar="COMMAND",
        help="Shell command to run at the end, with the summary (JSON) on its standard input.",
    ),
)
plan_file = click.option(
    "--plan", type=FILE, metavar="FILE", help="Refuse to run if anything has changed since this plan was made."
)
json = click.option("--json", is_flag=True, help="Print one JSON object on standard output, and nothing else.")
quiet = click.option("--quiet", "-q", is_flag=True, help="Print only errors and the summary.")
speaking = gathered(
    "said",
    Speaking,
    json,
    quiet,
    click.option("--verbose", "-v", is_flag=True, help="Log more details."),
    click.option("--no-color", is_flag=True, help="Print without colours, as with NO_COLOR in the environment."),
)
