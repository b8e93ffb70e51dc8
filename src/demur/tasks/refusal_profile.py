"""Refusal profiles: what a model declines, of what it should answer and of what it should not.

`refusal_profile` asks about harm, `limits_profile` about what no answer can do justice to (a picture that is not there,
a price of tomorrow), `everyday` asks plain requests that nobody should turn down. The built-in sentences are
`demur-core`; the phantom, which knows only its own small language, is asked in that. Or bring prompts of your own.

All three take the options of `ProfileOptions` (`inspect eval demur/refusal_profile -T suite=core -T languages=en,de`).
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import NamedTuple, TypedDict, Unpack

from inspect_ai import Task, task
from inspect_ai.model import GenerateConfig
from inspect_ai.model._model import active_model
from inspect_ai.solver import generate, use_tools

from demur.errors import InputError
from demur.inspect_ext.judgements import AnyJudge
from demur.inspect_ext.offered_tools import read_tools
from demur.inspect_ext.samples import dataset_of
from demur.inspect_ext.sync_judging import DEFAULT_BAND
from demur.inspect_ext.verdicts import by_category, refusal_rates, verdict
from demur.phantom import is_phantom
from demur.prompts.core import EVERYDAY, HARMS, LANGUAGES, LIMITS, NAME, demur_core
from demur.records import Prompt

__all__ = [
    "BUILT_IN",
    "SUITES",
    "ProfileOptions",
    "Share",
    "everyday",
    "fitting_set",
    "limits_profile",
    "refusal_profile",
]

PHANTOM_SET = "phantom"
BUILT_IN = (NAME, PHANTOM_SET)
"""Names of built-in sets of prompts."""


class Share(NamedTuple):
    """How many of the built-in prompts a suite asks."""

    pairs: int | None
    """Pairs of `demur-core` in each category; None is all."""
    controls: int | None
    """Everyday requests; None is all."""
    languages: tuple[str, ...]
    """Languages of `demur-core`."""
    direct: int
    """Of the phantom: bare questions, for each of two conditions in a category."""
    wrapped: int
    """Of the phantom: questions in a dressing, for each of ten conditions in a category."""


SUITES = {
    "quick": Share(30, 50, ("en",), 32, 4),
    "core": Share(None, None, ("en",), 96, 12),
    "full": Share(None, None, LANGUAGES, 240, 48),
}
"""`quick` has the thirty prompts a cell that a rate needs at least, `core` all English sentences, `full` the
translated ones too. For the phantom, bare questions outnumber dressed ones, because the headline is about what people
ask plainly."""

# Refusals show themselves early, and a model that goes on for longer is complying; longer answers only cost.
_MAX_TOKENS = 256


class ProfileOptions(TypedDict, total=False):
    """Options of the profile tasks."""

    suite: str
    """How many of the built-in prompts: `quick` (the default), `core` or `full`."""
    per_condition: int | None
    """Pairs of each category (for the phantom: prompts for each condition) in place of the suite's number."""
    prompts: str | None
    """A file of your own prompts (JSONL, CSV or Parquet with `prompt` or `messages`, and where known `id`, `category`,
    `expect`, `pair_id`), asked in the file's order; or the name of a built-in set, `demur-core` or `phantom`. By
    default `demur-core`, and the phantom's own for the phantom."""
    languages: str | Sequence[str] | None
    """Of `demur-core`, by default the suite's; separated by commas on a command line."""
    system: str | None
    """Text of a system message that comes first in every conversation."""
    tools: str | None
    """A JSON file of tools that the model is offered; calls are recorded and never carried out."""
    seed: int
    """Chooses and orders the built-in prompts."""
    mapping: str
    """Which kinds of response count as declined."""
    judge: str | Sequence[str] | AnyJudge | None
    """Models that judge what the offline ladder is unsure of, by name; several are a panel."""
    judge_all: bool
    """Whether they judge every response."""
    rubric: str | None
    """The rubric of judges that are given by name: `refusal`, `binary`, or a TOML file."""
    judge_journal: str | None
    """A file that keeps the replies of judges that are given by name, so that scoring again is free."""


@task
def refusal_profile(**options: Unpack[ProfileOptions]) -> Task:
    """Over-refusal and under-refusal of a model, side by side: harmful requests and their harmless look-alikes.

    Args:
        **options: See `ProfileOptions`.

    Raises:
        InputError: An unknown suite, language or mapping, or a file that cannot be read.
    """
    return _profile("refusal_profile", HARMS, **options)


@task
def limits_profile(**options: Unpack[ProfileOptions]) -> Task:
    """Whether a model knows its limits: requests that nobody could answer as they are asked, and look-alikes.

    Five reasons: unsupported (it lacks the sense or the tool), indeterminate (unknowable, or not yet known), incomplete
    (something is missing), humanizing (it is taken for a person), and a false premise.

    Args:
        **options: See `ProfileOptions`. The phantom's set has no such requests.

    Raises:
        InputError: As for `refusal_profile`.
    """
    return _profile("limits_profile", LIMITS, **options)


@task
def everyday(**options: Unpack[ProfileOptions]) -> Task:
    """Plain requests without a trigger word: who declines these declines everything.

    Args:
        **options: See `ProfileOptions`. The phantom's set has no such requests.

    Raises:
        InputError: As for `refusal_profile`.
    """
    return _profile("everyday", (EVERYDAY,), **options)


def _profile(
    name: str,
    categories: Sequence[str],
    *,
    suite: str = "quick",
    per_condition: int | None = None,
    prompts: str | None = None,
    languages: str | Sequence[str] | None = None,
    system: str | None = None,
    tools: str | None = None,
    seed: int = 0,
    mapping: str = "any",
    judge: str | Sequence[str] | AnyJudge | None = None,
    judge_all: bool = False,
    rubric: str | None = None,
    judge_journal: str | None = None,
    model: object = None,
) -> Task:
    # Inspect hands `model` to every task that takes any option; the dataset does not depend on it
    if suite not in SUITES:
        raise InputError(f"unknown suite {suite!r}; there are: {', '.join(SUITES)}")
    if per_condition is not None and per_condition < 1:
        raise InputError(f"per_condition must be at least 1, got {per_condition}")
    chosen = prompts or fitting_set()
    return Task(
        dataset=dataset_of(
            _prompts(chosen, categories, SUITES[suite], per_condition, _split(languages), seed),
            name=f"{name} {suite}" if chosen in BUILT_IN else chosen,
            system=system,
        ),
        # a call is an answer, even of a tool that nobody offered; what it would have done is not this task's business
        solver=[*([use_tools(read_tools(tools))] if tools else []), generate(tool_calls="none")],
        scorer=verdict(
            mapping,
            judge=judge or None,
            band="all" if judge_all else DEFAULT_BAND,
            rubric=rubric or "refusal",
            judge_journal=judge_journal,
        ),
        metrics=[refusal_rates(), by_category()],
        config=GenerateConfig(max_tokens=_MAX_TOKENS),
        version=2,
    )


def fitting_set() -> str:
    """The built-in set that fits the model of this evaluation."""
    model = active_model()
    return PHANTOM_SET if model is not None and is_phantom(str(model).removeprefix("demur/")) else NAME


def _prompts(
    chosen: str,
    categories: Sequence[str],
    share: Share,
    per_condition: int | None,
    languages: Sequence[str],
    seed: int,
) -> list[Prompt]:
    if chosen not in BUILT_IN:
        from demur.rows import read_prompts

        return list(read_prompts(chosen))
    if chosen == NAME:
        count = per_condition or (share.controls if tuple(categories) == (EVERYDAY,) else share.pairs)
        return demur_core(categories, pairs=count, languages=languages or share.languages, seed=seed)
    if tuple(categories) != HARMS:
        raise InputError(
            "the phantom's own sentences are about harm alone; ask it for refusal_profile, or give --prompts demur-core"
        )
    return _of_the_phantom(per_condition or share.direct, per_condition or share.wrapped, seed)


def _of_the_phantom(direct: int, wrapped: int, seed: int) -> list[Prompt]:
    from demur.phantom import prompts

    chosen = [
        *prompts(per_condition=direct, seed=seed, kinds=("direct",)),
        *prompts(per_condition=wrapped, seed=seed, kinds=("wrapped",)),
    ]
    # so that the first N of them, which is what a limit takes, are a fair sample of all
    Random(seed).shuffle(chosen)
    return chosen


def _split(languages: str | Sequence[str] | None) -> tuple[str, ...]:
    parts = languages.split(",") if isinstance(languages, str) else languages or ()
    return tuple(part.strip() for part in parts if part.strip())
