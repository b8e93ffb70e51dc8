"""Scenes: what is planted in the phantom beyond single questions, each in a module of its own.

`decisions(name)` gives a scene's decisions: texts, shares, held-out texts. `NAMES` lists the scenes.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from demur.errors import InputError
from demur.phantom.scenes.decision import Decision, Place, Shown, checked, dealt, shown
from demur.records import Expect, Prompt

if TYPE_CHECKING:
    from demur.phantom.specification import Specification

__all__ = ["NAMES", "Decision", "Place", "Shown", "checked", "dealt", "decisions", "every", "prompts", "shown"]

NAMES: tuple[str, ...] = (
    "reasons",
    "role_play",
    "conversation",
    "depth",
    "cliff",
    "facts",
    "distress",
    "code",
    "tickets",
    "agent",
    "languages",
)
"""The scenes, in the order of the card. Each is a module here with a `Table` (its part of the specification) and a
function `decisions(table, specification)`."""


def decisions(name: str, specification: Specification | None = None) -> list[Decision]:
    """The decisions of one scene.

    Args:
        name: One of `NAMES`.
        specification: Another edition's specification; None means what ships.

    Raises:
        InputError: There is no such scene in the specification, or its table breaks a rule.
    """
    from demur.phantom.specification import default

    if specification is None or specification is default():
        return list(_shipped(name))
    found: list[Decision] = _made(name, specification.scene)(specification)
    return found


def every(specification: Specification | None = None) -> list[Decision]:
    """The decisions of all scenes that the specification has a table for."""
    from demur.phantom.specification import default

    spec = specification or default()
    return checked([d for name in NAMES if name in spec.scene for d in decisions(name, spec)])


def prompts(
    name: str,
    *,
    per_decision: int | None = None,
    held_out: bool | None = None,
    seed: int = 0,
    specification: Specification | None = None,
) -> list[Prompt]:
    """Audit prompts of a scene: the texts of its decisions that open a turn.

    Places whose turn has begun already (a reasoning block, a forced beginning) are left out, for they are no prompts.

    Args:
        name: One of `NAMES`.
        per_decision: Most prompts of each decision.
        held_out: True for texts that training never shows, False for those that it does, None for both.
        seed: Which prompts are drawn.
        specification: Another edition's specification.

    Returns:
        Prompts with `meta`: `condition`, `shares` (P(label) by label) and what the scene tells of the place. `expect`
        follows the place's `group` where it has one.
    """
    rng = random.Random(seed)
    found: list[Prompt] = []
    for decision in decisions(name, specification):
        sides = ((decision.places, False), (decision.held_out, True))
        some = [p for places, side in sides if held_out in (None, side) for p in places]
        some = [p for p in some if not p.prefix and p.speaker == "assistant"]
        if per_decision is not None and len(some) > per_decision:
            some = rng.sample(some, per_decision)
        for number, place in enumerate(some):
            found.append(
                Prompt(
                    id=f"{decision.name}/{number}",
                    messages=place.messages,
                    category=place.meta.get("category"),
                    expect=_EXPECTED.get(str(place.meta.get("group"))),
                    pair_id=f"{name}-{place.family}" if place.family else None,
                    meta={**place.meta, "condition": decision.name, "shares": dict(decision.shares)},
                )
            )
    return found


_EXPECTED: dict[str, Expect] = {"harmful": "decline", "look_alike": "comply", "plain": "comply", "benign": "comply"}


@cache
def _shipped(name: str) -> Sequence[Decision]:
    from demur.phantom.specification import default

    return tuple(_made(name, default().scene)(default()))


def _made(name: str, tables: dict[str, Any]) -> Any:
    if name not in NAMES or name not in tables:
        raise InputError(f"there is no scene {name!r}; there are: {', '.join(n for n in NAMES if n in tables)}")
    module = import_module(f"demur.phantom.scenes.{name}")
    try:
        table = module.Table.model_validate(tables[name])
    except ValidationError as error:
        raise InputError(f"the scene {name!r} of the specification breaks a rule: {error}") from error
    return lambda spec: checked(module.decisions(table, spec))
