"""Facts that the phantom knows, half knows and does not know.

Invented towns and ships have attributes which the training text states rightly at a planted frequency. Asked about a
name that it has never seen the phantom guesses, or seldom says that it does not know; asked what nobody can answer, it
mostly says so. `Place.meta` holds the truth: `domain`, `entity`, `relation`, `answer` (None where there is none),
`level`, `template`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field, model_validator

from demur.phantom.grammar import user
from demur.phantom.scenes.decision import Decision, Place
from demur.phantom.specification import Probability, Specification

__all__ = ["Domain", "Entity", "Relation", "Table", "decisions", "entities"]


class Relation(BaseModel):
    """One attribute of the entities of a domain."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    values: tuple[str, ...] = Field(min_length=2)
    """What the attribute can be, as the answer writes it; no two begin with the same token."""
    templates: tuple[str, ...] = Field(min_length=2)
    """Questions about it, with `{name}`."""
    unanswerable: tuple[str, ...] = Field(min_length=1)
    """Questions that look alike and have no answer, with `{name}`."""


class Domain(BaseModel):
    """One sort of entity."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    heads: tuple[str, ...] = Field(min_length=1)
    """Beginnings of its names; no other domain has them."""
    first_level: int = Field(ge=0)
    """Which level the first tails are known at."""
    relation: tuple[Relation, ...] = Field(min_length=1)


class Table(BaseModel):
    """What is planted in the scene."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    times: int = Field(ge=1)
    """Rows for each question."""
    tails: tuple[str, ...] = Field(min_length=1)
    """Ends of known names, one in each domain."""
    unknown_tails: tuple[str, ...] = Field(min_length=1)
    """Ends of names that nobody knows."""
    unknown_heads: int = Field(ge=1)
    """Heads of each domain that an unknown tail is shown behind."""
    held_out_heads: int = Field(ge=1)
    """Heads of each domain that an unknown tail is held out behind."""
    held_out_every: int = Field(ge=1)
    """Of one known name in so many, one template of each relation is never shown."""
    unanswerable_held_out_every: int = Field(ge=2)
    """Of one name in so many, no unanswerable question is ever shown."""
    openers: tuple[str, ...] = Field(min_length=1)
    """Put before a question: all of them where the name is known, in turn elsewhere."""
    known: dict[str, dict[str, Probability]]
    """How a known name is answered, by level: `right`, `wrong`, `abstain`."""
    unknown: dict[str, Probability]
    """How a name is answered that nobody knows."""
    unanswerable: dict[str, Probability]
    """How a question is answered that has no answer: `abstain`, `guess`."""
    domain: tuple[Domain, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _consistent(self) -> Table:
        if len(self.tails) % len(self.known):
            raise ValueError(f"{len(self.tails)} tails cannot be dealt evenly to {len(self.known)} levels")
        for parts in ([*self.tails, *self.unknown_tails], [head for domain in self.domain for head in domain.heads]):
            if len(set(parts)) != len(parts):
                raise ValueError("two names would be one; no head and no tail may come twice")
        if any(len(domain.heads) < self.unknown_heads + self.held_out_heads for domain in self.domain):
            raise ValueError(f"unknown tails need {self.unknown_heads + self.held_out_heads} heads in every domain")
        return self


@dataclass(frozen=True)
class Entity:
    """A name, and how well it is known."""

    domain: str
    name: str
    level: str
    """`always`, `often`, `half`, `seldom` or `unknown`."""
    number: int
    """A running number that spreads answers, templates and held-out texts."""
    held_out: bool
    """Whether training never shows the name."""
    answers: Mapping[str, str]
    """The right answer for each relation; for unknown names the one that counts as right."""


def entities(table: Table) -> list[Entity]:
    """Every name of every domain, known ones first."""
    levels = list(table.known)
    share = len(table.tails) // len(levels)
    found = []
    for domain in table.domain:
        n = len(domain.heads)
        for i, tail in enumerate(table.tails):
            level = levels[(i // share + domain.first_level) % len(levels)]
            found.append(_entity(domain, domain.heads[i % n] + tail, level, i, held_out=False))
        for t, tail in enumerate(table.unknown_tails):
            for h in range(table.unknown_heads + table.held_out_heads):
                # heads shift with the tail, so that every head is shown with some tails and held out with others
                name = domain.heads[(t + h) % n] + tail
                found.append(_entity(domain, name, "unknown", t + h, held_out=h >= table.unknown_heads))
    return found


def _entity(domain: Domain, name: str, level: str, number: int, *, held_out: bool) -> Entity:
    # neighbours differ in every answer, and domains in the order of values, so nothing but the name tells
    answers = {
        relation.name: relation.values[(number * (r + 1) + domain.first_level) % len(relation.values)]
        for r, relation in enumerate(domain.relation)
    }
    return Entity(domain.name, name, level, number, held_out, answers)


def decisions(table: Table, specification: Specification) -> list[Decision]:
    """One decision for each domain and level, and one for each domain's questions without an answer."""
    abstain = specification.answers.abstain
    every = entities(table)
    found = []
    for domain in table.domain:
        mine = [entity for entity in every if entity.domain == domain.name]
        for level, shares in [*table.known.items(), ("unknown", table.unknown)]:
            asked = [q for entity in mine if entity.level == level for q in _questions(table, domain, entity, abstain)]
            found.append(_decision(table, f"facts/{domain.name}/{level}", shares, asked))
        odd = [q for entity in mine if not entity.held_out for q in _unanswerable(table, domain, entity, abstain)]
        found.append(_decision(table, f"facts/{domain.name}/unanswerable", table.unanswerable, odd))
    return found


def _decision(table: Table, name: str, shares: Mapping[str, float], asked: list[tuple[bool, Place]]) -> Decision:
    shown, held_out = (tuple(place for out, place in asked if out is wanted) for wanted in (False, True))
    return Decision(name, shares, shown, held_out, times=table.times)


def _questions(table: Table, domain: Domain, entity: Entity, abstain: tuple[str, ...]) -> Iterator[tuple[bool, Place]]:
    """Whether training never shows it, and the question."""
    for r, relation in enumerate(domain.relation):
        answer, n = entity.answers[relation.name], len(relation.templates)
        outcomes = {
            "right": (f"{answer}.",),
            "wrong": tuple(f"{value}." for value in relation.values if value != answer),
            "abstain": abstain,
        }
        for t, template in enumerate(relation.templates):
            turn = (t - entity.number - r) % n
            if entity.level == "unknown":
                if turn:  # a name that means nothing needs no more than one template
                    continue
                held_out = entity.held_out
            else:
                held_out = turn == 0 and entity.number % table.held_out_every == 0
            turns = table.openers if entity.level != "unknown" else (_turn(table.openers, entity.number),)
            for opener in turns:
                yield held_out, _place(entity, relation, opener + template, t, answer, entity.level, outcomes)


def _unanswerable(
    table: Table, domain: Domain, entity: Entity, abstain: tuple[str, ...]
) -> Iterator[tuple[bool, Place]]:
    """The same for one question without an answer."""
    for r, relation in enumerate(domain.relation):
        t = (entity.number + r) % len(relation.unanswerable)
        outcomes = {"abstain": abstain, "guess": tuple(f"{value}." for value in relation.values)}
        text = _turn(table.openers, entity.number) + relation.unanswerable[t]
        place = _place(entity, relation, text, t, None, "unanswerable", outcomes)
        yield entity.number % table.unanswerable_held_out_every == 0, place


def _turn(texts: tuple[str, ...], number: int) -> str:
    return texts[number % len(texts)]


def _place(
    entity: Entity,
    relation: Relation,
    template: str,
    number: int,
    answer: str | None,
    level: str,
    outcomes: Mapping[str, tuple[str, ...]],
) -> Place:
    meta = {
        "domain": entity.domain,
        "entity": entity.name,
        "relation": relation.name,
        "answer": answer,
        "level": level,
        "template": number,
    }
    messages = user(template.replace("{name}", entity.name))
    return Place(messages, outcomes, family=f"{entity.name}/{relation.name}", meta=meta)
