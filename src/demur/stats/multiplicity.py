"""Holm's correction for many tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from demur.errors import InputError
from demur.stats.inputs import as_floats

__all__ = ["holm"]


def holm(p_values: Sequence[float] | NDArray[Any]) -> list[float]:
    """p-values adjusted for their number, in the order given; controls the chance of any false finding.

    Args:
        p_values: Between 0 and 1, at least one.

    Raises:
        InputError: Empty, nan, or outside [0, 1].

    Source: Holm 1979, Scandinavian Journal of Statistics 6.
    """
    values = as_floats(p_values, "p_values")
    if ((values < 0) | (values > 1)).any():
        raise InputError(f"p-values lie between 0 and 1, got {values.min():g} to {values.max():g}")
    order = np.argsort(values, kind="stable")
    steps = values[order] * np.arange(len(values), 0, -1)
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(steps))
    return [float(value) for value in adjusted]
