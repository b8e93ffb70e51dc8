"""Whether compiled kernels read texts: where numba is installed, and once there is enough to read.

Loading numba and its machine code takes about as long as judging some ten thousand responses without it, so that the
first of a process are judged by numpy alone. Verdicts are the same either way. `DEMUR_KERNELS` says otherwise: `off`,
or `on` from the first row. `python -m demur.responses.speed` compiles ahead of time.
"""

from __future__ import annotations

import os
import sys
import warnings
from threading import Lock
from types import ModuleType

from demur.errors import InputError

__all__ = ["WORTH_LOADING", "announce", "choose", "kernels"]

WORTH_LOADING = 16_384
"""Responses after which a process loads the kernels; a call that brings as many loads them at once."""

_MODES = ("auto", "on", "off")


class _Choice:
    """What was decided in this process."""

    def __init__(self) -> None:
        self.mode = ""
        self.announced = 0
        self.loaded: ModuleType | None = None
        self.tried = False
        self.lock = Lock()


_choice = _Choice()


def kernels() -> ModuleType | None:
    """`demur.responses.kernels` if it is to be used, else None."""
    return _choice.loaded if _choice.mode != "off" else None


def announce(responses: int) -> None:
    """Says how many responses are going to be read; enough of them load the kernels.

    Raises:
        InputError: `DEMUR_KERNELS` is set to something unknown.
    """
    if not _choice.mode:
        choose(os.environ.get("DEMUR_KERNELS", "auto"))
    if _choice.tried or _choice.mode == "off":
        return
    _choice.announced += responses
    if _choice.mode == "on" or _choice.announced >= WORTH_LOADING:
        with _choice.lock:
            if not _choice.tried:
                _choice.loaded = _load()
                _choice.tried = True


def choose(mode: str) -> None:
    """Decides for this process: `auto`, `on` (from the next batch on) or `off`.

    Raises:
        InputError: The mode is none of these.
    """
    if mode not in _MODES:
        raise InputError(f"DEMUR_KERNELS must be one of {', '.join(_MODES)}, got {mode!r}")
    _choice.mode = mode


def _load() -> ModuleType | None:
    try:
        from demur.responses import kernels
    except ModuleNotFoundError as error:
        if error.name != "numba":
            raise
    except (ImportError, RuntimeError) as error:  # numba that does not fit numpy; no folder to keep machine code in
        warnings.warn(
            f"numba is installed but cannot be used, so responses are read without it: {error}. Where it finds no "
            "place for its machine code, set NUMBA_CACHE_DIR to a folder that can be written",
            RuntimeWarning,
            stacklevel=2,
        )
    else:
        return kernels
    return None


if __name__ == "__main__":
    sys.exit(0 if _load() else "numba is not installed: pip install 'demur[speed]'")
