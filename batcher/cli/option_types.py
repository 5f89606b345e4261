"""Kinds of options, and how several become one decorator or one argument."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar, cast

import click

_SHOWN = 60
F = TypeVar("F", bound=Callable[..., Any])
FILE = click.Path(path_type=Path)
NAME = click.Path()
"""A file name exactly as given; it may be `-`."""


class Text(click.types.StringParamType):
    """Valid Unicode text; bytes that are not UTF-8 arrive from the shell as lone surrogates (PEP 383)."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:  # noqa: ANN401 — as of click
        """The same text."""
        text: str = super().convert(value, param, ctx)
        try:
            text.encode()
        except UnicodeEncodeError:
            self.fail(f"{text[:_SHOWN]!r} is not valid text; write it as UTF-8", param, ctx)
        return text


def together(*options: Callable[[F], F]) -> Callable[[F], F]:
    """Combine several options into one decorator, in the order in which the help shows them."""

    def add(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return add


def gathered(name: str, kind: type, *options: Callable[[F], F]) -> Callable[[F], F]:
    """Several options that a command gets as one argument: a dataclass with a field for each of them."""
    parts = [field.name for field in fields(kind)]

    def add(function: F) -> F:
        @wraps(function)
        def call(*arguments: object, **values: object) -> object:
            made = kind(**{part: values.pop(part) for part in parts})
            return function(*arguments, **{name: made}, **values)

        return together(*options)(cast("F", call))

    return add
