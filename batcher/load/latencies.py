"""Latencies as counts per value in microseconds: exact to three digits, compact, and merged without loss.

The buckets are those of an HDR histogram with three significant digits (2,048 per power of two; Tene), so that
converting to the library's histograms and back loses nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from batcher.core.errors import ConfigurationError
from batcher.core.vectors import Ints

if TYPE_CHECKING:
    from hdrh.histogram import HdrHistogram

LONGEST = 3_600_000_000
"""In microseconds; anything longer counts as an hour."""
_DIGITS = 3
_SUB_BUCKET_BITS = 11
PERCENTILES = (50.0, 75.0, 90.0, 95.0, 99.0, 99.9, 99.99)


def _none() -> Ints:
    return np.empty(0, np.int64)


def histograms() -> type[HdrHistogram]:
    """The class from the library that implements the format.

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
    """A histogram: `values` (microseconds, ascending, each the lowest of its bucket), and how often each was seen."""

    values: Ints = field(default_factory=_none)
    counts: Ints = field(default_factory=_none)

    def __len__(self) -> int:
        return int(self.counts.sum())

    @staticmethod
    def of(seconds: Sequence[float]) -> Latencies:
        """The histogram of single measurements in seconds."""
        micros = np.clip(np.round(np.asarray(seconds, np.float64) * 1e6), 1, LONGEST).astype(np.int64)
        shift = np.maximum(np.frexp(micros)[1] - _SUB_BUCKET_BITS, 0)
        values, counts = np.unique((micros >> shift) << shift, return_counts=True)
        return Latencies(values, counts.astype(np.int64))

    @staticmethod
    def merged(parts: Iterable[Latencies]) -> Latencies:
        """The histogram of all parts together."""
        known = [part for part in parts if part.counts.size]
        if len(known) < 2:  # noqa: PLR2004 — nothing to merge
            return known[0] if known else Latencies()
        values, place = np.unique(np.concatenate([part.values for part in known]), return_inverse=True)
        counts = np.zeros(len(values), np.int64)
        np.add.at(counts, place, np.concatenate([part.counts for part in known]))
        return Latencies(values, counts)

    def percentile(self, percent: float) -> float:
        """The percentile in seconds; 0.0 if there are no measurements."""
        if not len(self):
            return 0.0
        rank = max(1, int(np.ceil(percent / 100 * len(self) - 1e-9)))
        return float(self.values[np.searchsorted(np.cumsum(self.counts), rank)]) / 1e6

    def mean(self) -> float:
        """The mean in seconds; 0.0 if there are no measurements."""
        return float((self.values * self.counts).sum()) / len(self) / 1e6 if len(self) else 0.0

    def encoded(self) -> str:
        """The histogram in the HDR format (V2, compressed, base64), which other programs can read."""
        return str(self._histogram().encode(), "ascii")

    @staticmethod
    def decoded(text: str) -> Latencies:
        """The histogram that `encoded` returned as text.

        Raises:
            ValueError: When the text is not a histogram.

        """
        library = histograms()
        try:
            every: Ints = np.ctypeslib.as_array(library.decode(text).counts).astype(np.int64)
        except Exception as error:  # noqa: BLE001 — the library raises whatever its decoder meets
            msg = f"not an HDR histogram: {error}"
            raise ValueError(msg) from None
        index = np.flatnonzero(every)
        half = 1 << (_SUB_BUCKET_BITS - 1)  # except in the first bucket, the lower half belongs to the one before
        bucket = np.maximum(index // half - 1, 0)
        place = np.where(index < half, index, index % half + half)
        return Latencies((place << bucket).astype(np.int64), every[index])

    def _histogram(self) -> HdrHistogram:
        histogram = histograms()(1, LONGEST, _DIGITS)
        for value, count in zip(self.values.tolist(), self.counts.tolist(), strict=True):
            histogram.record_value(value, count)
        return histogram


class Summary(msgspec.Struct, frozen=True):
    """Figures of a histogram in milliseconds, and the encoded histogram itself (microseconds)."""

    count: int
    min: float
    mean: float
    percentiles: dict[str, float]
    max: float
    histogram: str

    @staticmethod
    def of(latencies: Latencies) -> Summary:
        """The summary of these latencies."""
        named = {f"p{percent:g}": _ms(latencies.percentile(percent)) for percent in PERCENTILES}
        least = _ms(float(latencies.values[0]) / 1e6) if len(latencies) else 0.0
        most = _ms(latencies.percentile(100))
        return Summary(len(latencies), least, _ms(latencies.mean()), named, most, latencies.encoded())


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)
