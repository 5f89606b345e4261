"""The command line: arguments → settings → a job → text and an exit code. Heavy imports happen inside commands."""

from __future__ import annotations

import gc
import os
import sys

import click

from batcher.cli.commands import (
    apply,
    check,
    compare,
    explain,
    load,
    plan,
    report,
    results,
    resume,
    simulate,
    state,
    sync,
    undo,
    verify,
)
from batcher.cli.console import code_of, say
from batcher.cli.option_types import Text
from batcher.core.errors import ConfigurationError
from batcher.machine import check_machine, use_one_heap
from batcher.streams import Unwritable

_COLLECT_AFTER = 100_000
"""Objects. With Python's default of 700, collections take a tenth of the start-up, which frees nothing."""


@click.group(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Try it without an account: batcher apply examples/changes.csv --simulate",
)
@click.version_option(package_name="batcher", message="batcher %(version)s", help="Show the version and exit.")
def app() -> None:
    """Send user-group membership changes from files to an API, in bounded batches.

    Requests are paced, and every single change gets a result.
    """


for command in (
    apply.apply,
    sync.sync,
    plan.plan,
    resume.resume,
    resume.retry,
    undo.undo,
    results.results,
    report.report,
    explain.explain,
    verify.verify,
    check.check,
    simulate.simulate,
    state.state,
    load.load,
    compare.compare,
):
    for each in (command, *(command.commands.values() if isinstance(command, click.Group) else ())):
        for parameter in each.params:
            if parameter.type is click.STRING:
                parameter.type = Text()
    app.add_command(command)


def prepare() -> None:
    """Prepare the process for any command; exits if this machine does not provide what it needs."""
    gc.set_threshold(_COLLECT_AFTER)
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # numpy would start threads for linear algebra, unused here
    use_one_heap()
    try:
        check_machine()
    except ConfigurationError as error:
        say(f"batcher: {error}", "red")
        sys.exit(error.exit_code)


def main() -> None:
    """Run the command that the arguments name."""
    try:
        app()
    except Unwritable as unwritten:  # output of click itself: help, version
        sys.exit(code_of(unwritten))
