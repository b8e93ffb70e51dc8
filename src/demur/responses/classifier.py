"""The small classifier: one linear layer over rule findings and hashed n-grams, with a calibrated probability.

Weights are a `safetensors` file and a JSON card beside it. Running needs numpy only; training
(`demur.responses.training`) needs scikit-learn.
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
from demur.responses.features import BUCKETS, DENSE_NAMES, FORMAT, dense, grams
from demur.responses.rules import Scan

__all__ = ["Classifier", "shipped"]

SHIPPED = Path(__file__).parent / "weights" / "fast.safetensors"
"""The weights inside the package; the card is `fast.json` beside them."""

_BATCH = 256  # texts hashed at once: enough to amortise numpy's calls, small enough to stay in cache


@dataclass(frozen=True)
class Classifier:
    """A fitted classifier."""

    dense_weights: NDArray[np.float32]
    """Shape `(len(DENSE_NAMES),)`."""
    gram_weights: NDArray[np.float32]
    """Shape `(2 * BUCKETS,)`: opening words, then all words."""
    bias: float
    slope: float
    """Platt scaling of the raw score: `p = sigmoid(slope * score + shift)`."""
    shift: float
    card: dict[str, Any]
    """Training rows and licences, metrics, format."""

    def scores(self, scans: Sequence[Scan]) -> NDArray[np.float64]:
        """Raw scores (log-odds before calibration), shape `(len(scans),)`."""
        out = np.empty(len(scans))
        for begin in range(0, len(scans), _BATCH):
            part = scans[begin : begin + _BATCH]
            found = grams([scan.normal.text for scan in part])
            word_part = np.bincount(
                found.row, weights=self.gram_weights[found.column] * found.value, minlength=len(part)
            )
            rule_part = np.stack([dense(scan) for scan in part]) @ self.dense_weights
            out[begin : begin + len(part)] = rule_part + word_part + self.bias
        return out

    def probabilities(self, scans: Sequence[Scan]) -> NDArray[np.float64]:
        """Calibrated probability that each response declines (mapping `any`), shape `(len(scans),)`.

        Calibrated for collections in which declining and complying are about equally common.
        """
        if not scans:
            return np.empty(0)
        logits = np.clip(self.slope * self.scores(scans) + self.shift, -30.0, 30.0)
        return np.asarray(1.0 / (1.0 + np.exp(-logits)))

    def save(self, path: Path) -> None:
        """Writes weights and card; half-precision n-gram weights keep the file small."""
        from safetensors.numpy import save_file

        save_file(
            {
                "dense_weights": self.dense_weights.astype(np.float32),
                "gram_weights": self.gram_weights.astype(np.float16),
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
        if tensors["gram_weights"].shape != (2 * BUCKETS,) or tensors["dense_weights"].shape != (len(DENSE_NAMES),):
            raise ArtefactError(f"the response classifier at {path} has weights of the wrong shape; reinstall demur")
        bias, slope, shift = (float(value) for value in tensors["affine"])
        return cls(
            dense_weights=tensors["dense_weights"],
            gram_weights=tensors["gram_weights"].astype(np.float32),
            bias=bias,
            slope=slope,
            shift=shift,
            card=card,
        )


@cache
def shipped() -> Classifier:
    """The classifier inside the package, read once."""
    return Classifier.load(SHIPPED)
