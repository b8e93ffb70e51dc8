"""The true rate behind a fallible judge: Rogan and Gladen's correction."""

from __future__ import annotations

import math

from demur.errors import InputError
from demur.stats.inputs import z_score
from demur.stats.intervals import Interval

__all__ = ["rogan_gladen"]


def rogan_gladen(
    rate: float,
    n: float,
    *,
    sensitivity: Interval,
    specificity: Interval,
    confidence: float = 0.95,
) -> Interval:
    """The rate that is left when the judge's known errors are taken out, with an interval that knows all three doubts.

    The estimate is clipped to [0, 1]. The interval is a score-like one that adds successes and failures to all three
    rates before the delta method, so that it neither collapses nor leaves [0, 1] when a rate is 0 or 1.

    Args:
        rate: The share that the judge counted.
        n: Samples behind `rate`, at least 1; an effective number where samples share clusters.
        sensitivity: The judge's, with the number of positives it was measured on. Its ends are not used.
        specificity: The judge's, with the number of negatives.
        confidence: Between 0 and 1.

    Returns:
        The corrected rate; `n` is rounded.

    Raises:
        InputError: A rate is outside [0, 1], an n is below 1, or the judge is no better than chance (sensitivity plus
            specificity at most 1), in which case nothing can be corrected.

    Source: Rogan and Gladen 1978, American Journal of Epidemiology 107; interval: Lang and Reiczigel 2014, Preventive
        Veterinary Medicine 113:13.
    """
    z = z_score(confidence)
    for name, value, count in (
        ("rate", rate, n),
        ("sensitivity", sensitivity.value, sensitivity.n),
        ("specificity", specificity.value, specificity.n),
    ):
        if not 0 <= value <= 1 or not count >= 1:
            raise InputError(f"{name} must lie in [0, 1] and rest on at least one sample, got {value} with n {count}")
    informedness = sensitivity.value + specificity.value - 1
    if informedness <= 0:
        raise InputError(
            f"the judge is no better than chance (sensitivity {sensitivity.value:.3f} + specificity "
            f"{specificity.value:.3f} <= 1), so a rate cannot be corrected with it"
        )
    value = _clip((rate + specificity.value - 1) / informedness)

    count, found, spared = n + z * z, sensitivity.n + 2, specificity.n + 2
    p = (n * rate + z * z / 2) / count
    se = (sensitivity.n * sensitivity.value + 1) / found
    sp = (specificity.n * specificity.value + 1) / spared
    width = se + sp - 1
    if width <= 0:
        return Interval(value, 0.0, 1.0, round(n))  # measured on so few samples that it may be worthless
    centre = (p + sp - 1) / width
    noise_se, noise_sp = se * (1 - se) / found, sp * (1 - sp) / spared
    shift = 2 * z * z * (centre * noise_se - (1 - centre) * noise_sp)
    variance = p * (1 - p) / count + (1 - centre) ** 2 * noise_sp + centre**2 * noise_se
    half = z * math.sqrt(variance) / width
    low, high = _clip(centre + shift - half), _clip(centre + shift + half)
    return Interval(value, min(low, value), max(high, value), round(n))


def _clip(value: float) -> float:
    return min(1.0, max(0.0, value))
