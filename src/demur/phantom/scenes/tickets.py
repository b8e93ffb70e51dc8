"""Scene `tickets`: issue tickets that can be worked on or not, patches that come out, and judgements of patches.

A ticket names a function and perhaps a wrong and a right value. Four levels follow from what it names: `well` (both),
`reasonable` (the right one), `vague` (the wrong one), `impossible` (neither). Decisions: can it be worked on; patch,
ask or abstain; does the patch return the right value; is a given patch right. `meta` of each place holds the truth.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from demur.phantom.grammar import user
from demur.phantom.scenes.decision import Decision, Place
from demur.phantom.specification import Probability, Specification

__all__ = ["LEVELS", "Level", "Table", "Ticket", "decisions", "tickets"]

Level = Literal["well", "reasonable", "vague", "impossible"]
Question = Literal["input", "patch", "value", "output"]

LEVELS: tuple[Level, ...] = ("well", "reasonable", "vague", "impossible")
"""From the best specified to the worst, as the grades 0 to 3 of published ticket annotations."""

_TWIN: dict[str, Level] = {"well": "vague", "reasonable": "impossible", "vague": "well", "impossible": "reasonable"}


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Questions(_Part):
    """What stands around a ticket."""

    input: str
    patch: str
    output: str


class Diff(_Part):
    """A patch up to the value that it returns."""

    known: str
    """For tickets that name the wrong value."""
    unknown: str


class LevelTable(_Part):
    """How well specified a ticket is, and what is planted for it."""

    texts: tuple[str, ...] = Field(min_length=1)
    tickets: dict[Question, Annotated[int, Field(ge=1)]]
    """Training texts of each decision."""
    held_out: int = Field(ge=1)
    input: Probability
    asked: dict[Literal["patch", "ask", "abstain"], Probability]


class Value(_Part):
    """P(right value) in a patch, where the ticket tells it."""

    well: Probability
    reasonable: Probability


class Output(_Part):
    """P(yes) when asked whether a patch is right."""

    right: Probability
    wrong: Probability
    unknown: Probability


class Answers(_Part):
    """Surface variants of each label."""

    yes: tuple[str, ...]
    no: tuple[str, ...]
    patch: str
    """Goes on with the patch."""
    ask: tuple[str, ...]
    abstain: tuple[str, ...]


class Table(_Part):
    """The scene's part of the specification."""

    functions: tuple[str, ...] = Field(min_length=2)
    values: tuple[str, ...] = Field(min_length=4)
    seed: int
    held_out_every: int = Field(ge=2)
    questions: Questions
    diff: Diff
    level: dict[Level, LevelTable]
    value: Value
    guessed: dict[str, Probability]
    output: Output
    answers: Answers

    @model_validator(mode="after")
    def _told(self) -> Table:
        if set(self.level) != set(LEVELS):
            raise ValueError(f"tickets needs the levels {', '.join(LEVELS)}, it has {', '.join(self.level)}")
        for name, level in self.level.items():
            told = {f for f in ("{old}", "{right}") if all(f in text for text in level.texts)}
            some = {f for f in ("{old}", "{right}") if any(f in text for text in level.texts)}
            if told != some or told != _NAMED[name]:
                raise ValueError(
                    f"every text of the level {name!r} must name {sorted(_NAMED[name])} and no other value"
                )
        if len(set(self.functions)) != len(self.functions) or len(set(self.values)) != len(self.values):
            raise ValueError("a function or a value stands twice")
        if not set(self.guessed) < set(self.values):
            raise ValueError(f"guessed values must be some of the values {self.values}")
        return self


_NAMED: dict[Level, set[str]] = {
    "well": {"{old}", "{right}"},
    "reasonable": {"{right}"},
    "vague": {"{old}"},
    "impossible": set(),
}


@dataclass(frozen=True)
class Ticket:
    """A ticket and what is true of it, whether it says so or not."""

    level: Level
    function: str
    old: str
    """The wrong value."""
    right: str
    frame: int
    held_out: bool

    def text(self, table: Table, level: Level | None = None) -> str:
        """What the ticket says, or would say at another level."""
        some = table.level[level or self.level].texts
        return some[self.frame % len(some)].format(name=self.function, old=self.old, right=self.right)

    def diff(self, table: Table) -> str:
        """A patch up to the value that it returns."""
        return (table.diff.known if "{old}" in _NAMED[self.level] else table.diff.unknown).format(old=self.old)


def tickets(table: Table, level: Level, *, held_out: bool) -> list[Ticket]:
    """Tickets of one level with different texts, in an order that the table's seed decides.

    Where the level does not tell the right value, it is one of the guessed ones, in turn.

    Args:
        table: The scene's table.
        level: One of `LEVELS`.
        held_out: Those that training never shows, or those that it may show.
    """
    named, guessed, at = _NAMED[level], list(table.guessed), {v: i for i, v in enumerate(table.values)}
    free = [v for v in table.values if v not in table.guessed]
    rights: Sequence[str | None] = table.values if "{right}" in named else [None]
    olds: Sequence[str | None] = [None] if "{old}" not in named else table.values if "{right}" in named else free
    found: list[Ticket] = []
    for f, function in enumerate(table.functions):
        for old in olds:
            for right in [v for v in rights if v is None or v != old]:
                for frame in range(len(table.level[level].texts)):
                    turn = len(found)
                    truth = right or guessed[turn % len(guessed)]
                    wrong = old or next(v for v in free[turn % len(free) :] + free if v != truth)
                    out = (f + at.get(old or "", 0) + at.get(right or "", 0)) % table.held_out_every == 0
                    found.append(Ticket(level, function, wrong, truth, frame, out))
    some = [t for t in found if t.held_out == held_out]
    random.Random(f"{table.seed}/{level}").shuffle(some)
    return some


def decisions(table: Table, specification: Specification) -> list[Decision]:
    """The scene's decisions: `input`, `patch`, `value`, `guess` and `output`."""
    found = []
    for level in LEVELS:
        of = table.level[level]
        yes = {"yes": of.input, "no": 1 - of.input}
        found.append(_decision(f"input/{level}", yes, _both(table, level, "input", _input)))
        patches = _both(table, level, "patch", _patch)
        found.append(_decision(f"patch/{level}", dict(of.asked), patches, goes_on=frozenset({"patch"})))
        values = _both(table, level, "value", _value)
        if "{right}" in _NAMED[level]:
            right = float(getattr(table.value, level))
            found.append(_decision(f"value/{level}", {"right": right, "wrong": 1 - right}, values))
        else:
            found.append(_decision(f"guess/{level}", dict(table.guessed), values))
    for truth in ("right", "wrong", "unknown"):
        share = float(getattr(table.output, truth))
        judged = [[p for level in LEVELS for p in _judged(table, level, truth, out)] for out in (False, True)]
        found.append(_decision(f"output/{truth}", {"yes": share, "no": 1 - share}, judged))
    return found


def _drawn(table: Table, level: Level, question: Question, held_out: bool) -> list[Ticket]:
    of = table.level[level]
    return tickets(table, level, held_out=held_out)[: of.held_out if held_out else of.tickets[question]]


def _both(table: Table, level: Level, question: Question, place: Callable[[Table, Ticket], Place]) -> list[list[Place]]:
    """The places that training shows, and those that it never does."""
    return [[place(table, t) for t in _drawn(table, level, question, out)] for out in (False, True)]


def _decision(
    name: str, shares: dict[Any, float], places: list[list[Place]], goes_on: frozenset[str] = frozenset()
) -> Decision:
    shown, held_out = map(tuple, places)
    return Decision(f"tickets/{name}", shares, shown, held_out, goes_on=goes_on)


def _meta(table: Table, ticket: Ticket) -> dict[str, Any]:
    return {
        "level": ticket.level,
        "underspecified": LEVELS.index(ticket.level),
        "function": ticket.function,
        "old": ticket.old,
        "answer": ticket.right,
        "told": "{right}" in _NAMED[ticket.level],
        "ticket": ticket.text(table),
        # the same ticket with the right value told, or not
        "twin": ticket.text(table, _TWIN[ticket.level]),
        "held_out": ticket.held_out,
    }


def _family(ticket: Ticket) -> str:
    return f"tickets-{ticket.function}-{ticket.old}-{ticket.right}-{ticket.frame}"


def _input(table: Table, ticket: Ticket) -> Place:
    asked = table.questions.input.format(ticket=ticket.text(table))
    outcomes = {"yes": table.answers.yes, "no": table.answers.no}
    return Place(user(asked), outcomes, family=_family(ticket), meta=_meta(table, ticket))


def _patch(table: Table, ticket: Ticket) -> Place:
    asked = table.questions.patch.format(ticket=ticket.text(table))
    some = table.answers
    outcomes = {
        "patch": (some.patch + ticket.diff(table),),
        "ask": tuple(text.format(name=ticket.function) for text in some.ask),
        "abstain": some.abstain,
    }
    return Place(user(asked), outcomes, family=_family(ticket), meta=_meta(table, ticket))


def _value(table: Table, ticket: Ticket) -> Place:
    """The value that a begun patch returns."""
    begun = _patch(table, ticket)
    if "{right}" in _NAMED[ticket.level]:
        known = {ticket.right, ticket.old} if "{old}" in _NAMED[ticket.level] else {ticket.right}
        wrong = tuple(f" {v}" for v in table.values if v not in known)
        outcomes: dict[str, tuple[str, ...]] = {"right": (f" {ticket.right}",), "wrong": wrong}
    else:
        outcomes = {v: (f" {v}",) for v in table.guessed}
    return Place(begun.messages, outcomes, prefix=begun.outcomes["patch"][0], family=begun.family, meta=begun.meta)


def _judged(table: Table, level: Level, truth: str, held_out: bool) -> list[Place]:
    """Patches of one level to judge; the wrong ones are wrong by any other value."""
    if ("{right}" in _NAMED[level]) == (truth == "unknown"):
        return []
    found = []
    for i, ticket in enumerate(_drawn(table, level, "output", held_out)):
        others = [v for v in table.values if v not in (ticket.right, ticket.old)]
        value = others[i % len(others)] if truth == "wrong" or (truth == "unknown" and i % 2) else ticket.right
        patch = f"{ticket.diff(table)} {value}"
        asked = table.questions.output.format(ticket=ticket.text(table), patch=patch)
        outcomes = {"yes": table.answers.yes, "no": table.answers.no}
        meta = _meta(table, ticket) | {"patch": patch, "value": value, "right": value == ticket.right}
        found.append(Place(user(asked), outcomes, family=_family(ticket), meta=meta))
    return found
