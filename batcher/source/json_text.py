"""Parsing JSON while detecting duplicate keys, of which a parser would silently keep one."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

import orjson

from batcher.source.rules import Invalid

_KEY = re.compile(rb'"\s*:')
"""The end of a key; it may also match within a string, so there are never fewer matches than keys."""


def loads(text: bytes) -> object:
    """A JSON value.

    Raises:
        orjson.JSONDecodeError: When it is not valid JSON.
        Invalid: When an object has a key twice, whose meaning RFC 8259 (§4) leaves open.

    """
    content = orjson.loads(text)
    if count_keys(text) != _keys_in(content):
        try:
            json.loads(text, object_pairs_hook=_once)
        except RecursionError:
            raise Invalid("it is nested too deeply") from None
    return content


def count_keys(text: bytes) -> int:
    """The maximum number of keys in a text."""
    return len(_KEY.findall(text))


def _keys_in(content: object) -> int:
    count = 0
    inner = [content]
    while inner:
        item = inner.pop()
        if isinstance(item, dict):
            count += len(item)
            inner += item.values()
        elif isinstance(item, list):
            inner += item
    return count


def _once(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise Invalid(f"the key {twice!r} occurs twice")
    return made
