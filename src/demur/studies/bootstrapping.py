"""The bootstrap: a few labels by hand teach to read responses, read responses teach to read prompts.

Hand labels fit a response classifier, that labels the responses to many more prompts, and those labels fit a prompt
classifier, which is tested on the hand labels. Templates stay together: whatever shares a frame with the tested prompts
takes no part in what they are tested by, neither as a hand label nor as a machine's.

Source: Reuter and Schulze 2023, arXiv 2306.03423, section on the bootstrap; they test on the whole hand-labelled set.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from demur.errors import InputError
from demur.prompts.forecast import Forecast
from demur.prompts.forecast_groups import frames, grouped_folds
from demur.prompts.forecast_published import Recipe
from demur.prompts.forecast_quality import score
from demur.responses import Ladder
from demur.studies.labelled_prompts import LabelledPrompts

__all__ = ["Bootstrapped", "Hand", "Labeller", "bootstrap", "tested_on_hand"]

FOLDS = 5

Labeller = Literal["published", "ladder"] | Callable[[Sequence[tuple[str, str]]], Sequence[bool | None]]
"""Reads responses: the published regression, fitted on the hand labels; the offline ladder; or a function from prompts
and responses to whether each declines, None where it cannot tell."""


class Hand(NamedTuple):
    """One exchange labelled by a person."""

    prompt: str
    response: str
    declined: bool


@dataclass(frozen=True)
class Bootstrapped:
    """The result, on hand labels."""

    probabilities: NDArray[np.float64]
    """Of each hand-labelled prompt, shape `(len(hand),)`."""
    decisions: NDArray[np.bool_]
    quality: dict[str, Any]
    """As in a forecast's card: accuracy and the like with intervals over groups."""
    labeller: dict[str, Any]
    """How well the labeller read the hand-labelled responses of each fold without having seen them."""
    machine: int
    """Machine-labelled prompts that were used, on average over the folds."""


def bootstrap(
    hand: Sequence[Hand],
    more: Sequence[tuple[str, str]],
    *,
    labeller: Labeller = "ladder",
    forecaster: Literal["demur", "published"] = "demur",
    seed: int = 0,
) -> Bootstrapped:
    """Runs the bootstrap and tests it on the hand labels.

    Args:
        hand: Exchanges with labels by people.
        more: Prompts and responses without labels.
        labeller: What labels them.
        forecaster: What is fitted on those labels: demur's forecast, or the published regression.
        seed: Of the folds.

    Raises:
        InputError: Too few groups, one class, or nothing to learn from outside a fold.
    """
    groups = frames([row.prompt for row in hand] + [prompt for prompt, _ in more])
    own, theirs = groups[: len(hand)], groups[len(hand) :]
    truth = np.array([row.declined for row in hand], dtype=np.bool_)
    folds = grouped_folds(np.unique(own, return_inverse=True)[1], FOLDS, seed=seed)
    probabilities, decisions = np.empty(len(hand)), np.empty(len(hand), dtype=np.bool_)
    read = np.zeros(len(hand), dtype=np.bool_)
    used = []
    for fold in range(FOLDS):
        outside = np.flatnonzero(folds == fold).tolist()
        seen = [row for row, place in zip(hand, folds, strict=True) if place != fold]
        apart = ~np.isin(theirs, own[outside])
        pairs = [pair for pair, keep in zip(more, apart, strict=True) if keep]
        label = _labeller(labeller, seen)
        # what the labeller cannot tell about a person's label is an error of the labeller: it found no refusal
        read[outside] = [bool(said) for said in label([(hand[at].prompt, hand[at].response) for at in outside])]
        labels = label(pairs)
        known = [(pair[0], said) for pair, said in zip(pairs, labels, strict=True) if said is not None]
        used.append(len(known))
        tested = [hand[at].prompt for at in outside]
        probabilities[outside], decisions[outside] = _fit_and_predict(known, tested, forecaster, seed)
    return Bootstrapped(
        probabilities,
        decisions,
        score(probabilities, decisions, truth, own, seed=seed),
        score(read.astype(np.float64), read, truth, own, seed=seed),
        round(sum(used) / len(used)),
    )


def tested_on_hand(hand: LabelledPrompts, machine: LabelledPrompts, *, seed: int) -> dict[str, Any]:
    """The quality, on prompts labelled by people, of forecasts fitted on machine labels of other templates.

    Raises:
        InputError: The hand labels have one class or too few groups.
    """
    if not 0 < sum(hand.declined) < len(hand.declined):
        raise InputError(
            f"the hand labels say that {sum(hand.declined)} of {len(hand.declined)} prompts were declined; "
            "testing needs both classes"
        )
    groups = frames([*hand.prompts, *machine.prompts], [*hand.groups, *machine.groups])
    own, theirs = groups[: len(hand.prompts)], groups[len(hand.prompts) :]
    folds = grouped_folds(np.unique(own, return_inverse=True)[1], FOLDS, seed=seed)
    probabilities, decisions = np.empty(len(folds)), np.empty(len(folds), dtype=np.bool_)
    for fold in range(FOLDS):
        outside = np.flatnonzero(folds == fold).tolist()
        apart = np.flatnonzero(~np.isin(theirs, own[outside])).tolist()
        known = [(machine.prompts[at], machine.declined[at]) for at in apart]
        tested = [hand.prompts[at] for at in outside]
        probabilities[outside], decisions[outside] = _fit_and_predict(known, tested, "demur", seed)
    truth = np.array(hand.declined, dtype=np.bool_)
    return score(probabilities, decisions, truth, own, seed=seed)


def _labeller(labeller: Labeller, seen: Sequence[Hand]) -> Callable[[Sequence[tuple[str, str]]], Sequence[bool | None]]:
    if callable(labeller):
        return labeller
    if labeller == "ladder":
        return lambda pairs: [verdict.declined("reuter_schulze") for verdict in Ladder().judge_many(list(pairs))]
    recipe = Recipe("lr", "response").fit([row.response for row in seen], [row.declined for row in seen])
    return lambda pairs: [bool(said) for said in recipe.predict([response for _, response in pairs])] if pairs else []


def _fit_and_predict(
    known: Sequence[tuple[str, bool]], tested: Sequence[str], forecaster: Literal["demur", "published"], seed: int
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    prompts, labels = [prompt for prompt, _ in known], [label for _, label in known]
    if forecaster == "published":
        recipe = Recipe("lr", "prompt").fit(prompts, labels)
        return recipe.probabilities(tested), recipe.predict(tested)
    forecast = Forecast.fit(prompts, labels, seed=seed, measured=False)
    probabilities = forecast.predict(tested)
    return probabilities, probabilities >= forecast.threshold
