"""Seeded percentile bootstrap that resamples whole clusters."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from demur.errors import InputError
from demur.stats.inputs import as_clusters, as_floats, z_score
from demur.stats.intervals import Interval

__all__ = ["cluster_bootstrap", "cluster_weights", "count_draws", "mean", "percentile_ends", "resample_sums"]

_CHUNK = 2_000_000  # drawn clusters held at a time: 16 MB, and as much again for their weights

Statistic = Callable[[NDArray[np.float64]], float]


def mean(values: NDArray[np.float64]) -> float:
    """The arithmetic mean, the statistic for which `cluster_bootstrap` has a fast path."""
    return float(np.mean(values))


def cluster_bootstrap(
    values: Sequence[float] | NDArray[Any],
    clusters: Sequence[Hashable] | NDArray[Any] | None = None,
    statistic: Statistic = mean,
    *,
    resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap interval of a statistic, resampling whole clusters with replacement.

    Samples that share a prompt family are not independent; drawing whole families keeps what they share. Where all
    clusters agree the interval shrinks to a point, see `rate_interval`. The percentiles are expanded for the number of
    clusters, see `percentile_ends`; with fewer than about ten the interval still says too little about its own doubt.

    Args:
        values: One number a sample.
        clusters: The cluster of each sample, any hashable; None makes every sample its own cluster.
        statistic: From the resampled values to a number; nan where it is undefined, and such resamples are left out.
            The default, the mean, is computed for all resamples at once.
        resamples: How many.
        confidence: Between 0 and 1.
        seed: Of the one generator; the same seed gives the same interval.

    Returns:
        The statistic of the values as given, the interval, and the number of samples. The interval always holds the
        value.

    Raises:
        InputError: Values are empty or not finite, lengths differ, there is a single cluster, or the statistic is
            undefined on the values or on more than half of the resamples.

    Source: Field and Welsh 2007, JRSS B 69 (randomised cluster bootstrap); Hesterberg 2015 for the percentiles.
    """
    data = as_floats(values, "values")
    codes = as_clusters(clusters, len(data))
    if statistic is mean:
        sums = resample_sums(np.column_stack([data, np.ones_like(data)]), codes, resamples=resamples, seed=seed)
        replicates = sums[:, 0] / sums[:, 1]
    else:
        replicates = _replicates(data, codes, statistic, resamples=resamples, seed=seed)
    value = float(statistic(data))
    low, high = percentile_ends(value, replicates, clusters=int(codes.max()) + 1, confidence=confidence)
    return Interval(value, low, high, len(data))


def resample_sums(
    columns: NDArray[np.float64], codes: NDArray[np.intp], *, resamples: int, seed: int
) -> NDArray[np.float64]:
    """Column sums of each cluster resample.

    Every statistic that is a function of sums (means, differences, agreement tables) is bootstrapped through this.

    Args:
        columns: `(samples, k)`.
        codes: `(samples,)`, cluster numbers from 0.
        resamples: How many.
        seed: Of the generator.

    Returns:
        `(resamples, k)`.
    """
    clusters = int(codes.max()) + 1
    totals = np.zeros((clusters, columns.shape[1]))
    np.add.at(totals, codes, columns)
    return np.concatenate([weights @ totals for weights in cluster_weights(clusters, resamples, seed)])


def cluster_weights(clusters: int, resamples: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """How often each cluster was drawn, in chunks of shape `(some, clusters)` that add up to `resamples` rows."""
    for drawn in _draws(clusters, resamples, seed):
        yield count_draws(drawn, clusters)


def count_draws(drawn: NDArray[np.intp], clusters: int) -> NDArray[np.float64]:
    """Row by row, how often each number below `clusters` was drawn; `(rows, draws)` to `(rows, clusters)`."""
    cells = drawn + clusters * np.arange(len(drawn))[:, None]
    counts = np.bincount(cells.ravel(), minlength=len(drawn) * clusters)
    return counts.reshape(len(drawn), clusters).astype(np.float64)


def _draws(clusters: int, resamples: int, seed: int) -> Iterator[NDArray[np.intp]]:
    if clusters < 2:
        raise InputError("a bootstrap needs at least two clusters, got 1; nothing is known about how they vary")
    if resamples < 1:
        raise InputError(f"resamples must be at least 1, got {resamples}")
    generator = np.random.default_rng(seed)
    step = max(1, _CHUNK // clusters)
    for begin in range(0, resamples, step):
        yield generator.integers(0, clusters, size=(min(step, resamples - begin), clusters), dtype=np.intp)


def percentile_ends(
    value: float, replicates: NDArray[np.float64], *, clusters: int, confidence: float
) -> tuple[float, float]:
    """The expanded percentile interval of `replicates`, widened where needed to hold `value`.

    Plain percentiles are too narrow when few clusters were resampled, as a normal interval without Student's t is. The
    expansion takes the percentiles further out by the factor between the two.

    Args:
        value: The statistic of the data as they are.
        replicates: `(resamples,)`, the statistic of each resample; those that are not finite are left out.
        clusters: How many clusters were resampled, at least 2.
        confidence: Between 0 and 1.

    Raises:
        InputError: `value` or more than half of the replicates are undefined, or `confidence` is out of range.

    Source: Hesterberg 2015, The American Statistician 69:371 (expanded percentile interval).
    """
    from scipy.special import ndtr, stdtrit

    z_score(confidence)  # the range check
    defined = replicates[np.isfinite(replicates)]
    if not np.isfinite(value) or 2 * len(defined) < len(replicates):
        raise InputError(
            f"the statistic is undefined on the values or on {len(replicates) - len(defined)} of {len(replicates)} "
            "resamples; there are too few samples of one class"
        )
    student = float(stdtrit(clusters - 1, (1 + confidence) / 2))
    tail = float(ndtr(-student * math.sqrt(clusters / (clusters - 1))))
    low, high = np.quantile(defined, [tail, 1 - tail])
    return min(value, float(low)), max(value, float(high))


def _replicates(
    data: NDArray[np.float64], codes: NDArray[np.intp], statistic: Statistic, *, resamples: int, seed: int
) -> NDArray[np.float64]:
    order = np.argsort(codes, kind="stable")
    members = np.split(data[order], np.flatnonzero(np.diff(codes[order])) + 1)
    return np.array(
        [
            float(statistic(np.concatenate([members[number] for number in row])))
            for drawn in _draws(len(members), resamples, seed)
            for row in drawn
        ]
    )
