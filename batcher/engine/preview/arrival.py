"""Checks, before anything is read, whether the files of an input have arrived completely and are recent enough."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import anyio

from batcher.core.clock import Clock
from batcher.core.errors import ConfigurationError
from batcher.core.guardrails import Guardrail, Ruling
from batcher.core.units import parse_duration, spoken
from batcher.core.wholeness import NAME, Arrived, judge_arrival
from batcher.engine.preview.guardrails import Override, enforce
from batcher.files import found, is_file
from batcher.sections import GuardSettings
from batcher.source.inputs import Input, what_happened


def judge_files(files: Sequence[Path], guard: GuardSettings, now: float, *, is_feed: bool) -> list[Ruling]:
    """Judge files by their names, ages (`now` in UTC seconds), and marker files that say that they are complete."""
    return judge_arrival([_arrived(file, guard.done_file, now) for file in files], guard.demands(is_feed=is_feed))


def check_streams(names: Sequence[str], guard: GuardSettings) -> None:
    """Check that no guardrail that needs a file applies to standard input or a pipe.

    Raises:
        ConfigurationError: When one does.

    """
    asked = [key for key in ("settle", "min_age", "max_age", "done_file") if getattr(guard, key)]
    if names and asked:
        name = "standard input" if names[0] == "-" else names[0]
        flag = asked[0].replace("_", "-")
        raise ConfigurationError(
            f"{name} is a stream without an age or a name, so guard.{asked[0]} cannot be checked; give the file"
            f" itself, or switch the check off for this run: --{flag} ''"
        )


def _arrived(file: Path, done_file: str, now: float) -> Arrived:
    known = found(file)
    age = 0.0 if known is None else now - known.st_mtime
    beside = file.parent / done_file.replace(NAME, file.name)
    done = found(beside) if done_file and is_file(beside) else None
    return Arrived(file.name, age, None if done is None else now - done.st_mtime)


async def arrive(
    files: Sequence[Path], guard: GuardSettings, clock: Clock, given: Override, *, is_feed: bool
) -> list[Ruling]:
    """The rulings on files before they are read.

    Raises:
        GuardrailError: When one refuses that is not overridden.
        InputError: When a file does not exist.

    """
    rulings = judge_files(files, guard, clock.utc(), is_feed=is_feed)
    return enforce([*rulings, *await settle(files, guard)], given)


async def settle(files: Sequence[Path], guard: GuardSettings) -> list[Ruling]:
    """Check each file twice, as far apart as `guard.settle` says: one that changes meanwhile is still being written.

    Raises:
        InputError: When a file does not exist.

    """
    if not guard.settle:
        return []
    seconds = parse_duration(guard.settle)
    inputs = [Input(str(file), file).as_it_is() for file in files]
    await anyio.sleep(seconds)
    rulings = []
    for item in inputs:
        now = item.present_version()
        if now != item.version:
            told = f"{item.name} was {what_happened(item.version, now)}, within {spoken(seconds)}"
            rulings.append(Ruling(Guardrail.SETTLE, True, told))
    return rulings
