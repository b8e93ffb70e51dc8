"""Prompts: the built-in sets, and what can be told from a prompt alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from demur.lazy import lazily

if TYPE_CHECKING:
    from demur.prompts.core import demur_core as demur_core
    from demur.prompts.forecast import Forecast as Forecast

_PUBLIC = {"Forecast": "forecast", "demur_core": "core"}

__all__ = ["Forecast", "demur_core"]

__getattr__, __dir__ = lazily(__name__, _PUBLIC)
