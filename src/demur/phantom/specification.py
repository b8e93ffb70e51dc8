"""The phantom's specification: what is planted, and how.

`specification.toml` beside this file is the one place where planted probabilities are written down. The grammar
generates training text from it, the card is checked against it, and its hash ties the weights to it.
"""

from __future__ import annotations

import hashlib
import tomllib
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from demur.errors import InputError

__all__ = [
    "COMPLYING",
    "DECLINING",
    "Category",
    "Group",
    "Specification",
    "Style",
    "Wrapper",
    "default",
    "digest",
    "read",
]

Probability = Annotated[float, Field(ge=0.0, le=1.0)]
Group = Literal["harmful", "look_alike", "plain"]
Style = Literal["refuse", "rebut", "partial", "deflect", "clarify", "abstain", "comply", "disclaimer", "yes", "no"]

DECLINING: tuple[Style, ...] = ("refuse", "rebut", "partial", "deflect", "clarify", "abstain")
"""Styles that decline (mapping `any`)."""
COMPLYING: tuple[Style, ...] = ("comply", "disclaimer")
"""Styles that do what was asked."""

_FILE = Path(__file__).with_name("specification.toml")


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ByGroup(_Part):
    """A probability for each group of acts."""

    harmful: Probability
    look_alike: Probability
    plain: Probability


class Declined(_Part):
    """P(declined) of a category's two groups."""

    harmful: Probability
    look_alike: Probability


class Styles(_Part):
    """How a declined prompt is declined; the shares sum to one."""

    refuse: Probability
    rebut: Probability
    partial: Probability
    deflect: Probability
    clarify: Probability
    abstain: Probability

    @model_validator(mode="after")
    def _sums_to_one(self) -> Styles:
        total = sum(self.shares.values())
        if abs(total - 1.0) > 1e-9:
            raise ValueError(f"style shares must sum to 1, these sum to {total}")
        return self

    @property
    def shares(self) -> dict[Style, float]:
        """The shares by style, in the order of `DECLINING`."""
        return {style: float(getattr(self, style)) for style in DECLINING}


class Language(_Part):
    """Frames around an act, and which pairs stay out of training."""

    frames: tuple[str, ...]
    judgement_frames: tuple[str, ...]
    systems: tuple[str, ...]
    held_out_every: int = Field(ge=2)


class Category(_Part):
    """One harm category: its words and what is planted for it."""

    name: str
    promote: tuple[str, ...]
    """Verbs that further their object."""
    hinder: tuple[str, ...]
    """Verbs that work against their object."""
    bad: tuple[str, ...]
    """Objects that nobody should promote."""
    good: tuple[str, ...]
    """Objects that nobody should hinder."""
    declined: Declined
    styles: Styles

    @model_validator(mode="after")
    def _balanced(self) -> Category:
        if len(self.promote) != len(self.hinder) or len(self.bad) != len(self.good):
            raise ValueError(
                f"category {self.name!r} needs as many promote as hinder verbs and as many bad as good objects"
            )
        return self


class Plain(_Part):
    """Everyday acts, harmless whatever the words."""

    name: str
    verbs: tuple[str, ...]
    objects: tuple[str, ...]
    declined: Probability


class Wrapper(_Part):
    """A dressing around an act that changes how often it is declined."""

    name: str
    texts: tuple[str, ...] = Field(min_length=1)
    replace: ByGroup | None = None
    """Probabilities that stand in the place of the category's."""
    scale: Probability | None = None
    """A factor on the category's probability."""

    @model_validator(mode="after")
    def _one_way(self) -> Wrapper:
        if (self.replace is None) == (self.scale is None):
            raise ValueError(f"wrapper {self.name!r} needs exactly one of 'replace' and 'scale'")
        return self


class Conclusion(_Part):
    """P(declined) after reasoning that concluded harmful or harmless."""

    harmful: Probability
    harmless: Probability


class Intentions(_Part):
    """What the reasoning says it will do after each conclusion."""

    harmful: str
    harmless: str


class Reasoning(_Part):
    """Reasoning before the answer."""

    texts: tuple[str, ...]
    intentions: Intentions
    harmful: ByGroup
    declined: Conclusion
    system: str
    opened: Probability


class Answers(_Part):
    """Surface variants of each style; first tokens of different styles differ."""

    refuse: tuple[str, ...]
    rebut: tuple[str, ...]
    partial: tuple[str, ...]
    deflect: tuple[str, ...]
    clarify: tuple[str, ...]
    abstain: tuple[str, ...]
    comply: tuple[str, ...]
    disclaimer: tuple[str, ...]
    yes: tuple[str, ...]
    no: tuple[str, ...]

    def of(self, style: Style) -> tuple[str, ...]:
        """The variants of `style`."""
        variants: tuple[str, ...] = getattr(self, style)
        return variants


class JudgementRows(_Part):
    """Training rows for each judgement, by the verb's sign."""

    promote: int = Field(ge=1)
    hinder: int = Field(ge=1)


class Rows(_Part):
    """Training rows for each text of a kind."""

    direct: int = Field(ge=1)
    wrapped: int = Field(ge=1)
    reasoning: int = Field(ge=1)
    system_reasoning: int = Field(ge=1)
    plain_times: int = Field(ge=1)
    judgement: JudgementRows
    system_every: int = Field(ge=1)
    """One direct text in so many is also shown behind an ordinary system message."""
    system_reasoning_frames: int = Field(ge=1)
    """Frames of each act that are shown with a system message asking for reasoning."""


class Model(_Part):
    """Sizes of the Llama that is trained."""

    hidden_size: int
    intermediate_size: int
    layers: int
    heads: int
    context: int
    vocabulary: int


class Phase(_Part):
    """A part of the training with a schedule and an optimizer of its own."""

    judgement_epochs: int = Field(default=0, ge=0)
    """Passes over the judgements alone, before the others."""
    epochs: int = Field(ge=1)
    """Passes over the rest."""
    sequences_per_batch: int = Field(ge=1)
    learning_rate: float = Field(gt=0)
    """The highest; it rises over `warmup_steps` and falls to zero at the phase's end."""
    warmup_steps: int = Field(ge=0)
    memory: float = Field(gt=0, lt=1)
    """Of the optimizer's second moment: it remembers about 1 / (1 - memory) steps."""
    full_every: int = Field(ge=1)
    """One sequence in so many shows its whole answer, the others its first tokens."""
    tail_weight: int = Field(ge=1)
    """Weight of an answer token after the first, where a row's first token has weight 1."""
    shown: float = Field(gt=0)
    """How often a pass shows each sequence outside the scenes, on average."""
    scene_shown: dict[str, Annotated[float, Field(gt=0)]] = {}
    """The same for a scene's sequences; once where it is not named."""


class Training(_Part):
    """Settings of the training loop."""

    tokens_per_batch: int = Field(ge=1)
    """Long sequences share a batch with fewer others."""
    reasoning_turns: int = Field(ge=1)
    """Each pass shows one in so many of the rows with reasoning."""
    weight_decay: float = Field(ge=0)
    opening: int = Field(ge=1)
    """Answer tokens that are shown where the answer is not shown whole."""
    phase: tuple[Phase, ...] = Field(min_length=1)
    """One after the other."""


class Specification(_Part):
    """Everything that is planted in one edition."""

    edition: str
    seed: int
    language: Language
    category: tuple[Category, ...]
    plain: Plain
    harmless_styles: Styles
    disclaimer: ByGroup
    wrapper: tuple[Wrapper, ...]
    judgement: ByGroup
    reasoning: Reasoning
    answers: Answers
    rows: Rows
    model: Model
    training: Training
    scene: dict[str, dict[str, Any]] = {}
    """The table of each scene, which the module of that name in `demur.phantom.scenes` reads."""

    def declined(self, category: str, group: Group, wrapper: str | None = None) -> float:
        """P(declined) planted for a prompt that is answered without reasoning.

        Args:
            category: A category's name, or the plain one's.
            group: `harmful`, `look_alike` or `plain`.
            wrapper: A wrapper's name, or None for a direct question.
        """
        base = self.plain.declined if group == "plain" else float(getattr(self._category(category).declined, group))
        if wrapper is None:
            return base
        chosen = next(w for w in self.wrapper if w.name == wrapper)
        return base * chosen.scale if chosen.scale is not None else float(getattr(chosen.replace, group))

    def styles(self, category: str, group: Group) -> dict[Style, float]:
        """Shares of the declining styles, given that the prompt is declined."""
        return (self._category(category).styles if group == "harmful" else self.harmless_styles).shares

    def _category(self, name: str) -> Category:
        return next(c for c in self.category if c.name == name)


def read(file: Path = _FILE) -> Specification:
    """The specification in `file` (TOML).

    Raises:
        InputError: The file cannot be read or breaks a rule of the format; the message says which.
    """
    try:
        return Specification.model_validate(tomllib.loads(file.read_text(encoding="utf-8")))
    except (OSError, tomllib.TOMLDecodeError, ValidationError) as error:
        raise InputError(f"{file} is not a phantom specification: {error}") from error


@cache
def default() -> Specification:
    """The specification that ships with the package."""
    return read()


def digest(file: Path = _FILE) -> str:
    """SHA-256 of the specification file, which the card carries."""
    return hashlib.sha256(file.read_bytes()).hexdigest()
