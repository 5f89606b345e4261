"""Tasks whose errors are raised as themselves, and not inside a group of errors."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, TypeVar

import anyio

T = TypeVar("T")


async def for_each(items: Iterable[T], work: Callable[[T], Awaitable[None]], at_once: int) -> None:
    """Do this work for each item, so many at a time. After an error no other item is begun."""
    waiting, failures = iter(items), list[Exception]()

    async def worker() -> None:
        for item in waiting:
            if failures:
                return
            try:
                await work(item)
            except Exception as error:  # noqa: BLE001 — raised below
                failures.append(error)

    async with anyio.create_task_group() as group:
        for _ in range(at_once):
            group.start_soon(worker)
    if failures:
        raise failures[0]


async def alongside(watch: Callable[[], Coroutine[Any, Any, None]], work: Callable[[], Awaitable[T]]) -> T:
    """Do this work, and run `watch` until it is done."""
    done, failures = list[T](), list[Exception]()
    async with anyio.create_task_group() as group:
        group.start_soon(watch)
        try:
            done.append(await work())
        except Exception as error:  # noqa: BLE001 — raised below
            failures.append(error)
        group.cancel_scope.cancel()
    if failures:
        raise failures[0]
    return done[0]
