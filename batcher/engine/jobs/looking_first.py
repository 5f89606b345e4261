"""A look at the whole input before any of it is sent, where guardrails or `strict` ask for one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import anyio

from batcher.core.errors import InputError
from batcher.core.guardrails import Ruling
from batcher.core.units import parse_duration
from batcher.core.verdict import Cause
from batcher.engine.jobs.asking import Access
from batcher.engine.jobs.job import not_begun
from batcher.engine.jobs.names import looked_up
from batcher.engine.preview.arrival import arrive, check_streams
from batcher.engine.preview.guardrails import NOTHING_OVERRIDDEN, Override, enforce, judge, looks_first
from batcher.engine.preview.input_scan import InputScan, Protected, columns_of, scan
from batcher.engine.run.session import make_target
from batcher.source.inputs import Input, Reading
from batcher.source.spool import Spool

_LOOK_SECONDS = 0.2


async def look_first(
    inputs: Sequence[Input],
    how: Reading,
    access: Access,
    spool: Spool | None = None,
    override: Override = NOTHING_OVERRIDDEN,
) -> tuple[Sequence[Input], list[Ruling]]:
    """Check the files against the guardrails, with a pass over the whole input if they or `strict` need one.

    Returns the rulings, and the inputs as they were checked: one that is replaced after that is not read.

    Raises:
        InputError: When `strict` refuses, or the input is incomplete or changes meanwhile.
        GuardrailError: When a guardrail refuses.
        NotBegunError: When the run is to end before the whole input has arrived.

    """
    settings, runtime, shutdown = access.settings, access.runtime, access.shutdown
    clock = runtime.clock
    check_streams([item.name for item in inputs if item.is_spool], settings.guard)
    files = [item.path for item in inputs if not item.is_spool]
    arrived = await arrive(files, settings.guard, clock, override, is_feed=False)
    if not settings.input.strict and not looks_first(settings.guard):
        return inputs, arrived
    given = parse_duration(settings.guard.deadline) if settings.guard.deadline else math.inf
    deadline = clock.now() + given
    while spool is not None and not spool.is_whole:
        with anyio.move_on_after(_LOOK_SECONDS):
            await spool.grown(spool.version)
        if clock.now() >= deadline:
            shutdown.stop(Cause.DEADLINE, "the deadline was reached before the whole input had arrived to be checked")
        if shutdown.cause is Cause.INPUT:
            raise InputError(f"{shutdown.reason}; nothing was sent, since the whole input was to be checked first")
        if shutdown.is_set:
            raise not_begun(shutdown)
    judged = [item if item.is_spool else replace(item, version=item.present_version()) for item in inputs]
    seen = await _scanned(judged, how, access)
    if settings.input.strict and seen.rejected:
        source, line, reason = seen.first_rejects[0]
        raise InputError(
            f"--strict: {seen.rejected} of {seen.total} lines are invalid, nothing was sent;"
            f" the first is {source}, line {line}: {reason}"
        )
    return judged, [*arrived, *enforce(judge(seen, settings.guard), override)]


async def _scanned(inputs: Sequence[Input], how: Reading, access: Access) -> InputScan:
    """Scan the inputs; for what is protected, by ids as well as by names.

    Raises:
        NotBegunError: When it cannot be established which ids names have.

    """
    executor = access.runtime.executor
    if not Protected.of(access.settings.guard):
        return await executor(lambda: scan(inputs, how))
    async with looked_up(columns_of(inputs, how), access, make_target(access.settings)) as named:
        protected = Protected.of(named.settings.guard)
        return await executor(lambda: scan(inputs, how, protected=protected, named=named))
