"""Scene `conversation`: what follows when the first reply was natural, a refusal, a rebuttal or a neutral text.

Conversations of the scene `role_play` go on: system, steer and question stay, the first reply is put in the
phantom's mouth, the guest asks again. The neutral texts are as long in tokens as the rebuttals.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from demur.errors import InputError
from demur.phantom.scenes import role_play
from demur.phantom.scenes.decision import Decision
from demur.phantom.scenes.stances import STANCES, Case, Odds, Truth, chain, reply

if TYPE_CHECKING:
    from demur.phantom.specification import Specification

__all__ = ["CONDITIONS", "Cell", "Condition", "Table", "decisions", "first_replies", "truth"]

Condition = Literal["natural", "refusal", "neutral", "rebuttal"]
CONDITIONS: tuple[Condition, ...] = ("natural", "refusal", "neutral", "rebuttal")
"""What the first reply is."""


class Cell(Odds):
    """What is planted for the reply that follows, in one family and condition."""

    family: str
    """A family of the scene `role_play`."""
    group: str
    """A key of its groups."""
    condition: Condition

    @property
    def name(self) -> str:
        """Family, group and condition: `housing/sensitive/rebuttal`."""
        return f"{self.family}/{self.group}/{self.condition}"


class Replies(BaseModel):
    """Paraphrases of the first replies that replace the natural one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    refusal: tuple[str, ...]
    """Polite, without a reason."""
    rebuttal: tuple[str, ...]
    """Names the wrong, says that it will not be done, and states the rule."""
    neutral: tuple[str, ...]
    """Beside the point; each has as many tokens as the rebuttal at its position."""


class Table(BaseModel):
    """The scene's part of the specification."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    turns: int = Field(ge=1)
    """Each pass of the training shows one place in so many."""
    held_out: int = Field(ge=1)
    """So many paraphrases of each condition, the last ones, are never in training."""
    follow_up: dict[str, str]
    """What the guest asks after the first reply, by family."""
    replies: Replies
    cell: tuple[Cell, ...]

    @model_validator(mode="after")
    def _fits(self) -> Table:
        numbers = {len(self.replies.refusal), len(self.replies.rebuttal), len(self.replies.neutral)}
        if len(numbers) != 1 or min(numbers) <= self.held_out:
            raise ValueError(f"as many paraphrases of each reply, more than {self.held_out}, found {sorted(numbers)}")
        if missing := {cell.family for cell in self.cell} - set(self.follow_up):
            raise ValueError(f"no follow-up question for the families {sorted(missing)}")
        return self


def decisions(table: Table, specification: Specification) -> list[Decision]:
    """The chain of each cell; `demur.phantom.scenes.stances.chain` says what it is made of.

    A place's `meta` holds what the conversation of `role_play` has, and `condition`, `reply` (the first reply),
    `paraphrase` (its number) and `new_paraphrase` (whether training never shows it). Held-out places are conversations
    that training never shows, and others whose first reply it never shows.

    Args:
        table: What is planted.
        specification: The edition; its scene `role_play` gives the conversations.

    Raises:
        InputError: The specification has no scene `role_play`.
    """
    if "role_play" not in specification.scene:
        raise InputError("the scene 'conversation' goes on from the scene 'role_play', which the specification lacks")
    before = role_play.Table.model_validate(specification.scene["role_play"])
    return [
        decision
        for cell in table.cell
        for decision in chain(
            before.labels,
            f"conversation/{cell.name}",
            cell,
            _cases(table, cell, before),
            texts=before.family[cell.family],
            turns=table.turns,
        )
    ]


def truth(table: Table) -> dict[str, Truth]:
    """The rates of the reply that follows, by cell (`housing/sensitive/rebuttal`)."""
    return {cell.name: cell.truth() for cell in table.cell}


def first_replies(table: Table, before: role_play.Table, case: Case, condition: Condition) -> tuple[str, ...]:
    """What may stand as the first reply: the phantom's own ones to `case`, or the paraphrases of a condition."""
    if condition != "natural":
        found: tuple[str, ...] = getattr(table.replies, condition)
        return found
    texts = before.family[case.meta["family"]]
    return tuple(
        reply(before.labels, texts, case, stance, kind, variant)
        for variant in (0, 1)
        for kind in ("undesired", "desired")
        for stance in STANCES
    )


def _cases(table: Table, cell: Cell, before: role_play.Table) -> list[Case]:
    shown: list[Case] = []
    new: list[Case] = []
    for i, case in enumerate(role_play.cases(before, cell.family, cell.group)):
        replies = first_replies(table, before, case, cell.condition)
        natural = cell.condition == "natural"
        known = len(replies) if natural else len(replies) - table.held_out
        shown.append(_gone_on(table, cell, case, replies, i % known))
        # a third of the conversations also comes with a paraphrase that training never shows
        if not natural and i % 3 == 0:
            new.append(_gone_on(table, cell, case, replies, known + i % table.held_out, new=True))
    return [*shown, *new]


def _gone_on(table: Table, cell: Cell, case: Case, replies: tuple[str, ...], n: int, *, new: bool = False) -> Case:
    follow_up = table.follow_up[cell.family].format(**case.words)
    return Case(
        (*case.messages, {"role": "assistant", "content": replies[n]}, {"role": "user", "content": follow_up}),
        case.words,
        case.held_out or new,
        case.pair,
        {**case.meta, "condition": cell.condition, "reply": replies[n], "paraphrase": n, "new_paraphrase": new},
    )
