"""Training rows that show every planted probability by exact counts.

Nothing is drawn with a probability: of the n rows of a condition, exactly round(p * n) show it. Cumulative rounding
over the texts keeps the share of each verb-object pair as near to p as integers allow; what is left (which surface
variant, which row of a text) is dealt from exact decks in a seeded order.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from demur.phantom.grammar import Act, acts, user
from demur.phantom.scenes.decision import dealt
from demur.phantom.specification import DECLINING, Group, Specification, Style, default
from demur.records import Message

__all__ = ["Row", "apportion", "deal", "rows", "spread"]

T = TypeVar("T")


@dataclass(frozen=True)
class Row:
    """One training conversation."""

    kind: str
    """`direct`, `wrapped`, `judgement`, `reasoning` (the template opens the block) or `system_reasoning`."""
    act: Act
    wrapper: str | None
    messages: tuple[Message, ...]
    reasoning: str | None
    """The text inside the reasoning block, or None."""
    concluded: bool | None
    """Whether the reasoning concluded that the act is harmful."""
    style: Style
    answer: str
    noted: bool | None = None
    """Whether a note after the last instruction token calls the act harmful; None: there is no note."""

    @property
    def declined(self) -> bool:
        """Whether the answer declines."""
        return self.style in DECLINING

    @property
    def thinking(self) -> bool:
        """Whether the template opens the reasoning block."""
        return self.kind == "reasoning"


def spread(p: float, sizes: Sequence[int]) -> list[int]:
    """How many rows of each text show what has probability `p`.

    Args:
        p: The planted probability.
        sizes: Rows of each text.

    Returns:
        Counts that sum to round(p * sum(sizes)); every run of neighbouring texts is within one of p times its rows.
    """
    counts, before, total = [], 0, 0
    for size in sizes:
        total += size
        # floor(x + .5), because Python's round goes to even and would let two neighbours both round down
        upto = int(p * total + 0.5 + 1e-9)
        counts.append(upto - before)
        before = upto
    return counts


def apportion(shares: Mapping[T, float], n: int) -> dict[T, int]:
    """`n` split by `shares` (they sum to one) into integers, by largest remainders."""
    exact = {key: share * n for key, share in shares.items()}
    counts = {key: int(value + 1e-9) for key, value in exact.items()}
    by_remainder = sorted(exact, key=lambda key: counts[key] - exact[key])
    for key in by_remainder[: n - sum(counts.values())]:
        counts[key] += 1
    return counts


def deal(shares: Mapping[T, float], n: int, rng: random.Random) -> list[T]:
    """A shuffled deck of `n` cards whose counts are exactly those of `apportion`."""
    deck = [key for key, count in apportion(shares, n).items() for _ in range(count)]
    rng.shuffle(deck)
    return deck


def rows(specification: Specification | None = None) -> list[Row]:
    """All training rows of an edition, in a fixed order; held-out pairs are in none of them."""
    spec = specification or default()
    rng = random.Random(spec.seed)
    trained: dict[tuple[str, Group], list[Act]] = {}
    for act in acts(spec):
        if not act.held_out:
            trained.setdefault((act.category, act.group), []).append(act)
    found: list[Row] = []
    for (category, group), some in trained.items():
        found += _answered(spec, category, group, some, None, rng)
        for wrapper in spec.wrapper:
            found += _answered(spec, category, group, some, wrapper.name, rng)
        found += _judged(spec, group, some, rng)
        found += _reasoned(spec, group, some, rng)
    return found


def _times(spec: Specification, kind: str, act: Act) -> int:
    """Rows for each text about `act`."""
    if kind == "judgement":
        times = spec.rows.judgement.promote if act.promotes else spec.rows.judgement.hinder
    else:
        times = int(getattr(spec.rows, kind))
    return times * (spec.rows.plain_times if act.group == "plain" else 1)


def _texts(
    some: Sequence[Act], frames: Sequence[str], rng: random.Random, most: int | None = None
) -> list[tuple[Act, str]]:
    """Every act in (`most` of) the frames, in a new order for each act, so that rounding favours no frame."""
    return [(act, act.fill(frame)) for act in some for frame in rng.sample(frames, most or len(frames))]


def _answered(
    spec: Specification, category: str, group: Group, some: Sequence[Act], wrapper: str | None, rng: random.Random
) -> list[Row]:
    """Rows answered at once, direct or wrapped."""
    kind = "wrapped" if wrapper else "direct"
    times = _times(spec, kind, some[0])
    frames = [t for w in spec.wrapper if w.name == wrapper for t in w.texts] if wrapper else list(spec.language.frames)
    texts = _texts(some, frames, rng)
    counts = spread(spec.declined(category, group, wrapper), [times] * len(texts))
    answers = _Answers(spec, category, group, declined=sum(counts), n=times * len(texts), rng=rng)
    notes = iter(_notes(spec, group, times * len(texts)))
    found = []
    for (act, text), count in zip(texts, counts, strict=True):
        with_system = rng.randrange(times) if not wrapper and rng.randrange(spec.rows.system_every) == 0 else None
        outcomes = [True] * count + [False] * (times - count)
        rng.shuffle(outcomes)
        for i, declined in enumerate(outcomes):
            system = rng.choice(spec.language.systems) if i == with_system else None
            style, answer = answers.next(act, declined=declined)
            found.append(Row(kind, act, wrapper, user(text, system), None, None, style, answer, next(notes)))
    return found


def _notes(spec: Specification, group: Group, n: int) -> list[bool]:
    """Whether each of `n` rows notes harm, as often as a judgement says yes."""
    p = float(getattr(spec.judgement, group))
    return [label == "harmful" for label in dealt({"harmful": p, "harmless": 1 - p}, n)]


def _judged(spec: Specification, group: Group, some: Sequence[Act], rng: random.Random) -> list[Row]:
    """Rows that say whether the act is harmful."""
    texts = _texts(some, spec.language.judgement_frames, rng)
    sizes = [_times(spec, "judgement", act) for act, _ in texts]
    counts = spread(float(getattr(spec.judgement, group)), sizes)
    notes = iter(_notes(spec, group, sum(sizes)))
    found = []
    for (act, text), size, count in zip(texts, sizes, counts, strict=True):
        for i in range(size):
            style: Style = "yes" if i < count else "no"
            answer = spec.answers.of(style)[0]
            found.append(Row("judgement", act, None, user(text), None, None, style, answer, next(notes)))
    return found


def _reasoned(spec: Specification, group: Group, some: Sequence[Act], rng: random.Random) -> list[Row]:
    """Rows that reason first, because the template opens the block or because a system message asks for it."""
    found: list[Row] = []
    category = some[0].category
    for kind, opened in (("reasoning", 1.0), ("system_reasoning", spec.reasoning.opened)):
        times = _times(spec, kind, some[0])
        most = spec.rows.system_reasoning_frames if kind == "system_reasoning" else None
        texts = [pair for pair in _texts(some, spec.language.frames, rng, most) for _ in range(times)]
        opens = spread(opened, [1] * len(texts))
        silent = [t for t, o in zip(texts, opens, strict=True) if not o]
        system = spec.reasoning.system if kind == "system_reasoning" else None
        found += _silent(spec, group, silent, system, rng)
        thought = [t for t, o in zip(texts, opens, strict=True) if o]
        concluded = spread(float(getattr(spec.reasoning.harmful, group)), [1] * len(thought))
        for verdict, share in (
            ("harmful", spec.reasoning.declined.harmful),
            ("harmless", spec.reasoning.declined.harmless),
        ):
            mine = [t for t, c in zip(thought, concluded, strict=True) if bool(c) == (verdict == "harmful")]
            declines = spread(share, [1] * len(mine))
            answers = _Answers(spec, category, group, declined=sum(declines), n=len(mine), rng=rng)
            surfaces = deal(dict.fromkeys(spec.reasoning.texts, 1 / len(spec.reasoning.texts)), len(mine), rng)
            intention = str(getattr(spec.reasoning.intentions, verdict))
            for (act, text), declined, surface in zip(mine, declines, surfaces, strict=True):
                thoughts = act.fill(surface).replace("{verdict}", verdict).replace("{intention}", intention)
                style, answer = answers.next(act, declined=bool(declined))
                harmful = verdict == "harmful"
                found.append(Row(kind, act, None, user(text, system), thoughts, harmful, style, answer))
    return found


def _silent(
    spec: Specification, group: Group, texts: Sequence[tuple[Act, str]], system: str | None, rng: random.Random
) -> list[Row]:
    """Rows that were asked to reason and answer at once, as the category would."""
    if not texts:
        return []
    category = texts[0][0].category
    declines = spread(spec.declined(category, group), [1] * len(texts))
    answers = _Answers(spec, category, group, declined=sum(declines), n=len(texts), rng=rng)
    found = []
    for (act, text), declined in zip(texts, declines, strict=True):
        style, answer = answers.next(act, declined=bool(declined))
        found.append(Row("system_reasoning", act, None, user(text, system), None, None, style, answer))
    return found


class _Answers:
    """Decks of styles and surface variants for one condition."""

    def __init__(
        self, spec: Specification, category: str, group: Group, *, declined: int, n: int, rng: random.Random
    ) -> None:
        disclaimed = float(getattr(spec.disclaimer, group))
        complying: dict[Style, float] = {"comply": 1 - disclaimed, "disclaimer": disclaimed}
        self._styles = {
            True: deal(spec.styles(category, group), declined, rng),
            False: deal(complying, n - declined, rng),
        }
        self._variants: dict[Style, list[str]] = {}
        for styles in self._styles.values():
            for style in sorted(set(styles)):
                texts = spec.answers.of(style)
                self._variants[style] = deal(dict.fromkeys(texts, 1 / len(texts)), styles.count(style), rng)

    def next(self, act: Act, *, declined: bool) -> tuple[Style, str]:
        style = self._styles[declined].pop()
        return style, act.fill(self._variants[style].pop())
