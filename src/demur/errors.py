"""The errors of the house: few, typed, and each says what to do next.

Every error that demur raises on purpose derives from `DemurError`. The command line turns each into one clear message
and the exit code it carries; libraries can catch one class.
"""

from __future__ import annotations

from pathlib import Path

__all__ = [
    "ArtefactError",
    "DemurError",
    "IncompleteError",
    "InputError",
    "MissingExtraError",
    "ModelError",
    "RunError",
]


class DemurError(Exception):
    """Base of all deliberate errors; `exit_code` is what the command line returns for it."""

    exit_code: int = 2


class InputError(DemurError):
    """What the user gave (a file, a row, a field, an option) cannot be used as it is."""


class MissingExtraError(DemurError):
    """A feature needs packages that are not installed.

    Args:
        feature: What was asked for, in the user's words.
        extra: The extra of demur that brings the packages.
        missing: The module that could not be imported.
    """

    def __init__(self, feature: str, extra: str, missing: str) -> None:
        self.feature, self.extra, self.missing = feature, extra, missing
        super().__init__(
            f"{feature} needs the package {missing!r}, which is not installed. "
            f"Install it with: pip install 'demur[{extra}]'"
        )


class ModelError(DemurError):
    """A model cannot be loaded, found, or used in the way that was asked for."""


class ArtefactError(DemurError):
    """A learned artefact (directions, probe, classifier) does not fit what it is used with."""


class RunError(DemurError):
    """A run directory cannot be read, written, or resumed."""


class IncompleteError(DemurError):
    """Work stopped before the end; what was done is kept and resuming finishes it.

    Args:
        message: What stopped it, and how to go on.
        path: Where the work is kept, when it has a place of its own.
    """

    exit_code = 3

    def __init__(self, message: str, path: Path | None = None) -> None:
        super().__init__(message)
        self.path = path
