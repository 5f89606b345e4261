"""`batcher apply`."""

from __future__ import annotations

from batcher.cli import options as opt
from batcher.cli.console import guarded, set_up


def apply(
    files: opt.Files,
    config: opt.Config = None,
    target: opt.TargetKind = None,
    url: opt.Url = None,
    simulate: opt.Simulate = False,
    ledger: opt.LedgerPath = None,
    rate: opt.Rate = None,
    max_in_flight: opt.MaxInFlight = None,
    max_failures: opt.MaxFailures = None,
    deadline: opt.Deadline = None,
    max_wait: opt.MaxWait = None,
    map_: opt.Mapping = None,
    format_: opt.Format = None,
    delimiter: opt.Delimiter = None,
    strict: opt.Strict = False,
    ordered: opt.Ordered = False,
    max_removals: opt.MaxRemovals = None,
    json: opt.Json = False,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = False,
    no_color: opt.NoColor = False,
) -> None:
    """Send the changes, write the ledger, print a summary."""
    set_up(quiet=quiet, verbose=verbose, no_color=no_color)

    def work() -> int:
        from batcher.cli import sending

        flags = {
            "target.kind": target,
            "target.url": url,
            "rate.requests": rate,
            "rate.max_in_flight": opt.max_in_flight(max_in_flight),
            "guard.max_failures": max_failures,
            "guard.deadline": deadline,
            "guard.max_removals": max_removals,
            "retry.max_wait": max_wait,
            "input.map": opt.mapping(map_),
            "input.format": format_,
            "input.delimiter": delimiter,
            "input.strict": strict,
            "input.ordered": ordered,
            "ledger.path": ledger,
        }
        settings = opt.load_settings(config, flags)
        return sending.apply(files, settings, simulate=simulate, as_json=json, quiet=quiet)

    guarded(work, verbose=verbose)
