"""What a response does: kinds, rules, classifier, and the ladder that joins them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from demur.lazy import lazily

if TYPE_CHECKING:
    from demur.responses.classifier import Classifier as Classifier
    from demur.responses.ladder import Judge as Judge
    from demur.responses.ladder import Ladder as Ladder
    from demur.responses.ladder import classify as classify

_PUBLIC = {
    "Classifier": "classifier",
    "Judge": "ladder",
    "Ladder": "ladder",
    "classify": "ladder",
}

__all__ = ["Classifier", "Judge", "Ladder", "classify"]

__getattr__, __dir__ = lazily(__name__, _PUBLIC)
