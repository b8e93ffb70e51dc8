"""The published protocol: readers of the four files, the mapping of tones, the split, both recipes, the n-gram tables.

Source: Reuter and Schulze 2023, arXiv 2306.03423, and its code (`data_processing.py`, `classical_model_results.py`).
The files are read from the user's own copy of maxwellreuter/chatgpt-refusals (code MIT; the Quora text has the terms of
its Kaggle competition). Exact figures hold for scikit-learn's defaults.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from demur.errors import InputError

__all__ = [
    "FILES",
    "TONES",
    "Asked",
    "NGram",
    "Recipe",
    "Split",
    "kept",
    "read_file",
    "split",
    "strongest",
]

FILES: MappingProxyType[str, int] = MappingProxyType(
    {
        "nyp.json": 21,
        "political_figures.json": 700,
        "quora_insincere_hand_labeled.json": 1000,
        "all_hand_labeled.json": 1721,
    }
)
"""The files that are labelled by hand, with their rows; the last is the union of the others."""

TONES: MappingProxyType[str, bool | None] = MappingProxyType(
    {
        "complied": False,
        "rejected": True,
        "redirected": True,
        "contradicted": True,
        "disclaimed": True,
        "counseling": True,
        "dontknow": None,
        "incoherent": None,
    }
)
"""Whether each tone counts as declined; None is left out. An answer behind a disclaimer counts as declined here."""


class Asked(NamedTuple):
    """One row."""

    prompt: str
    response: str
    tone: str
    insincere: bool | None
    """Kaggle's label of the Quora prompts; None elsewhere."""

    @property
    def declined(self) -> bool | None:
        """By the published mapping; None for what it leaves out."""
        return TONES[self.tone]


def read_file(file: Path) -> list[Asked]:
    """The rows of one of the files, in order; nothing is left out yet.

    Raises:
        InputError: The file is missing, not one of these, or has a tone that the mapping does not know.
    """
    try:
        rows = json.loads(file.read_text("utf-8"))
        found = [
            Asked(
                row["prompt"],
                row["response"],
                row["tone"],
                bool(row["is_insincere"]) if "is_insincere" in row else None,
            )
            for row in rows
        ]
    except OSError as error:
        raise InputError(
            f"cannot read {file}: {error.strerror}; expected one of {', '.join(FILES)} from a copy of "
            "github.com/maxwellreuter/chatgpt-refusals"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{file} is not a file of chatgpt-refusals ({error!r}); expected a JSON array of objects with prompt, "
            "response and tone"
        ) from error
    if unknown := sorted({row.tone for row in found} - set(TONES)):
        raise InputError(f"{file} has the tones {', '.join(unknown)}; expected {', '.join(TONES)}")
    return found


def kept(rows: Sequence[Asked]) -> list[Asked]:
    """The rows that the published counts are of: those whose tone says something."""
    return [row for row in rows if row.declined is not None]


class Split(NamedTuple):
    """The published parts: neither stratified nor grouped."""

    train: list[Asked]
    validation: list[Asked]
    test: list[Asked]


def split(rows: Sequence[Asked]) -> Split:
    """70% to train, the rest halved, both with seed 0 (of 1,706 rows: 1,194, 256, 256)."""
    from sklearn.model_selection import train_test_split

    train, rest = train_test_split(list(rows), test_size=0.3, random_state=0)
    validation, test = train_test_split(rest, test_size=0.5, random_state=0)
    return Split(train, validation, test)


@dataclass
class Recipe:
    """The published classifiers of texts: TF-IDF of one to three words, and a logistic regression or a random forest.

    Args:
        model: `lr` (liblinear, C 10) or `rf`.
        about: `response` (300 trees) or `prompt` (3,000 trees); the regression is the same for both.
    """

    model: Literal["lr", "rf"] = "lr"
    about: Literal["response", "prompt"] = "response"

    def fit(self, texts: Sequence[str], declined: Sequence[bool] | NDArray[Any]) -> Recipe:
        """Fits vectoriser and model on these texts only."""
        from sklearn.ensemble import RandomForestClassifier
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression

        outcome = np.asarray(declined, dtype=bool)
        if outcome.all() or not outcome.any():
            raise InputError(f"the published recipe needs texts of both classes, got {len(outcome)} of one")
        self.vectoriser = TfidfVectorizer(ngram_range=(1, 3))
        if self.model == "lr":
            self.estimator: Any = LogisticRegression(solver="liblinear", C=10, max_iter=10_000, random_state=0)
        elif self.about == "response":
            self.estimator = RandomForestClassifier(n_estimators=300, min_samples_split=5, random_state=0)
        else:
            self.estimator = RandomForestClassifier(n_estimators=3_000, min_samples_split=2, random_state=0)
        self.estimator.fit(self.vectoriser.fit_transform(texts), outcome)
        return self

    def probabilities(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Probability of declining, shape `(len(texts),)`; 0.5 is where the published decision falls."""
        return np.asarray(self.estimator.predict_proba(self.vectoriser.transform(texts))[:, 1])

    def predict(self, texts: Sequence[str]) -> NDArray[np.bool_]:
        """The published decision, shape `(len(texts),)`."""
        return np.asarray(self.estimator.predict(self.vectoriser.transform(texts)), dtype=np.bool_)

    @property
    def vocabulary_size(self) -> int:
        """How many n-grams the training texts had."""
        return len(self.vectoriser.vocabulary_)


class NGram(NamedTuple):
    """One row of the n-gram table."""

    ngram: str
    coefficient: float
    """Positive: refusal."""
    texts: int
    """Training texts that have it: selection by size of the coefficient mixes frequency with effect."""


def strongest(recipe: Recipe, texts: Sequence[str], most: int = 18) -> list[NGram]:
    """The n-grams with the largest coefficients of a fitted regression, largest first.

    Args:
        recipe: Fitted, `lr`.
        texts: The training texts, to count in.
        most: The published figures show 18.
    """
    if recipe.model != "lr":
        raise InputError("a random forest has no coefficients; the n-gram table needs the recipe 'lr'")
    coefficients = recipe.estimator.coef_[0]
    names = recipe.vectoriser.get_feature_names_out()
    had = np.asarray((recipe.vectoriser.transform(texts) != 0).sum(axis=0)).ravel()
    order = np.argsort(-np.abs(coefficients), kind="stable")[:most]
    return [NGram(str(names[at]), float(coefficients[at]), int(had[at])) for at in order]
