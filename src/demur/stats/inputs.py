"""Turns what callers give into arrays, and says what is wrong with it."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from demur.errors import InputError

__all__ = ["as_binary", "as_clusters", "as_floats", "both_classes", "same_length", "z_score"]


def as_floats(values: Any, name: str) -> NDArray[np.float64]:
    """`values` as a one-dimensional array of finite floats.

    Raises:
        InputError: Empty, of more than one dimension, not numeric, nan or infinite.
    """
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} must be numbers: {error}") from None
    if array.ndim != 1:
        raise InputError(f"{name} must have one dimension, got the shape {array.shape}")
    if array.size == 0:
        raise InputError(f"{name} is empty; there is nothing to compute a statistic from")
    bad = np.flatnonzero(~np.isfinite(array))
    if bad.size:
        raise InputError(
            f"{name} holds {bad.size} missing or infinite values, the first at index {bad[0]}; "
            "leave them out and count them"
        )
    return array


def as_binary(values: Any, name: str) -> NDArray[np.bool_]:
    """`values` as a one-dimensional array of booleans.

    Raises:
        InputError: As for `as_floats`, or a value is neither 0 nor 1.
    """
    array = as_floats(values, name)
    bad = np.flatnonzero((array != 0) & (array != 1))
    if bad.size:
        raise InputError(f"{name} must be true or false, got {array[bad[0]]:g} at index {bad[0]}")
    return array.astype(np.bool_)


def same_length(**arrays: Sequence[Any] | NDArray[Any]) -> None:
    """Check that sequences which describe the same samples have one length.

    Raises:
        InputError: They differ; the message names each with its length.
    """
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        found = ", ".join(f"{name} has {length}" for name, length in lengths.items())
        raise InputError(f"sequences must describe the same samples: {found}")


def as_clusters(clusters: Sequence[Hashable] | NDArray[Any] | None, n: int) -> NDArray[np.intp]:
    """A cluster number from 0 for each of `n` samples, by first appearance; None makes each its own cluster.

    Raises:
        InputError: The length is not `n`, or a sample has no cluster.
    """
    if clusters is None:
        return np.arange(n, dtype=np.intp)
    if len(clusters) != n:
        raise InputError(f"there must be one cluster a sample: got {len(clusters)} clusters for {n} samples")
    numbers: dict[Hashable, int] = {}
    codes = np.empty(n, dtype=np.intp)
    for index, cluster in enumerate(clusters):
        if cluster is None or (isinstance(cluster, float) and math.isnan(cluster)):
            raise InputError(f"sample {index} has no cluster; give it one of its own, for example its id")
        codes[index] = numbers.setdefault(cluster, len(numbers))
    return codes


def both_classes(truth: NDArray[np.bool_], name: str = "truth") -> None:
    """Check that both classes occur.

    Raises:
        InputError: Only one does.
    """
    positives = int(truth.sum())
    if positives in (0, len(truth)):
        only = "positive" if positives else "negative"
        raise InputError(f"{name} holds a single class (all {len(truth)} are {only}); both are needed")


def z_score(confidence: float) -> float:
    """The two-sided normal quantile of `confidence`, e.g. 1.96 for 0.95.

    Raises:
        InputError: `confidence` is not between 0 and 1.
    """
    if not 0 < confidence < 1:
        raise InputError(f"confidence must lie between 0 and 1, e.g. 0.95, got {confidence}")
    return NormalDist().inv_cdf(0.5 + confidence / 2)
