"""Two models on the same prompts: McNemar and the paired permutation test."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from demur.errors import InputError
from demur.stats.bootstrap import percentile_ends, resample_sums
from demur.stats.inputs import as_binary, as_clusters, as_floats, same_length, z_score

__all__ = ["PairedTest", "mcnemar", "paired_permutation", "sign_flip_p", "tango"]

_EXACT_UP_TO = 14  # clusters that differ: 2**14 sign patterns are fewer than two batches of random ones
_BATCH = 4_000_000  # random signs held at a time


class PairedTest(NamedTuple):
    """Two results on the same samples compared."""

    difference: float
    """Mean of the first minus mean of the second."""
    low: float
    """Lower end of the interval of the difference."""
    high: float
    """Upper end."""
    p_value: float
    """Two-sided, under the hypothesis that the two are exchangeable."""
    n: int
    """Pairs."""
    n_discordant: int
    """Pairs that differ; they alone carry the test."""
    method: str
    """Test and interval, in words."""


def mcnemar(
    a: Sequence[bool] | NDArray[Any],
    b: Sequence[bool] | NDArray[Any],
    *,
    confidence: float = 0.95,
    method: Literal["exact", "mid_p"] = "exact",
) -> PairedTest:
    """Compare two binary outcomes on the same independent samples.

    The test is the binomial test on the discordant pairs; the interval is Tango's score interval of the difference.
    They are different methods: near the border one may find a difference and the other not. Samples that share prompt
    families are not independent; use `paired_permutation` with clusters for them.

    Args:
        a: Outcome of the first on each sample.
        b: Outcome of the second on the same samples, in the same order.
        confidence: Of the interval.
        method: `exact` is conservative; `mid_p` counts half of the observed table and is closer to nominal.

    Raises:
        InputError: Lengths differ, a value is missing or not binary, there are no samples, or an option is unknown.

    Source: McNemar 1947, Psychometrika 12; interval: Tango 1998, Statistics in Medicine 17:891; mid-p: Fagerland,
        Lydersen and Laake 2013, BMC Medical Research Methodology 13:91.
    """
    if method not in ("exact", "mid_p"):
        raise InputError(f"method must be 'exact' or 'mid_p', got {method!r}")
    first, second = as_binary(a, "a"), as_binary(b, "b")
    same_length(a=first, b=second)
    only_a, only_b, n = int((first & ~second).sum()), int((~first & second).sum()), len(first)
    p_value = _binomial_p(only_a, only_b, mid=method == "mid_p")
    low, high = tango(only_a, only_b, n, confidence=confidence)
    name = "exact McNemar test" if method == "exact" else "mid-p McNemar test"
    return PairedTest(
        (only_a - only_b) / n,
        low,
        high,
        p_value,
        n,
        only_a + only_b,
        f"{name}; Tango score interval {100 * confidence:g}%",
    )


def _binomial_p(only_a: int, only_b: int, *, mid: bool) -> float:
    from scipy.stats import binom

    discordant, fewer = only_a + only_b, min(only_a, only_b)
    tail = 2 * float(binom.cdf(fewer, discordant, 0.5))
    return min(1.0, tail - float(binom.pmf(fewer, discordant, 0.5)) if mid else tail)


def tango(only_a: int, only_b: int, n: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """Score interval of the difference of two paired rates.

    Args:
        only_a: Pairs in which only the first counts.
        only_b: Pairs in which only the second counts.
        n: All pairs.
        confidence: Between 0 and 1.

    Source: Tango 1998, Statistics in Medicine 17:891.
    """
    from scipy.optimize import brentq

    z = z_score(confidence)
    estimate = (only_a - only_b) / n

    def score(difference: float) -> float:
        """Standardised distance of the data from a true `difference`."""
        # q is the likelihood's maximum for the rate of "only the second", given the difference
        linear = (2 * n - only_a + only_b) * difference - only_a - only_b
        constant = -only_b * difference * (1 - difference)
        q = (math.sqrt(max(0.0, linear * linear - 8 * n * constant)) - linear) / (4 * n)
        variance = n * (2 * q + difference * (1 - difference))
        distance = n * (estimate - difference)
        if distance == 0:
            return 0.0
        return distance / math.sqrt(variance) if variance > 0 else math.copysign(math.inf, distance)

    def root(target: float, low: float, high: float) -> float:
        # the score falls as the difference grows; at the ends it may be infinite, which the root finder cannot take
        return float(brentq(lambda d: max(-1e9, min(1e9, score(d) - target)), low, high))

    # At -1 and 1 the variance vanishes, so an interval that reaches them is recognised just inside.
    edge = 1 - 1e-12
    low = -1.0 if score(-edge) <= z else root(z, -edge, estimate)
    high = 1.0 if score(edge) >= -z else root(-z, estimate, edge)
    return min(low, estimate), max(high, estimate)


def paired_permutation(
    a: Sequence[float] | NDArray[Any],
    b: Sequence[float] | NDArray[Any],
    *,
    clusters: Sequence[Hashable] | NDArray[Any] | None = None,
    resamples: int = 10_000,
    confidence: float = 0.95,
    seed: int = 0,
) -> PairedTest:
    """Compare two means on the same samples; whole clusters are exchanged between the two.

    With up to 14 clusters that differ, all exchanges are enumerated and the p-value is exact; beyond that it comes from
    seeded random exchanges with the observed one counted in. The interval is a percentile bootstrap over clusters.

    Args:
        a: A number for each sample under the first, e.g. 0 or 1, or a score.
        b: The same for the second, in the same order.
        clusters: The cluster of each sample; None makes every sample its own.
        resamples: Random exchanges, and bootstrap resamples.
        confidence: Of the interval.
        seed: Of the generators.

    Raises:
        InputError: Lengths differ, a value is missing, or there are fewer than two clusters.
    """
    first, second = as_floats(a, "a"), as_floats(b, "b")
    same_length(a=first, b=second)
    differences = first - second
    codes = as_clusters(clusters, len(first))
    sums = resample_sums(
        np.column_stack([differences, np.ones_like(differences)]), codes, resamples=resamples, seed=seed
    )
    difference = float(differences.mean())
    low, high = percentile_ends(
        difference, sums[:, 0] / sums[:, 1], clusters=int(codes.max()) + 1, confidence=confidence
    )
    p_value, how = sign_flip_p(np.bincount(codes, weights=differences), resamples=resamples, seed=seed)
    unit = "pairs" if clusters is None else f"{codes.max() + 1} clusters"
    method = f"paired permutation test over {unit} ({how}); bootstrap interval {100 * confidence:g}%, seed {seed}"
    return PairedTest(difference, low, high, p_value, len(first), int((differences != 0).sum()), method)


def sign_flip_p(totals: NDArray[Any], *, resamples: int, seed: int) -> tuple[float, str]:
    """Two-sided p-value of a sum under random signs of its terms, and how it was computed.

    Args:
        totals: `(clusters,)`, the contribution of each cluster to the statistic.
        resamples: Random sign patterns when there are too many to enumerate.
        seed: Of the generator.
    """
    if resamples < 1:
        raise InputError(f"resamples must be at least 1, got {resamples}")
    moving = totals[totals != 0]  # a sign does nothing to a zero
    observed = abs(float(moving.sum()))
    slack = 1e-9 * float(np.abs(moving).sum())  # sums of the same terms in another order differ by rounding
    if len(moving) <= _EXACT_UP_TO:
        patterns = np.arange(2 ** len(moving))[:, None] >> np.arange(len(moving)) & 1
        reached = np.abs((1 - 2 * patterns) @ moving) >= observed - slack
        return float(reached.mean()), "exact"
    generator = np.random.default_rng(seed)
    step, count = max(1, _BATCH // len(moving)), 0
    for begin in range(0, resamples, step):
        signs = generator.integers(0, 2, size=(min(step, resamples - begin), len(moving)), dtype=np.int8)
        flipped = moving.sum() - 2 * (signs @ moving)
        count += int((np.abs(flipped) >= observed - slack).sum())
    return (count + 1) / (resamples + 1), f"{resamples} random exchanges"
