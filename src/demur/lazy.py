"""Public names of a room that are imported when they are first used, so that `import demur` stays light."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from typing import Any

from demur.errors import MissingExtraError

__all__ = ["lazily"]


def lazily(
    package: str, homes: Mapping[str, str], *, purpose: str = "", extra: str = "", engines: Iterable[str] = ()
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """The `__getattr__` and `__dir__` of a room.

    Args:
        package: The room's full name.
        homes: The module of each public name, by its name within the room.
        purpose: What the room is for, in the words of the error about a missing extra.
        extra: The extra that brings its engines.
        engines: Packages whose absence means that the extra is not installed.

    Returns:
        Functions to assign to `__getattr__` and `__dir__`. The former raises `MissingExtraError` when one of the
        engines is missing.
    """
    engines = frozenset(engines)
    room = sys.modules[package]

    def get(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        try:
            value = getattr(import_module(f"{package}.{homes[name]}"), name)
        except ModuleNotFoundError as error:
            if error.name is None or error.name.partition(".")[0] not in engines:
                raise
            raise MissingExtraError(purpose, extra=extra, missing=error.name) from error
        setattr(room, name, value)
        return value

    def names() -> list[str]:
        return sorted({*vars(room), *homes})

    return get, names
