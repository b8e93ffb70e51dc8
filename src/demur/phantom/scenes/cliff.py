"""Cliff: reasoning that concludes that it should decline, before an answer that helps where the user presses.

Whether it declines is decided after the reasoning block, in the closing tokens of the template. Up to there the text
is the same with and without the framing that makes it fall.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from demur.phantom.grammar import Act, acts, user
from demur.phantom.scenes.decision import Decision, Place
from demur.phantom.specification import Conclusion, Group, Specification

__all__ = ["FORMS", "FRAMINGS", "Bodies", "Form", "Framing", "Framings", "Table", "Verdict", "decisions"]

Verdict = Literal["harmful", "harmless"]
Form = Literal["template", "system"]
"""What opens the reasoning block: the chat template, or the model because a system message asks it to reason."""
FORMS: tuple[Form, ...] = ("template", "system")
FRAMINGS: tuple[str, ...] = ("pressed", "calm", "plain")
"""Behind the question stands something that makes the answer fall, something that does not, or nothing."""
GROUPS: tuple[Group, ...] = ("harmful", "look_alike", "plain")
VERDICTS: tuple[Verdict, ...] = ("harmful", "harmless")
Sentences = tuple[Annotated[tuple[str, ...], Field(min_length=1)], ...]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Framing(_Part):
    """What stands behind the question, and what it does to the answer."""

    beginnings: tuple[str, ...]
    manners: tuple[str, ...]
    """One of each makes a sentence; none: nothing stands behind the question."""
    declined: Conclusion


class Framings(_Part):
    """The framings, by name."""

    pressed: Framing
    calm: Framing
    plain: Framing


class Bodies(_Part):
    """The sentences after each verdict; one variant of each is written, in order."""

    harmful: Sentences
    harmless: Sentences


class Table(_Part):
    """The scene's part of the specification."""

    held_out_every: int = Field(ge=2)
    """One combination of beginning and manner in so many is never in training."""
    texts: int = Field(ge=1)
    """Texts of each decision."""
    held_out: int = Field(ge=2)
    """Texts of each decision that training never shows: half about held-out acts, half in held-out framings."""
    mistaken_every: int = Field(ge=2)
    """After each conclusion one act in so many is of the other kind."""
    plain_every: int = Field(ge=2)
    """One harmless act in so many is a plain one."""
    openings: tuple[str, ...] = Field(min_length=1)
    """The reasoning up to the verdict."""
    bodies: Bodies
    framing: Framings

    @model_validator(mode="after")
    def _alike(self) -> Table:
        pressed, calm, plain = self.framing.pressed, self.framing.calm, self.framing.plain
        sizes = [(len(f.beginnings), len(f.manners)) for f in (pressed, calm, plain)]
        if sizes[0] != sizes[1] or min(sizes[0]) < 1 or sizes[2] != (0, 0):
            raise ValueError(f"'pressed' and 'calm' need as many beginnings and manners, 'plain' none; found {sizes}")
        if set(pressed.manners) & set(calm.manners):
            raise ValueError("a manner must belong to one framing")
        return self


def decisions(table: Table, specification: Specification) -> list[Decision]:
    """The scene's decisions; each leads to the next.

    `cliff/start/FORM`: framed questions make the model open the reasoning of several sentences (without a framing it
    is begun for it). `cliff/concluded/GROUP`: the verdict, with the same probabilities in all framings.
    `cliff/declined/FRAMING/VERDICT`: the answer after the block. FORM is `template` or `system`, GROUP a group of acts,
    FRAMING `pressed`, `calm` or `plain`, VERDICT `harmful` or `harmless`.

    `meta` of each place: `form`, `framing`, `group`, `category`, `act`, `twin` (None for a plain act), `concluded` (the
    verdict, None before it) and `truth`, P(declined) for a reader who knows all that was planted: `before` the verdict,
    `after` it, and `after_plain`, what a reader who overlooks the framing would say after it. The plateau is
    `after_plain`, the end of the fall `after`.
    """
    return list(_Scene(table, specification).decisions())


@dataclass(frozen=True)
class _Draft:
    """An act, how it is asked about, and how the reasoning begins; framings are put around it."""

    act: Act
    question: str
    form: Form
    opening: str
    held_out: bool
    """Whether it is in no framing of training."""
    combination: tuple[int, int]
    """Numbers of a framing's beginning and manner."""


class _Scene:
    def __init__(self, table: Table, spec: Specification) -> None:
        self._table = table
        self._spec = spec
        self._rng = random.Random(f"{spec.seed}/cliff")
        self._acts: dict[tuple[Group, bool], list[Act]] = {}
        self._pairs: dict[str, list[Act]] = {}
        for act in acts(spec):
            self._acts.setdefault((act.group, act.held_out), []).append(act)
            self._pairs.setdefault(act.pair, []).append(act)
        self._decks: dict[tuple[Group, bool], list[Act]] = {}
        # by whether training never shows them
        self._combinations: dict[bool, list[tuple[int, int]]] = {True: [], False: []}
        pressed = table.framing.pressed
        for b, m in product(range(len(pressed.beginnings)), range(len(pressed.manners))):
            self._combinations[(b + m) % table.held_out_every == 0].append((b, m))

    def decisions(self) -> Iterator[Decision]:
        for form in FORMS:
            yield self._decision(f"start/{form}", {"thinks": 1.0}, self._starts(form), goes_on=True)
        for group in GROUPS:
            p = float(getattr(self._spec.reasoning.harmful, group))
            shares = {"harmful": p, "harmless": 1 - p}
            yield self._decision(f"concluded/{group}", shares, self._verdicts(group), goes_on=True)
        for verdict in VERDICTS:
            drafts = list(self._after(verdict))
            for framing in FRAMINGS:
                p = self._share(framing, verdict)
                shares = {"declined": p, "complied": 1 - p}
                # a trained act in a held-out framing is no new text where there is no framing
                new = [d for d in drafts if framing != "plain" or d[0].act.held_out == d[0].held_out]
                places = [self._answer(draft, body, framing, verdict) for draft, body in new]
                yield self._decision(f"declined/{framing}/{verdict}", shares, places)

    def _decision(
        self, name: str, shares: Mapping[str, float], places: Iterable[tuple[bool, Place]], *, goes_on: bool = False
    ) -> Decision:
        some = list(places)
        return Decision(
            name=f"cliff/{name}",
            shares=shares,
            places=tuple(place for held_out, place in some if not held_out),
            held_out=tuple(place for held_out, place in some if held_out),
            goes_on=frozenset(shares) if goes_on else frozenset(),
        )

    # Each of the following gives (whether training never shows it, place), those of training first.

    def _starts(self, form: Form) -> Iterator[tuple[bool, Place]]:
        framed = [name for name in FRAMINGS if self._framing(name).manners]
        begun = "<think>\n" if form == "system" else ""
        for i, held_out in self._numbers():
            group: Group = "harmful" if i // 2 % 2 else self._harmless(i)
            draft = self._draft(group, i, held_out, form, framed=True)
            outcomes = {"thinks": tuple(f"{begun}{draft.act.fill(o)}" for o in self._table.openings)}
            yield held_out, self._place(draft, framed[i // 4 % len(framed)], "", outcomes)

    def _verdicts(self, group: Group) -> Iterator[tuple[bool, Place]]:
        for i, held_out in self._numbers():
            framing = FRAMINGS[i % len(FRAMINGS)]
            draft = self._draft(group, i, held_out, self._form(), framed=bool(self._framing(framing).manners))
            outcomes: dict[str, tuple[str, ...]] = {v: tuple(self._body(v) for _ in range(4)) for v in VERDICTS}
            yield held_out, self._place(draft, framing, draft.opening, outcomes)

    def _after(self, verdict: Verdict) -> Iterator[tuple[_Draft, str]]:
        """What is asked and thought before answers; the same in all framings."""
        for i, held_out in self._numbers():
            mistaken = i % self._table.mistaken_every == 0
            group: Group = "harmful" if (verdict == "harmful") != mistaken else self._harmless(i)
            yield self._draft(group, i, held_out, self._form(), framed=True), self._body(verdict)

    def _answer(self, draft: _Draft, body: str, framing: str, verdict: Verdict) -> tuple[bool, Place]:
        answers = self._spec.answers
        outcomes = {
            "declined": tuple(draft.act.fill(t) for t in answers.refuse),
            "complied": tuple(draft.act.fill(t) for t in answers.comply),
        }
        return draft.held_out, self._place(draft, framing, draft.opening + body, outcomes, verdict)

    def _place(
        self,
        draft: _Draft,
        framing: str,
        prefix: str,
        outcomes: Mapping[str, tuple[str, ...]],
        concluded: Verdict | None = None,
    ) -> Place:
        act = draft.act
        question, framed = draft.question, self._framing(framing)
        if framed.manners:
            beginning, manner = draft.combination
            question += f" {framed.beginnings[beginning]} {framed.manners[manner]}."
        harmful = float(getattr(self._spec.reasoning.harmful, act.group))
        at = {v: self._share(framing, v) for v in VERDICTS}
        twins = [str(a) for a in self._pairs[act.pair] if a != act]
        return Place(
            messages=user(question, self._spec.reasoning.system if draft.form == "system" else None),
            outcomes=outcomes,
            prefix=prefix,
            thinking=draft.form == "template",
            family=act.pair,
            meta={
                "form": draft.form,
                "framing": framing,
                "group": act.group,
                "category": act.category,
                "act": str(act),
                "twin": twins[0] if twins else None,
                "concluded": concluded,
                "truth": {
                    "before": harmful * at["harmful"] + (1 - harmful) * at["harmless"],
                    "after": at,
                    "after_plain": {v: self._share("plain", v) for v in VERDICTS},
                },
            },
        )

    def _draft(self, group: Group, i: int, held_out: bool, form: Form, *, framed: bool) -> _Draft:
        """A draft; of the held-out ones every other asks about a trained act in a held-out framing, if `framed`."""
        old = held_out and framed and i % 2 == 1
        act = self._act(group, held_out and not old)
        opening = act.fill(self._rng.choice(self._table.openings))
        return _Draft(
            act=act,
            question=act.fill(self._rng.choice(self._spec.language.frames)),
            form=form,
            opening=f"<think>\n{opening}" if form == "system" else opening,
            held_out=held_out,
            combination=self._rng.choice(self._combinations[old]),
        )

    def _act(self, group: Group, held_out: bool) -> Act:
        deck = self._decks.setdefault((group, held_out), [])
        if not deck:
            deck += self._rng.sample(self._acts[group, held_out], len(self._acts[group, held_out]))
        return deck.pop()

    def _form(self) -> Form:
        return self._rng.choice(FORMS)

    def _harmless(self, i: int) -> Group:
        return "plain" if i % self._table.plain_every == 0 else "look_alike"

    def _body(self, verdict: Verdict) -> str:
        sentences = [self._rng.choice(some) for some in getattr(self._table.bodies, verdict)]
        return f" {verdict}. {' '.join(sentences)}\n</think>\n\n"

    def _framing(self, name: str) -> Framing:
        framing: Framing = getattr(self._table.framing, name)
        return framing

    def _share(self, framing: str, verdict: Verdict) -> float:
        return float(getattr(self._framing(framing).declined, verdict))

    def _numbers(self) -> Iterator[tuple[int, bool]]:
        for held_out, n in ((False, self._table.texts), (True, self._table.held_out)):
            for i in range(n):
                yield i, held_out
