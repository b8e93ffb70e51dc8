"""Two independent rates compared: test and Newcombe interval."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

from demur.errors import InputError
from demur.stats.intervals import wilson

__all__ = ["ProportionTest", "newcombe", "two_proportions"]

Test = Literal["auto", "score", "fisher"]


class ProportionTest(NamedTuple):
    """Two independent rates compared."""

    difference: float
    """First rate minus second."""
    low: float
    """Lower end of the interval of the difference."""
    high: float
    """Upper end."""
    p_value: float
    """Two-sided, under the hypothesis that the rates are equal."""
    n_a: int
    """Samples behind the first rate."""
    n_b: int
    """Samples behind the second rate."""
    method: str
    """Test and interval, in words."""


def two_proportions(
    successes_a: int, n_a: int, successes_b: int, n_b: int, *, confidence: float = 0.95, test: Test = "auto"
) -> ProportionTest:
    """Compare two rates of different samples. For the same prompts use `mcnemar`, which sees much smaller differences.

    Args:
        successes_a: How many of the first samples count.
        n_a: How many first samples there are.
        successes_b: How many of the second samples count.
        n_b: How many second samples there are.
        confidence: Of the interval.
        test: `score` is the pooled z-test, `fisher` the exact test; `auto` takes Fisher's where an expected count is
            under 5 (Cochran's rule).

    Raises:
        InputError: Counts do not fit, or a name or number is out of range.

    Source: interval: Newcombe 1998, Statistics in Medicine 17:873, method 10.
    """
    if test not in ("auto", "score", "fisher"):
        raise InputError(f"test must be 'auto', 'score' or 'fisher', got {test!r}")
    low, high = newcombe(successes_a, n_a, successes_b, n_b, confidence=confidence)
    pooled = (successes_a + successes_b) / (n_a + n_b)
    if test == "auto":
        test = "score" if min(n_a, n_b) * min(pooled, 1 - pooled) >= 5 else "fisher"
    difference = successes_a / n_a - successes_b / n_b
    if test == "score":
        error = math.sqrt(pooled * (1 - pooled) * (1 / n_a + 1 / n_b))
        p_value = math.erfc(abs(difference) / error / math.sqrt(2)) if error else 1.0
    else:
        from scipy.stats import fisher_exact

        table = [[successes_a, n_a - successes_a], [successes_b, n_b - successes_b]]
        p_value = float(fisher_exact(table)[1])
    name = "score test (pooled z)" if test == "score" else "Fisher's exact test"
    return ProportionTest(difference, low, high, p_value, n_a, n_b, f"{name}; Newcombe interval {100 * confidence:g}%")


def newcombe(
    successes_a: int, n_a: int, successes_b: int, n_b: int, *, confidence: float = 0.95
) -> tuple[float, float]:
    """Interval of the difference of two independent rates, from their two Wilson intervals (square and add)."""
    a, b = wilson(successes_a, n_a, confidence=confidence), wilson(successes_b, n_b, confidence=confidence)
    difference = a.value - b.value
    low = difference - math.hypot(a.value - a.low, b.high - b.value)
    high = difference + math.hypot(a.high - a.value, b.value - b.low)
    return max(-1.0, low), min(1.0, high)
