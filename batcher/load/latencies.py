"""Latencies as counts of microseconds: exact to three digits, small however many there are, merged without loss.

The buckets are those of an HDR histogram of three significant digits (2,048 per power of two; Tene), so that what is
kept here and what the library makes of it are the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from batcher.core.errors import ConfigurationError
from batcher.core.model import Ints

if TYPE_CHECKING:
    from hdrh.histogram import HdrHistogram

LONGEST = 3_600_000_000
"""Microseconds; what takes longer counts as an hour."""
_DIGITS = 3
_SUB_BUCKET_BITS = 11
PERCENTILES = (50.0, 75.0, 90.0, 95.0, 99.0, 99.9, 99.99)


def _none() -> Ints:
    return np.empty(0, np.int64)


def histograms() -> type[HdrHistogram]:
    """The library that knows the format.

    Raises:
        ConfigurationError: When it is not installed.

    """
    try:
        from hdrh.histogram import HdrHistogram  # noqa: PLC0415 — an extra
    except ImportError:
        raise ConfigurationError("load runs need an extra: pip install 'batcher[load]'") from None
    return HdrHistogram  # type: ignore[no-any-return]  # untyped


@dataclass(frozen=True, slots=True, eq=False)
class Latencies:
    """`values` (microseconds, ascending, the lowest of their buckets) and how often each was seen."""

    values: Ints = field(default_factory=_none)
    counts: Ints = field(default_factory=_none)

    def __len__(self) -> int:
        return int(self.counts.sum())

    @staticmethod
    def of(seconds: Sequence[float]) -> Latencies:
        """Of single measurements."""
        micros = np.clip(np.round(np.asarray(seconds, np.float64) * 1e6), 1, LONGEST).astype(np.int64)
        shift = np.maximum(np.frexp(micros)[1] - _SUB_BUCKET_BITS, 0)
        values, counts = np.unique((micros >> shift) << shift, return_counts=True)
        return Latencies(values, counts.astype(np.int64))

    @staticmethod
    def merged(parts: Iterable[Latencies]) -> Latencies:
        """All of them together."""
        known = list(parts)
        if not known:
            return Latencies()
        values, place = np.unique(np.concatenate([part.values for part in known]), return_inverse=True)
        counts = np.zeros(len(values), np.int64)
        np.add.at(counts, place, np.concatenate([part.counts for part in known]))
        return Latencies(values, counts)

    def percentile(self, percent: float) -> float:
        """Seconds within which so many percent were; 0.0 of nothing."""
        if not len(self):
            return 0.0
        rank = max(1, int(np.ceil(percent / 100 * len(self) - 1e-9)))
        return float(self.values[np.searchsorted(np.cumsum(self.counts), rank)]) / 1e6

    def mean(self) -> float:
        """Seconds."""
        return float((self.values * self.counts).sum()) / len(self) / 1e6 if len(self) else 0.0

    def encoded(self) -> str:
        """As an HDR histogram (V2, compressed, base64), which other programs read."""
        return str(self._histogram().encode(), "ascii")

    @staticmethod
    def decoded(text: str) -> Latencies:
        """What `encoded` gave.

        Raises:
            ValueError: When it is no histogram.

        """
        library = histograms()
        try:
            every: Ints = np.ctypeslib.as_array(library.decode(text).counts).astype(np.int64)
        except Exception as error:  # noqa: BLE001 — the library raises whatever its decoder meets
            msg = f"no HDR histogram: {error}"
            raise ValueError(msg) from None
        index = np.flatnonzero(every)
        half = 1 << (_SUB_BUCKET_BITS - 1)  # the lower half of all buckets but the first is the bucket before
        bucket = np.maximum(index // half - 1, 0)
        place = np.where(index < half, index, index % half + half)
        return Latencies((place << bucket).astype(np.int64), every[index])

    def _histogram(self) -> HdrHistogram:
        histogram = histograms()(1, LONGEST, _DIGITS)
        for value, count in zip(self.values.tolist(), self.counts.tolist(), strict=True):
            histogram.record_value(value, count)
        return histogram


class Summary(msgspec.Struct, frozen=True):
    """Percentiles in milliseconds, and the histogram that they come from (microseconds)."""

    count: int
    min: float
    mean: float
    percentiles: dict[str, float]
    max: float
    histogram: str

    @staticmethod
    def of(latencies: Latencies) -> Summary:
        """What people read."""
        named = {f"p{percent:g}": _ms(latencies.percentile(percent)) for percent in PERCENTILES}
        least = _ms(float(latencies.values[0]) / 1e6) if len(latencies) else 0.0
        most = _ms(latencies.percentile(100))
        return Summary(len(latencies), least, _ms(latencies.mean()), named, most, latencies.encoded())


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)
