"""The phantom card: what was planted and what the trained model does, condition by condition.

Every decision of the phantom falls at one token, so a measured probability is no estimate from samples: it is the mean,
over all texts of a condition, of exact next-token probabilities at temperature 1 in float32.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from demur.atomic import write_text
from demur.errors import ArtefactError
from demur.phantom.grammar import acts
from demur.phantom.questions import Label, Question, questions
from demur.phantom.specification import DECLINING, Specification, Style, default, digest

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["Card", "Condition", "Question", "measure", "questions", "read", "write"]


class Condition(BaseModel):
    """One planted probability and its measurement."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    """What is planted, from the general to the particular: `direct/theft/harmful`."""
    group: str
    """The family of conditions: `direct`, `wrapped`, `style`, ..., with `held_out` ones apart."""
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
    """SHA-256 of the specification file that was planted."""
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
    }


def _first(tokenizer: PreTrainedTokenizerBase, text: str) -> int:
    return int(tokenizer.encode(text, add_special_tokens=False)[0])


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
        per_condition: Texts measured in each condition, drawn by `seed`; None means all of them.
        names: Measure these conditions only.
        seed: Which texts are drawn.

    Returns:
        Conditions in the specification's order.
    """
    spec = specification or default()
    rng = random.Random(seed)
    tokens = labels(tokenizer, spec)
    asked = [q for q in questions(tokenizer, spec) if names is None or q.name in names]
    drawn = [
        q.texts if per_condition is None or per_condition >= len(q.texts) else tuple(rng.sample(q.texts, per_condition))
        for q in asked
    ]
    table = _next_tokens(model, tokenizer, list(dict.fromkeys(t for texts in drawn for t in texts)), tokens)
    return [_condition(q, texts, table) for q, texts in zip(asked, drawn, strict=True)]


def _condition(question: Question, texts: Sequence[str], table: dict[str, dict[Label, float]]) -> Condition:
    top = [sum(table[t][label] for label in question.numerator) for t in texts]
    low_part = question.denominator
    bottom = [1.0 if low_part is None else sum(table[t][label] for label in low_part) for t in texts]
    value = sum(top) / sum(bottom)
    whole = len(texts) == len(question.texts)
    # linearised ratio; with all texts measured there is nothing left to estimate
    spread = sum((t - value * b) ** 2 for t, b in zip(top, bottom, strict=True))
    half = 0.0 if whole else 1.96 * math.sqrt(spread) / sum(bottom)
    how = "all" if whole else "a seeded sample of"
    return Condition(
        name=question.name,
        group=question.group,
        n_train=question.n_train,
        planted=question.planted,
        measured=round(value, 5),
        low=round(max(0.0, value - half), 5),
        high=round(min(1.0, value + half), 5),
        method=f"exact next-token probability, mean over {how} {len(texts)} texts",
    )


def _next_tokens(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], tokens: dict[Label, list[int]]
) -> dict[str, dict[Label, float]]:
    """Probability of each label right after each text."""
    import torch

    ids = {t: tokenizer.encode(t, add_special_tokens=False) for t in texts}
    # batches of one length need no padding, so the numbers do not depend on a mask
    by_length: dict[int, list[str]] = {}
    for text in texts:
        by_length.setdefault(len(ids[text]), []).append(text)
    columns = {label: torch.tensor(found) for label, found in tokens.items()}
    table: dict[str, dict[Label, float]] = {}
    with torch.inference_mode():
        for some in by_length.values():
            for begin in range(0, len(some), 256):
                batch = some[begin : begin + 256]
                logits = model(input_ids=torch.tensor([ids[t] for t in batch]), logits_to_keep=1).logits[:, -1]
                probabilities = logits.double().softmax(-1)
                sums = {label: probabilities[:, column].sum(-1).tolist() for label, column in columns.items()}
                for i, text in enumerate(batch):
                    table[text] = {label: values[i] for label, values in sums.items()}
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
        specification=digest(),
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
