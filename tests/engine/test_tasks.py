"""Errors leave as themselves, and nothing new is begun after one."""

from __future__ import annotations

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.engine.run.tasks import alongside, for_each
from batcher.simulator.virtual_time import run_virtual


@given(st.lists(st.floats(0, 3), max_size=20), st.integers(1, 5), st.integers(-1, 19))
def test_every_item_once_and_so_many_at_a_time(pauses, at_once, bad):
    """A plain model: tasks take the next item as soon as they are free."""
    begun, flying, most = [], 0, 0

    async def work(item):
        nonlocal flying, most
        number, pause = item
        begun.append(number)
        flying += 1
        most = max(most, flying)
        await anyio.sleep(pause)
        flying -= 1
        if number == bad:
            raise ValueError(number)

    async def main():
        if 0 <= bad < len(pauses):
            with pytest.raises(ValueError, match=str(bad)):
                await for_each(enumerate(pauses), work, at_once)
        else:
            await for_each(enumerate(pauses), work, at_once)
            assert len(begun) == len(pauses)

    run_virtual(main)
    assert begun == list(range(len(begun)))
    assert most <= at_once
    assert not flying


@pytest.mark.parametrize("fails", [True, False])
async def test_what_watches_ends_with_the_work(fails):
    seen = []

    async def watch():
        try:
            await anyio.sleep_forever()
        finally:
            seen.append("ended")

    async def work():
        await anyio.sleep(0.0)
        if fails:
            raise ValueError("bad")
        return 7

    if fails:
        with pytest.raises(ValueError, match="bad"):
            await alongside(watch, work)
    else:
        assert await alongside(watch, work) == 7
    assert seen == ["ended"]
