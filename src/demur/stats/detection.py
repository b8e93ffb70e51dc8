"""How well a detector finds what it should: sensitivity, specificity, balanced accuracy."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from demur.stats.bootstrap import percentile_ends, resample_sums
from demur.stats.inputs import as_binary, as_clusters, both_classes, same_length
from demur.stats.intervals import Interval
from demur.stats.paired import PairedTest, sign_flip_p
from demur.stats.rates import rate_interval

__all__ = ["balanced_accuracy", "compare_balanced_accuracy", "sensitivity", "specificity"]

Binary = Sequence[bool] | NDArray[Any]
Clusters = Sequence[Hashable] | NDArray[Any] | None


def sensitivity(
    truth: Binary,
    predicted: Binary,
    *,
    clusters: Clusters = None,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """The share of true positives among the positives; `n` is the number of positives.

    Args:
        truth: What each sample is.
        predicted: What the detector says.
        clusters: The cluster of each sample; None makes every sample its own.
        confidence: Of the interval, which is that of `rate_interval`.
        resamples: Of the bootstrap, where there are clusters.
        seed: Of the bootstrap.

    Raises:
        InputError: Lengths differ, a value is missing or not binary, or no sample is positive.
    """
    actual, said = _pair(truth, predicted)
    return _share(said, actual, clusters, confidence, resamples, seed)


def specificity(
    truth: Binary,
    predicted: Binary,
    *,
    clusters: Clusters = None,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """The share of true negatives among the negatives; `n` is the number of negatives.

    Takes and raises what `sensitivity` does.
    """
    actual, said = _pair(truth, predicted)
    return _share(~said, ~actual, clusters, confidence, resamples, seed)


def balanced_accuracy(
    truth: Binary,
    predicted: Binary,
    *,
    clusters: Clusters = None,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """The mean of sensitivity and specificity; `n` counts all samples.

    Without clusters the interval adds the two Wilson intervals in squares (Newcombe's way for sums); with clusters it
    is a percentile bootstrap over clusters, or the former where that would shrink to a point.

    Takes and raises what `sensitivity` does; both classes must occur.

    Source: Zou and Donner 2008, Statistics in Medicine 27 (intervals of sums from intervals of terms).
    """
    actual, said = _pair(truth, predicted)
    both_classes(actual)
    options = (clusters, confidence, resamples, seed)
    found, spared = _share(said, actual, *options), _share(~said, ~actual, *options)
    value = (found.value + spared.value) / 2
    if clusters is not None:
        codes = as_clusters(clusters, len(actual))
        sums = resample_sums(
            np.column_stack([actual & said, actual, ~actual & ~said, ~actual]).astype(np.float64),
            codes,
            resamples=resamples,
            seed=seed,
        )
        with np.errstate(invalid="ignore"):  # a resample without one class is undefined and left out
            replicates = (sums[:, 0] / sums[:, 1] + sums[:, 2] / sums[:, 3]) / 2
        low, high = percentile_ends(value, replicates, clusters=int(codes.max()) + 1, confidence=confidence)
        if low < high:
            return Interval(value, low, high, len(actual))
    low = value - math.hypot(found.value - found.low, spared.value - spared.low) / 2
    high = value + math.hypot(found.high - found.value, spared.high - spared.value) / 2
    return Interval(value, max(0.0, low), min(1.0, high), len(actual))


def compare_balanced_accuracy(
    truth: Binary,
    a: Binary,
    b: Binary,
    *,
    clusters: Clusters = None,
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> PairedTest:
    """Compare two detectors on the same samples: balanced accuracy of `a` minus that of `b`.

    The p-value exchanges what the two said, cluster by cluster; the interval is a percentile bootstrap over clusters.

    Args:
        truth: What each sample is.
        a: What the first detector says.
        b: What the second detector says, in the same order.
        clusters: The cluster of each sample; None makes every sample its own.
        confidence: Of the interval.
        resamples: Random exchanges, and bootstrap resamples.
        seed: Of the generators.

    Raises:
        InputError: Lengths differ, a value is missing or not binary, or a class does not occur.
    """
    actual, first = _pair(truth, a)
    second = as_binary(b, "b")
    same_length(truth=actual, b=second)
    both_classes(actual)
    codes = as_clusters(clusters, len(actual))
    gain = (first == actual).astype(np.float64) - (second == actual)
    sums = resample_sums(
        np.column_stack([gain * actual, actual, gain * ~actual, ~actual]).astype(np.float64),
        codes,
        resamples=resamples,
        seed=seed,
    )
    with np.errstate(invalid="ignore"):
        replicates = (sums[:, 0] / sums[:, 1] + sums[:, 2] / sums[:, 3]) / 2
    share = np.where(actual, 0.5 / actual.sum(), 0.5 / (~actual).sum()) * gain
    difference = float(share.sum())
    low, high = percentile_ends(difference, replicates, clusters=int(codes.max()) + 1, confidence=confidence)
    p_value, how = sign_flip_p(np.bincount(codes, weights=share), resamples=resamples, seed=seed)
    method = (
        f"paired permutation test of balanced accuracy ({how}); bootstrap interval {100 * confidence:g}%, seed {seed}"
    )
    return PairedTest(difference, low, high, p_value, len(actual), int((gain != 0).sum()), method)


def _pair(truth: Binary, predicted: Binary) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    actual, said = as_binary(truth, "truth"), as_binary(predicted, "predicted")
    same_length(truth=actual, predicted=said)
    return actual, said


def _share(
    hits: NDArray[np.bool_],
    among: NDArray[np.bool_],
    clusters: Clusters,
    confidence: float,
    resamples: int,
    seed: int,
) -> Interval:
    if not among.any():
        both_classes(among)
    codes = None if clusters is None else as_clusters(clusters, len(among))[among]
    return rate_interval(hits[among], clusters=codes, confidence=confidence, resamples=resamples, seed=seed)[0]
