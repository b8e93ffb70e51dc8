"""How well scores rank positives above negatives: AUROC and average precision."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from demur.stats.bootstrap import cluster_weights, count_draws, percentile_ends
from demur.stats.inputs import as_binary, as_clusters, as_floats, both_classes, same_length, z_score
from demur.stats.intervals import Interval, score_interval

__all__ = ["auroc", "average_precision"]

Binary = Sequence[bool] | NDArray[Any]
Scores = Sequence[float] | NDArray[Any]
Clusters = Sequence[Hashable] | NDArray[Any] | None

Counts = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Positives and negatives of some resamples at each distinct score, best first: `(resamples, scores)` each."""

_CHUNK = 500_000  # counts held at a time: 4 MB, which stays in the processor's cache


def auroc(
    truth: Binary,
    scores: Scores,
    *,
    clusters: Clusters = None,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Area under the ROC curve: the chance that a positive scores above a negative, ties counted half.

    Without clusters the interval is DeLong's, taken on the logit so that it stays in [0, 1]; with clusters it is a
    percentile bootstrap over clusters. Where the scores separate the classes perfectly, or a class has one sample,
    neither can tell how much is in doubt, and it is Wilson's on the size of the smaller class.

    Args:
        truth: What each sample is.
        scores: Higher means more likely positive.
        clusters: The cluster of each sample; None makes every sample its own.
        confidence: Between 0 and 1.
        resamples: Of the bootstrap.
        seed: Of the bootstrap.

    Returns:
        The area, its interval, and the number of samples.

    Raises:
        InputError: Lengths differ, values are missing, or a class does not occur.

    Source: DeLong, DeLong and Clarke-Pearson 1988, Biometrics 44:837; logit: Pepe 2003, The Statistical Evaluation of
        Medical Tests, chapter 5.
    """
    actual, values = _pair(truth, scores)
    from sklearn.metrics import roc_auc_score

    value = float(roc_auc_score(actual, values))
    smaller = int(min(actual.sum(), (~actual).sum()))
    if value in (0.0, 1.0) or smaller < 2:
        return Interval(value, *score_interval(value, smaller, confidence=confidence), len(actual))
    if clusters is not None:
        codes = as_clusters(clusters, len(actual))
        replicates = [_areas(*part) for part in _by_cluster(actual, values, codes, resamples, seed)]
        low, high = percentile_ends(
            value, np.concatenate(replicates), clusters=int(codes.max()) + 1, confidence=confidence
        )
        return Interval(value, low, high, len(actual))
    # On the logit the standard error grows by the slope of the transformation.
    error = math.sqrt(_delong_variance(actual, values)) / (value * (1 - value))
    centre, half = math.log(value / (1 - value)), z_score(confidence) * error
    return Interval(value, _expit(centre - half), _expit(centre + half), len(actual))


def average_precision(
    truth: Binary,
    scores: Scores,
    *,
    clusters: Clusters = None,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Average precision (area under the precision-recall steps); by chance it equals the share of positives.

    The interval is a percentile bootstrap: within each class without clusters, over whole clusters with them. Where the
    ranking is perfect it is Wilson's on the number of positives.

    Takes, returns and raises what `auroc` does.
    """
    actual, values = _pair(truth, scores)
    from sklearn.metrics import average_precision_score

    value = float(average_precision_score(actual, values))
    if math.isclose(value, 1.0):
        return Interval(1.0, *score_interval(1.0, int(actual.sum()), confidence=confidence), len(actual))
    if clusters is None:
        count = max(2, int(actual.sum()))  # the positives carry the doubt
        drawn = _by_class(actual, values, resamples, seed)
    else:
        codes = as_clusters(clusters, len(actual))
        count = int(codes.max()) + 1
        drawn = _by_cluster(actual, values, codes, resamples, seed)
    replicates = np.concatenate([_precisions(*part) for part in drawn])
    low, high = percentile_ends(value, replicates, clusters=count, confidence=confidence)
    return Interval(value, low, high, len(actual))


def _pair(truth: Binary, scores: Scores) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    actual, values = as_binary(truth, "truth"), as_floats(scores, "scores")
    same_length(truth=actual, scores=values)
    both_classes(actual)
    return actual, values


def _delong_variance(actual: NDArray[np.bool_], scores: NDArray[np.float64]) -> float:
    """Variance of the area from the placement of each sample among the other class, by midranks."""
    from scipy.stats import rankdata

    positives, negatives = scores[actual], scores[~actual]
    ranks = rankdata(scores)
    # share of negatives below each positive, and of positives above each negative
    above = (ranks[actual] - rankdata(positives)) / len(negatives)
    below = 1 - (ranks[~actual] - rankdata(negatives)) / len(positives)
    variance = 0.0
    for placements in (above, below):
        if len(placements) > 1:
            variance += float(np.var(placements, ddof=1)) / len(placements)
    return variance


def _score_groups(scores: NDArray[np.float64]) -> tuple[NDArray[np.intp], int]:
    """The number of each sample's distinct score, best first, and how many there are."""
    distinct, places = np.unique(-scores, return_inverse=True)
    return places.astype(np.intp), len(distinct)


def _by_class(actual: NDArray[np.bool_], scores: NDArray[np.float64], resamples: int, seed: int) -> Iterator[Counts]:
    """Resample positives and negatives separately."""
    places, groups = _score_groups(scores)
    generator = np.random.default_rng(seed)
    step = max(1, _CHUNK // len(actual))
    for begin in range(0, resamples, step):
        rows = min(step, resamples - begin)
        positives, negatives = (
            count_draws(generator.choice(places[members], size=(rows, int(members.sum()))), groups)
            for members in (actual, ~actual)
        )
        yield positives, negatives


def _by_cluster(
    actual: NDArray[np.bool_], scores: NDArray[np.float64], codes: NDArray[np.intp], resamples: int, seed: int
) -> Iterator[Counts]:
    """Resample whole clusters."""
    from scipy.sparse import csr_array

    places, groups = _score_groups(scores)
    shape = (int(codes.max()) + 1, groups)
    tables = [
        csr_array((np.ones(int(members.sum())), (codes[members], places[members])), shape=shape)
        for members in (actual, ~actual)
    ]
    for weights in cluster_weights(shape[0], resamples, seed):
        step = max(1, _CHUNK // groups)
        for begin in range(0, len(weights), step):
            positives, negatives = (weights[begin : begin + step] @ table for table in tables)
            yield positives, negatives


def _areas(positives: NDArray[np.float64], negatives: NDArray[np.float64]) -> NDArray[np.float64]:
    above = np.cumsum(positives, axis=1) - positives / 2
    with np.errstate(invalid="ignore"):  # a resample without one class is undefined and left out
        areas: NDArray[np.float64] = (above * negatives).sum(axis=1) / (positives.sum(axis=1) * negatives.sum(axis=1))
    return areas


def _precisions(positives: NDArray[np.float64], negatives: NDArray[np.float64]) -> NDArray[np.float64]:
    hits = np.cumsum(positives, axis=1)
    seen = hits + np.cumsum(negatives, axis=1)
    precision = np.divide(hits, seen, out=np.zeros_like(hits), where=seen > 0)
    with np.errstate(invalid="ignore"):
        averages: NDArray[np.float64] = (precision * positives).sum(axis=1) / positives.sum(axis=1)
    return averages


def _expit(value: float) -> float:
    from scipy.special import expit

    return float(expit(value))
