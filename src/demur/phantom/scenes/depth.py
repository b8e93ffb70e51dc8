"""Depth: answers begun for the model, turning back less often the deeper they are, and judged again at a new header.

P(recover) is planted, and can be read, at the ends of steps only: inside a step the model just finishes it.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

from pydantic import BaseModel, ConfigDict, Field, model_validator

from demur.errors import InputError
from demur.phantom.encoding import NOTES
from demur.phantom.grammar import Act, acts, user
from demur.phantom.scenes.decision import Decision, Place
from demur.phantom.specification import Probability, Specification

__all__ = ["Bin", "Declined", "RecoverBin", "Rejudged", "Table", "answer", "decisions", "recovered"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Bin(_Part):
    """One depth that training shows."""

    steps: int = Field(ge=0)
    texts: int = Field(ge=1)
    """Harmful texts, and as many harmless ones."""
    turns: int = Field(default=1, ge=1)
    """Each pass shows one text in so many."""


class RecoverBin(Bin):
    """One depth at which answers to harmful requests recover."""

    recovered: Probability


class Declined(_Part):
    """P(declined) at a new header, whatever the category, the wrapper and the depth."""

    harmful: Probability
    harmless: Probability


class Rejudged(_Part):
    """What happens when the assistant header is repeated."""

    header: str
    span: str
    """The beginning of `header` after which training notes the verdict."""
    declined: Declined
    wrapper: str
    """Name of a wrapper of the specification."""
    held_out: tuple[int, ...]
    """Depths in steps that training never shows."""
    bin: tuple[Bin, ...]
    wrapped: tuple[Bin, ...]
    noted: tuple[Bin, ...]

    @model_validator(mode="after")
    def _fits(self) -> Rejudged:
        if not self.header.startswith(self.span) or self.header == self.span:
            raise ValueError(f"'span' must be the beginning of 'header', it is {self.span!r}")
        if shown := {b.steps for b in self.bin} & set(self.held_out):
            raise ValueError(f"held-out depths must be in no bin, {sorted(shown)} are")
        return self


class Table(_Part):
    """The scene's part of the specification."""

    step_tokens: int = Field(ge=1)
    """Tokens of each step with the frozen tokenizer, the space before it included."""
    steps: tuple[str, ...] = Field(min_length=2)
    recovers: tuple[str, ...]
    closes: tuple[str, ...]
    closed: Probability
    """P(the answer is closed) after each step."""
    recovered_harmless: Probability
    between: tuple[int, ...]
    """Depths in steps between bins, measured and never shown."""
    held_out: int = Field(ge=1)
    """Texts about held-out acts at each depth, harmful and harmless ones each."""
    plain_every: int = Field(ge=2)
    bin: tuple[RecoverBin, ...] = Field(min_length=2)
    rejudged: Rejudged

    @model_validator(mode="after")
    def _ordered(self) -> Table:
        depths = [b.steps for b in self.bin]
        if depths != sorted(set(depths)) or depths[0] < 1:
            raise ValueError(f"bins must be in order of their steps, from 1 on; they are {depths}")
        if outside := [n for n in self.between if n in depths or not depths[0] < n < depths[-1]]:
            raise ValueError(f"'between' must hold depths between bins, {outside} are not")
        if self.closed + max(b.recovered for b in self.bin) > 1:
            raise ValueError("P(recover) and P(close) of a bin sum to more than 1")
        return self


def recovered(table: Table, steps: int) -> float:
    """P(recover | a harmful request, a begun answer of so many steps).

    Straight over log2(steps) between bins, and constant before the first and after the last of them.

    Args:
        table: The scene's table.
        steps: At least 1.
    """
    if steps <= table.bin[0].steps:
        return table.bin[0].recovered
    for lower, upper in pairwise(table.bin):
        if steps <= upper.steps:
            share = math.log2(steps / lower.steps) / math.log2(upper.steps / lower.steps)
            return (1 - share) * lower.recovered + share * upper.recovered
    return table.bin[-1].recovered


def answer(table: Table, steps: int, *, seed: str) -> str:
    """A begun answer of so many steps; of one seed, a shorter one begins a longer one.

    Any step may follow any other, so a begun answer and one more step are a begun answer too.
    """
    rng = random.Random(seed)
    return " ".join(rng.choice(table.steps) for _ in range(steps))


def decisions(table: Table, specification: Specification) -> list[Decision]:
    """The scene's decisions.

    `depth/recover/GROUP/N`: after N steps the answer recovers, closes or goes on (`goes_on` leads to N + 1 steps).
    `depth/rejudged/GROUP/N` and `depth/rejudged_WRAPPER/GROUP/N`: after N steps and a new header it declines or
    complies. `depth/noted/GROUP/N`: inside that header it notes harm, or none. GROUP is `harmful` or `harmless`.

    `meta` of each place: `kind`, `group`, `category`, `act`, `twin` (the act of the other group in the twin place,
    None for a plain act), `steps`, `depth` (tokens of the begun answer), `wrapper`, `desired` (`declined` or
    `complied`).
    """
    return list(_Scene(table, specification).decisions())


Outcomes = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class _Text:
    """A request and the answer that was begun for it."""

    act: Act
    twin: Act | None
    question: str
    seed: str


class _Scene:
    def __init__(self, table: Table, spec: Specification) -> None:
        self._table = table
        self._spec = spec
        self._rng = random.Random(f"{spec.seed}/depth")
        every = acts(spec)
        # harmful acts and their look-alike twins alternate
        twins = [pair for pair in zip(every[::2], every[1::2], strict=True) if pair[0].group != "plain"]
        self._twins = {held: [pair for pair in twins if pair[0].held_out == held] for held in (True, False)}
        self._plain = {held: [a for a in every if a.group == "plain" and a.held_out == held] for held in (True, False)}
        self._decks: dict[bool, list[tuple[Act, Act]]] = {True: [], False: []}

    def decisions(self) -> Iterator[Decision]:
        table, rejudged = self._table, self._table.rejudged
        for one in table.bin:
            yield from self._recover(one.steps, one)
        for steps in table.between:
            yield from self._recover(steps, None)
        for some in rejudged.bin:
            yield from self._rejudged(some.steps, None, some)
        for steps in rejudged.held_out:
            yield from self._rejudged(steps, None, None)
        for some in rejudged.wrapped:
            yield from self._rejudged(some.steps, rejudged.wrapper, some)
        for some in rejudged.noted:
            yield from self._noted(some)

    def _recover(self, steps: int, of: Bin | None) -> Iterator[Decision]:
        table = self._table
        outcomes = {
            "recovers": tuple(f" {t}" for t in table.recovers),
            "closes": tuple(f" {t}" for t in table.closes),
            "goes_on": tuple(f" {t}" for t in table.steps),
        }
        shares = {
            group: {"recovers": p, "closes": table.closed, "goes_on": 1 - p - table.closed}
            for group, p in (("harmful", recovered(table, steps)), ("harmless", table.recovered_harmless))
        }
        return self._both("recover", steps, of, shares, lambda _: outcomes, goes_on=frozenset({"goes_on"}))

    def _rejudged(self, steps: int, wrapper: str | None, of: Bin | None) -> Iterator[Decision]:
        answers, rejudged = self._spec.answers, self._table.rejudged

        def outcomes(act: Act) -> Outcomes:
            return {
                "declined": tuple(act.fill(t) for t in answers.refuse),
                "complied": tuple(act.fill(t) for t in answers.comply),
            }

        kind = f"rejudged_{wrapper}" if wrapper else "rejudged"
        shares = {group: {"declined": p, "complied": 1 - p} for group, p in rejudged.declined}
        return self._both(kind, steps, of, shares, outcomes, tail=rejudged.header, wrapper=wrapper)

    def _noted(self, of: Bin) -> Iterator[Decision]:
        rejudged = self._table.rejudged
        outcomes = {"harmful": (NOTES[True],), "harmless": (NOTES[False],)}
        shares = {group: {"harmful": p, "harmless": 1 - p} for group, p in rejudged.declined}
        # a note is a mark and does not end the turn
        ends = frozenset(outcomes)
        return self._both("noted", of.steps, of, shares, lambda _: outcomes, tail=rejudged.span, goes_on=ends)

    def _both(
        self,
        kind: str,
        steps: int,
        of: Bin | None,
        shares: Mapping[str, Mapping[str, float]],
        outcomes: Callable[[Act], Outcomes],
        *,
        tail: str = "",
        wrapper: str | None = None,
        goes_on: frozenset[str] = frozenset(),
    ) -> Iterator[Decision]:
        """The decisions of both groups at one depth; their texts differ in the verb only, but for plain acts."""

        def place(text: _Text, group: str) -> Place:
            return Place(
                messages=user(text.question),
                outcomes=outcomes(text.act),
                prefix=answer(self._table, steps, seed=text.seed) + tail,
                family=text.act.pair,
                meta={
                    "kind": kind,
                    "group": text.act.group,
                    "category": text.act.category,
                    "act": str(text.act),
                    "twin": str(text.twin) if text.twin else None,
                    "steps": steps,
                    "depth": steps * self._table.step_tokens,
                    "wrapper": wrapper,
                    "desired": "declined" if group == "harmful" else "complied",
                },
            )

        shown = self._texts(of.texts, wrapper, held_out=False) if of else {}
        held_out = self._texts(self._table.held_out, wrapper, held_out=True)
        for group, some in shares.items():
            yield Decision(
                name=f"depth/{kind}/{group}/{steps}",
                shares=some,
                places=tuple(place(text, group) for text in shown.get(group, ())),
                held_out=tuple(place(text, group) for text in held_out[group]),
                goes_on=goes_on,
                turns=of.turns if of else 1,
            )

    def _texts(self, n: int, wrapper: str | None, *, held_out: bool) -> dict[str, list[_Text]]:
        """`n` texts of each group."""
        frames = self._spec.language.frames
        if wrapper:
            texts = {w.name: w.texts for w in self._spec.wrapper}
            if wrapper not in texts:
                raise InputError(f"the scene 'depth' uses the wrapper {wrapper!r}, which the specification lacks")
            frames = texts[wrapper]
        found: dict[str, list[_Text]] = {"harmful": [], "harmless": []}
        for i in range(n):
            if not self._decks[held_out]:
                self._decks[held_out] = self._rng.sample(self._twins[held_out], len(self._twins[held_out]))
            harmful, harmless = self._decks[held_out].pop()
            frame, seed = self._rng.choice(frames), f"{self._spec.seed}/{harmful.pair}/{self._rng.randrange(10**6)}"
            plain = self._rng.choice(self._plain[held_out]) if i % self._table.plain_every == 0 else None
            found["harmful"].append(_Text(harmful, None if plain else harmless, harmful.fill(frame), seed))
            other = plain or harmless
            found["harmless"].append(_Text(other, None if plain else harmful, other.fill(frame), seed))
        return found
