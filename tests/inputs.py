"""Helpers that read files as a run does."""

from __future__ import annotations

from columns import listed

from batcher.core.model import KeyKind, Position
from batcher.source.inputs import Input, Reading
from batcher.source.layout import Fields
from batcher.source.reader import read


def rows_of(path, *, mapping=None, is_feed=True, kind=KeyKind.ANY, takes_odd=False, found=None, **how):
    fields = Fields.of(mapping or {}, kind, is_feed=is_feed, takes_odd=takes_odd)
    steps = read(0, Input(path.name, path), Reading(fields, **how), Position(), found)
    return [row for columns, _ in steps for row in listed(columns)]


def pairs_of(path, **how):
    return [row[2:4] for row in rows_of(path, **how)]
