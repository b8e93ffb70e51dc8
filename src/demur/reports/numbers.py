"""How numbers are written on a page: percents, intervals, counts, durations.

A rate over fewer than `MINIMUM_N` judged responses is never written, whatever the measure carries: the page says how
many there were instead.
"""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any

from demur.records import Measure

__all__ = [
    "MINIMUM_N",
    "count",
    "duration",
    "interval",
    "moment",
    "percent",
    "printable",
    "too_small",
    "value",
]

MINIMUM_N = 30
"""Smallest denominator of a printed rate: below it a 95% interval spans a third of the scale or more."""


def printable(measure: Measure | None) -> bool:
    """Whether the value of `measure` may stand on a page: it exists, is finite, and its denominator is large enough."""
    if measure is None or measure.value is None or not math.isfinite(measure.value):
        return False
    return measure.n >= MINIMUM_N or measure.unit not in {"rate", "difference"}


def too_small(measure: Measure) -> str:
    """What stands in place of a value that may not be printed."""
    if measure.n >= MINIMUM_N or measure.unit not in {"rate", "difference"}:
        return f"no value (n={count(measure.n)})"
    return f"n too small (n={count(measure.n)})"


def percent(rate: float) -> str:
    """A rate in [0, 1] as a percent with one decimal; only an exact 0 or 1 is written as 0% or 100%."""
    if rate == 0:
        return "0%"
    if rate == 1:
        return "100%"
    # rounding must not turn "almost none" into none, nor "almost all" into all
    if 0 < rate < 0.0005:
        return "<0.1%"
    if 0.9995 <= rate < 1:
        return ">99.9%"
    return f"{rate * 100:.1f}%"


def value(measure: Measure) -> str:
    """The value of a measure in its unit, or why there is none."""
    if measure.value is None or not printable(measure):
        return too_small(measure)
    return _in_unit(measure.value, measure.unit)


def interval(measure: Measure) -> str:
    """The interval of a measure as `low to high`, or an empty text when there is none to print."""
    if not printable(measure) or measure.low is None or measure.high is None:
        return ""
    if not (math.isfinite(measure.low) and math.isfinite(measure.high)):
        return ""
    return f"{_in_unit(measure.low, measure.unit)} to {_in_unit(measure.high, measure.unit)}"


def _in_unit(number: float, unit: str) -> str:
    if unit == "rate":
        return percent(number)
    if unit == "difference":
        return f"{number * 100:+.1f} points".replace("-", "\N{MINUS SIGN}")
    if unit == "seconds":
        return duration(number)
    if unit == "count":
        return count(number)
    return f"{number:.4g} {unit}".strip()


def count(number: float) -> str:
    """A count with thousands separated by commas."""
    return f"{round(number):,}"


def duration(seconds: float) -> str:
    """A duration in the two largest units that matter: `0.4 s`, `38 s`, `4 min 12 s`, `2 h 5 min`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def moment(stamp: Any) -> str:
    """An ISO time stamp as `21 November 2026, 09:15 UTC`; text that is none is given back as it is."""
    try:
        when = datetime.fromisoformat(str(stamp))
    except ValueError:
        return str(stamp)
    offset = when.utcoffset()
    zone = "" if offset is None else f" UTC{when:%z}" if offset else " UTC"
    return f"{when.day} {when:%B %Y, %H:%M}{zone}"
