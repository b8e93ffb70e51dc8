"""Fitting: weights, strength, calibration and threshold, all chosen on folds that keep groups together.

A group counts by the square root of its size, so that a template of three hundred prompts does not drown the rest, and
both classes count alike: the score is zero where the two kinds of error are in balance, and that is the threshold. The
strength of the penalty is chosen by the log loss of prompts outside the fold; on the same scores stands the calibration
(Platt).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from demur.errors import InputError
from demur.prompts.forecast_groups import grouped_folds

__all__ = ["FOLDS", "STRENGTHS", "Fitted", "crossed", "fit", "logit_fit", "nested", "weights"]

FOLDS = 5

STRENGTHS = (0.03, 0.1, 0.3, 1.0, 3.0)
"""Inverse penalties to choose from (`C` of the logistic regression)."""

FLATTEST = 1e-3
"""Least slope of a calibration: flat for the eye, and still in the order of the scores. Never upside down."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Fitted:
    """A linear score, what makes it a probability, and where the class decision falls."""

    coefficients: Floats
    """Shape `(columns,)`."""
    bias: float
    slope: float
    """Of the calibration: `p = sigmoid(slope * score + shift)`."""
    shift: float
    strength: float
    """The inverse penalty that was chosen."""

    @property
    def threshold(self) -> float:
        """Probability from which a prompt is called declined: that of the score zero."""
        return float(sigmoid(np.array(self.shift)))

    def probabilities(self, matrix: Any) -> Floats:
        """Calibrated probabilities, shape `(rows,)`."""
        return sigmoid(self.slope * (matrix @ self.coefficients + self.bias) + self.shift)


def sigmoid(logits: Floats) -> Floats:
    """The logistic function, safe for any score."""
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(logits, -30.0, 30.0))))


def weights(groups: NDArray[np.intp], declined: NDArray[np.bool_] | None = None) -> Floats:
    """Weights that let a group count by the root of its size, and both classes alike where `declined` is given.

    Returns:
        Shape `(n,)`, with a mean of one.
    """
    _, number, size = np.unique(groups, return_inverse=True, return_counts=True)
    weight = size[number] ** -0.5
    if declined is not None:
        for side in (declined, ~declined):
            weight[side] /= weight[side].sum()
    return np.asarray(weight * len(weight) / weight.sum())


def logit_fit(
    matrix: Any, declined: NDArray[np.bool_], weight: Floats, strength: float, *, scaled: float = 1.0
) -> tuple[Floats, float]:
    """Coefficients and intercept of a penalised logistic regression.

    Raises:
        InputError: There is one class only.
    """
    from sklearn.linear_model import LogisticRegression

    if declined.all() or not declined.any():
        raise InputError(
            f"all {len(declined)} prompts to fit on were {'declined' if declined.all() else 'complied with'}; "
            "a forecast needs both"
        )
    # liblinear penalises the intercept too; a larger constant column penalises it less
    model = LogisticRegression(C=strength, solver="liblinear", intercept_scaling=scaled, max_iter=10_000)
    model.fit(matrix, declined, sample_weight=weight)
    return np.asarray(model.coef_[0], dtype=np.float64), float(model.intercept_[0])


def crossed(
    matrix: Any, declined: NDArray[np.bool_], groups: NDArray[np.intp], strength: float, *, seed: int
) -> Floats:
    """The score of each prompt by a fit that saw nothing of its group, shape `(n,)`."""
    folds = grouped_folds(groups, FOLDS, seed=seed)
    scores = np.empty(len(declined))
    for fold in range(FOLDS):
        inside, outside = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        weight = weights(groups[inside], declined[inside])
        coefficients, bias = logit_fit(matrix[inside], declined[inside], weight, strength)
        scores[outside] = matrix[outside] @ coefficients + bias
    return scores


def fit(matrix: Any, declined: NDArray[np.bool_], groups: NDArray[np.intp], *, seed: int) -> Fitted:
    """Chooses the strength, calibrates, and fits on everything."""
    balanced = weights(groups, declined)
    outside = {strength: crossed(matrix, declined, groups, strength, seed=seed) for strength in STRENGTHS}
    losses = {strength: _log_loss(scores, declined, balanced) for strength, scores in outside.items()}
    strength = min(losses, key=losses.__getitem__)
    slope, shift = _calibrate(outside[strength], declined, weights(groups))
    coefficients, bias = logit_fit(matrix, declined, balanced, strength)
    return Fitted(coefficients, bias, slope, shift, strength)


def nested(
    matrix: Any,
    declined: NDArray[np.bool_],
    groups: NDArray[np.intp],
    *,
    seed: int,
    apart: NDArray[np.intp] | None = None,
) -> tuple[Floats, NDArray[np.bool_]]:
    """What the whole procedure says about prompts of groups it never saw.

    Strength, calibration and threshold are chosen anew without each fold, so that the figures of these probabilities
    and decisions owe nothing to the prompts they are about.

    Args:
        matrix: The columns, shape `(n, columns)`.
        declined: Shape `(n,)`.
        groups: Shape `(n,)`; what the procedure itself keeps together.
        seed: Of all folds.
        apart: What the outer folds keep together; the groups when None. Each prompt for itself shows how much better
            the same procedure looks on random folds.

    Returns:
        Probabilities and decisions, shape `(n,)` each.
    """
    folds = grouped_folds(groups if apart is None else apart, FOLDS, seed=seed)
    probabilities, decisions = np.empty(len(declined)), np.empty(len(declined), dtype=np.bool_)
    for fold in range(FOLDS):
        inside, outside = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        own = np.unique(groups[inside], return_inverse=True)[1]
        fitted = fit(matrix[inside], declined[inside], own, seed=seed)
        probabilities[outside] = fitted.probabilities(matrix[outside])
        decisions[outside] = probabilities[outside] >= fitted.threshold
    return probabilities, decisions


def _calibrate(scores: Floats, declined: NDArray[np.bool_], weight: Floats) -> tuple[float, float]:
    """Slope and shift of Platt scaling; classes count as they come, groups by the root of their size.

    Where the scores of groups held out rank no better than chance, or worse, as they do when templates differ for
    reasons that their words do not tell, the probability is the share of declined prompts whatever the score.
    """
    slope, shift = logit_fit(scores[:, None], declined, weight, 1e3, scaled=100.0)
    if slope[0] >= FLATTEST:
        return float(slope[0]), shift
    share = float(np.average(declined, weights=weight))
    return FLATTEST, float(np.log(share / (1 - share)))


def _log_loss(scores: Floats, declined: NDArray[np.bool_], weight: Floats) -> float:
    return float(np.average(np.logaddexp(0.0, np.where(declined, -scores, scores)), weights=weight))
