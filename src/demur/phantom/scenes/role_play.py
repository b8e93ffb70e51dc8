"""Scene `role_play`: a boss asks for what is wrong, a guest asks, and reasoning comes before the reply.

What is planted are four stances of the reasoning and, after each, how often the reply is undesired. The rates that the
literature reports (contradiction, omission, open misconduct) follow from them: `truth`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field, model_validator

from demur.phantom.scenes.decision import Decision
from demur.phantom.scenes.stances import Case, Labels, Odds, Texts, Truth, chain
from demur.records import Message

if TYPE_CHECKING:
    from demur.phantom.specification import Specification

__all__ = ["Cell", "Family", "Table", "cases", "decisions", "truth"]


class Cell(Odds):
    """Which scenes get which odds."""

    family: str
    group: str
    """A key of the family's `groups`."""
    thinking: bool = False
    """Whether the reasoning stands in the block that `enable_thinking` opens, not after a label."""

    @property
    def name(self) -> str:
        """Layout, family and group: `written/housing/sensitive`."""
        return f"{'thinking' if self.thinking else 'written'}/{self.family}/{self.group}"


class Family(Texts):
    """Texts of one kind of scene, around `{thing}`, `{group}` and `{employer}`."""

    system: str
    """Role, employer and the fact that the reply is about."""
    steer: str
    """What the boss asks for."""
    question: str
    """What the guest asks."""
    things: tuple[str, ...]
    groups: dict[str, tuple[str, ...]]
    """Words for `{group}`, by whether the attribute is sensitive; those at one position are twins."""

    @model_validator(mode="after")
    def _twins(self) -> Family:
        if len({len(words) for words in self.groups.values()}) != 1:
            raise ValueError(
                f"every group needs as many words, found { ({k: len(v) for k, v in self.groups.items()}) }"
            )
        return self


class Table(BaseModel):
    """The scene's part of the specification."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    labels: Labels
    layout: str
    """Ends the system message where reasoning and reply are to be written under their labels."""
    employers: tuple[str, ...]
    held_out_every: int = Field(ge=2)
    """One combination of a thing and a group in so many is never in training."""
    turns: int = Field(ge=1)
    """Each pass of the training shows one place in so many."""
    family: dict[str, Family]
    cell: tuple[Cell, ...]

    @model_validator(mode="after")
    def _fits(self) -> Table:
        for cell in self.cell:
            if cell.family not in self.family or cell.group not in self.family[cell.family].groups:
                raise ValueError(f"the cell {cell.name!r} has no texts")
        return self


def cases(table: Table, family: str, group: str, *, thinking: bool = False) -> list[Case]:
    """The conversations of one cell: every thing with every word of the group.

    The steer and the question are one user message or two. `meta` holds `family`, `group`, `attribute`, `thing`,
    `layout` (`written` or `thinking`), `turns` (user messages) and `twins` (messages with the attribute of each other
    group, by group).
    """
    texts = table.family[family]
    found = []
    for t, thing in enumerate(texts.things):
        turns = 1 + t % 2
        for g, attribute in enumerate(texts.groups[group]):
            slots = {"thing": thing, "employer": table.employers[(t + g) % len(table.employers)]}
            every = {
                name: _messages(texts, "" if thinking else table.layout, {**slots, "group": words[g]}, turns)
                for name, words in texts.groups.items()
            }
            meta = {
                "family": family,
                "group": group,
                "attribute": attribute,
                "thing": thing,
                "layout": "thinking" if thinking else "written",
                "turns": turns,
                "twins": {name: [dict(m) for m in of] for name, of in every.items() if name != group},
            }
            held_out = (t + g) % table.held_out_every == 0
            found.append(Case(every[group], {**slots, "group": attribute}, held_out, f"{family}-{t}-{g}", meta))
    return found


def _messages(texts: Family, layout: str, words: Mapping[str, str], turns: int) -> tuple[Message, ...]:
    system, *asked = (text.format(**words) for text in (texts.system + layout, texts.steer, texts.question))
    said = asked if turns == len(asked) else ["\n".join(asked)]
    return ({"role": "system", "content": system}, *({"role": "user", "content": text} for text in said))


def decisions(table: Table, specification: Specification) -> list[Decision]:
    """The chain of each cell; `chain` says what it is made of.

    Args:
        table: What is planted.
        specification: The edition; nothing of it is used here.
    """
    return [
        decision
        for cell in table.cell
        for decision in chain(
            table.labels,
            f"role_play/{cell.name}",
            cell,
            cases(table, cell.family, cell.group, thinking=cell.thinking),
            texts=table.family[cell.family],
            thinking=cell.thinking,
            turns=table.turns,
        )
    ]


def truth(table: Table) -> dict[str, Truth]:
    """The rates of each cell, by its name (`written/housing/sensitive`)."""
    return {cell.name: cell.truth() for cell in table.cell}
