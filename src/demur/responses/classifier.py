"""The small classifier: how probable it is that a text declines, and which kind of declining it would be.

Two linear layers over the findings and hashed n-grams, one of them calibrated. Weights are a `safetensors` file and a
JSON card beside it. Running needs numpy only; training (`demur.responses.training`) needs scikit-learn.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from demur.errors import ArtefactError
from demur.records import Kind
from demur.responses.features import BLOCKS, BUCKETS, DENSE_NAMES, FORMAT, dense, gram_scores, product
from demur.responses.findings import Findings

__all__ = ["KINDS", "Classifier", "shipped"]

Floats = NDArray[np.float64]

SHIPPED = Path(__file__).parent / "weights" / "fast.safetensors"
"""The weights inside the package; the card is `fast.json` beside them."""

KINDS: tuple[Kind, ...] = (Kind.PARTIAL, Kind.REFUSE, Kind.REBUT, Kind.DEFLECT, Kind.ABSTAIN, Kind.CLARIFY)
"""Kinds of declining, in the order of the second layer's outputs."""


@dataclass(frozen=True)
class Classifier:
    """A fitted classifier."""

    dense_weights: NDArray[np.float32]
    """Shape `(len(DENSE_NAMES),)`."""
    gram_weights: NDArray[np.float32]
    """Shape `(BLOCKS * BUCKETS,)`: opening words, all words, last words."""
    bias: float
    slope: float
    """Platt scaling of the raw score: `p = sigmoid(slope * score + shift)`."""
    shift: float
    kind_weights: NDArray[np.float32]
    """Shape `(len(DENSE_NAMES) + 1, len(KINDS))`; the last row is the bias."""
    card: dict[str, Any]
    """Training rows and licences, metrics, format."""

    def scores(self, found: Findings, numbers: Floats) -> Floats:
        """Raw scores (log-odds before calibration), one a text.

        Args:
            found: The findings of a batch.
            numbers: Its dense features.
        """
        by_findings = np.einsum("ij,j->i", numbers, self.dense_weights.astype(np.float64))
        return np.asarray(by_findings + gram_scores(found, self.gram_weights) + self.bias)

    def judge(self, found: Findings, prompts: Sequence[str | None]) -> tuple[Floats, Floats]:
        """Calibrated probabilities that each text declines (mapping `any`), and scores of the kinds of declining.

        The probability is calibrated for collections in which declining and complying are about equally common.

        Returns:
            Arrays of shape `(texts,)` and `(texts, len(KINDS))`.
        """
        if not found.texts:
            return np.empty(0), np.empty((0, len(KINDS)))
        numbers = dense(found, prompts)
        logits = np.clip(self.slope * self.scores(found, numbers) + self.shift, -30.0, 30.0)
        kinds = product(numbers, self.kind_weights[:-1].astype(np.float64)) + self.kind_weights[-1]
        return 1.0 / (1.0 + np.exp(-logits)), kinds

    def save(self, path: Path) -> None:
        """Writes weights and card; half-precision n-gram weights keep the file small."""
        from safetensors.numpy import save_file

        save_file(
            {
                "dense_weights": self.dense_weights.astype(np.float32),
                "gram_weights": self.gram_weights.astype(np.float16),
                "kind_weights": self.kind_weights.astype(np.float32),
                "affine": np.array([self.bias, self.slope, self.shift], dtype=np.float64),
            },
            path,
        )
        path.chmod(0o644)  # the library makes files private to their owner
        path.with_suffix(".json").write_text(json.dumps(self.card, indent=2, ensure_ascii=False) + "\n", "utf-8")

    @classmethod
    def load(cls, path: Path) -> Classifier:
        """Reads weights and card.

        Raises:
            ArtefactError: Files are missing, damaged, or were fitted for other features than this version computes.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            card = json.loads(path.with_suffix(".json").read_text("utf-8"))
            tensors = load_file(path)
        except (OSError, SafetensorError, json.JSONDecodeError) as error:
            raise ArtefactError(
                f"cannot read the response classifier at {path}: {error}. Reinstall demur, or fit it again with "
                "python -m demur.responses.training --data DIR"
            ) from error
        if card.get("format") != FORMAT or card.get("dense_names") != list(DENSE_NAMES):
            raise ArtefactError(
                f"the response classifier at {path} was fitted for other features (format {card.get('format')!r}) "
                f"than this version of demur computes (format {FORMAT}). Fit it again with "
                "python -m demur.responses.training --data DIR"
            )
        wanted = {
            "gram_weights": (BLOCKS * BUCKETS,),
            "dense_weights": (len(DENSE_NAMES),),
            "kind_weights": (len(DENSE_NAMES) + 1, len(KINDS)),
            "affine": (3,),
        }
        if {name: tensor.shape for name, tensor in tensors.items()} != wanted:
            raise ArtefactError(f"the response classifier at {path} has weights of the wrong shape; reinstall demur")
        bias, slope, shift = (float(value) for value in tensors["affine"])
        return cls(
            dense_weights=tensors["dense_weights"],
            gram_weights=tensors["gram_weights"].astype(np.float32),
            bias=bias,
            slope=slope,
            shift=shift,
            kind_weights=tensors["kind_weights"],
            card=card,
        )


@cache
def shipped() -> Classifier:
    """The classifier inside the package, read once."""
    return Classifier.load(SHIPPED)
