"""Prompts: the built-in sets, and what can be told from a prompt alone."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from demur.prompts.core import demur_core as demur_core
    from demur.prompts.forecast import Forecast as Forecast

_PUBLIC = {"Forecast": "demur.prompts.forecast", "demur_core": "demur.prompts.core"}

__all__ = ["Forecast", "demur_core"]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        value = getattr(import_module(_PUBLIC[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
