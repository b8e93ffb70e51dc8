"""What a response does: kinds, rules, classifier, and the ladder that joins them."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from demur.responses.classifier import Classifier as Classifier
    from demur.responses.ladder import Judge as Judge
    from demur.responses.ladder import Ladder as Ladder
    from demur.responses.ladder import classify as classify

_PUBLIC = {
    "Classifier": "demur.responses.classifier",
    "Judge": "demur.responses.ladder",
    "Ladder": "demur.responses.ladder",
    "classify": "demur.responses.ladder",
}

__all__ = ["Classifier", "Judge", "Ladder", "classify"]


def __getattr__(name: str) -> Any:
    # `import demur` must stay light: numpy and the phrase tables are loaded on first use
    if name in _PUBLIC:
        value = getattr(import_module(_PUBLIC[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
