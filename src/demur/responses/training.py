"""Fits the response classifier: `python -m demur.responses.training --data DIR`.

`DIR` holds JSON lines with `prompt`, `response`, `label` (`refusal`, `compliance`, `partial`) and `fine`, one file a
source. Only sources whose licence lets weights be shipped train them; text of the seeded grammar (`synthetic`) joins
them. One more source chooses offsets and is measured, but trains nothing. Leave-one-source-out figures are computed
with the same recipe and written into the card.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from demur.errors import InputError
from demur.records import Kind
from demur.responses.classifier import KINDS, SHIPPED, Classifier
from demur.responses.features import BLOCKS, BUCKETS, DENSE_NAMES, FORMAT, dense, grams
from demur.responses.findings import look
from demur.responses.synthetic import generate

__all__ = ["SOURCES", "Source", "fit", "main"]

SOURCES: dict[str, str] = {
    "chatgpt_refusals.train": "MIT",
    "gptfuzz.train": "MIT",
    "rbr_gold.train": "MIT",
    "jbb_comply.train": "MIT",
}
"""File stems that may train shipped weights, with the licence stated at the source."""

CHOOSING = "do_not_answer.train"
"""Chooses the offsets of kinds and is left out of training; measured like a source that was left out."""

MEASURING = ("gptfuzz.dev", "do_not_answer.dev")
"""Measured when they are there; they train and choose nothing."""

FINE: dict[str, Kind] = {
    "refusal": Kind.REFUSE,
    "rebuttal": Kind.REBUT,
    "abstention": Kind.ABSTAIN,
    "disclaimer": Kind.PARTIAL,
    "deflection": Kind.PARTIAL,
    "partial_compliance": Kind.PARTIAL,
    "counseling": Kind.DEFLECT,
}
"""Kinds of declining by the sources' own fine labels; other fine labels teach no kind."""

READ_AS: dict[str, Kind] = {
    "refusal": Kind.REFUSE,
    "rebuttal": Kind.REBUT,
    "abstention": Kind.ABSTAIN,
    "compliance": Kind.COMPLY,
    "disclaimer": Kind.COMPLY,
    "balanced": Kind.COMPLY,
}
"""How the fine labels of do_not_answer read as kinds: an answer with a disclaimer and one from both sides are answers.
Among predictions `partial` reads as `comply`, and `clarify` as `deflect`."""

KNOWN_FAILURES: tuple[str, ...] = (
    "care or moral argument in the place of an answer, without any phrase of declining, is often read as an answer",
    "answers that open with what the model is or lacks are often read as declining",
    "answers by two personas are misread where the change of speaker is not marked",
    "rebuttals are often read as answers",
    "in other languages than English about one in seven short ways of declining is missed, and one in eight answers is "
    "read as declining; not validated by native speakers",
)
"""What the card says of errors that measurements showed."""

SYNTHETIC_ROWS, SYNTHETIC_SEED = 8_000, 20_24
# Regularisation, and how loud n-grams are beside rule features: chosen by leave-one-source-out over the sources above.
STRENGTH, GRAM_SCALE, KIND_STRENGTH = 0.1, 8.0, 0.01
# Shifts of the log-odds, chosen on do_not_answer.train (thresholds may be chosen there, weights may not): a text that
# says early what it cannot do declines, even when much that is friendly follows; one in which offers to help or to
# listen lie close together is care for somebody and no refusal.
OFFSETS, SHIFT = {"cannot_early_alone": 2.0, "offer:density": -2.0}, -0.35


@dataclass(frozen=True)
class Source:
    """One labelled source, as features."""

    name: str
    dense: NDArray[np.float64]
    """Shape `(rows, len(DENSE_NAMES))`."""
    grams: Any
    """Sparse matrix, shape `(rows, BLOCKS * BUCKETS)`."""
    label: NDArray[np.str_]
    """`refusal`, `compliance`, `partial`, or `unknown`."""
    kind: NDArray[np.int64]
    """Number of the kind of declining in `KINDS`, -1 where it is not known."""
    fine: NDArray[np.str_]
    """The source's own fine label."""

    @property
    def declined(self) -> NDArray[np.bool_]:
        """Whether each row declines under the mapping `any`: a partial answer counts."""
        return np.asarray(self.label != "compliance")

    def take(self, rows: NDArray[Any]) -> Source:
        """Some of the rows."""
        return Source(self.name, self.dense[rows], self.grams[rows], self.label[rows], self.kind[rows], self.fine[rows])

    @property
    def teaching(self) -> Source:
        """The rows that say whether they decline: by their label, or by a fine label that is a kind of declining."""
        return self.take((self.label != "unknown") | (self.kind >= 0))

    @property
    def labelled(self) -> Source:
        """The rows whose label is known."""
        return self.take(self.label != "unknown")


def featurise(
    name: str,
    rows: Sequence[tuple[str | None, str]],
    labels: Sequence[str],
    kinds: Sequence[Kind | None],
    fine: Sequence[str],
) -> Source:
    """Features of labelled exchanges; blank responses must be left out by the caller."""
    import scipy.sparse as sp

    numbers, words = [], []
    for begin in range(0, len(rows), 256):
        part = rows[begin : begin + 256]
        found = look([response for _, response in part])
        numbers.append(dense(found, [prompt for prompt, _ in part]))
        hashed = grams(found)
        words.append(sp.csr_matrix((hashed.value, (hashed.row, hashed.column)), shape=(len(part), BLOCKS * BUCKETS)))
    number = {kind: index for index, kind in enumerate(KINDS)}
    return Source(
        name,
        np.concatenate(numbers),
        sp.vstack(words).tocsr(),
        np.array(labels),
        np.array([-1 if kind is None else number.get(kind, -1) for kind in kinds]),
        np.array(fine),
    )


def read_source(folder: Path, name: str) -> Source:
    """One source from its file, rows of unknown label included."""
    path = folder / f"{name}.jsonl"
    if not path.exists():
        raise InputError(f"training needs {path}, which is not there; give the folder that holds it with --data")
    rows = [json.loads(line) for line in path.read_text("utf-8").split("\n") if line.strip()]
    rows = [row for row in rows if row["response"].strip()]
    return featurise(
        name,
        [(row["prompt"], row["response"]) for row in rows],
        [row["label"] for row in rows],
        [FINE.get(row["fine"]) for row in rows],
        [row["fine"] for row in rows],
    )


def synthetic_source(rows: int = SYNTHETIC_ROWS, seed: int = SYNTHETIC_SEED) -> Source:
    """The grammar's rows as a source."""
    made = list(generate(rows, seed=seed))
    return featurise(
        "synthetic",
        [(row.prompt, row.response) for row in made],
        ["compliance" if row.kind is Kind.COMPLY else "refusal" for row in made],
        [row.kind for row in made],
        [row.kind.value for row in made],
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


def _design(source: Source) -> Any:
    import scipy.sparse as sp

    return sp.hstack([sp.csr_matrix(source.dense), source.grams * GRAM_SCALE]).tocsr()


def fit(sources: Sequence[Source]) -> Classifier:
    """Fits weights on sources; uncalibrated (`slope` 1, `shift` 0)."""
    import scipy.sparse as sp
    from sklearn.linear_model import LogisticRegression

    known = [source.teaching for source in sources]
    features = sp.vstack([_design(source) for source in known]).tocsr()
    declined = np.concatenate([source.declined for source in known])
    model = LogisticRegression(C=STRENGTH, max_iter=500).fit(features, declined, sample_weight=_weights(known))
    weights = model.coef_[0].copy()
    for name, offset in OFFSETS.items():
        weights[DENSE_NAMES.index(name)] += offset
    return Classifier(
        dense_weights=weights[: len(DENSE_NAMES)].astype(np.float32),
        gram_weights=(weights[len(DENSE_NAMES) :] * GRAM_SCALE).astype(np.float32),
        bias=float(model.intercept_[0]) + SHIFT,
        slope=1.0,
        shift=0.0,
        kind_weights=fit_kinds(sources),
        card={},
    )


def fit_kinds(sources: Sequence[Source]) -> NDArray[np.float32]:
    """Fits the layer of kinds on rows whose kind of declining is known; kinds balance."""
    from sklearn.linear_model import LogisticRegression

    numbers = np.concatenate([source.dense[source.kind >= 0] for source in sources])
    kinds = np.concatenate([source.kind[source.kind >= 0] for source in sources])
    model = LogisticRegression(C=KIND_STRENGTH, max_iter=300, class_weight="balanced").fit(numbers, kinds)
    weights = np.full((len(DENSE_NAMES) + 1, len(KINDS)), 0.0)
    weights[-1] = -30.0  # a kind without rows is never chosen
    weights[:-1, model.classes_] = model.coef_.T
    weights[-1, model.classes_] = model.intercept_
    return weights.astype(np.float32)


def choose_offsets(model: Classifier, source: Source) -> Classifier:
    """Offsets of the kinds that read a source's fine labels best (macro-F1), by coordinate ascent."""
    declines = score(model, source) >= 0
    scores = source.dense @ model.kind_weights[:-1] + model.kind_weights[-1]
    offsets = np.zeros(len(KINDS))
    best = macro_f1(source, declines, scores)
    for _ in range(3):
        for kind in range(len(KINDS)):
            for value in np.arange(-3.0, 3.05, 0.1):
                trial = offsets.copy()
                trial[kind] = value
                found = macro_f1(source, declines, scores + trial)
                if found > best + 1e-4:
                    best, offsets = found, trial
    weights = model.kind_weights.copy()
    weights[-1] += offsets.astype(np.float32)
    return replace(model, kind_weights=weights)


def read_kinds(declines: NDArray[np.bool_], scores: NDArray[np.float64]) -> NDArray[np.str_]:
    """Predicted kinds as `READ_AS` reads them."""
    names = np.array([Kind.COMPLY if k is Kind.PARTIAL else Kind.DEFLECT if k is Kind.CLARIFY else k for k in KINDS])
    return np.where(declines, names[scores.argmax(axis=1)], Kind.COMPLY.value)


def kinds_f1(source: Source, declines: NDArray[np.bool_], scores: NDArray[np.float64]) -> dict[str, dict[str, Any]]:
    """F1 and rows of each kind that a source's fine labels read as."""
    from sklearn.metrics import f1_score

    known = np.isin(source.fine, list(READ_AS))
    truth = np.array([READ_AS[fine].value for fine in source.fine[known]])
    kinds = sorted(set(truth))
    found = f1_score(truth, read_kinds(declines, scores)[known], labels=kinds, average=None, zero_division=0)
    return {
        kind: {"f1": round(float(value), 4), "n": int((truth == kind).sum())}
        for kind, value in zip(kinds, found, strict=True)
    }


def macro_f1(source: Source, declines: NDArray[np.bool_], scores: NDArray[np.float64]) -> float:
    """Macro-F1 over the kinds that a source's fine labels read as."""
    from sklearn.metrics import f1_score

    known = np.isin(source.fine, list(READ_AS))
    truth = np.array([READ_AS[fine].value for fine in source.fine[known]])
    said = read_kinds(declines, scores)[known]
    return float(f1_score(truth, said, labels=sorted(set(truth)), average="macro", zero_division=0))


def score(model: Classifier, source: Source) -> NDArray[np.float64]:
    """Raw scores of a featurised source."""
    return np.asarray(source.dense @ model.dense_weights + source.grams @ model.gram_weights + model.bias)


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
        scores[test] = score(fit([*others, source.take(train)]), source.take(test))
    return scores


def calibration_error(source: Source, probability: NDArray[np.float64]) -> float:
    """Expected calibration error in ten bins of equal width, over rows labelled refusal or compliance."""
    rows = np.isin(source.label, ("refusal", "compliance"))
    said, truth = probability[rows], source.declined[rows]
    bins = np.minimum((said * 10).astype(int), 9)
    gaps = [abs(said[bins == k].sum() - truth[bins == k].sum()) for k in range(10)]
    return float(sum(gaps) / len(said))


def measure(model: Classifier, source: Source) -> dict[str, Any]:
    """What the card says of a source that the model has not seen: rates, calibration, fine kinds."""
    scores = score(model, source)
    probability = _sigmoid(model.slope * scores)
    out = metrics(source, probability)
    out["calibration_error"] = round(calibration_error(source, probability), 4)
    if np.isin(source.fine, list(READ_AS)).mean() > 0.5:
        by_kind = source.dense @ model.kind_weights[:-1] + model.kind_weights[-1]
        out["kinds_macro_f1"] = round(macro_f1(source, scores >= 0, by_kind), 4)
        out["kinds_f1"] = kinds_f1(source, scores >= 0, by_kind)
    return out


def calibrate(scored: Sequence[tuple[Source, NDArray[np.float64]]]) -> float:
    """Slope of Platt scaling, classes and sources balanced.

    The shift stays 0: `OFFSETS` and `SHIFT` have placed the threshold.

    Args:
        scored: Sources with scores of models that had not seen the rows: of the source some (a text of a known kind),
            or nothing (a text of a new kind).
    """
    from sklearn.linear_model import LogisticRegression

    sources = [source for source, _ in scored]
    declined = np.concatenate([source.declined for source in sources])
    platt = LogisticRegression(C=1e4, fit_intercept=False)
    platt.fit(np.concatenate([scores for _, scores in scored])[:, None], declined, sample_weight=_weights(sources))
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
    choosing = read_source(options.data, CHOOSING)
    everything = [*sources, synthetic_source()]
    model = choose_offsets(fit(everything), choosing)
    held_out: list[tuple[Source, NDArray[np.float64]]] = []
    known: list[tuple[Source, NDArray[np.float64]]] = []
    for source in everything:
        others = [other for other in everything if other is not source]
        labelled = source.labelled
        known.append((labelled, cross_fit(labelled, others)))
        if source is not everything[-1]:
            held_out.append((labelled, score(fit(others), labelled)))
    held_out.append((choosing.labelled, score(model, choosing.labelled)))
    slope = calibrate([*held_out, *known[:-1]])
    left_out = {source.name: metrics(source, _sigmoid(slope * scores)) for source, scores in held_out}
    crossed = {source.name: metrics(source, _sigmoid(slope * scores)) for source, scores in known}
    kinds = macro_f1(
        choosing, score(model, choosing) >= 0, choosing.dense @ model.kind_weights[:-1] + model.kind_weights[-1]
    )
    card = {
        "format": FORMAT,
        "name": "demur fast response classifier",
        "task": "probability that a response declines (mapping any), and the kind of declining",
        "training": [
            {"source": source.name, "licence": SOURCES.get(source.name, "generated by demur"),
             "rows": len(source.label),
             "refusal": int((source.label == "refusal").sum()), "partial": int((source.label == "partial").sum()),
             "compliance": int((source.label == "compliance").sum()),
             "kinds": int((source.kind >= 0).sum())}
            for source in everything
        ],
        "recipe": {"strength": STRENGTH, "gram_scale": GRAM_SCALE, "kind_strength": KIND_STRENGTH,
                   "synthetic_seed": SYNTHETIC_SEED, "offsets": OFFSETS, "shift": SHIFT, "slope": slope,
                   "chosen_on": CHOOSING},
        "leave_one_source_out": left_out,
        "cross_validated": crossed,
        "kinds_macro_f1": {CHOOSING: round(kinds, 4)},
        "known_failures": list(KNOWN_FAILURES),
        "dense_names": list(DENSE_NAMES),
    }  # fmt: skip
    fitted = replace(model, slope=slope, card=card)
    card["measured"] = {
        name: measure(fitted, read_source(options.data, name))
        for name in MEASURING
        if (options.data / f"{name}.jsonl").exists()
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    fitted.save(options.out)
    json.dump({key: card[key] for key in ("leave_one_source_out", "cross_validated", "measured")}, sys.stdout, indent=1)
    sys.stdout.write("\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
