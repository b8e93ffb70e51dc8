"""Measure, explain and control how language models refuse.

The public names are imported when they are first used: `import demur` loads neither torch, transformers nor inspect_ai.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from demur.phantom import load as load
    from demur.records import Kind as Kind
    from demur.records import Measure as Measure
    from demur.records import Prompt as Prompt
    from demur.records import Reason as Reason
    from demur.records import Response as Response
    from demur.records import Verdict as Verdict
    from demur.responses import classify as classify
    from demur.studies import audit as audit

try:
    __version__ = version("demur")
except PackageNotFoundError:  # a source tree on the path that was never installed
    __version__ = "0+source"

_PUBLIC = {
    "Kind": "demur.records",
    "Measure": "demur.records",
    "Prompt": "demur.records",
    "Reason": "demur.records",
    "Response": "demur.records",
    "Verdict": "demur.records",
    "audit": "demur.studies",
    "classify": "demur.responses",
    "load": "demur.phantom",
}

__all__ = [
    "Kind",
    "Measure",
    "Prompt",
    "Reason",
    "Response",
    "Verdict",
    "__version__",
    "audit",
    "classify",
    "load",
]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        value = getattr(import_module(_PUBLIC[name]), name)
        globals()[name] = value
        return value
    try:
        # rooms are reachable as attributes too: demur.states.find_directions
        return import_module(f"{__name__}.{name}")
    except ModuleNotFoundError as error:
        if error.name != f"{__name__}.{name}":
            raise
        raise AttributeError(f"module 'demur' has no attribute {name!r}") from None


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
