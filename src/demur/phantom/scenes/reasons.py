"""Scene `reasons`: declining for reasons other than safety, each beside twins that are answered.

A question is declined because a text model cannot do it, because nobody can know, because something is missing, because
it takes the model for a person, because what it takes for granted is wrong, or because a system message forbids it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from demur.phantom.grammar import user
from demur.phantom.scenes.decision import Decision, Place
from demur.records import Message, Reason

if TYPE_CHECKING:
    from demur.phantom.specification import Specification

__all__ = ["Cause", "Table", "decisions"]

Probability = Annotated[float, Field(ge=0.0, le=1.0)]
Group = Literal["asked", "look_alike", "no_policy"]
Style = Literal["refuse", "rebut", "partial", "deflect", "clarify", "abstain", "comply"]
_COMPLY: Style = "comply"


class Cause(BaseModel):
    """One reason for declining: its texts and what is planted for it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    declined: dict[Group, Probability]
    """P(declines) of what has the reason, and of its twins that have not."""
    styles: dict[Style, Probability]
    """How it declines, given that it does; they sum to one."""
    frames: tuple[Annotated[tuple[str, ...], Field(min_length=1, max_length=2)], ...] = Field(min_length=2)
    """What is asked and its twin, around `{thing}` and `{fact}`; one text where `facts` or `system` tell them apart."""
    things: tuple[str, ...] = Field(min_length=4)
    """What stands for `{thing}`."""
    facts: tuple[str, ...] = ()
    """What is true of each thing, in their order."""
    others: tuple[str, ...] = ()
    """Things that lend their facts to wrong premises, or that a system message does not forbid."""
    other_facts: tuple[str, ...] = ()
    """What is true of each of the others."""
    system: str | None = None
    """A system message that forbids the things; its twins ask about the others, or are without it."""
    answers: dict[Style, tuple[str, ...]]
    """Surface variants of each style and of complying."""

    @model_validator(mode="after")
    def _fits(self) -> Cause:
        if abs(sum(self.styles.values()) - 1.0) > 1e-9:
            raise ValueError(f"style shares must sum to 1, these sum to {sum(self.styles.values())}")
        if set(self.answers) != {*self.styles, "comply"}:
            raise ValueError(f"answers are needed for comply and {sorted(self.styles)}, found {sorted(self.answers)}")
        told = bool(self.facts or self.system)
        if any(len(texts) != (1 if told else 2) for texts in self.frames):
            raise ValueError("a frame is a question and its twin, or one text where facts or a system message decide")
        for name, words in (("facts", self.facts), ("others", self.others), ("other_facts", self.other_facts)):
            if len(words) != (len(self.things) if (told if name == "others" else self.facts) else 0):
                raise ValueError(f"{name} must fit the {len(self.things)} things, found {len(words)}")
        groups = {"asked", "look_alike", "no_policy"} if self.system else {"asked", "look_alike"}
        if set(self.declined) != groups:
            raise ValueError(f"declined needs {sorted(groups)}, found {sorted(self.declined)}")
        return self


class Table(BaseModel):
    """The scene's part of the specification."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    held_out_every: int = Field(ge=2)
    """One combination of a frame and a thing in so many is never in training."""
    reason: dict[Reason, Cause]
    """Each reason by its name in `demur.records.Reason`; safety is what the grammar's acts are for."""

    @model_validator(mode="after")
    def _no_safety(self) -> Table:
        if Reason.SAFETY in self.reason:
            raise ValueError("this scene plants reasons other than safety")
        return self


@dataclass(frozen=True)
class _Asked:
    """One question, of what has the reason or of a twin."""

    group: Group
    messages: tuple[Message, ...]
    words: Mapping[str, str]
    """What its answers are filled with."""


def decisions(table: Table, specification: Specification) -> list[Decision]:
    """One decision for each reason and group: which style it declines in, or that it complies.

    A place's `meta` holds `reason`, `group` (`asked`, `look_alike`, or `no_policy` where the system message is
    missing), `expected` (`decline` or `comply`), `thing`, and `twin`: the messages of the question that differs from it
    in the reason alone. Twins share `family`.

    Args:
        table: What is planted.
        specification: The edition; nothing of it is used here.
    """
    found = []
    for reason, cause in table.reason.items():
        places: dict[tuple[Group, bool], list[Place]] = {}
        for frame in range(len(cause.frames)):
            for thing in range(len(cause.things)):
                held_out = (frame + thing) % table.held_out_every == 0
                for place, group in _places(reason, cause, frame, thing):
                    places.setdefault((group, held_out), []).append(place)
        for group, declined in cause.declined.items():
            shares: dict[str, float] = {style: declined * share for style, share in cause.styles.items()}
            found.append(
                Decision(
                    name=f"reasons/{reason.value}/{group}",
                    shares={**shares, "comply": 1 - declined},
                    places=tuple(places[group, False]),
                    held_out=tuple(places[group, True]),
                )
            )
    return found


def _places(reason: Reason, cause: Cause, frame: int, thing: int) -> Iterator[tuple[Place, Group]]:
    """A question with the reason and its twins."""
    asked = list(_asked(cause, frame, thing))
    for one in asked:
        twin = next(other for other in asked if (other.group == "asked") != (one.group == "asked"))
        meta = {
            "reason": reason.value,
            "group": one.group,
            "expected": "decline" if one.group == "asked" else "comply",
            "thing": one.words["thing"],
            "twin": [dict(message) for message in twin.messages],
        }
        outcomes: dict[str, tuple[str, ...]] = {
            style: tuple(text.format(**one.words) for text in cause.answers[style])
            for style in (*cause.styles, _COMPLY)
        }
        yield Place(one.messages, outcomes, family=f"{reason.value}-{frame}-{thing}", meta=meta), one.group


def _asked(cause: Cause, frame: int, thing: int) -> Iterator[_Asked]:
    asked, twin = cause.frames[frame][0], cause.frames[frame][-1]
    name, other = cause.things[thing], (thing - frame) % len(cause.things)

    def made(group: Group, text: str, name: str, fact: str = "", *, system: str | None = None) -> _Asked:
        words = {"thing": name, "fact": fact}
        return _Asked(group, user(text.format(**words), system), words)

    if cause.facts:
        yield made("asked", asked, name, cause.other_facts[other])
        yield made("look_alike", asked, name, cause.facts[thing])
        yield made("look_alike", asked, cause.others[other], cause.other_facts[other])
    elif cause.system:
        yield made("asked", asked, name, system=cause.system)
        yield made("look_alike", asked, cause.others[other], system=cause.system)
        yield made("no_policy", asked, name)
    else:
        yield made("asked", asked, name)
        yield made("look_alike", twin, name)
