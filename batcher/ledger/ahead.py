"""Reading ahead: the next item is produced while the current one is used."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def ahead(items: Iterator[T]) -> Iterator[T]:
    """The same items, produced in another thread, one ahead of the consumer."""
    with ThreadPoolExecutor(1) as making:
        coming = making.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = making.submit(next, items, None)
            yield item
