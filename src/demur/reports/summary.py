"""The result in plain sentences, for a reader who has never seen an interval.

Frequencies instead of percents ("about 12 of 100"), intervals rounded outwards so that the sentence never claims more
than the numbers, and an explicit sentence for what could not be judged. Nothing is said about a cell without a
printable rate except that it is too small.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from demur.records import Measure
from demur.reports.numbers import MINIMUM_N, count, percent, printable
from demur.reports.profile import Profile, excluded_total, join
from demur.reports.text import visible

__all__ = ["is_incomplete", "is_own", "progress", "summary_sentences", "verdict_sentence", "wording"]


class Wording(NamedTuple):
    """What the two sides of a task are called."""

    comply: str
    """Requests to comply with."""
    decline: str
    """Requests to decline."""
    comply_one: str
    """One request to comply with."""
    decline_one: str
    """One request to decline."""


def wording(info: Mapping[str, Any]) -> Wording:
    """Names of the two kinds of requests: the built-in prompts are about harm, a user's own need not be."""
    if is_own(info):
        return Wording(
            "requests that it should answer",
            "requests that it should decline",
            "request that it should answer",
            "request that it should decline",
        )
    return Wording("harmless requests", "harmful requests", "harmless request", "harmful request")


def is_own(info: Mapping[str, Any]) -> bool:
    """Whether the run asked the user's own prompts."""
    return bool((info.get("settings") or {}).get("prompts")) and not info.get("prompt_set")


def is_incomplete(info: Mapping[str, Any]) -> bool:
    """Whether the run says that it has not finished; a run without a status is taken for finished."""
    return (info.get("status") or "complete") != "complete"


def progress(info: Mapping[str, Any]) -> str:
    """How far an unfinished run came: `240 of 400 responses`, or an empty text when the run does not say."""
    counts = info.get("counts") or {}
    samples, expected = counts.get("samples"), counts.get("expected")
    if samples is None or not expected:
        return ""
    return f"{count(samples - (counts.get('errors') or 0))} of {count(expected)} responses"


def verdict_sentence(info: Mapping[str, Any], measures: Sequence[Measure]) -> str:
    """One sentence that says how the model errs, in both directions.

    Args:
        info: The run, as `run.json` holds it.
        measures: The run's measures. The first task with an overall rate is the one spoken of.

    Returns:
        A sentence with both rates where they may be printed. Which way the model leans is only said when the two
        intervals do not overlap.
    """
    over, under = _overall(measures)
    names = wording(info)
    opening = "Preliminary: " if is_incomplete(info) else ""
    halves = []
    if _known(over):
        halves.append(f"turns down {percent(_value(over))} of {names.comply}")
    if _known(under):
        halves.append(f"answers {percent(_value(under))} of {names.decline}")
    declined = _declined(measures)
    if not halves and declined is not None and _known(declined):
        return _capital(
            f"{opening}turns down {percent(_value(declined))} of the requests; they do not say which it should answer."
        )
    if not halves:
        return _capital(f"{opening}too little could be judged to print a rate.")
    sentence = " and ".join(halves)
    if len(halves) == 2:
        sentence += f"; {_leaning(over, under)}"
    else:
        side = f"answering {names.decline}" if _known(over) else f"turning down {names.comply}"
        sentence += f"; nothing can be said about {side}"
    return _capital(f"{opening}{sentence}.")


def summary_sentences(info: Mapping[str, Any], measures: Sequence[Measure]) -> list[str]:
    """Three to six sentences that a product owner understands.

    Args:
        info: The run, as `run.json` holds it.
        measures: The run's measures. The first task with an overall rate is the one spoken of.

    Returns:
        In this order: that the run is unfinished (if so), how often it turns down what it should answer, how often it
        answers what it should decline, where each happens most (if known), how often it is right on harmless tasks (if
        asked), and what could not be judged.
    """
    profiles = join(measures)
    over, under = _overall(measures)
    names = wording(info)
    sentences = []
    if is_incomplete(info):
        far = progress(info)
        sentences.append(
            f"This run is not finished{f' ({far} so far)' if far else ''}: every number here can still change."
        )
    declined = _declined(measures)
    if declined is not None:
        sentences.append(_direction(declined, "turned down", "requests", "request"))
        sentences.append("They do not say which it should answer, so neither over- nor under-refusal can be measured.")
        sentences.append(_unjudged(info, declined, None))
        return sentences
    sentences.append(_direction(over, "turned down", names.comply, names.comply_one))
    sentences.append(_direction(under, "answered", names.decline, names.decline_one))
    if profiles and (where := _where(profiles[0], names)):
        sentences.append(where)
    if (useful := _usefulness(profiles)) is not None:
        sentences.append(useful)
    sentences.append(_unjudged(info, over, under))
    return sentences


def _usefulness(profiles: Sequence[Profile]) -> str | None:
    """Whether it answers harmless tasks rightly, so that a broken model is not taken for a cautious one."""
    for profile in profiles:
        for measure in profile.others:
            if measure.name == "correct" and measure.group is None and printable(measure):
                between = f" (between {_outwards(measure.low, up=False)} and {_outwards(measure.high, up=True)})"
                return f"Of 100 short harmless tasks it did {_about(_value(measure))} right{between}."
    return None


def _overall(measures: Sequence[Measure]) -> tuple[Measure | None, Measure | None]:
    profiles = join(measures)
    return (profiles[0].overall.over, profiles[0].overall.under) if profiles else (None, None)


def _declined(measures: Sequence[Measure]) -> Measure | None:
    """What was declined of all requests, when they do not say what is expected and this is all there is."""
    profiles = join(measures)
    return profiles[0].declined if profiles else None


def _known(measure: Measure | None) -> bool:
    return printable(measure)


def _value(measure: Measure | None) -> float:
    return measure.value if measure is not None and measure.value is not None else math.nan


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]


def _leaning(over: Measure | None, under: Measure | None) -> str:
    ends = [end for m in (over, under) if m is not None for end in (m.low, m.high)]
    if over is None or under is None or len(ends) < 4 or None in ends:
        return "without intervals, which way it leans is not said"
    if over.low is not None and under.high is not None and over.low > under.high:
        return "it leans towards refusing too much"
    if over.high is not None and under.low is not None and under.low > over.high:
        return "it leans towards refusing too little"
    return "neither error clearly outweighs the other"


def _direction(measure: Measure | None, did: str, requests: str, request: str) -> str:
    if measure is None or (measure.n == 0 and not any(measure.excluded.values())):
        return f"The run held no {requests}, so it says nothing about how many of them would be {did}."
    if measure.n == 0:
        return f"Not one reply to {requests} could be judged, so it is unknown how many were {did}."
    if measure.n < MINIMUM_N or measure.value is None or not printable(measure):
        replies = f"{measure.n} replies to {requests} were" if measure.n != 1 else f"1 reply to a {request} was"
        return f"Only {replies} judged, too few to say how often they are {did} (at least {MINIMUM_N} are needed)."
    total = count(measure.n)
    if measure.value == 0:
        caution = (
            f"; a true rate of up to {_outwards(measure.high, up=True)} in 100 would still fit" if measure.high else ""
        )
        return f"It {did} none of the {total} {requests}{caution}."
    if measure.value == 1:
        floor = f"; a true rate of {_outwards(measure.low, up=False)} in 100 would still fit" if measure.low else ""
        return f"It {did} all of the {total} {requests}{floor}."
    between = ""
    if measure.low is not None and measure.high is not None:
        between = f" (between {_outwards(measure.low, up=False)} and {_outwards(measure.high, up=True)})"
    return f"Of 100 {requests} it {did} {_about(measure.value)}{between}."


def _about(rate: float) -> str:
    if rate < 0.005:
        return "fewer than 1"
    if rate >= 0.995:
        return "more than 99"
    return f"about {round(rate * 100)}"


def _outwards(rate: float | None, *, up: bool) -> int:
    """An end of an interval in whole hundredths, away from the value: the sentence may not be surer than the number."""
    if rate is None:
        return 100 if up else 0
    # the small shift keeps 0.07 * 100 = 7.000000000000001 from becoming 8
    hundredths = math.ceil(rate * 100 - 1e-9) if up else math.floor(rate * 100 + 1e-9)
    return min(100, max(0, hundredths))


def _where(profile: Profile, names: Wording) -> str:
    """Where each error was measured most often; silent about a direction with fewer than two categories to compare."""
    parts = []
    for did, requests, of in (
        ("Turning down", names.comply, [row.over for row in profile.categories.rows]),
        ("answering", names.decline, [row.under for row in profile.categories.rows]),
    ):
        rated = [
            (m.value, row.label)
            for m, row in zip(of, profile.categories.rows, strict=True)
            if m is not None and m.value is not None and printable(m)
        ]
        if len(rated) < 2 or max(rated)[0] == 0:
            continue
        # the label breaks ties so that the sentence does not depend on the order of the measures
        top, label = max(rated, key=lambda pair: (pair[0], pair[1]))
        ties = sum(1 for rate, _ in rated if rate == top)
        if ties == 1:
            parts.append(
                f"{did} {requests} was most frequent in \N{LEFT DOUBLE QUOTATION MARK}{visible(label)}"
                f"\N{RIGHT DOUBLE QUOTATION MARK} ({percent(top)})"
            )
    return f"{_capital('; '.join(parts))}." if parts else ""


def _unjudged(info: Mapping[str, Any], over: Measure | None, under: Measure | None) -> str:
    left = excluded_total((over, under))
    total = sum(left.values())
    judged = sum(m.n for m in (over, under) if m is not None)
    errors = (info.get("counts") or {}).get("errors") or 0
    failed = f" {count(errors)} request{'s' if errors != 1 else ''} ended in an error." if errors else ""
    if judged + total == 0:
        return f"There was no reply to judge, so this page holds no rate.{failed}"
    if not total:
        replies = f"All {count(judged)} replies" if judged != 1 else "The one reply"
        return f"{replies} that could enter these rates could be judged.{failed}"
    said = {
        "filtered": "blocked by the provider",
        "empty": "empty",
        "unscored": "failed or could not be scored",
    }
    parts = [f"{count(left[name])} {text}" for name, text in said.items() if name in left]
    parts += [f"{count(n)} {visible(name)}" for name, n in left.items() if name not in said]
    return (
        f"Of {count(judged + total)} replies, {count(total)} could not be judged ({', '.join(parts)}) "
        f"and {'are' if total != 1 else 'is'} in none of these rates, neither as a refusal nor as an answer."
    )
