"""How good a forecast is: measured on prompts that it never saw, beside what a constant answer would score."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from demur.prompts.forecast_fitting import nested
from demur.stats import Interval, auroc, balanced_accuracy, cluster_bootstrap, ece, reliability
from demur.stats.rates import rate_interval

__all__ = ["BINS", "measure", "score"]

BINS = 10
"""Bins of the reliability curve, of equal mass."""


def measure(
    matrix: Any, declined: NDArray[np.bool_], groups: NDArray[np.intp], *, seed: int
) -> tuple[dict[str, Any], NDArray[np.float64]]:
    """The quality of the whole procedure on prompts outside its folds, and those prompts' probabilities.

    Returns:
        A dictionary as it stands in the card: `majority` (the accuracy of the constant answer), `grouped` (whole groups
        held out: the figure to believe) and `random` (single prompts held out: what templates make of it); and the
        probabilities on grouped folds, shape `(n,)`.
    """
    probabilities, decisions = nested(matrix, declined, groups, seed=seed)
    loose, loosely = nested(matrix, declined, groups, seed=seed, apart=np.arange(len(declined)))
    share = max(declined.mean(), 1 - declined.mean())
    quality = {
        "majority": {"answer": "declined" if declined.mean() > 0.5 else "complied", "accuracy": float(share)},
        "grouped": score(probabilities, decisions, declined, groups, seed=seed),
        "random": score(loose, loosely, declined, groups, seed=seed),
    }
    return quality, probabilities


def score(
    probabilities: NDArray[np.float64],
    decisions: NDArray[np.bool_],
    declined: NDArray[np.bool_],
    groups: NDArray[np.intp],
    *,
    seed: int,
) -> dict[str, Any]:
    """Accuracy, balanced accuracy, AUROC and Brier score with intervals over groups; calibration error and its curve.

    Args:
        probabilities: Shape `(n,)`, of prompts that were not fitted on.
        decisions: Shape `(n,)`.
        declined: Shape `(n,)`; both classes must occur.
        groups: Shape `(n,)`, the clusters of the intervals.
        seed: Of the bootstraps.
    """
    options: dict[str, Any] = {"clusters": groups, "seed": seed}
    curve = reliability(probabilities, declined, bins=BINS, binning="mass")
    return {
        "accuracy": _row(rate_interval(decisions == declined, **options)[0]),
        "balanced_accuracy": _row(balanced_accuracy(declined, decisions, **options)),
        "auroc": _row(auroc(declined, probabilities, **options)),
        "brier": _row(cluster_bootstrap((probabilities - declined) ** 2, groups, seed=seed)),
        "ece": {
            "value": ece(probabilities, declined, bins=BINS, binning="mass"),
            "bins": BINS,
            "binning": "mass",
            "n": len(declined),
        },
        "reliability": [{"said": part.mean_probability, "came": _row(part.rate)} for part in curve],
    }


def _row(interval: Interval) -> dict[str, Any]:
    return interval._asdict()
