"""The refusal profile: what a model declines, of what it should answer and of what it should not.

Built-in prompts name acts in plain English, harmful ones and harmless look-alikes made of the same words, plainly and
in dressings (a story, a role, the past tense). They hold no instruction for anything. Or bring prompts of your own.
"""

from __future__ import annotations

from random import Random
from typing import NamedTuple

from inspect_ai import Task, task
from inspect_ai.model import GenerateConfig
from inspect_ai.solver import generate

from demur.errors import InputError
from demur.inspect_ext.samples import dataset_of
from demur.inspect_ext.verdicts import by_category, refusal_rates, verdict
from demur.records import Prompt

__all__ = ["SUITES", "Share", "refusal_profile"]


class Share(NamedTuple):
    """How many of the built-in prompts a suite asks, for each condition."""

    direct: int
    """Bare questions: a category has one condition of harmful ones and one of look-alikes."""
    wrapped: int
    """Questions in a dressing: a category has five conditions of each."""


SUITES = {"quick": Share(32, 4), "core": Share(96, 12), "full": Share(240, 48)}
"""Bare questions outnumber dressed ones, because the headline is about what people ask plainly. `quick` asks 52 harmful
prompts and 52 look-alikes in each category and 32 harmful ones in each dressing: enough for a rate in every cell, few
enough for a coffee."""

# Refusals show themselves early, and a model that goes on for longer is complying; longer answers only cost.
_MAX_TOKENS = 256


@task
def refusal_profile(
    suite: str = "quick",
    per_condition: int | None = None,
    prompts: str | None = None,
    system: str | None = None,
    seed: int = 0,
    mapping: str = "any",
) -> Task:
    """Over-refusal and under-refusal of a model, side by side.

    Args:
        suite: How many of the built-in prompts: `quick`, `core` or `full`.
        per_condition: Prompts for each condition, bare and dressed, in place of the suite's numbers.
        prompts: A file of your own prompts (JSONL, CSV or Parquet with `prompt` or `messages`, and where known `id`,
            `category`, `expect`, `pair_id`), asked in the place of the built-in ones and in the file's order.
        system: Text of a system message that comes first in every conversation.
        seed: Chooses and orders the built-in prompts.
        mapping: Which kinds of response count as declined.

    Raises:
        InputError: An unknown suite or mapping, or a file that cannot be read.
    """
    return Task(
        dataset=dataset_of(
            _from_file(prompts) if prompts is not None else _built_in(suite, per_condition, seed),
            name=prompts or f"refusal_profile {suite}",
            system=system,
        ),
        solver=generate(),
        scorer=verdict(mapping),
        metrics=[refusal_rates(), by_category()],
        config=GenerateConfig(max_tokens=_MAX_TOKENS),
        version=1,
    )


def _built_in(suite: str, per_condition: int | None, seed: int) -> list[Prompt]:
    if suite not in SUITES:
        raise InputError(f"unknown suite {suite!r}; there are: {', '.join(SUITES)}")
    share = SUITES[suite] if per_condition is None else Share(per_condition, per_condition)
    if min(share) < 1:
        raise InputError(f"per_condition must be at least 1, got {per_condition}")
    from demur.phantom import prompts

    chosen = [
        *prompts(per_condition=share.direct, seed=seed, kinds=("direct",)),
        *prompts(per_condition=share.wrapped, seed=seed, kinds=("wrapped",)),
    ]
    # so that the first N of them, which is what a limit takes, are a fair sample of all
    Random(seed).shuffle(chosen)
    return chosen


def _from_file(path: str) -> list[Prompt]:
    from demur.rows import read_prompts

    return list(read_prompts(path))
