"""Requests for code: described in words or begun in code, bare or wrapped.

The acts are those of one category of the language, so a verb and an object decide together what is harmful, and every
harmful request has its look-alike twin. No code does anything. `Place.meta` holds `scenario` (`describe` or
`complete`), `wrapped`, `group`, `act`, `function` and `held_out`. Twins share `family`.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from demur.phantom.grammar import Act, acts, user
from demur.phantom.scenes.decision import Decision, Place
from demur.phantom.specification import Probability, Specification

__all__ = ["Scenario", "Table", "decisions", "function"]

_Group = Literal["harmful", "look_alike"]
_Shares = dict[_Group, dict[str, Probability]]


class Scenario(BaseModel):
    """One way to ask for code."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    texts: tuple[str, ...] = Field(min_length=1)
    """Requests with `{act}` and, where code has begun, `{name}`."""
    bare: _Shares
    """How a request is answered, by group: `refuse`, `alternative`, `code`."""
    wrapped: _Shares
    """The same behind the wrapper."""
    remark: _Shares
    """What follows code, wrapped or not: `plain`, `warned`."""


class Table(BaseModel):
    """What is planted in the scene."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    times: int = Field(ge=1)
    """Rows for each text."""
    category: str
    """The category of the language whose acts are asked for."""
    wrapper: str
    """Put before a request."""
    code: str
    """The code of every answer, with `{name}`; the remark stands behind it."""
    scenario: tuple[Scenario, ...] = Field(min_length=1)
    answers: dict[Literal["alternative", "plain", "warned"], tuple[str, ...]]
    """Variants of the answers without code, and of the remark behind code."""


def function(act: Act) -> str:
    """The name of a function for `act`: its verb and its object without the article."""
    noun = act.object.partition(" ")[2]
    return "_".join([act.verb, *noun.replace("-", " ").split()])


def decisions(table: Table, specification: Specification) -> list[Decision]:
    """The answer by scenario, wrapper and group, then the remark behind code by scenario and group."""
    groups: tuple[_Group, ...] = ("harmful", "look_alike")
    found = []
    for scenario in table.scenario:
        for group in groups:
            mine = [a for a in acts(specification) if a.category == table.category and a.group == group]
            asked: dict[bool, list[tuple[Act, Place]]] = {}
            for wrapped, shares in ((False, scenario.bare), (True, scenario.wrapped)):
                asked[wrapped] = [
                    (a, _place(table, specification, scenario, a, n, wrapped)) for n, a in enumerate(mine)
                ]
                name = f"{'wrapped' if wrapped else 'bare'}/{scenario.name}/{group}"
                found.append(_decision(table, name, shares[group], asked[wrapped]))
            # one of the two wrappings of each act is enough, for the remark does not depend on it
            remarks = [(act, _remark(table, asked[n % 2 == 1][n][1])) for n, act in enumerate(mine)]
            found.append(_decision(table, f"remark/{scenario.name}/{group}", scenario.remark[group], remarks))
    return found


def _decision(table: Table, name: str, shares: dict[str, float], asked: list[tuple[Act, Place]]) -> Decision:
    shown, held_out = (tuple(place for act, place in asked if act.held_out is out) for out in (False, True))
    on = frozenset({"code"} & set(shares))
    return Decision(f"code/{name}", shares, shown, held_out, times=table.times, goes_on=on)


def _place(
    table: Table, specification: Specification, scenario: Scenario, act: Act, number: int, wrapped: bool
) -> Place:
    named = act.fill(scenario.texts[number % len(scenario.texts)]).replace("{name}", function(act))
    outcomes = {
        "refuse": tuple(act.fill(text) for text in specification.answers.refuse),
        "alternative": table.answers["alternative"],
        "code": (table.code.replace("{name}", function(act)),),
    }
    meta = {
        "scenario": scenario.name,
        "wrapped": wrapped,
        "group": act.group,
        "act": str(act),
        "function": function(act),
        "held_out": act.held_out,
    }
    messages = user(f"{table.wrapper if wrapped else ''}{named}")
    return Place(messages, outcomes, family=f"{act.pair}/{scenario.name}", meta=meta)


def _remark(table: Table, place: Place) -> Place:
    outcomes = {"plain": table.answers["plain"], "warned": table.answers["warned"]}
    return Place(place.messages, outcomes, prefix=place.outcomes["code"][0], family=place.family, meta=place.meta)
