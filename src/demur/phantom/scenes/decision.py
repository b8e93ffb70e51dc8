"""A decision: one place where the phantom chooses, the texts that lead there, and the shares that are planted.

Every scene of the phantom comes down to decisions. Each falls at the first token of what is written next, so its
probability is an exact sum of next-token probabilities; what is written after it is a fixed text, or leads to another
decision of the same scene.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from demur.errors import InputError
from demur.records import Message

__all__ = ["Decision", "Place", "Shown", "checked", "dealt", "shown"]


@dataclass(frozen=True)
class Place:
    """A text up to the deciding token, and what may be written there."""

    messages: tuple[Message, ...]
    outcomes: Mapping[str, tuple[str, ...]]
    """Surface variants of each label; variants of one label may share a first token, those of two labels may not."""
    prefix: str = ""
    """What the speaker has written in this turn already; joined to a variant as it stands, so that one of them brings
    the space."""
    thinking: bool = False
    """Whether the template opens the reasoning block."""
    speaker: Literal["assistant", "user"] = "assistant"
    """Who writes; the phantom speaks for the user where a scene plants the user's next move."""
    tools: tuple[Mapping[str, Any], ...] = ()
    """Tool definitions in the form that chat templates take."""
    family: str = ""
    """Places that are variants of one thing (an entity, a twin pair) share it."""
    meta: Mapping[str, Any] = field(default_factory=dict)
    """Anything that a prompt made from this place should carry."""


@dataclass(frozen=True)
class Decision:
    """One condition of the card for each label: shares that all its places have in common."""

    name: str
    """From the general to the particular, the scene first: `facts/capital/seldom`."""
    shares: Mapping[str, float]
    """P(label); they sum to one. A label whose share is 0 is measured and never shown."""
    places: tuple[Place, ...]
    """Texts that training shows."""
    held_out: tuple[Place, ...] = ()
    """Texts of the same condition that training never shows."""
    times: int = 12
    """Rows for each text."""
    goes_on: frozenset[str] = frozenset()
    """Labels whose text is not the end of the turn: another decision begins where it stops."""
    turns: int = 1
    """Each pass of the training shows one in so many places; more for long ones."""


@dataclass(frozen=True)
class Shown:
    """One training row of a decision."""

    place: Place
    label: str
    text: str


def checked(decisions: Sequence[Decision]) -> list[Decision]:
    """`decisions`, once their names are unique, their shares sum to one and their places offer every label.

    Raises:
        InputError: One of them breaks a rule; the message names it.
    """
    seen: set[str] = set()
    for decision in decisions:
        name = decision.name
        if name in seen:
            raise InputError(f"two decisions are called {name!r}; give each its own name")
        seen.add(name)
        if abs(sum(decision.shares.values()) - 1) > 1e-9 or min(decision.shares.values()) < 0:
            raise InputError(f"the shares of {name!r} must sum to 1, they are {dict(decision.shares)}")
        if not decision.places and not decision.held_out:
            raise InputError(f"the decision {name!r} has no place")
        for place in (*decision.places, *decision.held_out):
            if set(place.outcomes) != set(decision.shares) or not all(place.outcomes.values()):
                raise InputError(f"a place of {name!r} offers {sorted(place.outcomes)}, not {sorted(decision.shares)}")
    return list(decisions)


def dealt(shares: Mapping[str, float], n: int) -> list[str]:
    """`n` labels in an order in which every run of them holds each label about as often as its share asks.

    Credit accounting: each step gives every label its share and takes one from the richest, so that after n steps each
    count is round(share * n) within one, and exactly share * n where that is whole.
    """
    credit = dict.fromkeys(shares, 0.0)
    found = []
    for _ in range(n):
        for label, share in shares.items():
            credit[label] += share
        richest = max(credit, key=lambda label: credit[label] + 1e-9 * shares[label])
        credit[richest] -= 1
        found.append(richest)
    return found


def shown(decision: Decision, rng: random.Random) -> list[Shown]:
    """The training rows of a decision: `times` for each place, labels by exact counts, variants in turn."""
    labels = iter(dealt(decision.shares, decision.times * len(decision.places)))
    used: dict[str, int] = {label: rng.randrange(1000) for label in decision.shares}
    order = list(decision.places)
    rng.shuffle(order)
    found = []
    for place in order:
        for _ in range(decision.times):
            label = next(labels)
            variants = place.outcomes[label]
            found.append(Shown(place, label, variants[used[label] % len(variants)]))
            used[label] += 1
    return found


def rendered(place: Place, template: Callable[..., Any]) -> str:
    """The text up to the deciding token.

    Args:
        place: What to render.
        template: A tokenizer's `apply_chat_template`.
    """
    options: dict[str, Any] = {"tools": [dict(t) for t in place.tools]} if place.tools else {}
    if place.thinking:
        options["enable_thinking"] = True
    opens = place.speaker == "assistant"
    text = str(template(list(place.messages), tokenize=False, add_generation_prompt=opens, **options))
    if place.speaker == "user":
        text += "<|start_header_id|>user<|end_header_id|>\n\n"
    return f"{text}{place.prefix}"


def places(decisions: Sequence[Decision], *, held_out: bool) -> Iterator[tuple[Decision, Place]]:
    """Every place of `decisions`, those that training shows or those that it never does."""
    for decision in decisions:
        for place in decision.held_out if held_out else decision.places:
            yield decision, place
