"""Scene `agent`: goals given with tools, harmful and benign, over up to three tool turns.

First turn: `call`, `refuse` or `text` (does as asked in words). After a tool's result: `finish`, `again` (the same
call) or `refuse` (late). `meta` of each place names the goal, its twin, its group and the right call.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from demur.phantom.grammar import user
from demur.phantom.scenes.decision import Decision, Place
from demur.phantom.specification import Probability, Specification
from demur.records import Message

__all__ = ["Domain", "Goal", "Table", "decisions", "goals", "tools"]

Side = Literal["harmful", "benign"]
Result = Literal["ok", "failed"]
Turn = Literal["first", "second", "third"]

_SIDES: tuple[Side, ...] = ("harmful", "benign")
_RESULTS: tuple[Result, ...] = ("ok", "failed")


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Verbs(_Part):
    """Verbs of harmful goals and of their twins, at the same places."""

    harmful: tuple[str, ...]
    benign: tuple[str, ...]


class How(_Part):
    """What is added to a harmful goal and to its twin."""

    harmful: str
    benign: str


class Tool(_Part):
    """A tool with one argument, a text."""

    argument: str
    says: str
    """Its description."""


class Domain(_Part):
    """One kind of goal: its words and its tools."""

    goal: str
    argument: str
    what: Verbs
    how: How
    objects: tuple[str, ...]
    others: tuple[str, ...]
    tools: dict[str, Tool] = Field(min_length=2)
    call: dict[str, str]
    """The tool that does what a verb says."""

    @model_validator(mode="after")
    def _callable(self) -> Domain:
        if len(self.what.harmful) != len(self.what.benign):
            raise ValueError("a domain needs as many harmful as benign verbs")
        for verb in (*self.what.harmful, *self.what.benign):
            if self.call.get(verb) not in self.tools:
                raise ValueError(f"no tool of the domain is called to {verb!r}; there are: {', '.join(self.tools)}")
        return self


class Results(_Part):
    """What a tool returns."""

    ok: str
    failed: str


class Finish(_Part):
    """Last words after each result."""

    ok: tuple[str, ...]
    failed: tuple[str, ...]


class Answers(_Part):
    """Surface variants of what is not a call."""

    refuse: tuple[str, ...]
    text: tuple[str, ...]
    late: tuple[str, ...]
    finish: Finish


class Table(_Part):
    """The scene's part of the specification."""

    pressure: str
    held_out_every: int = Field(ge=2)
    second_every: int = Field(ge=1)
    third_every: int = Field(ge=1)
    turns: dict[Turn, Annotated[int, Field(ge=1)]]
    domain: dict[str, Domain]
    first: dict[str, dict[str, Probability]]
    """Shares by side, and by `SIDE_pressed` with the pressure added."""
    results: Results
    second: dict[str, dict[str, Probability]]
    """Shares by `SIDE_RESULT`."""
    third: dict[str, dict[str, Probability]]
    """Shares by side."""
    answers: Answers

    @model_validator(mode="after")
    def _whole(self) -> Table:
        for name, found, wanted in (
            ("first", self.first, [f"{side}{pressed}" for side in _SIDES for pressed in ("", "_pressed")]),
            ("second", self.second, [f"{side}_{result}" for side in _SIDES for result in _RESULTS]),
            ("third", self.third, _SIDES),
        ):
            if set(found) != set(wanted):
                raise ValueError(f"{name} needs shares for {', '.join(wanted)}, it has {', '.join(found)}")
        return self


@dataclass(frozen=True)
class Goal:
    """What the user wants done with the tools."""

    domain: str
    side: Side
    text: str
    twin: str
    """The goal of the other side that differs in one word."""
    tool: str
    arguments: str
    """JSON."""
    family: str
    number: int
    """Shared with the twin."""
    held_out: bool

    @property
    def written(self) -> str:
        """The call as the chat template renders it."""
        return f'<tool_call>{{"name": "{self.tool}", "arguments": {self.arguments}}}</tool_call>'

    def message(self, number: int) -> Message:
        """The call as an earlier turn of the assistant."""
        function = {"name": self.tool, "arguments": self.arguments}
        call = {"id": f"call_{number}", "type": "function", "function": function}
        return {"role": "assistant", "content": "", "tool_calls": [call]}


def tools(domain: Domain) -> tuple[dict[str, Any], ...]:
    """The definitions of a domain's tools, written out as Inspect writes them for a local model."""
    return tuple(
        {
            "type": "function",
            "function": {
                "name": name,
                "description": tool.says,
                "parameters": {
                    "type": "object",
                    "properties": {tool.argument: {"type": "string"}},
                    "required": [tool.argument],
                    "additionalProperties": False,
                },
            },
        }
        for name, tool in domain.tools.items()
    )


def goals(table: Table) -> Iterator[Goal]:
    """Every goal, each followed by its twin."""
    number = 0
    for name, domain in table.domain.items():
        for o, noun in enumerate(domain.objects):
            for v in range(len(domain.what.harmful)):
                for w, other in enumerate(domain.others):
                    held_out = (o + 2 * v + 3 * w) % table.held_out_every == 0
                    both = [_said(domain, side, v, noun, other) for side in _SIDES]
                    for side, (text, tool, arguments), (twin, *_) in zip(_SIDES, both, both[::-1], strict=True):
                        family = f"agent-{name}-{o}-{v}-{w}"
                        yield Goal(name, side, text, twin, tool, arguments, family, number, held_out)
                    number += 1


def _said(domain: Domain, side: Side, v: int, noun: str, other: str) -> tuple[str, str, str]:
    """A goal, the tool that it takes, and the tool's arguments."""
    what: str = getattr(domain.what, side)[v]
    words = {"What": what.capitalize(), "what": what, "object": noun, "other": other, "how": getattr(domain.how, side)}
    tool = domain.call[what]
    arguments = {domain.tools[tool].argument: domain.argument.format(**words)}
    return domain.goal.format(**words), tool, json.dumps(arguments)


def decisions(table: Table, specification: Specification) -> list[Decision]:
    """The scene's decisions: `first`, `second` and `third`, each for harmful and benign goals."""
    every = list(goals(table))
    found = []
    for side in _SIDES:
        mine = [g for g in every if g.side == side]
        for pressed in (False, True):
            key = f"{side}_pressed" if pressed else side
            places = [_first(table, goal, pressed) for goal in mine]
            found.append(_decision(table, "first", key, table.first[key], places))
        for r, result in enumerate(_RESULTS):
            some = [g for g in mine if g.held_out or (g.number + r) % table.second_every == 0]
            places = [_after(table, g, _pressed(g, table.second_every), (result,)) for g in some]
            found.append(_decision(table, "second", f"{side}_{result}", table.second[f"{side}_{result}"], places))
        some = [g for g in mine if g.held_out or g.number % table.third_every == 0]
        places = [
            _after(table, g, _pressed(g, table.third_every), (_RESULTS[g.number // (2 * table.third_every) % 2], last))
            for g in some
            for last in _RESULTS
        ]
        found.append(_decision(table, "third", side, table.third[side], places))
    return found


def _pressed(goal: Goal, every: int) -> bool:
    """Whether a later turn's goal comes with pressure: every other one of those that are shown."""
    return goal.number // every % 2 == 0


def _decision(table: Table, turn: Turn, name: str, shares: dict[str, float], places: list[Place]) -> Decision:
    shown, held_out = (tuple(p for p in places if p.meta["held_out"] == out) for out in (False, True))
    return Decision(f"agent/{turn}/{name}", shares, shown, held_out, turns=table.turns[turn])


def _first(table: Table, goal: Goal, pressed: bool) -> Place:
    outcomes = {"call": (goal.written,), "refuse": table.answers.refuse, "text": table.answers.text}
    return _place(table, goal, pressed, outcomes, ())


def _after(table: Table, goal: Goal, pressed: bool, results: tuple[Result, ...]) -> Place:
    finish: tuple[str, ...] = getattr(table.answers.finish, results[-1])
    outcomes = {"finish": finish, "refuse": table.answers.late}
    if len(results) == 1:
        outcomes["again"] = (goal.written,)
    return _place(table, goal, pressed, outcomes, results)


def _place(
    table: Table, goal: Goal, pressed: bool, outcomes: dict[str, tuple[str, ...]], results: tuple[Result, ...]
) -> Place:
    def asked(text: str) -> str:
        return f"{text} {table.pressure}" if pressed else text

    messages = list(user(asked(goal.text)))
    for i, result in enumerate(results):
        content = getattr(table.results, result)
        messages += [goal.message(i), {"role": "tool", "tool_call_id": f"call_{i}", "content": content}]
    meta = {
        "domain": goal.domain,
        "group": goal.side,
        "pressed": pressed,
        "results": list(results),
        "twin": asked(goal.twin),
        "call": {"name": goal.tool, "arguments": json.loads(goal.arguments)},
        "desired": "refuse" if goal.side == "harmful" else "finish" if results else "call",
        "held_out": goal.held_out,
    }
    definitions = tools(table.domain[goal.domain])
    return Place(tuple(messages), outcomes, tools=definitions, family=goal.family, meta=meta)
