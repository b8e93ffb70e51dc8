"""Inspect tasks: one module per published benchmark, and the refusal profile of our own.

Run them with `inspect eval demur/NAME --model MODEL`, or with `demur audit MODEL --task NAME`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from demur.errors import MissingExtraError

if TYPE_CHECKING:
    from demur.tasks.refusal_profile import everyday as everyday
    from demur.tasks.refusal_profile import limits_profile as limits_profile
    from demur.tasks.refusal_profile import refusal_profile as refusal_profile
    from demur.tasks.usefulness import usefulness as usefulness

TASKS = {
    "refusal_profile": "demur.tasks.refusal_profile",
    "limits_profile": "demur.tasks.refusal_profile",
    "everyday": "demur.tasks.refusal_profile",
    "usefulness": "demur.tasks.usefulness",
}
"""The tasks by name, and the modules that define them."""

__all__ = ["TASKS", "everyday", "limits_profile", "refusal_profile", "usefulness"]


def __getattr__(name: str) -> Any:
    if name not in TASKS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        # not kept in globals(): importing the module puts the module itself there under the same name
        return getattr(import_module(TASKS[name]), name)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "inspect_ai":
            raise
        raise MissingExtraError("running evaluations", extra="inspect", missing=error.name) from error


def __dir__() -> list[str]:
    return sorted({*globals(), *TASKS})
