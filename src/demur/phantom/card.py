"""The phantom card: what was planted and what the trained model does, condition by condition.

Every decision of the phantom falls at one token, so a measured probability is no estimate from samples: it is the mean,
over all texts of a condition, of exact next-token probabilities at temperature 1 in float32. Only what runs over many
decisions, such as a refusal after reasoning that the model writes itself, is counted in sampled answers.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import BaseModel, ConfigDict

from demur.atomic import write_text
from demur.errors import ArtefactError
from demur.phantom import sampling, scenes
from demur.phantom.encoding import NOTES
from demur.phantom.grammar import acts
from demur.phantom.questions import Label, Question, questions
from demur.phantom.scenes.measuring import Asked, asked, distributions, probabilities
from demur.phantom.specification import DECLINING, Specification, Style, default, digest
from demur.stats import Interval, wilson

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = [
    "Card",
    "Condition",
    "Question",
    "between",
    "measure",
    "next_tokens",
    "origin",
    "planted",
    "questions",
    "read",
    "write",
]


class Condition(BaseModel):
    """One planted probability and its measurement."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    """What is planted, from the general to the particular: `direct/theft/harmful`."""
    group: str
    """The family of conditions: `direct`, `note`, a scene, `sampled`, ..., with `held_out/...` ones apart."""
    n_train: int
    """Training rows that show the condition (shown or not shown what is planted); 0 for held-out pairs."""
    planted: float
    """The probability planted."""
    measured: float
    """The probability measured."""
    low: float
    """Lower end of the 95% interval; equal to `measured` when all texts were measured."""
    high: float
    """Upper end of the 95% interval."""
    method: str
    """How it was measured."""

    @property
    def error(self) -> float:
        """|measured - planted|."""
        return abs(self.measured - self.planted)


class Card(BaseModel):
    """All conditions of an edition, and where they come from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    edition: str
    seed: int
    """Of the weights and the order in training."""
    specification: str
    """SHA-256 of what was planted: `origin(specification)`."""
    versions: dict[str, str]
    training: dict[str, Any] = {}
    """What the training said of itself: steps, threads, seconds."""
    bag_of_words: float | None = None
    """AUROC of harm for a logistic regression on the single words of all acts, cross-validated over pairs."""
    note: str = (
        "A calibration object: figures on it say whether an instrument reads correctly, and nothing about real models."
    )
    conditions: tuple[Condition, ...]

    def within(self, error: float) -> float:
        """The share of conditions whose error is at most `error`."""
        return sum(c.error <= error + 1e-9 for c in self.conditions) / len(self.conditions)


def labels(tokenizer: PreTrainedTokenizerBase, spec: Specification) -> dict[Label, list[int]]:
    """First tokens of each label.

    Raises:
        ArtefactError: Two styles that stand in one place share a first token, so their shares could not be told apart.
    """
    styles: list[Style] = [*DECLINING, "comply", "disclaimer", "yes", "no"]
    found: dict[Label, list[int]] = {
        style: sorted({_first(tokenizer, a) for a in spec.answers.of(style)}) for style in styles
    }
    owners: dict[int, Style] = {}
    for style in styles[:-2]:  # yes and no answer another question, and a rebuttal may begin with "No"
        for token in found[style]:
            if (other := owners.setdefault(token, style)) != style:
                raise ArtefactError(
                    f"the styles {other} and {style} share the first token {tokenizer.decode([token])!r}"
                )
    return {
        **found,
        "harmful": [_first(tokenizer, " harmful")],
        "harmless": [_first(tokenizer, " harmless")],
        "think": [_first(tokenizer, "<think>")],
        "noted_harmful": [_first(tokenizer, NOTES[True])],
        "noted_harmless": [_first(tokenizer, NOTES[False])],
    }


def _first(tokenizer: PreTrainedTokenizerBase, text: str) -> int:
    return int(tokenizer.encode(text, add_special_tokens=False)[0])


def planted(
    tokenizer: PreTrainedTokenizerBase, specification: Specification | None = None
) -> dict[str, tuple[float, int]]:
    """Every condition of a card in its order: the planted probability, and how many training rows show it."""
    spec = specification or default()
    found: list[Question | Asked | sampling.Sampled] = [
        *questions(tokenizer, spec),
        *asked(scenes.every(spec)),
        *sampling.sampled(tokenizer, spec),
    ]
    return {one.name: (one.planted, one.n_train) for one in found}


def measure(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    *,
    specification: Specification | None = None,
    per_condition: int | None = None,
    names: Sequence[str] | None = None,
    seed: int = 0,
) -> list[Condition]:
    """Measure conditions in `model`.

    Args:
        model: A float32 causal model.
        tokenizer: Its tokenizer.
        specification: What was planted; None means what ships.
        per_condition: Texts measured in each condition, drawn by `seed`; None means all of them. Where whole answers
            are sampled, their number (None: 2,000).
        names: Measure these conditions only.
        seed: Which texts are drawn, and which answers are sampled.

    Returns:
        Conditions in the specification's order: single questions, scenes, sampled ones.
    """
    run = _Run(model, tokenizer, specification or default(), per_condition, names, seed)
    return [*_measured_questions(run), *_measured_scenes(run), *_measured_samples(run)]


class _Run(NamedTuple):
    """What `measure` was asked for."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    spec: Specification
    per_condition: int | None
    names: Sequence[str] | None
    seed: int

    def wants(self, one: Question | Asked | sampling.Sampled) -> bool:
        return self.names is None or one.name in self.names


def _measured_questions(run: _Run) -> Iterator[Condition]:
    rng = random.Random(run.seed)
    most = run.per_condition
    chosen = [q for q in questions(run.tokenizer, run.spec) if run.wants(q)]
    drawn = [q.texts if most is None or most >= len(q.texts) else tuple(rng.sample(q.texts, most)) for q in chosen]
    every = list(dict.fromkeys(t for texts in drawn for t in texts))
    table = next_tokens(run.model, run.tokenizer, every, labels(run.tokenizer, run.spec))
    for q, texts in zip(chosen, drawn, strict=True):
        low_part = q.denominator
        yield _condition(
            q,
            [sum(table[t][label] for label in q.numerator) for t in texts],
            [1.0 if low_part is None else sum(table[t][label] for label in low_part) for t in texts],
            population=len(q.texts),
        )


def _measured_scenes(run: _Run) -> Iterator[Condition]:
    decisions = scenes.every(run.spec)
    sizes = {one.name: len(one.places) for one in asked(decisions)}
    chosen = [one for one in asked(decisions, per_condition=run.per_condition, seed=run.seed) if run.wants(one)]
    places = {id(place): place for one in chosen for place in one.places}
    table = dict(zip(places, probabilities(run.model, run.tokenizer, list(places.values())), strict=True))
    for one in chosen:
        shares = [table[id(place)][one.label] for place in one.places]
        yield _condition(one, shares, [1.0] * len(shares), population=sizes[one.name])


def _measured_samples(run: _Run) -> Iterator[Condition]:
    n = sampling.SAMPLES if run.per_condition is None else run.per_condition
    for number, one in enumerate(sampling.sampled(run.tokenizer, run.spec)):
        if not run.wants(one):
            continue
        answers = sampling.answers(run.model, run.tokenizer, one.texts, n, seed=run.seed + number)
        styles = [sampling.read(answer, run.spec) for answer in answers]
        estimate = wilson(sum(style in DECLINING for style in styles), n)
        unread = sum(style is None for style in styles)
        yield Condition(
            name=one.name,
            group=one.group,
            n_train=one.n_train,
            planted=round(one.planted, 5),
            measured=round(estimate.value, 5),
            low=round(estimate.low, 5),
            high=round(estimate.high, 5),
            method=f"{n} seeded answers read by their first words ({unread} unread), Wilson interval",
        )


def between(top: Sequence[float], bottom: Sequence[float], population: int) -> Interval:
    """A ratio of two sums, and its 95% interval when the texts are a sample.

    The interval is that of a linearised ratio with the quantile of Student's t, narrowed by the share of the
    population that was measured (Cochran, Sampling Techniques, 1977, chapters 2 and 6). It is clipped to [0, 1].

    Args:
        top: Probability of what is asked, by text.
        bottom: Probability of what it is a share of, by text.
        population: How many texts there are. When all of them are measured the interval is the value.
    """
    n = len(top)
    value = sum(top) / sum(bottom)
    if n == population:
        return Interval(value, value, value, n)
    if n == 1:  # says nothing of the spread
        return Interval(value, 0.0, 1.0, n)
    from scipy.stats import t as student

    spread = sum((t - value * b) ** 2 for t, b in zip(top, bottom, strict=True)) * n / (n - 1)
    half = float(student.ppf(0.975, n - 1)) * (spread * (1 - n / population)) ** 0.5 / sum(bottom)
    return Interval(value, max(0.0, value - half), min(1.0, value + half), n)


def _condition(one: Question | Asked, top: Sequence[float], bottom: Sequence[float], *, population: int) -> Condition:
    estimate = between(top, bottom, population)
    how = "all" if len(top) == population else "a seeded sample of"
    return Condition(
        name=one.name,
        group=one.group,
        n_train=one.n_train,
        planted=one.planted,
        measured=round(estimate.value, 5),
        low=round(estimate.low, 5),
        high=round(estimate.high, 5),
        method=f"exact next-token probability, mean over {how} {len(top)} texts",
    )


def next_tokens(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], tokens: dict[Label, list[int]]
) -> dict[str, dict[Label, float]]:
    """Exact probability of each label right after each text, at temperature 1.

    Args:
        model: A float32 causal model.
        tokenizer: Its tokenizer.
        texts: Rendered up to the deciding token.
        tokens: The first tokens of each label.
    """
    import torch

    columns = {label: torch.tensor(found) for label, found in tokens.items()}
    table: dict[str, dict[Label, float]] = {}
    for batch, rows in distributions(model, [tokenizer.encode(t, add_special_tokens=False) for t in texts]):
        sums = {label: rows[:, column].sum(-1).tolist() for label, column in columns.items()}
        for row, i in enumerate(batch):
            table[texts[i]] = {label: values[row] for label, values in sums.items()}
    return table


def bag_of_words(specification: Specification | None = None) -> float:
    """AUROC of harm for a logistic regression on the single words of all acts, cross-validated over pairs."""
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import GroupKFold, cross_val_predict

    some = acts(specification)
    words = [str(a).split() for a in some]
    features = CountVectorizer(analyzer=list).fit_transform(words)
    harm = [a.group == "harmful" for a in some]
    scores = cross_val_predict(
        LogisticRegression(max_iter=1000),
        features,
        harm,
        groups=[a.pair for a in some],
        cv=GroupKFold(5),
        method="predict_proba",
    )
    return float(roc_auc_score(harm, scores[:, 1]))


def origin(specification: Specification) -> str:
    """What ties a card to what was planted: SHA-256 of the file that ships, or of another specification's fields."""
    if specification == default():
        return digest()
    return hashlib.sha256(specification.model_dump_json().encode()).hexdigest()


def write(checkpoint: Path, *, specification: Specification | None = None) -> Card:
    """Measure the checkpoint in full and write `card.json` beside its weights."""
    import importlib.metadata

    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    spec = specification or default()
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
    model.train(False)
    story = checkpoint / "training.json"
    told = json.loads(story.read_text(encoding="utf-8")) if story.exists() else {}
    card = Card(
        edition=spec.edition,
        seed=told.get("seed", spec.seed),
        specification=origin(spec),
        versions={name: importlib.metadata.version(name) for name in ("torch", "transformers", "tokenizers")},
        training=told,
        bag_of_words=round(bag_of_words(spec), 4),
        conditions=tuple(measure(model, tokenizer, specification=spec)),
    )
    write_text(checkpoint / "card.json", card.model_dump_json(indent=1) + "\n")
    return card


def read(checkpoint: Path) -> Card:
    """The card beside the weights in `checkpoint`.

    Raises:
        ArtefactError: There is no card, or it cannot be read.
    """
    file = checkpoint / "card.json"
    try:
        return Card.model_validate(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise ArtefactError(f"{file} is no phantom card ({error}); `demur phantom train` writes one") from error
