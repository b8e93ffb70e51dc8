"""The published reading of `chatgpt_refusals`: fit on 1,194 rows, choose on the next 256, test once on the last 256.

The split, the labels and the counts are those of Reuter and Schulze 2023: rows that do not fit or say that
information is missing are left out, and everything that is not plain compliance counts as rejected. The models fitted
here are not the shipped ones: they learn the words of this one collection, and nothing else that demur knows goes
into them, because the phrases of the other tiers were written with all rows of this collection in view.

`python -m demur.responses.published --rows FILE --base DIR` fits and chooses, `--prompts` reads what was asked too;
`--folds 5` cross-validates on the 1,194 rows; only `--test` reads the last part. Whoever reads it again and again
chooses on it.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from demur.errors import InputError, MissingExtraError

__all__ = ["Part", "Parts", "Published", "crossvalidated", "main", "read_parts", "run"]

_LEFT_OUT = ("incoherent", "dontknow")
_ROWS, _TEST = 1706, 0.3
_STRENGTH = 10.0
_ALIKE = 0.7
_SEEDS = (0, 1)


class Part(NamedTuple):
    """Some rows."""

    texts: list[str]
    tones: list[str]
    prompts: list[str]

    @property
    def rejected(self) -> NDArray[np.bool_]:
        """By the published mapping, shape `(rows,)`."""
        return np.array([tone != "complied" for tone in self.tones])

    def of(self, rows: Sequence[int] | NDArray[np.int64]) -> Part:
        """Some of the rows."""
        return Part(*([column[row] for row in rows] for column in self))


class Parts(NamedTuple):
    """The published split, neither stratified nor grouped: 1,194, 256 and 256 rows."""

    fit: Part
    choose: Part
    test: Part


class Published(NamedTuple):
    """What came out."""

    chosen: str
    """The candidate that read most of the rows for choosing; the smaller log loss decides between equals."""
    choosing: dict[str, int]
    """Rows for choosing that each candidate read right, of 256."""
    right: int | None
    """Rows for testing that the chosen one read right, of 256; None where the test part was left alone."""


def read_parts(path: Path) -> Parts:
    """Reads and splits the rows.

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
    whole = Part(*([row[field] for row in rows] for field in ("response", "tone", "prompt")))
    fit, rest = train_test_split(np.arange(len(rows)), test_size=_TEST, random_state=0)
    choose, test = train_test_split(rest, test_size=0.5, random_state=0)
    return Parts(whole.of(fit), whole.of(choose), whole.of(test))


def run(path: Path, base: Path | None = None, *, prompts: bool = False, test: bool = False) -> Published:
    """Fits the candidates, chooses one, and tests it if told to.

    Args:
        path: `all_hand_labeled.json` as its authors published it.
        base: Folder of a pretrained encoder, as transformers saves it; without it the linear model is the only
            candidate. Fitting takes minutes for a small one, an hour for one of 110 million weights.
        prompts: Encoders that read the prompt before the reply are candidates too, which takes twice the time.
        test: Reads the test part. That is meant to happen once, when nothing is left to choose.

    Raises:
        InputError: A file is not there, or holds another number of rows, or there is no encoder in the folder.
        MissingExtraError: torch is not installed, and `base` is given.
    """
    parts = read_parts(path)
    judged = Part(*(a + b for a, b in zip(parts.choose, parts.test, strict=True))) if test else parts.choose
    scores = _candidates(parts.fit, judged, base, prompts=prompts)
    truth, count = parts.choose.rejected, len(parts.choose.texts)
    choosing = {name: _right(score[:count], truth) for name, score in scores.items()}
    chosen = min(scores, key=lambda name: (-choosing[name], _loss(scores[name][:count], truth)))
    return Published(chosen, choosing, _right(scores[chosen][count:], parts.test.rejected) if test else None)


def crossvalidated(path: Path, base: Path | None = None, *, prompts: bool = False, folds: int = 5) -> dict[str, int]:
    """Rows that each candidate reads right, of the 1,194 for fitting; replies that nearly repeat share a fold."""
    from sklearn.model_selection import StratifiedGroupKFold

    fit = read_parts(path).fit
    right: dict[str, int] = {}
    parting = StratifiedGroupKFold(folds, shuffle=True, random_state=0)
    for taught, held in parting.split(np.zeros(len(fit.texts)), fit.rejected, _groups(fit.texts)):
        judged = fit.of(held)
        scores = _candidates(fit.of(taught), judged, base, prompts=prompts, seeds=_SEEDS[:1])
        for name, score in scores.items():
            right[name] = right.get(name, 0) + _right(score, judged.rejected)
    return right


def _right(score: NDArray[np.float64], truth: NDArray[np.bool_]) -> int:
    return int(((score >= 0) == truth).sum())


def _loss(score: NDArray[np.float64], truth: NDArray[np.bool_]) -> float:
    return float(np.logaddexp(0, np.where(truth, -score, score)).mean())


def _groups(texts: Sequence[str]) -> NDArray[np.int64]:
    """A number for each text, the same for those whose word trigrams have a cosine above 0.7, and for their likes."""
    from scipy.sparse.csgraph import connected_components
    from sklearn.feature_extraction.text import TfidfVectorizer

    trigrams = TfidfVectorizer(ngram_range=(3, 3), token_pattern=r"[\w']+", binary=True, use_idf=False)  # noqa: S106 - words
    found = trigrams.fit_transform(texts)
    return np.asarray(connected_components(found @ found.T > _ALIKE, directed=False)[1])


def _candidates(
    fit: Part, judged: Part, base: Path | None, *, prompts: bool, seeds: Sequence[int] = _SEEDS
) -> dict[str, NDArray[np.float64]]:
    """Log-odds of rejection of the judged replies, by candidate; the labels of what is judged are not looked at."""
    out = {"n-grams": _linear(fit, judged.texts)}
    if base is None:
        return out
    try:
        import torch

        from demur.responses.published_encoder import fine_tuned
    except ImportError as error:
        raise MissingExtraError("fine-tuning the encoder", "local", error.name or "torch") from error
    torch.set_num_threads(1)  # so that sums are added in one order
    names = sorted(set(fit.tones))
    tones = np.array([names.index(tone) for tone in fit.tones])
    ways: dict[str, tuple[list[str], list[str]] | None] = {"encoder": None}
    if prompts:
        ways["encoder with prompts"] = fit.prompts, judged.prompts
    for name, shown in ways.items():
        fits = [
            fine_tuned(base, fit.texts, fit.rejected, tones, judged.texts, prompts=shown, seed=seed) for seed in seeds
        ]
        out[name] = np.mean(fits, axis=0)
        out[f"{name}, and n-grams"] = (out[name] + out["n-grams"]) / 2
    return out


def _linear(fit: Part, judged: Sequence[str]) -> NDArray[np.float64]:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    words = TfidfVectorizer(ngram_range=(1, 3), sublinear_tf=True, min_df=2, token_pattern=r"[\w']+")  # noqa: S106 - words
    linear = LogisticRegression(C=_STRENGTH, max_iter=5000).fit(words.fit_transform(fit.texts), fit.rejected)
    return np.asarray(linear.decision_function(words.transform(judged)))


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints what came out as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=Path, required=True, help="all_hand_labeled.json")
    parser.add_argument("--base", type=Path, help="folder of a pretrained encoder; without it only the linear model")
    parser.add_argument("--prompts", action="store_true", help="try encoders that read the prompt too")
    parser.add_argument("--folds", type=int, help="cross-validate on the rows for fitting, and stop")
    parser.add_argument("--test", action="store_true", help="read the test part too")
    options = parser.parse_args(arguments)
    if options.folds:
        found: object = crossvalidated(options.rows, options.base, prompts=options.prompts, folds=options.folds)
    else:
        found = run(options.rows, options.base, prompts=options.prompts, test=options.test)._asdict()
    sys.stdout.write(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
