"""The command line: arguments → settings → a job → text and an exit code. Heavy imports happen inside commands."""

from __future__ import annotations

import gc
import os
from importlib import metadata
from typing import Annotated

import typer

from batcher.cli import apply, check, explain, plan, results, resume, simulate, verify

_COLLECT_AFTER = 100_000
"""Objects. Python's own 700 cost a tenth of the start, which makes many and drops none."""

app = typer.Typer(
    name="batcher",
    no_args_is_help=True,
    invoke_without_command=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Bring user-group membership changes from files to an API that takes them in bounded batches:"
    " politely, and with a result for every single change.",
    epilog="Try it without any account: batcher apply examples/changes.csv --simulate",
)
app.command("apply")(apply.apply)
app.command("plan")(plan.plan)
app.command("resume")(resume.resume)
app.command("retry")(resume.retry)
app.command("results")(results.results)
app.command("explain")(explain.explain)
app.command("verify")(verify.verify)
app.command("check")(check.check)
app.command("simulate")(simulate.simulate)


@app.callback()
def options(
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.", is_eager=True)] = False,
) -> None:
    """What stands before a command."""
    if version:
        typer.echo(f"batcher {metadata.version('batcher')}")
        raise typer.Exit


def main() -> None:
    """The entry point of the `batcher` program."""
    gc.set_threshold(_COLLECT_AFTER)
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # numpy would start threads for an algebra that we do not use
    app()
