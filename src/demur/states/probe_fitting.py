"""Logistic probes on arrays of states: families kept apart, calibrated, beside permuted labels.

Pure functions on numpy arrays; scikit-learn fits. States are (prompt, width), labels one truth value a prompt, and a
family is whatever must not be split between fitting and testing: two wordings of one request, a request and its twin.
"""

# ruff: noqa: F722 - shapes stand in annotations as text

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray

from demur.errors import InputError

__all__ = ["Fitted", "check_labels", "family_folds", "fit_states", "permuted_labels"]

# Up to this width Newton's steps, few and exact, beat the many of a gradient method; their cost grows with its square.
_NARROW = 512


class Fitted(NamedTuple):
    """A probe on one array of states, and what it said of prompts that it was not fitted on."""

    weight: Float[NDArray[Any], " width"]
    """Of the calibrated probe on the states as they are: probability = sigmoid(weight . state + bias)."""
    bias: float
    slope: float
    """What calibration multiplied the fitted logits by."""
    offset: float
    """What it added then."""
    logits: Float[NDArray[Any], " prompt"]
    """Fitted without the prompt's fold, not calibrated."""
    probabilities: Float[NDArray[Any], " prompt"]
    """Fitted and calibrated without the prompt's fold."""
    null: Float[NDArray[Any], " set"]
    """Area under the ROC curve of each permuted set of labels, by the same procedure."""


def check_labels(labels: Sequence[bool], families: Sequence[Hashable], texts: Sequence[str]) -> None:
    """Refuse labels that no honest probe can be fitted on.

    Raises:
        InputError: Lengths differ, a class has fewer than two texts or families, one text has two labels, or one text
            stands in two families, which would let the tested prompt be seen while fitting.
    """
    if not len(labels) == len(families) == len(texts):
        raise InputError(
            f"got {len(texts)} prompts, {len(labels)} labels and {len(families)} families; give one of each"
        )
    for value in (True, False):
        own = [place for place, label in enumerate(labels) if bool(label) is value]
        distinct, kin = len({texts[place] for place in own}), len({families[place] for place in own})
        if distinct < 2 or kin < 2:
            raise InputError(
                f"the prompts labelled {value} are {len(own)}, of {distinct} texts in {kin} families; a probe needs at "
                "least 2 texts in 2 families on each side, to be tested on prompts that it has not seen"
            )
    owner: dict[str, tuple[bool, Hashable]] = {}
    for text, label, family in zip(texts, labels, families, strict=True):
        before = owner.setdefault(text, (bool(label), family))
        if before[0] is not bool(label):
            raise InputError("one prompt is labelled both ways; keep it on one side")
        if before[1] != family:
            raise InputError(
                f"one prompt stands in the families {before[1]!r} and {family!r}, so it could be fitted and tested on; "
                "give equal prompts the same family (pair_id)"
            )


def family_folds(labels: Sequence[bool], families: Sequence[Hashable], *, folds: int, seed: int) -> NDArray[Any]:
    """A fold for each prompt; families stay whole and both labels are spread.

    Raises:
        InputError: There are too few families, or some fold would leave one label only to fit on.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    y, codes = np.asarray(labels, bool), np.unique([repr(family) for family in families], return_inverse=True)[1]
    count = min(folds, *(len(np.unique(codes[y == value])) for value in (True, False)))
    if count < 2:
        raise InputError(f"folds must be at least 2 and both labels need 2 families, got {folds} folds")
    found = np.empty(len(y), int)
    splitter = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    for number, (_, tested) in enumerate(splitter.split(codes[:, None], y, codes)):
        found[tested] = number
    for number in range(count):
        if len(np.unique(y[found != number])) < 2:
            raise InputError(
                "nearly all prompts of one label are of one family, so no split can test the probe; add families"
            )
    return found


def permuted_labels(
    labels: Sequence[bool], families: Sequence[Hashable], *, count: int, seed: int
) -> Bool[NDArray[Any], "count prompt"]:
    """Label sets of a null: whole families change labels where families have one each, single prompts otherwise.

    Prompts of a family that shares its label are one observation; shuffling them one by one would make the null too
    narrow.
    """
    y = np.asarray(labels, bool)
    codes = np.unique([repr(family) for family in families], return_inverse=True)[1]
    share = np.bincount(codes, y) / np.bincount(codes)
    rng = np.random.default_rng(seed)
    if len(share) < len(y) and np.isin(share, (0.0, 1.0)).all():
        return np.stack([rng.permutation(share)[codes] > 0.5 for _ in range(count)])
    return np.stack([rng.permutation(y) for _ in range(count)])


def fit_states(
    states: Float[NDArray[Any], "prompt width"],
    labels: Sequence[bool],
    fold: Int[NDArray[Any], " prompt"],
    sets: Bool[NDArray[Any], "set prompt"],
    *,
    strength: float = 1.0,
) -> Fitted:
    """Fit one probe, and again without each fold, for the labels and for each permuted set of them.

    Args:
        states: Finite numbers.
        labels: True is what a high probability means.
        fold: As `family_folds` gives it.
        sets: As `permuted_labels` gives it; may be empty.
        strength: scikit-learn's `C` on standardised states; less is more regular.

    Raises:
        InputError: A state is not finite.
    """
    from scipy.special import expit

    y = np.asarray(labels, bool)
    if not np.isfinite(states).all():
        place = int(np.flatnonzero(~np.isfinite(states).all(1))[0])
        raise InputError(f"the state of prompt {place} is not finite (NaN or infinity); a probe cannot be fitted on it")
    every = np.vstack([y[None], sets.reshape(-1, len(y))])
    logits = np.zeros(every.shape)
    for number in range(int(fold.max()) + 1):
        out = fold == number
        part = _Standard(states[~out])
        fitted, tested = part.reduced(states[~out]), part.reduced(states[out])
        for row, truth in enumerate(every[:, ~out]):
            weight, bias = _logistic(fitted, truth, strength)
            logits[row, out] = tested @ weight + bias
    whole = _Standard(states)
    weight, bias = _logistic(whole.reduced(states), y, strength)
    raw = whole.widened(weight)
    slope, offset = _calibration(logits[0], y)
    said = np.empty(len(y))
    for number in range(int(fold.max()) + 1):
        out = fold == number
        a, b = _calibration(logits[0, ~out], y[~out])
        said[out] = expit(a * logits[0, out] + b)
    return Fitted(
        weight=slope * raw,
        bias=float(slope * (bias - whole.shift @ raw) + offset),
        slope=slope,
        offset=offset,
        logits=logits[0],
        probabilities=said,
        null=_areas(every[1:], logits[1:]),
    )


class _Standard:
    """Takes states to zero mean and unit spread; and, where they are wider than many, to the span of the prompts.

    The regularised optimum lies in that span, and is found there much faster.
    """

    def __init__(self, states: NDArray[Any]) -> None:
        self.shift, scale = states.mean(0, dtype=np.float64), states.std(0, dtype=np.float64)
        # a dimension that never moves tells nothing, and must not be blown up by rounding
        least = 1e-6 * max(float(np.abs(states).max()), 1e-30)
        self._scale = np.where(scale > least, scale, 1.0)
        self._basis: NDArray[Any] | None = None
        if len(states) < states.shape[1]:
            self._basis = np.asarray(np.linalg.qr(self.reduced(states).T.astype(np.float64))[0])

    def reduced(self, states: NDArray[Any]) -> NDArray[Any]:
        found = ((states - self.shift.astype(states.dtype)) / self._scale.astype(states.dtype)).astype(states.dtype)
        return found if self._basis is None else np.asarray(found @ self._basis)

    def widened(self, weight: NDArray[Any]) -> NDArray[Any]:
        return np.asarray((weight if self._basis is None else self._basis @ weight) / self._scale)


def _logistic(states: NDArray[Any], labels: NDArray[Any], strength: float) -> tuple[NDArray[Any], float]:
    from sklearn.linear_model import LogisticRegression

    if labels.all() or not labels.any():  # a permuted set may leave one label to a fold
        return np.zeros(states.shape[1]), 0.0
    if states.shape[1] > _NARROW:
        found = LogisticRegression(C=strength, max_iter=2000).fit(states, labels)
    else:
        found = LogisticRegression(C=strength, max_iter=200, solver="newton-cholesky").fit(
            states.astype(np.float64), labels
        )
    return np.asarray(found.coef_[0], np.float64), float(found.intercept_[0])


def _calibration(logits: NDArray[Any], labels: NDArray[Any]) -> tuple[float, float]:
    """Slope and offset that turn held-out logits into probabilities (Platt); neutral where the logits mislead."""
    spread = float(logits.std()) or 1.0
    weight, offset = _logistic(logits[:, None] / spread, labels, 100.0)
    # a negative slope would turn the probe around on the prompts that it is tested on
    return (float(weight[0]) / spread, offset) if weight[0] > 0 else (1.0, 0.0)


def _areas(truth: NDArray[Any], scores: NDArray[Any]) -> NDArray[Any]:
    import torch

    from demur.states.contrasts import aurocs

    if not len(truth):
        return np.empty(0)
    return np.asarray(aurocs(torch.tensor(truth.T), torch.tensor(scores.T)).numpy())
