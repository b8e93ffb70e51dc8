"""Compiled loops: what the array code beside their callers does, in fewer passes.

Imported by `demur.responses.speed` only, and only where numba is installed. Every kernel has a twin in numpy that gives
the same arrays, to the last bit; `tests/responses/test_responses_kernels.py` holds them together.
"""

from __future__ import annotations

from demur.responses.kernels_bytes import fold_bytes, may_reason, split_words
from demur.responses.kernels_counts import gram_sums, spread, tally
from demur.responses.kernels_words import find_voices, foreign_counts, known_words, overlaps, walk

__all__ = [
    "find_voices",
    "fold_bytes",
    "foreign_counts",
    "gram_sums",
    "known_words",
    "may_reason",
    "overlaps",
    "split_words",
    "spread",
    "tally",
    "walk",
]
