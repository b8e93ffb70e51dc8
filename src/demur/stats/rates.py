"""One rate of samples that may share clusters, with its interval."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from demur.stats.bootstrap import percentile_ends, resample_sums
from demur.stats.inputs import as_binary, as_clusters
from demur.stats.intervals import Interval, score_interval, wilson

__all__ = ["rate_interval"]


def rate_interval(
    outcomes: Sequence[bool] | NDArray[Any],
    *,
    clusters: Sequence[Hashable] | NDArray[Any] | None = None,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> tuple[Interval, str]:
    """The rate of true outcomes, its interval, and the name of the method that gave it.

    - Every sample is its own cluster: Wilson.
    - Clusters of several samples: percentile bootstrap over clusters.
    - Clusters that all show the same rate (all at 0%, say), or a single one: the bootstrap would shrink to a point, as
      if nothing were left to learn. Then it is Wilson with the number of clusters in the place of n, as if each
      cluster had been seen once: wide, and honest about how little was seen.

    Args:
        outcomes: One a sample, at least one.
        clusters: The cluster of each sample; None makes every sample its own.
        confidence: Between 0 and 1.
        resamples: Of the bootstrap.
        seed: Of the bootstrap.

    Returns:
        The interval, whose `n` is the number of samples, and the method, e.g. `wilson 95%`.

    Raises:
        InputError: No outcomes, one that is missing or not binary, lengths that differ, or a number out of range.
    """
    data = as_binary(outcomes, "outcomes")
    codes = as_clusters(clusters, len(data))
    count, level = int(codes.max()) + 1, f"{100 * confidence:g}%"
    if count == len(data):
        return wilson(int(data.sum()), len(data), confidence=confidence), f"wilson {level}"

    sizes = np.bincount(codes)
    hits = np.bincount(codes, weights=data)
    value = float(data.mean())
    if np.all(hits * len(data) == sizes * data.sum()):  # every cluster at the overall rate, in whole numbers
        low, high = score_interval(value, count, confidence=confidence)
        agreeing = f"{count} clusters that agree" if count > 1 else "1 cluster"
        return Interval(value, low, high, len(data)), f"wilson {level} on {agreeing}"
    sums = resample_sums(np.column_stack([data, np.ones(len(data))]), codes, resamples=resamples, seed=seed)
    low, high = percentile_ends(value, sums[:, 0] / sums[:, 1], clusters=count, confidence=confidence)
    return Interval(value, low, high, len(data)), f"cluster bootstrap {level} over {count} clusters, seed {seed}"
