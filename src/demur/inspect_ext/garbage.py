"""Fewer garbage collections while an evaluation keeps every sample in memory.

Inspect holds thousands of objects for each sample until its log is written. Python's collector looks through all of
them again and again and finds next to nothing to free, which costs about a tenth of an evaluation's processor time.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["rare_collections"]

# Young objects that are allowed before a collection (700 by default), young collections before a middle one, and middle
# ones before a full one. A sample makes some thousands of objects, nearly all freed by reference counts alone.
_THRESHOLDS = (50_000, 20, 100)


@contextmanager
def rare_collections() -> Iterator[None]:
    """Collects garbage more rarely inside the block, and leaves out what was there before it."""
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
