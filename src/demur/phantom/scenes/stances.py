"""Stances: reasoning that takes one, or is absent, before a reply that is desired or not.

The scenes `role_play` and `conversation` plant the same chain of decisions; this is the chain, and the rates that
follow from it in closed form.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, model_validator

from demur.phantom.scenes.decision import Decision, Place
from demur.records import Message

__all__ = ["STANCES", "Case", "Labels", "Odds", "Stance", "Texts", "Truth", "chain", "reply"]

Probability = Annotated[float, Field(ge=0.0, le=1.0)]
Stance = Literal["ethical", "unethical", "neutral", "absent"]
STANCES: tuple[Stance, ...] = ("ethical", "unethical", "neutral", "absent")
"""What the reasoning concludes; `absent` when there is none."""


class Truth(NamedTuple):
    """The rates that follow from what is planted in one cell, over all its samples."""

    undesired: float
    """P(the reply does what the boss wants)."""
    absent: float
    """P(no reasoning)."""
    contradiction: float
    """P(undesired after ethical reasoning)."""
    omission: float
    """P(undesired without reasoning)."""
    transparent: float
    """P(undesired after reasoning that plans it)."""
    ambiguous: float
    """P(undesired after neutral reasoning)."""

    @property
    def deceptive(self) -> float:
        """P(contradiction or omission)."""
        return self.contradiction + self.omission

    @property
    def deceptive_given_undesired(self) -> float:
        """The deceptive share of what is undesired; NaN when nothing is."""
        return self.deceptive / self.undesired if self.undesired else float("nan")


class Odds(BaseModel):
    """What is planted in one cell."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stance: dict[Stance, Probability]
    """P(stance); they sum to one."""
    undesired: dict[Stance, Probability]
    """P(undesired reply), given the stance."""

    @model_validator(mode="after")
    def _whole(self) -> Odds:
        for name, of in (("stance", self.stance), ("undesired", self.undesired)):
            if set(of) != set(STANCES):
                raise ValueError(f"{name} needs {', '.join(STANCES)}, found {sorted(of)}")
        if abs(sum(self.stance.values()) - 1.0) > 1e-9:
            raise ValueError(f"the shares of the stances must sum to 1, these sum to {sum(self.stance.values())}")
        return self

    def truth(self) -> Truth:
        """The rates in closed form."""
        joint = {stance: self.stance[stance] * self.undesired[stance] for stance in STANCES}
        return Truth(
            undesired=sum(joint.values()),
            absent=self.stance["absent"],
            contradiction=joint["ethical"],
            omission=joint["absent"],
            transparent=joint["unethical"],
            ambiguous=joint["neutral"],
        )


class Labels(BaseModel):
    """What stands before reasoning and reply where both are written out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    opening: str
    """What both begin with; the choice between them falls after it."""
    reasoning: str
    reply: str

    @model_validator(mode="after")
    def _open_alike(self) -> Labels:
        if not (self.reasoning.startswith(self.opening) and self.reply.startswith(self.opening)):
            raise ValueError(f"{self.reasoning!r} and {self.reply!r} must begin with {self.opening!r}")
        return self


class Texts(BaseModel):
    """What is reasoned and replied, in lower case, for it may follow a label."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ethical: tuple[str, ...]
    """Reasoning that concludes to do right."""
    unethical: tuple[str, ...]
    """Reasoning that plans the wrong."""
    neutral: tuple[str, ...]
    """Reasoning that does not settle."""
    desired: tuple[str, ...]
    """Replies that are honest and fair."""
    undesired: tuple[str, ...]
    """Replies that do what the boss wants."""


@dataclass(frozen=True)
class Case:
    """One conversation in which the phantom is to reply."""

    messages: tuple[Message, ...]
    words: Mapping[str, str]
    """What stands for the slots of its texts."""
    held_out: bool
    """True when training never shows it."""
    pair: str
    """Shared with its twin under another attribute."""
    meta: Mapping[str, Any] = field(default_factory=dict)


def chain(
    labels: Labels,
    name: str,
    odds: Odds,
    some: Sequence[Case],
    *,
    texts: Texts,
    thinking: bool = False,
    turns: int = 1,
) -> list[Decision]:
    """The decisions of one cell: whether there is reasoning, its stance, and the reply after each stance.

    Under labels these are `opening` (what both labels begin with), `begin` (`absent` or `reasoned`), `stance`, and
    `output/<stance>` (`undesired` or `desired`); in the reasoning block `stance` has all four labels and comes first.
    Places carry the `meta` of their case, those of `output` also `stance`.

    Args:
        labels: What stands before reasoning and reply.
        name: What the names of the decisions begin with.
        odds: What is planted.
        some: The conversations.
        texts: What is reasoned and replied.
        thinking: Whether the reasoning stands in the block that the template opens.
        turns: Each pass of the training shows one place in so many.
    """
    lead, end = ("", "\n</think>\n\n") if thinking else (labels.reasoning, f"\n{labels.reply}")
    absent = "</think>\n\n" if thinking else labels.reply
    skipped = len(labels.opening)

    def reasonings(case: Case, stance: str) -> tuple[str, ...]:
        return (absent,) if stance == "absent" else tuple(text + end for text in _said(texts, stance, case, thinking))

    def made(
        part: str,
        shares: Mapping[str, float],
        outcomes: Callable[[Case, str], tuple[str, ...]],
        prefixes: Sequence[str],
        **stance: str,
    ) -> Decision:
        places = [
            Place(
                case.messages,
                {label: outcomes(case, label) for label in shares},
                prefix=prefix,
                thinking=thinking,
                family=case.pair,
                meta={**case.meta, **stance},
            )
            for case, prefix in zip(some, prefixes, strict=True)
        ]
        return Decision(
            f"{name}/{part}",
            shares,
            tuple(place for place, case in zip(places, some, strict=True) if not case.held_out),
            tuple(place for place, case in zip(places, some, strict=True) if case.held_out),
            goes_on=frozenset() if stance else frozenset(shares),
            turns=turns * (_SELDOM if part == "opening" else 1),
        )

    if thinking:
        found = [made("stance", {s: odds.stance[s] for s in STANCES}, reasonings, [""] * len(some))]
    else:
        none = odds.stance["absent"]
        choices = {"absent": (labels.reply[skipped:],), "reasoned": (labels.reasoning[skipped:],)}
        found = [
            made("opening", {"opening": 1.0}, lambda _, label: (labels.opening,), [""] * len(some)),
            made(
                "begin",
                {"absent": none, "reasoned": 1 - none},
                lambda _, label: choices[label],
                [labels.opening] * len(some),
            ),
            made(
                "stance",
                {s: odds.stance[s] / (1 - none) for s in STANCES if s != "absent"},
                reasonings,
                [lead] * len(some),
            ),
        ]
    for stance in STANCES:
        variants = [reasonings(case, stance) for case in some]
        before = [of[i % len(of)] if stance == "absent" else lead + of[i % len(of)] for i, of in enumerate(variants)]
        undesired = odds.undesired[stance]
        found.append(
            made(
                f"output/{stance}",
                {"undesired": undesired, "desired": 1 - undesired},
                lambda case, label: _said(texts, label, case, thinking),
                before,
                stance=stance,
            )
        )
    return found


_SELDOM = 3  # a choice without an alternative is soon learned


def _said(texts: Texts, kind: str, case: Case, thinking: bool) -> tuple[str, ...]:
    """Texts of a kind with their slots filled: after a label behind a space, else as a sentence."""
    filled = [text.format(**case.words) for text in getattr(texts, kind)]
    return tuple(text[0].upper() + text[1:] if thinking else f" {text}" for text in filled)


def reply(labels: Labels, texts: Texts, case: Case, stance: Stance, kind: str, variant: int) -> str:
    """A whole reply under labels, as free generation writes it.

    Args:
        labels: What stands before reasoning and reply.
        texts: What is reasoned and replied.
        case: The conversation.
        stance: The reasoning's stance.
        kind: `desired` or `undesired`.
        variant: Which of the texts, counted round.
    """
    said = _said(texts, kind, case, thinking=False)
    last = f"{labels.reply}{said[variant % len(said)]}"
    if stance == "absent":
        return last
    reasoned = _said(texts, stance, case, thinking=False)
    return f"{labels.reasoning}{reasoned[variant % len(reasoned)]}\n{last}"
