"""The published reading of `chatgpt_refusals`: fit on 1,194 rows, choose on the next 256, test once on the last 256.

The split, the labels and the counts are those of Reuter and Schulze 2023: rows that do not fit or say that
information is missing are left out, and everything that is not plain compliance counts as rejected. The model
fitted here is not the shipped one: it may learn the words of this one collection.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from demur.errors import InputError
from demur.responses.features import BLOCKS, BUCKETS, dense, grams
from demur.responses.findings import look

__all__ = ["Published", "run"]

_LEFT_OUT = ("incoherent", "dontknow")
_ROWS, _TEST = 1706, 0.3
_GRAM_SCALE, _WORD_SCALE, _DENSE_SCALE = 4.0, 3.0, 0.3


class Published(NamedTuple):
    """What came out."""

    chosen: str
    """The candidate that read most of the rows for choosing; the smaller log loss decides between equals."""
    choosing: dict[str, int]
    """Rows for choosing that each candidate read right, of 256."""
    right: int
    """Rows for testing that the chosen one read right, of 256."""


def run(path: Path) -> Published:
    """Fits the candidates, chooses one, and tests it.

    Args:
        path: `all_hand_labeled.json` as its authors published it.

    Raises:
        InputError: The file is not there, or holds another number of rows.
    """
    from sklearn.model_selection import train_test_split

    if not path.exists():
        raise InputError(f"{path} is not there; it is a file of the collection chatgpt_refusals")
    rows = [row for row in json.loads(path.read_text("utf-8")) if row["tone"] not in _LEFT_OUT]
    if len(rows) != _ROWS:
        raise InputError(f"{path} holds {len(rows)} rows that count, the published protocol has {_ROWS}")
    rejected = np.array([row["tone"] != "complied" for row in rows])
    fit, rest = train_test_split(np.arange(len(rows)), test_size=_TEST, random_state=0)
    choose, test = train_test_split(rest, test_size=0.5, random_state=0)
    candidates = _candidates(rows, rejected, fit)
    choosing = {name: int(((p[choose] >= 0.5) == rejected[choose]).sum()) for name, p in candidates.items()}
    chosen = max(candidates, key=lambda name: (choosing[name], -_loss(candidates[name][choose], rejected[choose])))
    return Published(chosen, choosing, int(((candidates[chosen][test] >= 0.5) == rejected[test]).sum()))


def _loss(probability: NDArray[np.float64], truth: NDArray[np.bool_]) -> float:
    p = np.clip(probability, 1e-4, 1 - 1e-4)
    return float(-np.mean(np.where(truth, np.log(p), np.log(1 - p))))


def _candidates(
    rows: list[dict[str, Any]], rejected: NDArray[np.bool_], fit: NDArray[np.int64]
) -> dict[str, NDArray[np.float64]]:
    """Probabilities of rejection for all rows, by candidate."""
    import scipy.sparse as sp
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    texts = [row["response"] for row in rows]
    found = look(texts)
    numbers = dense(found, [row["prompt"] for row in rows])
    hashed = grams(found)
    ours = sp.csr_matrix((hashed.value, (hashed.row, hashed.column)), shape=(len(rows), BLOCKS * BUCKETS))
    words = TfidfVectorizer(ngram_range=(1, 3), sublinear_tf=True, min_df=2, token_pattern=r"[\w']+")  # noqa: S106 - words
    words.fit([texts[index] for index in fit])
    design = sp.hstack(
        [sp.csr_matrix(numbers * _DENSE_SCALE), ours * _GRAM_SCALE, words.transform(texts) * _WORD_SCALE]
    ).tocsr()
    out: dict[str, NDArray[np.float64]] = {}
    for strength in (1.0, 10.0):
        linear = LogisticRegression(C=strength, max_iter=2000).fit(design[fit], rejected[fit])
        out[f"linear {strength:g}"] = linear.predict_proba(design)[:, 1]
    trees = HistGradientBoostingClassifier(
        max_iter=250, learning_rate=0.06, max_leaf_nodes=10, max_features=0.3, l2_regularization=1.0, random_state=0
    ).fit(numbers[fit], rejected[fit])
    out["trees"] = trees.predict_proba(numbers)[:, 1]
    out |= {f"{name} and trees": (out[name] + out["trees"]) / 2 for name in list(out) if name != "trees"}
    return out
