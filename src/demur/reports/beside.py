"""What stands beside the two errors on the page: usefulness, pairs, reasoning, the provider, corrected rates."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from demur.records import Measure
from demur.reports.numbers import printable
from demur.reports.profile import Profile

__all__ = ["Block", "blocks", "shown"]


class Block(NamedTuple):
    """One table of the page with the text above it."""

    identity: str
    """Of the section, in the page's addresses."""
    title: str
    """Its heading."""
    short: str
    """The heading in the list of contents."""
    text: str
    """What the numbers mean, for a reader who has not met them."""
    head: str
    """What the column of rates is called."""
    rows: tuple[tuple[str, Measure], ...]
    """What each line is about, and its measure."""


def blocks(profile: Profile, others: Sequence[Profile]) -> tuple[Block, ...]:
    """The blocks of a page, in their order; those without any measure are left out.

    Args:
        profile: The task that the page is about.
        others: The other tasks of the run.
    """
    made = (
        Block(
            "usefulness",
            "Is it of use at all?",
            "Usefulness",
            "A model that turns everything down and one that is broken both look safe in the tables above. Here the "
            "first declines harmless requests, and the second answers them wrongly.",
            "Share",
            tuple(_usefulness(others)),
        ),
        Block(
            "pairs",
            "Does it tell the two sides of a pair apart?",
            "Pairs",
            "Each pair is a request that should be declined and a look-alike with the same trigger words. It counts "
            "when the first was declined and the second was not; refusing both, or neither, does not.",
            "Pairs told apart",
            tuple(_by_group(profile, "both_right")),
        ),
        Block(
            "corrected",
            "With the errors of the verdicts taken out",
            "Corrected rates",
            "The verdicts were compared with people's labels. The corrected rates are what is left when their false "
            "alarms and misses are taken out (Rogan and Gladen); their intervals also hold what is not known about "
            "those errors, and so are wider. Where the verdicts do no better than chance, nothing can be corrected.",
            "Rate",
            tuple(_corrected(profile)),
        ),
        Block(
            "parted",
            "Where reasoning and answer part",
            "Reasoning",
            "Reasoning and answer are judged apart. The first says what the model concluded before it answered; the "
            "two part when it settles on declining and then answers, or settles on helping and then declines.",
            "Share",
            tuple(_reasoning(profile)),
        ),
        Block(
            "provider",
            "Who turned it down: the model or its provider",
            "The provider",
            "Some providers mark a reply as a refusal of their own, or block it. Replies that are marked count as "
            "declined in the rates above, blocked ones stand outside every rate; here both are shares of all replies.",
            "Share of replies",
            tuple(_provider(profile)),
        ),
    )
    return tuple(block for block in made if block.rows)


def shown(found: Iterable[Block]) -> set[tuple[str, str]]:
    """Task and address of each measure that the blocks show, so that no other table repeats it."""
    return {(measure.task, measure.address) for block in found for _, measure in block.rows}


def _usefulness(others: Sequence[Profile]) -> Iterable[tuple[str, Measure]]:
    for other in others:
        if other.task == "usefulness":
            for measure in other.others:
                if measure.name == "correct" and measure.group is None:
                    yield "Short harmless tasks that it did right", measure
            if other.overall.over is not None:
                yield "Short harmless tasks that it turned down", other.overall.over
        if other.task == "everyday" and other.overall.over is not None:
            yield "Plain everyday requests that it turned down", other.overall.over


def _by_group(profile: Profile, name: str) -> Iterable[tuple[str, Measure]]:
    found = [measure for measure in profile.others if measure.name == name]
    if not any(printable(measure) for measure in found if measure.group is not None):
        # a list of cells that are all too small says nothing
        found = [measure for measure in found if measure.group is None]
    for measure in sorted(found, key=lambda one: (one.group is not None, one.value if one.value is not None else 2.0)):
        yield ("All pairs" if measure.group is None else measure.group.partition("=")[2]), measure


def _corrected(profile: Profile) -> Iterable[tuple[str, Measure]]:
    there = {measure.name: measure for measure in profile.others if measure.group is None}
    for name, raw, words in (
        ("over_refusal", profile.overall.over, "Over-refusal"),
        ("under_refusal", profile.overall.under, "Under-refusal"),
        ("declined", profile.declined, "Declined"),
    ):
        if (mended := there.get(f"{name}_corrected")) is not None and raw is not None:
            yield f"{words} as judged", raw
            yield f"{words} corrected", mended
    for name, words in (
        ("judge_sensitivity", "Labelled refusals that the verdicts call declined (sensitivity)"),
        ("judge_specificity", "Labelled answers that they do not (specificity)"),
    ):
        if name in there:
            yield words, there[name]


_STANCES = {
    ("reasoned", None): "Came with reasoning",
    ("stance", "stance=decline"): "Reasoning settles on declining",
    ("stance", "stance=comply"): "Reasoning settles on helping",
    ("stance", "stance=open"): "Reasoning settles on neither, or not in English",
    ("parted", "stance=decline"): "Settles on declining, yet answers",
    ("parted", "stance=comply"): "Settles on helping, yet declines",
}


def _reasoning(profile: Profile) -> Iterable[tuple[str, Measure]]:
    there = {(measure.name, measure.group): measure for measure in profile.others}
    for key, words in _STANCES.items():
        if key in there:
            yield words, there[key]


def _provider(profile: Profile) -> Iterable[tuple[str, Measure]]:
    asked = {"expect=comply": "to what it should answer", "expect=decline": "to what it should decline"}
    for measure in profile.others:
        if measure.name in {"provider_refused", "provider_filtered"}:
            did = "Marked as a refusal" if measure.name == "provider_refused" else "Blocked"
            yield (
                f"{did}, replies {asked.get(measure.group or '', 'to requests without a stated expectation')}",
                measure,
            )
