"""The phantom: a reference model whose refusal behaviour is known by construction.

`load()` gives the model, `prompts()` questions whose answer is known, `card.read(path())` what was planted and what is
measured. Figures on the phantom say that the instruments read correctly; they say nothing about real models.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from demur.phantom import card
    from demur.phantom.editions import is_phantom, load, path, resolve
    from demur.phantom.grammar import prompts

__all__ = ["card", "is_phantom", "load", "path", "prompts", "resolve"]

_HOMES = {"is_phantom": "editions", "load": "editions", "path": "editions", "resolve": "editions", "prompts": "grammar"}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name == "card":
        return import_module("demur.phantom.card")
    if name in _HOMES:
        return getattr(import_module(f"demur.phantom.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
