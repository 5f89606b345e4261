"""Requests to the simulated target, and its replies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson


@dataclass(frozen=True, slots=True)
class Arrival:
    """A request; header names are lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply after `delay` seconds; if the status is None, the connection is dropped instead."""

    status: int | None
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    delay: float = field(default=0.0, compare=False)
    is_cut: bool = False
    """Only half of the body is sent before the connection is dropped."""

    @staticmethod
    def json(status: int, content: Any, *headers: tuple[str, str]) -> Reply:  # noqa: ANN401 — whatever JSON can say
        """A JSON answer."""
        return Reply(status, orjson.dumps(content), (("Content-Type", "application/json"), *headers))
