"""The targets. A new one needs one file here, one entry point `batcher.targets`, and recorded replies in the tests."""

from __future__ import annotations

from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import cast

from batcher.core.errors import ConfigurationError
from batcher.core.target import Target

GROUP = "batcher.targets"


def names() -> list[str]:
    """All installed kinds of targets."""
    return sorted(_installed())


def create(kind: str, url: str, env: str) -> Target:
    """The target of this kind.

    Raises:
        ConfigurationError: When there is none, or it needs a URL and got none.

    """
    if not kind:
        raise ConfigurationError(f"no target: give --target {' or '.join(names())} (or try --simulate)")
    if kind not in _installed():
        raise ConfigurationError(f"unknown target {kind!r}; available: {', '.join(names())}")
    return cast("Target", _installed()[kind].load()(url, env))


@cache
def _installed() -> dict[str, EntryPoint]:
    """By kind. Cached, since looking takes a while, and nothing gets installed while a program runs."""
    return {point.name: point for point in reversed(list(entry_points(group=GROUP)))}
