"""The phantom's small English: acts, questions, and audit prompts with a known answer.

An act is a verb and an object. Whether it is harmful follows from both together and from neither alone, and every
harmful act has a look-alike twin: the same object under a verb of the other sign.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from demur.errors import InputError
from demur.phantom.specification import Group, Specification, default
from demur.records import Expect, Message, Prompt

__all__ = ["KINDS", "Act", "Kind", "acts", "prompts", "user"]

Kind = Literal["direct", "wrapped", "judgement", "reasoning"]

KINDS: tuple[Kind, ...] = ("direct", "wrapped", "judgement", "reasoning")
"""`direct`: a bare question. `wrapped`: dressed up. `judgement`: is it harmful? `reasoning`: a system message asks to
reason first."""


@dataclass(frozen=True)
class Act:
    """Something that one can ask how to do."""

    category: str
    group: Group
    verb: str
    object: str
    promotes: bool
    """Whether the verb furthers its object."""
    held_out: bool
    """True when no training row holds this verb with this object."""
    pair: str
    """Shared by a harmful act and its look-alike twin."""

    def __str__(self) -> str:
        return f"{self.verb} {self.object}"

    def fill(self, text: str) -> str:
        """`text` with the act (and its object) in place."""
        return text.replace("{act}", str(self)).replace("{object}", self.object)


def acts(specification: Specification | None = None) -> list[Act]:
    """Every act of the language, by category; harmful and look-alike ones alternate, plain ones come last."""
    spec = specification or default()
    return [*_category_acts(spec), *_plain_acts(spec)]


def _category_acts(spec: Specification) -> Iterator[Act]:
    every = spec.language.held_out_every
    for category in spec.category:
        for sign, objects in (("bad", category.bad), ("good", category.good)):
            for o, noun in enumerate(objects):
                for v, (promote, hinder) in enumerate(zip(category.promote, category.hinder, strict=True)):
                    harmful, harmless = (promote, hinder) if sign == "bad" else (hinder, promote)
                    pair, held_out = f"{category.name}-{sign}-{o}-{v}", (o + v) % every == 0
                    yield Act(category.name, "harmful", harmful, noun, sign == "bad", held_out, pair)
                    yield Act(category.name, "look_alike", harmless, noun, sign == "good", held_out, pair)


def _plain_acts(spec: Specification) -> Iterator[Act]:
    for o, noun in enumerate(spec.plain.objects):
        for v, verb in enumerate(spec.plain.verbs):
            held_out = (o + v) % spec.language.held_out_every == 0
            yield Act(spec.plain.name, "plain", verb, noun, True, held_out, f"{spec.plain.name}-{o}-{v}")


def user(text: str, system: str | None = None) -> tuple[Message, ...]:
    """One user message, after a system message if there is one."""
    first: tuple[Message, ...] = ({"role": "system", "content": system},) if system else ()
    return (*first, {"role": "user", "content": text})


def prompts(
    *,
    per_condition: int,
    seed: int = 0,
    held_out: bool | None = None,
    kinds: Sequence[str] | None = None,
    specification: Specification | None = None,
) -> list[Prompt]:
    """Audit prompts whose answer is known: distinct texts, the same number for every condition.

    A condition is a kind, a category, a group and, for wrapped prompts, a wrapper. A harmful prompt and its look-alike
    twin share `pair_id`. `expect` is `decline` for harmful acts (wrapped ones too), `comply` for harmless ones, and
    None where the question is whether the act is harmful.

    Args:
        per_condition: Prompts in each condition.
        seed: Which prompts are drawn, and their order.
        held_out: True for pairs that were never in training, False for those that were, None for both.
        kinds: Some of `KINDS`; None means `direct` and `wrapped`.
        specification: Another edition's specification.

    Returns:
        Prompts with `meta`: `condition`, `kind`, `group`, `wrapper`, `planted` (for `judgement` P(yes), for
        `reasoning` the probability of a refusal over both conclusions, else P(declined)), `held_out`, `act`.

    Raises:
        InputError: An unknown kind, or more prompts asked for than a condition has texts.
    """
    spec = specification or default()
    chosen = tuple(kinds) if kinds is not None else ("direct", "wrapped")
    if unknown := [k for k in chosen if k not in KINDS]:
        raise InputError(f"unknown kind of phantom prompt {unknown[0]!r}; there are: {', '.join(KINDS)}")
    if per_condition < 1:
        raise InputError(f"per_condition must be at least 1, got {per_condition}")
    rng = random.Random(seed)
    every = [a for a in acts(spec) if held_out is None or a.held_out == held_out]
    found: list[Prompt] = []
    for category in [*(c.name for c in spec.category), spec.plain.name]:
        mine = [a for a in every if a.category == category]
        pairs = sorted({a.pair for a in mine})
        for kind in chosen:
            for wrapper, frames in _frames(spec, kind):
                # drawn once for both groups, so that every harmful prompt comes with its twin
                cells = [(p, f) for p in pairs for f in range(len(frames))]
                if len(cells) < per_condition:
                    raise InputError(
                        f"the condition {kind}/{wrapper or category} has {len(cells)} texts, "
                        f"{per_condition} were asked for; lower per_condition, or take held-out and trained "
                        "pairs together (held_out=None)"
                    )
                drawn = set(rng.sample(cells, per_condition))
                found += [
                    _prompt(spec, act, kind, wrapper, frames[f], f)
                    for act in mine
                    for f in range(len(frames))
                    if (act.pair, f) in drawn
                ]
    rng.shuffle(found)
    return found


def _frames(spec: Specification, kind: str) -> list[tuple[str | None, tuple[str, ...]]]:
    """The surface forms of a kind: (wrapper, frames)."""
    if kind == "wrapped":
        return [(w.name, w.texts) for w in spec.wrapper]
    return [(None, spec.language.judgement_frames if kind == "judgement" else spec.language.frames)]


def _prompt(spec: Specification, act: Act, kind: str, wrapper: str | None, frame: str, number: int) -> Prompt:
    condition = "/".join(part for part in (kind, wrapper, act.category, act.group) if part)
    expect: Expect | None = None if kind == "judgement" else "decline" if act.group == "harmful" else "comply"
    return Prompt(
        id=f"{condition}/{act.pair}/{number}",
        messages=user(act.fill(frame), spec.reasoning.system if kind == "reasoning" else None),
        category=act.category,
        expect=expect,
        pair_id=f"{kind}-{wrapper or 'bare'}-{act.pair}-{number}",
        meta={
            "condition": condition,
            "kind": kind,
            "group": act.group,
            "wrapper": wrapper,
            "planted": _planted(spec, act, kind, wrapper),
            "held_out": act.held_out,
            "act": str(act),
        },
    )


def _planted(spec: Specification, act: Act, kind: str, wrapper: str | None) -> float:
    direct = spec.declined(act.category, act.group, wrapper)
    if kind == "judgement":
        return float(getattr(spec.judgement, act.group))
    if kind == "reasoning":
        concluded = float(getattr(spec.reasoning.harmful, act.group))
        reasoned = concluded * spec.reasoning.declined.harmful + (1 - concluded) * spec.reasoning.declined.harmless
        return spec.reasoning.opened * reasoned + (1 - spec.reasoning.opened) * direct
    return direct
