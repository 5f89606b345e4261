"""The targets. A new one needs one file here, one entry point `batcher.targets`, and recorded replies in the tests."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import cast

from batcher.core.errors import ConfigurationError
from batcher.core.model import KeyKind
from batcher.core.target import OffersProfiles, Target

GROUP = "batcher.targets"


def names() -> list[str]:
    """All installed kinds of targets."""
    return sorted(_installed())


def create(
    kind: str,
    url: str,
    env: str,
    profile: str = "",
    query: Mapping[str, str] | None = None,
    names_of: Mapping[str, str] | None = None,
    *,
    bulk: bool = False,
) -> Target:
    """The target of this kind.

    Args:
        kind: Its name.
        url: Where it is; empty for the usual address, if there is one.
        env: MinApp's environment.
        profile: Whose service it is, where that makes a difference.
        query: Further parameters of every request with changes, where that is possible.
        names_of: What names of a `user` and of a `group` are at the target, where that can be chosen.
        bulk: Whether a request is to change several groups, where that can be chosen.

    Raises:
        ConfigurationError: When there is none, when it needs a URL and got none, or has no such profile.

    """
    if not kind:
        *others, last = names()
        raise ConfigurationError(f"no target: give --target {', '.join(others)} or {last} (or try --simulate)")
    if kind not in _installed():
        raise ConfigurationError(f"unknown target {kind!r}; available: {', '.join(names())}")
    target = cast("Target", _installed()[kind].load()(url, env))
    if isinstance(target, OffersProfiles):
        return target.with_profile(profile, query or {}, names_of or {}, bulk=bulk)
    named = ("names_of_users or names_of_groups", names_of)
    for key, value in (("profile", profile), ("query", query), named, ("bulk", bulk)):
        if value:
            raise ConfigurationError(f"target.{key} does not apply to {kind}; remove it")
    return target


def key_kind_of(kind: str) -> KeyKind:
    """What the targets of this kind take; anything if there is no such kind."""
    point = _installed().get(kind)
    return KeyKind.ANY if point is None else cast("KeyKind", point.load().key_kind)


@cache
def _installed() -> dict[str, EntryPoint]:
    """By kind. Cached, since looking takes a while, and nothing gets installed while a program runs."""
    return {point.name: point for point in reversed(list(entry_points(group=GROUP)))}
