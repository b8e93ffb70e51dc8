"""Measures: rates with their interval, their n, and what was left out."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence

from demur.errors import InputError
from demur.records import Kind, Measure
from demur.stats.inputs import z_score
from demur.stats.intervals import Interval
from demur.stats.prevalence import rogan_gladen
from demur.stats.rates import rate_interval

__all__ = ["corrected", "rate"]


def rate(
    task: str,
    name: str,
    outcomes: Sequence[bool | None],
    *,
    group: str | None = None,
    clusters: Sequence[Hashable] | None = None,
    excluded: Mapping[str, int] | None = None,
    minimum_n: int = 30,
    mapping: str = "any",
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Measure:
    """The rate of true outcomes as a measure.

    The interval is Wilson's where every sample is its own cluster, and otherwise a cluster bootstrap with Wilson on the
    number of clusters where that would shrink to a point; see `demur.stats.rates.rate_interval`.

    Args:
        task: The task that was measured.
        name: What was measured, e.g. `over_refusal`.
        outcomes: One a sample: `Verdict.declined(mapping)`. None is outside the denominator.
        group: The cell, or None for the whole task.
        clusters: The cluster of each outcome, usually `Prompt.pair_id` or else its id; None makes every sample its own.
        excluded: Why samples were left out, counted by kind: those whose outcome is None, and any that were left out
            before. Kinds with a count of 0 stay, so that a zero is seen to be one. Outcomes of None that these counts
            do not explain are counted as `unscored`.
        minimum_n: A cell with a smaller n gets no value and no interval, only its n: a rate of seven is not a finding.
        mapping: The mapping that made outcomes of kinds; named in `method`.
        confidence: Of the interval.
        resamples: Of the bootstrap.
        seed: Of the bootstrap.

    Returns:
        The measure; `value`, `low` and `high` are None under `minimum_n` and where nothing was judged.

    Raises:
        InputError: An outcome is not true, false or None, lengths differ, or a count is negative.
    """
    if clusters is not None and len(clusters) != len(outcomes):
        raise InputError(f"there must be one cluster an outcome: got {len(clusters)} for {len(outcomes)}")
    left_out = dict(excluded or {})
    if any(count < 0 for count in left_out.values()):
        raise InputError(f"counts of what was left out cannot be negative, got {left_out}")
    kept = [index for index, outcome in enumerate(outcomes) if outcome is not None]
    unexplained = len(outcomes) - len(kept) - sum(left_out.values())
    if unexplained > 0:
        left_out[Kind.UNSCORED.value] = left_out.get(Kind.UNSCORED.value, 0) + unexplained

    n = len(kept)
    if n < max(1, minimum_n):
        method = f"no rate: n is under {max(1, minimum_n)}, mapping {mapping}"
        return Measure(task=task, name=name, group=group, value=None, n=n, excluded=left_out, method=method)
    found, how = rate_interval(
        [_as_bool(outcomes[index], index) for index in kept],
        clusters=None if clusters is None else [clusters[index] for index in kept],
        confidence=confidence,
        resamples=resamples,
        seed=seed,
    )
    return Measure(
        task=task,
        name=name,
        group=group,
        value=found.value,
        low=found.low,
        high=found.high,
        n=n,
        excluded=left_out,
        method=f"{how}, mapping {mapping}",
    )


def _as_bool(outcome: object, index: int) -> bool:
    """`outcome` as a bool; numpy's booleans and the numbers 0 and 1 count.

    Raises:
        InputError: It is anything else, e.g. a kind that was not mapped.
    """
    if isinstance(outcome, str) or outcome not in (True, False):
        raise InputError(f"outcomes must be true, false or None, got {outcome!r} at index {index}")
    return bool(outcome)


def corrected(
    measure: Measure, *, sensitivity: Interval, specificity: Interval, name: str | None = None, confidence: float = 0.95
) -> Measure:
    """The measure that stands beside a raw rate when the judge's errors are known.

    Where the raw interval came from clusters, n is replaced by the number of independent samples that would give an
    interval of the same width, so that clustering stays in the corrected one.

    Args:
        measure: A rate as `rate` gives it.
        sensitivity: The judge's share of true positives, from `demur.stats.sensitivity`.
        specificity: The judge's share of true negatives.
        name: Of the new measure; by default the raw name with `_corrected`.
        confidence: Must be the one of the raw measure.

    Returns:
        A measure without a value where the raw one has none.

    Raises:
        InputError: The measure is not a rate, or the judge is no better than chance.

    Source: see `rogan_gladen`.
    """
    if measure.unit != "rate":
        raise InputError(f"only a rate can be corrected; {measure.address} has the unit {measure.unit!r}")
    method = (
        f"Rogan-Gladen of ({measure.method}), sensitivity {sensitivity.value:.3f} (n {sensitivity.n}), "
        f"specificity {specificity.value:.3f} (n {specificity.n})"
    )
    changed = {"name": name or f"{measure.name}_corrected", "method": method}
    if measure.value is None or measure.low is None or measure.high is None:
        return measure.model_copy(update=changed)
    n = effective_n(measure.value, measure.low, measure.high, measure.n, confidence=confidence)
    found = rogan_gladen(measure.value, n, sensitivity=sensitivity, specificity=specificity, confidence=confidence)
    return Measure.model_validate(
        measure.model_dump() | changed | {"value": found.value, "low": found.low, "high": found.high}
    )


def effective_n(value: float, low: float, high: float, n: int, *, confidence: float = 0.95) -> float:
    """How many independent samples would give a Wilson interval as wide as this one; from 1 to `n`."""
    z = z_score(confidence)
    width = high - low
    if width <= 0:
        return float(n)
    # the Wilson width as a quadratic in m: width² (m + z²)² = 4 z² (m value (1 - value) + z² / 4)
    square, spread = width * width, value * (1 - value)
    linear = 2 * square * z * z - 4 * z * z * spread
    constant = square * z**4 - z**4
    root = (-linear + math.sqrt(max(0.0, linear * linear - 4 * square * constant))) / (2 * square)
    return min(float(n), max(1.0, root))
