"""What a sample without a list of all says about the whole (the hypergeometric distribution)."""

from __future__ import annotations

from math import exp, inf, lgamma

CONFIDENCE = 0.95


def most_faulty(population: int, sample: int, found: int, confidence: float = CONFIDENCE) -> int:
    """The most things that may be faulty altogether, when `found` of a random `sample` are.

    The largest number for which so few in the sample would not be too unlikely: the one-sided exact bound of Clopper
    and Pearson, for draws without putting back.
    """
    low, high = found, population - sample + found  # the answer is between them
    while low < high:
        middle = (low + high + 1) // 2
        if _at_most(found, population, middle, sample) > 1 - confidence:
            low = middle
        else:
            high = middle - 1
    return low


def _at_most(found: int, population: int, faulty: int, sample: int) -> float:
    """How likely it is that at most so many of a sample are faulty."""
    return sum(
        exp(_log_ways(faulty, count) + _log_ways(population - faulty, sample - count) - _log_ways(population, sample))
        for count in range(found + 1)
    )


def _log_ways(things: int, chosen: int) -> float:
    """The logarithm of the binomial coefficient."""
    if not 0 <= chosen <= things:
        return -inf
    return lgamma(things + 1) - lgamma(chosen + 1) - lgamma(things - chosen + 1)
