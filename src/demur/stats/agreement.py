"""How far raters agree: percent, Cohen's kappa, Krippendorff's alpha."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from demur.errors import InputError
from demur.stats.bootstrap import percentile_ends, resample_sums
from demur.stats.inputs import as_clusters, same_length
from demur.stats.intervals import Interval
from demur.stats.rates import rate_interval

__all__ = ["cohen_kappa", "krippendorff_alpha", "percent_agreement"]

Labels = Sequence[Hashable] | NDArray[Any]
Clusters = Sequence[Hashable] | NDArray[Any] | None


def percent_agreement(
    a: Labels,
    b: Labels,
    *,
    clusters: Clusters = None,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """The share of samples to which two raters give the same label, with the interval of `rate_interval`.

    Args:
        a: Labels of the first, any hashable.
        b: Labels of the second, in the same order.
        clusters: The cluster of each sample; None makes every sample its own.
        confidence: Between 0 and 1.
        resamples: Of the bootstrap, where there are clusters.
        seed: Of the bootstrap.

    Raises:
        InputError: Lengths differ, a label is missing, or there are no samples.
    """
    first, second, _ = _codes(a, b)
    return rate_interval(first == second, clusters=clusters, confidence=confidence, resamples=resamples, seed=seed)[0]


def cohen_kappa(
    a: Labels,
    b: Labels,
    *,
    clusters: Clusters = None,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Agreement of two raters beyond what their label frequencies would give by chance; 1 is perfect, 0 is chance.

    The interval is a percentile bootstrap over clusters. Where the raters agree on every sample it is a point, because
    no resample can disagree; read the interval of `percent_agreement` then.

    Takes and raises what `percent_agreement` does; it is undefined, an `InputError`, when both raters use one and the
    same label throughout.

    Source: Cohen 1960, Educational and Psychological Measurement 20.
    """
    first, second, kinds = _codes(a, b)
    codes = as_clusters(clusters, len(first))
    cells = np.zeros((len(first), kinds * kinds))
    cells[np.arange(len(first)), first * kinds + second] = 1
    value = float(_kappa(cells.sum(axis=0)[None, :], kinds)[0])
    if not np.isfinite(value):
        raise InputError("kappa is undefined when both raters use a single label throughout; use percent_agreement")
    sums = resample_sums(cells, codes, resamples=resamples, seed=seed)
    low, high = percentile_ends(value, _kappa(sums, kinds), clusters=int(codes.max()) + 1, confidence=confidence)
    return Interval(value, low, high, len(first))


def krippendorff_alpha(
    ratings: Sequence[Sequence[Hashable | None]],
    *,
    clusters: Clusters = None,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Nominal agreement of any number of raters with missing ratings; 1 is perfect, 0 is chance.

    Args:
        ratings: One sequence a unit, one rating a rater, None where a rater gave none. Units with fewer than two
            ratings tell nothing about agreement and are left out.
        clusters: The cluster of each unit; None makes every unit its own.
        confidence: Of the percentile bootstrap interval over units.
        resamples: Of the bootstrap.
        seed: Of the bootstrap.

    Returns:
        Alpha, its interval, and the number of units with at least two ratings.

    Raises:
        InputError: Fewer than two units have two ratings, or all ratings are one label, where alpha is undefined.

    Source: Krippendorff 2011, Computing Krippendorff's Alpha-Reliability.
    """
    present = [[label for label in unit if not _missing(label)] for unit in ratings]
    pairable = [index for index, unit in enumerate(present) if len(unit) >= 2]
    if len(pairable) < 2:
        raise InputError(f"alpha needs at least two units with two ratings each, got {len(pairable)} of {len(present)}")
    codes = as_clusters(clusters, len(present))[pairable]
    codes = np.unique(codes, return_inverse=True)[1]
    kinds = {label: number for number, label in enumerate(dict.fromkeys(x for i in pairable for x in present[i]))}
    if len(kinds) < 2:
        raise InputError("alpha is undefined when all ratings are one label; report percent agreement instead")
    counts = np.zeros((len(pairable), len(kinds)))
    for row, index in enumerate(pairable):
        for label in present[index]:
            counts[row, kinds[label]] += 1
    sizes = counts.sum(axis=1)
    # ordered pairs of unlike ratings within a unit, weighted so that each rating counts once
    unlike = (sizes**2 - (counts**2).sum(axis=1)) / (sizes - 1)
    columns = np.column_stack([unlike, counts])
    value = float(_alpha(columns.sum(axis=0)[None, :])[0])
    replicates = _alpha(resample_sums(columns, codes, resamples=resamples, seed=seed))
    low, high = percentile_ends(value, replicates, clusters=int(codes.max()) + 1, confidence=confidence)
    return Interval(value, low, high, len(pairable))


def _alpha(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Alpha of each row: the first column counts unlike pairs, the others the ratings of each label."""
    unlike, totals = sums[:, 0], sums[:, 1:]
    n = totals.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):  # a resample of one label is undefined and left out
        alpha: NDArray[np.float64] = 1 - (n - 1) * unlike / (n**2 - (totals**2).sum(axis=1))
    return alpha


def _kappa(tables: NDArray[np.float64], kinds: int) -> NDArray[np.float64]:
    """Kappa of each flattened agreement table."""
    shares = (tables / tables.sum(axis=1, keepdims=True)).reshape(-1, kinds, kinds)
    observed = np.trace(shares, axis1=1, axis2=2)
    expected = (shares.sum(axis=1) * shares.sum(axis=2)).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        kappa: NDArray[np.float64] = np.where(expected < 1 - 1e-12, (observed - expected) / (1 - expected), np.nan)
    return kappa


def _codes(a: Labels, b: Labels) -> tuple[NDArray[np.intp], NDArray[np.intp], int]:
    same_length(a=a, b=b)
    if len(a) == 0:
        raise InputError("there are no labels to compare")
    for name, labels in (("a", a), ("b", b)):
        for index, label in enumerate(labels):
            if _missing(label):
                raise InputError(f"{name} has no label at index {index}; leave such samples out and count them")
    kinds = {label: number for number, label in enumerate(dict.fromkeys([*a, *b]))}
    first, second = (np.array([kinds[label] for label in labels], dtype=np.intp) for labels in (a, b))
    return first, second, len(kinds)


def _missing(label: Any) -> bool:
    return label is None or (isinstance(label, float) and label != label)  # noqa: PLR0124 - only nan differs from itself
