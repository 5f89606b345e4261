"""Scenarios: how a simulated target behaves, and how that changes over time.

A table has the fields of `Behaviour`, with rates and faults as strings, and may have a list `then` of tables, each with
`after_seconds` or `after_requests` and the fields that change from then on.
"""

from __future__ import annotations

import difflib
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import msgspec

from batcher.core.errors import ConfigurationError
from batcher.core.units import parse_rate
from batcher.simulator.behaviour import Behaviour, Fault, ScimTraits, Stage
from batcher.small_files import read_text

T = TypeVar("T")
_TYPES = get_type_hints(Behaviour)
_SCIM_TYPES = get_type_hints(ScimTraits)


@dataclass(frozen=True, slots=True)
class Scenario:
    """The initial behaviour and the stages that follow."""

    first: Behaviour
    stages: tuple[Stage, ...] = ()


def scenario_of(table: Mapping[str, Any], base: Behaviour) -> Scenario:
    """Read a table; missing fields are taken from `base`.

    Raises:
        ConfigurationError: When it has an unknown key or an invalid value.

    """
    content = dict(table)
    later = _converted("then", content.pop("then", []), list[dict[str, Any]])
    first = current = _changed(base, content)
    stages = []
    for part in later:
        rest = dict(part)
        seconds, requests = (
            _converted(name, rest.pop(name, math.inf), float) for name in ("after_seconds", "after_requests")
        )
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
        return scenario_of(tomllib.loads(read_text(path)), base)
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:  # not TOML, or an integer that is too long
        raise ConfigurationError(f"{path}: {error}") from None
    except RecursionError:
        raise ConfigurationError(f"{path}: a value is nested too deeply") from None


def _changed(base: Behaviour, table: Mapping[str, Any]) -> Behaviour:
    values: dict[str, Any] = {}
    for key, value in table.items():
        _check_known(key, _TYPES)
        if key == "limits":
            rates = (parse_rate(text) for text in _converted(key, value, list[str]))
            values[key] = tuple(rate for rate in rates if rate is not None)
        elif key == "faults":
            values[key] = tuple(Fault.parse(text) for text in _converted(key, value, list[str]))
        elif key == "scim":
            traits = _converted(key, value, dict[str, Any])
            for name in traits:
                _check_known(name, _SCIM_TYPES)
            changed = {name: _converted(f"scim.{name}", trait, _SCIM_TYPES[name]) for name, trait in traits.items()}
            values[key] = replace(base.scim, **changed)
        else:
            values[key] = _converted(key, value, _TYPES[key])
    return replace(base, **values)


def _check_known(key: str, types: Mapping[str, Any]) -> None:
    if key not in types:
        near = difflib.get_close_matches(key, types, 1)
        raise ConfigurationError(f"scenario: unknown key {key}{f'; did you mean {near[0]}?' if near else ''}")


def _converted(key: str, value: object, kind: type[T]) -> T:
    """The value, converted to its type; numbers are not negative, and finite unless infinity was given (for never).

    Raises:
        ConfigurationError: When it cannot be converted.

    """
    try:
        converted = msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"scenario: {key}: {error}") from None
    if isinstance(converted, int | float) and not (converted >= 0 and (converted < math.inf or value == math.inf)):
        raise ConfigurationError(f"scenario: {key} = {value} must be a number of at least 0")
    return converted
