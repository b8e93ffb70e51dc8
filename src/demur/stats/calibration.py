"""Whether probabilities mean what they say: reliability bins and expected calibration error."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from demur.errors import InputError
from demur.stats.inputs import as_binary, as_floats, same_length
from demur.stats.intervals import Interval, wilson

__all__ = ["Bin", "Binning", "ece", "reliability"]

Binning = Literal["width", "mass"]
"""Bins of equal width on [0, 1], or of equal numbers of samples."""


class Bin(NamedTuple):
    """The samples whose probability falls between two edges."""

    low: float
    """Lower edge; excluded, except in the first bin."""
    high: float
    """Upper edge, included."""
    mean_probability: float
    """What was said on average."""
    rate: Interval
    """What came true, with its Wilson interval."""


def reliability(
    probabilities: Sequence[float] | NDArray[Any],
    outcomes: Sequence[bool] | NDArray[Any],
    *,
    bins: int = 15,
    binning: Binning = "width",
    confidence: float = 0.95,
) -> tuple[Bin, ...]:
    """What was said against what came true, bin by bin; bins without samples are left out.

    Args:
        probabilities: In [0, 1].
        outcomes: Whether it came true, in the same order.
        bins: How many.
        binning: Of equal width, or of equal mass. Equal probabilities always share a bin, so that equal-mass bins are
            fewer and unequal where many samples carry one probability.
        confidence: Of the intervals of the rates.

    Raises:
        InputError: Lengths differ, values are missing or out of range, or an option is unknown.
    """
    said, true = as_floats(probabilities, "probabilities"), as_binary(outcomes, "outcomes")
    same_length(probabilities=said, outcomes=true)
    if said.min() < 0 or said.max() > 1:
        raise InputError(f"probabilities lie between 0 and 1, got {said.min():g} to {said.max():g}")
    if bins < 1:
        raise InputError(f"bins must be at least 1, got {bins}")
    if binning not in ("width", "mass"):
        raise InputError(f"binning must be 'width' or 'mass', got {binning!r}")
    edges = np.linspace(0.0, 1.0, bins + 1)
    if binning == "mass":
        edges = np.quantile(said, edges)
    members = np.searchsorted(edges[1:-1], said)
    found = []
    for number in np.unique(members):
        inside = members == number
        found.append(
            Bin(
                float(edges[number]),
                float(edges[number + 1]),
                float(said[inside].mean()),
                wilson(int(true[inside].sum()), int(inside.sum()), confidence=confidence),
            )
        )
    return tuple(found)


def ece(
    probabilities: Sequence[float] | NDArray[Any],
    outcomes: Sequence[bool] | NDArray[Any],
    *,
    bins: int = 15,
    binning: Binning = "width",
) -> float:
    """Expected calibration error: the mean distance, weighted by samples, of what was said from what came true.

    It is biased upwards on small samples (a perfectly calibrated forecast does not score 0) and has no interval here
    for that reason: a bootstrap would add the same bias again. Quote it with `bins`, `binning` and n.

    Takes and raises what `reliability` does.

    Source: Naeini, Cooper and Hauskrecht 2015 (AAAI); 15 bins: Guo et al. 2017 (ICML).
    """
    found = reliability(probabilities, outcomes, bins=bins, binning=binning)
    total = sum(part.rate.n for part in found)
    return sum(part.rate.n / total * abs(part.mean_probability - part.rate.value) for part in found)
