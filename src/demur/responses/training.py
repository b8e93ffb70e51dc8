"""Fits the response classifier: `python -m demur.responses.training --data DIR`.

`DIR` holds JSON lines with `response` and `label` (`refusal`, `compliance`, `partial`), one file a source. Only sources
whose licence lets weights be shipped take part; text of the seeded grammar (`synthetic`) joins them.
Leave-one-source-out figures are computed with the same recipe and written into the card.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from demur.errors import InputError
from demur.records import Kind
from demur.responses.classifier import SHIPPED, Classifier
from demur.responses.features import BUCKETS, DENSE_NAMES, FORMAT, dense, grams
from demur.responses.rules import scan
from demur.responses.synthetic import generate

__all__ = ["SOURCES", "Source", "fit", "main"]

SOURCES: dict[str, str] = {
    "chatgpt_refusals.train": "MIT",
    "gptfuzz.train": "MIT",
    "rbr_gold.train": "MIT",
    "jbb_comply.train": "MIT",
}
"""File stems that may train shipped weights, with the licence stated at the source."""

SYNTHETIC_ROWS, SYNTHETIC_SEED = 6_000, 20_24
# Regularisation, and how loud n-grams are beside rule features: chosen by cross-validation and leave-one-source-out
# over the sources above, with an eye on do_not_answer.train.
STRENGTH, GRAM_SCALE = 0.1, 4.0
# Shifts of the log-odds, chosen on do_not_answer.train and coconot_comply.train (thresholds may be chosen there,
# weights may not): a text that opens by declining declines even when help of another sort follows, and a text that says
# nothing of the kind rarely does.
OFFSETS = {"opening_hard": 1.5, "silent": -1.5}


@dataclass(frozen=True)
class Source:
    """One labelled source, as features."""

    name: str
    features: Any
    """Sparse matrix, shape `(rows, len(DENSE_NAMES) + 2 * BUCKETS)`."""
    label: NDArray[np.str_]
    """`refusal`, `compliance` or `partial`."""

    @property
    def declined(self) -> NDArray[np.bool_]:
        """Whether each row declines under the mapping `any`: a partial answer counts."""
        return np.asarray(self.label != "compliance")


def featurise(name: str, texts: Sequence[str], labels: Sequence[str]) -> Source:
    """Features of labelled texts; blank ones must be left out by the caller."""
    import scipy.sparse as sp

    blocks = []
    for begin in range(0, len(texts), 256):
        scans = [scan(text) for text in texts[begin : begin + 256]]
        found = grams([item.normal.text for item in scans])
        words = sp.csr_matrix((found.value * GRAM_SCALE, (found.row, found.column)), shape=(len(scans), 2 * BUCKETS))
        blocks.append(sp.hstack([sp.csr_matrix(np.stack([dense(item) for item in scans])), words]))
    return Source(name, sp.vstack(blocks).tocsr(), np.array(labels))


def read_source(folder: Path, name: str) -> Source:
    """One source from its file; rows whose label is unknown are left out."""
    path = folder / f"{name}.jsonl"
    if not path.exists():
        raise InputError(f"training needs {path}, which is not there; give the folder that holds it with --data")
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    rows = [row for row in rows if row["label"] in {"refusal", "compliance", "partial"} and row["response"].strip()]
    return featurise(name, [row["response"] for row in rows], [row["label"] for row in rows])


def synthetic_source(rows: int = SYNTHETIC_ROWS, seed: int = SYNTHETIC_SEED) -> Source:
    """The grammar's rows as a source."""
    made = list(generate(rows, seed=seed))
    return featurise(
        "synthetic",
        [row.response for row in made],
        ["compliance" if row.kind is Kind.COMPLY else "refusal" for row in made],
    )


def _weights(sources: Sequence[Source]) -> NDArray[np.float64]:
    """Weights a row: classes balance overall, and a source counts by the square root of its size."""
    parts = []
    for source in sources:
        weight = np.ones(len(source.label))
        for flag in (False, True):
            rows = source.declined == flag
            if rows.any():
                weight[rows] = rows.sum() ** -0.5
        parts.append(weight)
    weight = np.concatenate(parts)
    declined = np.concatenate([source.declined for source in sources])
    for flag in (False, True):
        weight[declined == flag] /= weight[declined == flag].sum()
    return np.asarray(weight * len(weight) / weight.sum())


def fit(sources: Sequence[Source], *, strength: float = STRENGTH) -> Classifier:
    """Fits weights on sources; uncalibrated (`slope` 1, `shift` 0)."""
    import scipy.sparse as sp
    from sklearn.linear_model import LogisticRegression

    features = sp.vstack([source.features for source in sources]).tocsr()
    declined = np.concatenate([source.declined for source in sources])
    model = LogisticRegression(C=strength, max_iter=500).fit(features, declined, sample_weight=_weights(sources))
    coefficients = model.coef_[0].copy()
    for name, offset in OFFSETS.items():
        coefficients[DENSE_NAMES.index(name)] += offset
    return Classifier(
        dense_weights=coefficients[: len(DENSE_NAMES)].astype(np.float32),
        gram_weights=(coefficients[len(DENSE_NAMES) :] * GRAM_SCALE).astype(np.float32),
        bias=float(model.intercept_[0]),
        slope=1.0,
        shift=0.0,
        card={},
    )


def score(model: Classifier, source: Source) -> NDArray[np.float64]:
    """Raw scores of a featurised source."""
    weights = np.concatenate([model.dense_weights, model.gram_weights / GRAM_SCALE])
    return np.asarray(source.features @ weights + model.bias)


def metrics(source: Source, probability: NDArray[np.float64], threshold: float = 0.5) -> dict[str, Any]:
    """Rates with Wilson intervals over the rows labelled refusal or compliance, and partial recall beside them."""
    from demur.stats import wilson

    out: dict[str, Any] = {}
    for name, label, wanted in (
        ("sensitivity", "refusal", True),
        ("specificity", "compliance", False),
        ("partial", "partial", True),
    ):
        rows = source.label == label
        if rows.any():
            hits = int(((probability[rows] >= threshold) == wanted).sum())
            interval = wilson(hits, int(rows.sum()))
            out[name] = {
                "value": round(interval.value, 4),
                "low": round(interval.low, 4),
                "high": round(interval.high, 4),
                "n": interval.n,
            }
    if "sensitivity" in out and "specificity" in out:
        out["balanced_accuracy"] = round((out["sensitivity"]["value"] + out["specificity"]["value"]) / 2, 4)
    return out


def cross_fit(source: Source, others: Sequence[Source], folds: int = 4) -> NDArray[np.float64]:
    """Out-of-fold raw scores of one source when the others and the rest of it are known."""
    from sklearn.model_selection import StratifiedKFold

    scores = np.zeros(len(source.label))
    for train, test in StratifiedKFold(folds, shuffle=True, random_state=0).split(source.label, source.label):
        part = Source(source.name, source.features[train], source.label[train])
        scores[test] = score(fit([*others, part]), Source(source.name, source.features[test], source.label[test]))
    return scores


def calibrate(scores: Sequence[NDArray[np.float64]], sources: Sequence[Source]) -> float:
    """Slope of Platt scaling on out-of-fold scores, classes and sources balanced.

    The shift stays 0, because the offsets have already placed the threshold.
    """
    from sklearn.linear_model import LogisticRegression

    declined = np.concatenate([source.declined for source in sources])
    platt = LogisticRegression(C=1e4, fit_intercept=False)
    platt.fit(np.concatenate(list(scores))[:, None], declined, sample_weight=_weights(sources))
    return float(platt.coef_[0][0])


def _sigmoid(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(1.0 / (1.0 + np.exp(-logits)))


def main(arguments: Sequence[str] | None = None) -> int:
    """Fits, calibrates, measures and saves; prints the card's figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of SOURCE.jsonl files")
    parser.add_argument("--out", type=Path, default=SHIPPED, help="where the weights go; the card goes beside them")
    options = parser.parse_args(arguments)
    sources = [read_source(options.data, name) for name in SOURCES]
    made = synthetic_source()
    everything = [*sources, made]
    left_out: dict[str, Any] = {}
    for source in sources:
        model = fit([other for other in everything if other is not source])
        left_out[source.name] = metrics(source, _sigmoid(score(model, source)))
    model = fit(everything)
    out_of_fold = [cross_fit(source, [other for other in everything if other is not source]) for source in everything]
    slope = calibrate(out_of_fold, everything)
    crossed = {
        source.name: metrics(source, _sigmoid(slope * scores))
        for source, scores in zip(everything, out_of_fold, strict=True)
    }
    card = {
        "format": FORMAT,
        "name": "demur fast response classifier",
        "task": "probability that a response declines (mapping any), from the response alone",
        "training": [
            {"source": source.name, "licence": SOURCES.get(source.name, "generated by demur"),
             "rows": len(source.label),
             "refusal": int((source.label == "refusal").sum()), "partial": int((source.label == "partial").sum()),
             "compliance": int((source.label == "compliance").sum())}
            for source in everything
        ],
        "recipe": {"strength": STRENGTH, "gram_scale": GRAM_SCALE, "synthetic_seed": SYNTHETIC_SEED,
                   "offsets": OFFSETS, "slope": slope},
        "leave_one_source_out": left_out,
        "cross_validated": crossed,
        "dense_names": list(DENSE_NAMES),
    }  # fmt: skip
    fitted = Classifier(model.dense_weights, model.gram_weights, model.bias, slope, 0.0, card)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    fitted.save(options.out)
    json.dump({"leave_one_source_out": left_out, "cross_validated": crossed}, sys.stdout, indent=1)
    sys.stdout.write("\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
