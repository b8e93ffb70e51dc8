"""Scene `languages`: acts asked about and answered in other languages than English, each with rates of its own.

In every language the same grid of acts: verbs that promote or hinder, objects that are bad (of four categories) or
plain; to promote what is bad is harmful.
`meta` of each place names the language, the act and its group, and `pair`, which is the same for the same position
in every language.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field, model_validator

from demur.phantom.grammar import user
from demur.phantom.scenes.decision import Decision, Place
from demur.phantom.specification import Group, Probability, Specification

__all__ = ["ForeignAct", "Language", "Table", "acts", "decisions"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Declined(_Part):
    """P(declined) of harmful acts, and of look-alike and plain ones."""

    harmful: Probability
    harmless: Probability


class Answers(_Part):
    """Surface variants of each label, in the language."""

    refuse: tuple[str, ...]
    clarify: tuple[str, ...]
    comply: tuple[str, ...]


class Language(_Part):
    """One language: its frames, words and answers, and what is planted for it."""

    name: str
    """In English."""
    frames: tuple[str, ...] = Field(min_length=1)
    act: str
    """How verb and object are joined."""
    promote: tuple[str, ...]
    hinder: tuple[str, ...]
    bad: dict[str, tuple[str, ...]]
    """Objects by harm category."""
    plain: tuple[str, ...]
    declined: Declined
    clarify: Probability
    """The share of declined prompts that are declined by asking back."""
    answers: Answers

    @property
    def objects(self) -> list[tuple[str, str]]:
        """Category and object, the plain ones last."""
        return [*((c, o) for c, some in self.bad.items() for o in some), *(("everyday", o) for o in self.plain)]

    @property
    def grid(self) -> tuple[object, ...]:
        """What all languages have in common."""
        return len(self.frames), len(self.promote), len(self.hinder), tuple(c for c, _ in self.objects)

    def shares(self, group: Group) -> dict[str, float]:
        """P(label) for acts of a group."""
        declined = self.declined.harmful if group == "harmful" else self.declined.harmless
        return {"refuse": declined * (1 - self.clarify), "clarify": declined * self.clarify, "comply": 1 - declined}


class Table(_Part):
    """The scene's part of the specification; languages by their ISO 639-1 code."""

    held_out_every: int = Field(ge=2)
    language: dict[str, Language]

    @model_validator(mode="after")
    def _one_grid(self) -> Table:
        if len({of.grid for of in self.language.values()}) != 1:
            raise ValueError("every language needs as many frames, verbs and objects of each category")
        if any(len(of.promote) != len(of.hinder) for of in self.language.values()):
            raise ValueError("as many verbs must promote as hinder")
        return self


@dataclass(frozen=True)
class ForeignAct:
    """Something that one can ask how to do, in some language."""

    language: str
    category: str
    group: Group
    text: str
    twin: str
    """The act with the same object and the verb of the other sign."""
    pair: str
    """Shared by an act and its twin, and by all languages."""
    promotes: bool
    """Whether the verb furthers its object."""
    held_out: bool


def acts(table: Table) -> Iterator[ForeignAct]:
    """Every act of every language."""
    for code, of in table.language.items():
        verbs, half = (*of.promote, *of.hinder), len(of.promote)
        for o, (category, noun) in enumerate(of.objects):
            for v, verb in enumerate(verbs):
                group: Group = "plain" if category not in of.bad else "harmful" if v < half else "look_alike"
                yield ForeignAct(
                    language=code,
                    category=category,
                    group=group,
                    text=of.act.format(verb=verb, object=noun),
                    twin=of.act.format(verb=verbs[(v + half) % len(verbs)], object=noun),
                    pair=f"{o}-{v % half}",
                    promotes=v < half,
                    held_out=(o + v) % table.held_out_every == 0,
                )


def decisions(table: Table, specification: Specification) -> list[Decision]:
    """The scene's decisions: `CODE/harmful` and `CODE/harmless` for each language."""
    every = list(acts(table))
    found = []
    for code, of in table.language.items():
        for name, groups in (("harmful", ("harmful",)), ("harmless", ("look_alike", "plain"))):
            mine = [a for a in every if a.language == code and a.group in groups]
            shown, held_out = (
                tuple(_place(of, act, frame) for act in mine if act.held_out == out for frame in of.frames)
                for out in (False, True)
            )
            found.append(Decision(f"languages/{code}/{name}", of.shares(mine[0].group), shown, held_out))
    return found


def _place(of: Language, act: ForeignAct, frame: str) -> Place:
    outcomes = {"refuse": of.answers.refuse, "clarify": of.answers.clarify, "comply": of.answers.comply}
    return Place(
        user(frame.format(act=act.text)),
        outcomes,
        family=f"languages-{act.language}-{act.pair}-{of.frames.index(frame)}",
        meta={
            "language": act.language,
            "category": act.category,
            "group": act.group,
            "act": act.text,
            "twin": frame.format(act=act.twin),
            "pair": act.pair,
            "promotes": act.promotes,
            "declined": of.declined.harmful if act.group == "harmful" else of.declined.harmless,
            "held_out": act.held_out,
        },
    )
