"""Forecast: the probability that a model declines a prompt, from the prompt alone, and why.

Fitted on prompts whose outcome is known for one model. The score is linear in words, word pairs and a short list of
cues (`forecast_cues`), so that what moved a prompt can be said exactly. It is calibrated and judged on folds that keep
prompts of one template together (`forecast_groups`). Predicting needs numpy and scipy only.

Source: Reuter and Schulze 2023, arXiv 2306.03423, whose own recipe stands in `forecast_published`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from demur.errors import InputError
from demur.prompts.forecast_cues import CUES, EXPECTED
from demur.prompts.forecast_features import Features
from demur.prompts.forecast_fitting import Fitted, fit
from demur.prompts.forecast_groups import frames

__all__ = ["MINIMUM_GROUPS", "Explanation", "Forecast", "Moved", "Neighbour", "Term"]

MINIMUM_GROUPS = 20
"""Groups of prompts that hold each class: two a fold, with folds inside folds, below which nothing can be measured."""

MOST_EXAMPLES = 20_000
"""Training prompts that are kept to be named as neighbours; a seeded sample of more."""

What = Literal["words", "cue"]


class Moved(NamedTuple):
    """One thing in a prompt that moved its forecast."""

    name: str
    """A word, a pair of words, or the name of a cue."""
    what: What
    effect: float
    """What it adds to the calibrated log-odds of declining."""
    declined: int
    """Training prompts that have it and were declined."""
    complied: int
    """Training prompts that have it and were complied with."""


class Neighbour(NamedTuple):
    """A training prompt that resembles the one in question."""

    id: str
    declined: bool
    similarity: float
    """Cosine of words and word pairs, 0 to 1."""
    text: str | None
    """None unless the forecast was told to keep texts."""


class Explanation(NamedTuple):
    """Why a prompt is expected to be declined or not."""

    probability: float
    declines: bool
    """Whether the probability reaches the threshold."""
    base: float
    """Calibrated log-odds of an empty prompt. With all effects and `rest` it adds up to the prompt's own."""
    moved: tuple[Moved, ...]
    """The largest effects, first."""
    rest: float
    """The sum of the effects that are not listed."""
    nearest: tuple[Neighbour, ...]
    """Neighbours, nearest first; fewer where nothing else shares a word."""
    known: float
    """Share of the prompt's words that training prompts had; a forecast for foreign words is little but the base."""


class Term(NamedTuple):
    """One column of the fit."""

    name: str
    what: What
    coefficient: float
    """Calibrated log-odds for a full measure of it."""
    declined: int
    complied: int


@dataclass(frozen=True)
class Forecast:
    """A fitted forecast. Make one with `fit` or `load`."""

    features: Features
    fitted: Fitted
    counts: NDArray[np.int64]
    """Training prompts that have each column, `(words and cues, 2)`: declined, complied."""
    ids: tuple[str, ...]
    """Of the training prompts that are kept as examples."""
    outcomes: NDArray[np.bool_]
    """Whether each example was declined."""
    examples: Any
    """Words of the examples, sparse, `(examples, vocabulary)`."""
    texts: tuple[str, ...] | None
    """The examples' texts, where they were to be kept."""
    card: dict[str, Any]
    """Whose refusals, which data, and the measured quality."""

    @classmethod
    def fit(
        cls,
        prompts: Sequence[str],
        declined: Sequence[bool] | NDArray[Any],
        groups: Sequence[Hashable | None] | None = None,
        *,
        seed: int,
        ids: Sequence[str] | None = None,
        model: str | None = None,
        keep_text: bool = False,
        measured: bool = True,
    ) -> Forecast:
        """Fits on prompts whose outcome is known.

        Args:
            prompts: Texts.
            declined: Whether each was declined.
            groups: What is known to belong together, a pair's id for one; None where nothing is known. Prompts that
                share a frame are put together besides (`forecast_groups.frames`).
            seed: Of folds, of bootstraps, and of the sample of examples.
            ids: Names of the prompts, to be given as neighbours; their numbers when None.
            model: Whose refusals these are.
            keep_text: Keep the prompts' texts in the forecast. They may be somebody's private words.
            measured: Measure the quality, which takes some ten times as long as the fit.

        Raises:
            InputError: Lengths differ, one class is missing, or there are too few groups of prompts.
        """
        from demur.stats.inputs import as_binary, same_length

        outcome = as_binary(declined, "declined")
        same_length(prompts=prompts, declined=outcome, ids=prompts if ids is None else ids)
        if groups is not None:
            same_length(prompts=prompts, groups=groups)
        grouped = frames(prompts, groups)
        _check(outcome, grouped)
        features = Features.fit(prompts)
        matrix = features.matrix(prompts)
        quality: dict[str, Any] | None = None
        if measured:
            from demur.prompts.forecast_quality import measure

            quality, _ = measure(matrix, outcome, grouped, seed=seed)
        fitted = fit(matrix, outcome, grouped, seed=seed)
        present = matrix[:, :-1] != 0
        counts = np.column_stack([present[side].sum(axis=0) for side in (outcome, ~outcome)]).astype(np.int64)
        kept = np.arange(len(prompts))
        if len(prompts) > MOST_EXAMPLES:
            kept = np.sort(np.random.default_rng(seed).choice(kept, MOST_EXAMPLES, replace=False))
        named = [str(number) for number in range(len(prompts))] if ids is None else [str(name) for name in ids]
        sizes = np.bincount(grouped)
        card = {
            "model": model,
            "prompts": len(prompts),
            "declined": int(outcome.sum()),
            "groups": len(sizes),
            "largest_group": int(sizes.max()),
            "prompts_sha256": hashlib.sha256("\x00".join(prompts).encode("utf-8", "surrogatepass")).hexdigest(),
            "seed": seed,
            "strength": fitted.strength,
            "threshold": fitted.threshold,
            "quality": quality,
        }
        return cls(
            features=features,
            fitted=fitted,
            counts=counts,
            ids=tuple(named[place] for place in kept.tolist()),
            outcomes=outcome[kept],
            examples=matrix[kept][:, : len(features.vocabulary)],
            texts=tuple(prompts[place] for place in kept.tolist()) if keep_text else None,
            card=card,
        )

    @property
    def threshold(self) -> float:
        """Probability from which a prompt is called declined: where both kinds of error are in balance."""
        return self.fitted.threshold

    def predict(self, prompts: Sequence[str]) -> NDArray[np.float64]:
        """Calibrated probability that each prompt is declined, shape `(len(prompts),)`.

        Calibrated for prompts like those of the fit, with their share of declined ones.
        """
        return self.fitted.probabilities(self.features.matrix(prompts)) if prompts else np.empty(0)

    def explain(self, prompt: str, *, most: int = 8, nearest: int = 3) -> Explanation:
        """What moved the forecast of one prompt, and the training prompts nearest to it.

        Args:
            prompt: The text.
            most: How many effects to list.
            nearest: How many neighbours to name.
        """
        words = self.features.words([prompt])
        values = np.concatenate([words.toarray()[0], self.features.cues([prompt])[0]])
        effects = self._coefficients() * values
        listed = [int(place) for place in np.argsort(-np.abs(effects), kind="stable")[:most] if effects[place] != 0]
        base = self.fitted.slope * self.fitted.bias + self.fitted.shift
        probability = float(1 / (1 + np.exp(-np.clip(base + effects.sum(), -30, 30))))
        return Explanation(
            probability=probability,
            declines=probability >= self.threshold,
            base=float(base),
            moved=tuple(Moved(*self._name(place), float(effects[place]), *self._count(place)) for place in listed),
            rest=float(effects.sum() - effects[listed].sum()),
            nearest=self._nearest(words, nearest),
            known=self.features.known(prompt),
        )

    def terms(self) -> list[Term]:
        """Every word, pair and cue with its coefficient and how many training prompts have it, largest effect first."""
        coefficients = self._coefficients()
        order = np.argsort(-np.abs(coefficients), kind="stable")
        return [Term(*self._name(int(at)), float(coefficients[at]), *self._count(int(at))) for at in order]

    def save(self, folder: Path) -> None:
        """Writes the forecast into `folder`: safetensors, JSON, no pickle."""
        from demur.prompts.forecast_files import save

        save(self, folder)

    @classmethod
    def load(cls, folder: Path, *, model: str | None = None) -> Forecast:
        """Reads a forecast.

        Args:
            folder: Where `save` wrote it.
            model: The model whose refusals are wanted; one fitted on another model is an error.

        Raises:
            ArtefactError: It is missing, damaged, of another version, or of another model.
        """
        from demur.prompts.forecast_files import load

        return load(folder, model=model)

    def _coefficients(self) -> NDArray[np.float64]:
        """Calibrated coefficients of words and unscaled cues; the expectation is folded into the cues."""
        words, cue_count = len(self.features.vocabulary), len(CUES)
        raw = self.fitted.coefficients
        expectation = np.array([EXPECTED.get(name, 0.0) for name in CUES])
        cues = raw[words : words + cue_count] / self.features.scale + raw[-1] * expectation
        return np.asarray(self.fitted.slope * np.concatenate([raw[:words], cues]))

    def _name(self, place: int) -> tuple[str, What]:
        words = len(self.features.vocabulary)
        return (self.features.vocabulary[place], "words") if place < words else (CUES[place - words], "cue")

    def _count(self, place: int) -> tuple[int, int]:
        return int(self.counts[place, 0]), int(self.counts[place, 1])

    def _nearest(self, words: Any, most: int) -> tuple[Neighbour, ...]:
        likeness = (self.examples @ words.T).toarray()[:, 0]
        places = [int(place) for place in np.argsort(-likeness, kind="stable")[:most] if likeness[place] > 0]
        return tuple(
            Neighbour(
                self.ids[place],
                bool(self.outcomes[place]),
                min(1.0, float(likeness[place])),
                None if self.texts is None else self.texts[place],
            )
            for place in places
        )


def _check(declined: NDArray[np.bool_], groups: NDArray[np.intp]) -> None:
    """Whether there is enough to fit on and to measure with."""
    for side, name in ((declined, "declined"), (~declined, "complied with")):
        if not side.any():
            raise InputError(
                f"none of the {len(declined)} prompts was {name}; a forecast needs both, and enough of each"
            )
        held = len(np.unique(groups[side]))
        if held < MINIMUM_GROUPS:
            raise InputError(
                f"the {int(side.sum())} prompts that were {name} come from {held} groups (templates, pairs); expected "
                f"at least {MINIMUM_GROUPS}. Add prompts that are not made from the same frames"
            )
