"""Intervals for one rate: Wilson and Clopper-Pearson."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import NamedTuple

from demur.errors import InputError

__all__ = ["Interval", "clopper_pearson", "score_interval", "wilson"]


class Interval(NamedTuple):
    """A number with its interval and its denominator."""

    value: float
    """The estimate."""
    low: float
    """Lower end."""
    high: float
    """Upper end."""
    n: int
    """How many samples it rests on."""


def wilson(successes: int, n: int, *, confidence: float = 0.95) -> Interval:
    """The score interval of a rate, whose coverage stays near nominal down to small n and rates near 0 and 1.

    Args:
        successes: How many samples count.
        n: Of how many, at least 1.
        confidence: Between 0 and 1.

    Raises:
        InputError: n is 0, the counts do not fit, or `confidence` is out of range.

    Source: Wilson 1927, JASA 22; method 3 of Newcombe 1998, Statistics in Medicine 17:857.
    """
    _check_counts(successes, n)
    low, high = score_interval(successes / n, n, confidence=confidence)
    return Interval(successes / n, low, high, n)


def score_interval(rate: float, n: float, *, confidence: float = 0.95) -> tuple[float, float]:
    """The ends of the Wilson interval for a rate that rests on `n` samples, or on an effective number of them."""
    _check_confidence(confidence)
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    centre = (rate + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
    # At rate 0 and 1 the formula misses the end by a rounding error.
    return max(0.0, min(rate, centre - half)), min(1.0, max(rate, centre + half))


def clopper_pearson(successes: int, n: int, *, confidence: float = 0.95) -> Interval:
    """The exact interval of a rate: never covers less than promised, and is wider for it.

    Args:
        successes: How many samples count.
        n: Of how many, at least 1.
        confidence: Between 0 and 1.

    Raises:
        InputError: n is 0, the counts do not fit, or `confidence` is out of range.

    Source: Clopper and Pearson 1934, Biometrika 26.
    """
    _check_counts(successes, n)
    _check_confidence(confidence)
    from scipy.stats import binomtest

    ends = binomtest(successes, n).proportion_ci(confidence_level=confidence, method="exact")
    return Interval(successes / n, float(ends.low), float(ends.high), n)


def _check_counts(successes: int, n: int) -> None:
    # A rate given as a count, or nan, would pass silently; int() also admits the integers of numpy.
    if n < 1 or not 0 <= successes <= n or int(successes) != successes or int(n) != n:
        raise InputError(f"a rate needs whole numbers with 0 <= successes <= n and n >= 1, got {successes} of {n}")


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise InputError(f"confidence must lie between 0 and 1, e.g. 0.95, got {confidence}")
