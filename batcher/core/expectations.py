"""Expectations on the figures of a load run, and whether they are met."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from batcher.core.errors import ConfigurationError

_FORM = re.compile(r"\s*([a-z][a-z0-9_.]*)\s*(<=|>=|<|>)\s*(\d+(?:\.\d+)?)\s*(us|ms|s|%|/s|)\s*")
_COMPARE: Mapping[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_MILLISECONDS = {"us": 0.001, "ms": 1.0, "s": 1000.0}
_UNITS = {"latency": tuple(_MILLISECONDS), "share": ("%", ""), "rate": ("/s", ""), "count": ("",)}
LATENCIES = ("mean", "p50", "p75", "p90", "p95", "p99", "p99.9", "p99.99", "max")
"""The latency figures that an expectation can name."""
_KINDS = (
    dict.fromkeys(LATENCIES, "latency")
    | dict.fromkeys(("errors", "late"), "share")
    | dict.fromkeys(("requests", "changes", "bytes"), "rate")
    | {"dropped": "count"}
)


@dataclass(frozen=True, slots=True)
class Expectation:
    """A figure and its bound: latencies in milliseconds, shares of 1, rates per second."""

    text: str
    name: str
    sign: str
    bound: float

    @staticmethod
    def parse(text: str) -> Expectation:
        """`p99<500ms`, `actual.p50<=20ms`, `errors<=0.1%`, `late<1%`, `dropped<1`, `requests>=200/s`.

        Raises:
            ConfigurationError: When the text is not a valid expectation.

        """
        match = _FORM.fullmatch(text)
        start, figure = _parts(match[1]) if match else ("", "")
        kind = _KINDS.get(figure)
        if match is None or kind is None or match[4] not in _UNITS[kind] or (start and kind != "latency"):
            raise ConfigurationError(
                f"invalid expectation {text!r}; expected e.g. p99<500ms, actual.p50<=20ms, max<2s, errors<=0.1%,"
                " late<1%, dropped<1, requests>=200/s or changes>=1000/s"
            )
        name = f"{start or 'intended'}.{figure}" if kind == "latency" else figure
        factor = _MILLISECONDS.get(match[4], 0.01 if match[4] == "%" else 1.0)
        return Expectation(text.strip(), name, match[2], float(match[3]) * factor)

    def holds(self, figures: Mapping[str, float]) -> bool:
        """Whether the figures meet the expectation."""
        return _COMPARE[self.sign](figures[self.name], self.bound)


def _parts(name: str) -> tuple[str, str]:
    """`actual.p99.9` → `actual`, `p99.9`."""
    for start in ("actual", "intended"):
        if name.startswith(f"{start}."):
            return start, name.removeprefix(f"{start}.")
    return "", name
