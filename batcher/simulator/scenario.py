"""A described target: how it behaves, and how that changes with time.

A table has the fields of `Behaviour`, rates and faults as texts, and may have a list `then` of tables, each with
`after_seconds` or `after_requests` and what is different from there on.
"""

from __future__ import annotations

import difflib
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_type_hints

import msgspec

from batcher.core.errors import ConfigurationError
from batcher.core.units import parse_rate
from batcher.simulator.behaviour import Behaviour, Fault, Stage

_TYPES = get_type_hints(Behaviour)


@dataclass(frozen=True, slots=True)
class Scenario:
    """The first behaviour, and what follows."""

    first: Behaviour
    stages: tuple[Stage, ...] = ()


def scenario_of(table: Mapping[str, Any], base: Behaviour) -> Scenario:
    """Read a table; what it leaves out is as in `base`.

    Raises:
        ConfigurationError: When it says something that a target cannot do.

    """
    content = dict(table)
    later = content.pop("then", [])
    first = current = _changed(base, content)
    stages = []
    for part in later:
        rest = dict(part)
        seconds, requests = rest.pop("after_seconds", math.inf), rest.pop("after_requests", math.inf)
        if seconds == requests == math.inf:
            raise ConfigurationError("scenario: each `then` needs after_seconds or after_requests")
        current = _changed(current, rest)
        stages.append(Stage(current, seconds, requests))
    return Scenario(first, tuple(stages))


def read_scenario(path: Path, base: Behaviour) -> Scenario:
    """As `scenario_of`, from a TOML file.

    Raises:
        ConfigurationError: When it cannot be read.

    """
    try:
        return scenario_of(tomllib.loads(path.read_text("utf-8")), base)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(f"{path}: {error}") from None


def _changed(base: Behaviour, table: Mapping[str, Any]) -> Behaviour:
    values: dict[str, Any] = {}
    for key, value in table.items():
        if key not in _TYPES:
            near = difflib.get_close_matches(key, _TYPES, 1)
            raise ConfigurationError(f"scenario: unknown key {key}{f'; did you mean {near[0]}?' if near else ''}")
        try:
            if key == "limits":
                rates = (parse_rate(text) for text in msgspec.convert(value, list[str]))
                values[key] = tuple(rate for rate in rates if rate is not None)
            elif key == "faults":
                values[key] = tuple(Fault.parse(text) for text in msgspec.convert(value, list[str]))
            else:
                values[key] = msgspec.convert(value, _TYPES[key])
        except msgspec.ValidationError as error:
            raise ConfigurationError(f"scenario: {key}: {error}") from None
    return replace(base, **values)
