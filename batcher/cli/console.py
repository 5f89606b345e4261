"""Standard error and standard output: logs, errors, summaries. No traceback reaches a user."""

from __future__ import annotations

import errno
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from batcher.core.http import one_line
from batcher.streams import Unwritable

if TYPE_CHECKING:
    from rich.console import Console

    from batcher.core.errors import BatcherError
    from batcher.core.report import Report
    from batcher.core.status import Status

_WORTH_SAYING = 0.1
"""Seconds."""
_INTERRUPTED = 130
UNUSABLE = 2
"""The exit code for what must first be fixed by the user or on the machine."""
_ABOUT_NAMES = {errno.ENAMETOOLONG, errno.ENOTDIR, errno.ELOOP, errno.EACCES}
"""Errors of the system about a file name that it cannot use."""
_WIDTH = 80
_TOO_MANY_OPEN = {errno.EMFILE, errno.ENFILE}
E = TypeVar("E", bound=BaseException)
_log = logging.getLogger("batcher")


class _LogHandler(logging.Handler):
    """One line per record on standard error, and never a stack trace unless asked for."""

    def __init__(self, level: int) -> None:
        super().__init__(level)
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S"))

    def emit(self, record: logging.LogRecord) -> None:
        """Print it; the lines of a traceback are marked, so that none of them can be mistaken for a message of ours."""
        first, *more = self.format(record).split("\n")
        if record.exc_info is None:
            say(" ".join([first, *more]))
            return
        for line in (first, *(f"  | {line}" for line in more)):
            say(line)


@cache
def standard_error() -> Console:
    """The one console for all messages to people; a progress line on it stays below what is printed."""
    from rich.console import Console

    is_no_width = not (os.environ.get("COLUMNS") or "1").strip("0 ")  # with a width of 0 nothing would be printed
    return Console(
        stderr=True,
        no_color=True if _NO_COLOR else None,
        width=_WIDTH if is_no_width else None,
        soft_wrap=True,
        highlight=False,
        markup=False,
    )


_NO_COLOR: set[bool] = set()


def set_up(*, quiet: bool, verbose: bool = False, no_color: bool = False) -> None:
    """Set up where and how the command reports: its log goes to standard error."""
    if no_color:
        _NO_COLOR.add(True)
    level = logging.ERROR if quiet else logging.DEBUG if verbose else logging.WARNING
    _log.handlers = [_LogHandler(level)]
    _log.propagate = False
    _log.setLevel(level)


def say(text: str, style: str | None = None) -> None:
    """A line for people on standard error: always a single line, with control characters made harmless."""
    standard_error().print(one_line(text), style=style)


def write_lines(lines: Iterable[str]) -> None:
    """Lines for people on standard output, made as harmless as those on standard error."""
    sys.stdout.write("".join(f"{one_line(line)}\n" for line in lines))


def guarded(work: Callable[[], int], *, verbose: bool = False) -> None:
    """Do the work and exit with its code; an error becomes one sentence and its own exit code.

    Raises:
        click.exceptions.Exit: Always.

    """
    try:
        if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
            signal.signal(
                signal.SIGINT, signal.default_int_handler
            )  # before this, an interrupt ended the process at once
        code = work()
        sys.stdout.flush()
    except click.exceptions.Exit:
        raise
    except KeyboardInterrupt:
        code = _INTERRUPTED
    except (Exception, BaseExceptionGroup) as error:  # noqa: BLE001 — whatever it is, a sentence and a code
        unwritten = first_of(error, Unwritable)
        if unwritten is not None:
            raise click.exceptions.Exit(code_of(unwritten)) from None
        known = known_of(error)
        if known is not None:
            say(f"batcher: {known}", "red")
            raise click.exceptions.Exit(known.exit_code) from None
        if verbose:
            _log.exception("internal error")
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        say(f"batcher: internal error: {type(error).__name__}: {error} (-v shows where; please report it)", "red")
        code = 1
    raise click.exceptions.Exit(code)


def code_of(unwritten: Unwritable) -> int:
    """The exit code of a command whose output cannot be written; says why, unless the reader has gone away."""
    if unwritten.is_left:
        return 0
    say(f"batcher: {unwritten}", "red")
    return UNUSABLE


@contextmanager
def worth_less_than_the_run() -> Iterator[None]:
    """For a summary on standard output: if it cannot be written, that is reported, and the run keeps its exit code."""
    try:
        yield
        sys.stdout.flush()
    except Unwritable as unwritten:
        code_of(unwritten)


def known_of(error: BaseException) -> BatcherError | None:
    """The error as one of ours, also where the system reports a file name, or a limit, that it cannot deal with."""
    from batcher.core.errors import BatcherError, ConfigurationError

    known = first_of(error, BatcherError)
    if known is None:
        refused = first_of(error, OSError)
        if refused is not None and refused.errno in _ABOUT_NAMES and refused.filename is not None:
            return ConfigurationError(f"{os.fsdecode(refused.filename)} cannot be used: {refused.strerror}")
        if refused is None and machine_failure(error) is not None:
            return ConfigurationError("this process cannot get more memory or threads; raise its limits (ulimit)")
        if refused is not None and refused.errno in _TOO_MANY_OPEN:
            return ConfigurationError(f"{refused.strerror}: raise the limit of this process (ulimit -n 1024)")
        if isinstance(refused, FileNotFoundError) and refused.filename is None:
            return _without_a_folder(refused)
    return known


def machine_failure(error: BaseException) -> BaseException | None:
    """The error by which the machine refused a file, memory, or a thread (for which Python has no own class)."""
    other = first_of(error, RuntimeError)
    thread = other if other is not None and "new thread" in str(other) else None
    return first_of(error, OSError) or first_of(error, MemoryError) or thread


def _without_a_folder(refused: FileNotFoundError) -> BatcherError | None:
    """For the error without a file name that Python raises if the working folder was removed, or `/tmp` is missing."""
    from batcher.core.errors import ConfigurationError

    try:
        os.getcwd()  # noqa: PTH109 — asks the system
    except FileNotFoundError:
        return ConfigurationError("the working folder no longer exists; change to another one")
    if "temporary" in str(refused):
        return ConfigurationError(f"{refused.strerror}; set TMPDIR to a writable folder")
    return None


def as_json(content: object) -> bytes:
    """One JSON value; a file name that is not UTF-8 keeps its bytes, as escapes."""
    import orjson

    try:
        return orjson.dumps(content, option=orjson.OPT_APPEND_NEWLINE)
    except TypeError:
        import json

        return json.dumps(content, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"


def write_json(content: object) -> None:
    """A JSON value on standard output, in UTF-8 whatever the locale is (RFC 8259 §8.1)."""
    sys.stdout.flush()
    sys.stdout.buffer.write(as_json(content))


def first_of(error: BaseException, kind: type[E]) -> E | None:
    """The first error of a kind inside groups of errors."""
    if isinstance(error, kind):
        return error
    if isinstance(error, BaseExceptionGroup):
        return next((found for inner in error.exceptions if (found := first_of(inner, kind))), None)
    return None


def print_summary(report: Report, *, as_json: bool, quiet: bool, when: str, is_simulated: bool) -> None:
    """The summary on standard output; what stopped the run and the next command on standard error."""
    from batcher.core.report import command

    if is_simulated and not quiet:
        say("batcher: simulated: no real target was touched")
    with worth_less_than_the_run():
        if as_json:
            write_json(report.as_dict())
        else:
            write_lines(describe(report, in_one_line=quiet))
    if report.stopped is not None:
        say(f"batcher: stopped: {report.reason}", "red")
    elif not report.input_complete and report.next is None:
        say("batcher: the input ended early; apply what was not read in a new run")
    if report.next is not None:
        say(f"batcher: continue {when}:")
        say(report.next)
    elif not quiet and not as_json:
        say(command("results", Path(report.ledger)))


def describe(report: Report, *, in_one_line: bool = False) -> list[str]:
    """The summary as lines; or as a single line, as it suits the mail of an unattended job."""
    from batcher.core.report import drifted, proven

    changes = " · ".join(
        f"{number:,} {status.label}" for status, number in _ordered(report) if number or status.label == "applied"
    )
    requests = report.requests
    waits = asdict(report.waited).items()
    waited = ", ".join(f"{name.replace('_', '-')} {value:.1f} s" for name, value in waits if value >= _WORTH_SAYING)
    noun = "request" if requests.sent == 1 else "requests"
    lines = [
        f"{report.total:,} changes: {changes}" if report.total or report.feed is None else "nothing to change",
        f"{requests.sent:,} {noun} ({requests.retried} retried, {requests.split} split) in {report.seconds:.1f} s"
        + (f", waited for {waited}" if waited else ""),
        f"ledger: {report.ledger}",
    ]
    if not report.input_complete:
        lines.insert(1, "the input was not read to its end")
    if report.proof is not None:
        lines.insert(1, proven(report.proof))
    if report.drift is not None:
        lines.insert(0, drifted(report.drift))
    lines += [f"{name}: sheet {sheet!r}" for name, sheet in (report.sheets or {}).items()]
    if report.feed is not None:
        feed = report.feed
        lines.insert(0, f"feed: {feed['pairs']:,} pairs in {feed['lines']:,} lines, {feed['rejected']:,} rejected")
    return [f"exit {report.exit_code}: {'; '.join(lines)}"] if in_one_line else lines


def _ordered(report: Report) -> list[tuple[Status, int]]:
    from batcher.core.report import SUMMARY_ORDER

    return [(status, report.changes.get(status, 0)) for status in SUMMARY_ORDER]
