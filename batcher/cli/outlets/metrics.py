"""The figures of a run, each defined once for both outlets: a port during the run, a file after it.

A counter of a run at work is a gauge once the run has ended: the next run starts again at zero, and the file tells of
one run only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from batcher.core.report import SUMMARY_ORDER
from batcher.core.status import Status
from batcher.ledger.sessions import Figures


@dataclass(frozen=True, slots=True)
class Family:
    """One metric with a label; `key` is where the summary of a run (`--json`) has its values."""

    name: str
    help: str
    label: str
    key: str
    is_counter: bool = False
    """While the run is at work."""


FAMILIES = (
    Family("batcher_changes", "Changes of the run, by status.", "status", "changes"),
    Family("batcher_requests", "Requests that carried changes, by kind.", "kind", "requests", is_counter=True),
    Family("batcher_waited_seconds", "Seconds spent waiting, by reason.", "reason", "waited", is_counter=True),
    Family("batcher_feed", "Lines of the feed, invalid ones, and the pairs that it names.", "kind", "feed"),
)


def families(summary: Mapping[str, Any], *, is_at_work: bool) -> Iterator[Metric]:
    """Those of which the summary has figures."""
    for family in FAMILIES:
        values = {kind: value for kind, value in summary.get(family.key, {}).items() if kind != "total"}
        if values:
            make = CounterMetricFamily if family.is_counter and is_at_work else GaugeMetricFamily
            metric = make(family.name, family.help, labels=[family.label])
            for kind, value in values.items():
                metric.add_metric([kind], value)
            yield metric


def summary_of(figures: Figures, tally: Mapping[Status, int]) -> dict[str, Any]:
    """As the summary of a run will have it, while the run is at work."""
    return {
        "changes": {status.label: tally.get(status, 0) for status in SUMMARY_ORDER},
        "requests": asdict(figures.requests),
        "waited": asdict(figures.waited),
    }
