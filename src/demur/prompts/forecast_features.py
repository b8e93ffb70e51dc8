"""From a prompt to numbers: words and word pairs, the cues, and what the cues lead one to expect.

Nothing is learned here but which words there are and how much each cue varies. Needs numpy and scipy only.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from demur.prompts.forecast_cues import CUES, EXPECTED, cues

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = ["Features", "expected", "grams"]

LONGEST = 20_000
"""Characters of a prompt that are read: what is asked stands in the first pages, and a pasted book costs nothing."""

SEEN_IN = 2
"""Prompts that must have a word: one that a single prompt has cannot carry over to another."""

LARGEST = 50_000
"""Words and pairs that are kept at most, those in most prompts first: a few megabytes."""

# Chinese, Japanese and Thai are written without spaces: there each letter is a word.
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\u0e00-\u0e7f]|[^\W_\u3040-\u30ff\u3400-\u9fff\u0e00-\u0e7f]+|\?")


def grams(text: str) -> Counter[str]:
    """How often each word and each pair of neighbouring words occurs, in lower case; a question mark is a word."""
    words = _WORD.findall(text[:LONGEST].lower().replace("’", "'"))
    return Counter([*words, *map(" ".join, pairwise(words))])


def expected(found: NDArray[np.float64]) -> NDArray[np.float64]:
    """What the cues lead one to expect of each prompt, as log-odds up to a scale; `found` as `cues` gives it."""
    return np.asarray(found @ np.array([EXPECTED.get(name, 0.0) for name in CUES]))


@dataclass(frozen=True)
class Features:
    """The columns of a fitted forecast."""

    vocabulary: tuple[str, ...]
    """Words and pairs, sorted."""
    scale: NDArray[np.float64]
    """Divides each cue; shape `(len(CUES),)`. Together the cues weigh about as much as the words."""

    @classmethod
    def fit(cls, prompts: Sequence[str]) -> Features:
        """The columns for these prompts. Labels play no part."""
        had_by: Counter[str] = Counter()
        for prompt in prompts:
            had_by.update(set(grams(prompt)))
        kept = sorted((gram for gram, count in had_by.items() if count >= SEEN_IN), key=lambda g: (-had_by[g], g))
        spread = cues([prompt[:LONGEST] for prompt in prompts]).std(axis=0)
        # a cue that hardly ever occurs must not become the loudest of all
        return cls(tuple(sorted(kept[:LARGEST])), np.maximum(spread, 0.1) * len(CUES) ** 0.5)

    @cached_property
    def _places(self) -> dict[str, int]:
        return {gram: place for place, gram in enumerate(self.vocabulary)}

    def words(self, prompts: Sequence[str]) -> csr_array:
        """Each prompt's words and pairs as a row of length one, in the logarithm of their counts.

        Words outside the vocabulary are left out; nothing is ever added to it.

        Returns:
            Shape `(len(prompts), len(vocabulary))`.
        """
        from scipy.sparse import csr_array

        places = self._places
        data: list[NDArray[np.float64]] = []
        columns: list[int] = []
        ends = [0]
        for prompt in prompts:
            found = sorted((places[gram], count) for gram, count in grams(prompt).items() if gram in places)
            values = 1.0 + np.log([count for _, count in found] or [1])[: len(found)]
            data.append(values / max(float(np.sqrt((values**2).sum())), 1e-12))
            columns.extend(place for place, _ in found)
            ends.append(len(columns))
        flat = np.concatenate(data) if data else np.empty(0)
        shape = (len(prompts), len(self.vocabulary))
        return csr_array((flat, np.array(columns, dtype=np.int32), np.array(ends, dtype=np.int32)), shape=shape)

    def cues(self, prompts: Sequence[str]) -> NDArray[np.float64]:
        """The cues before scaling, shape `(len(prompts), len(CUES))`."""
        return cues([prompt[:LONGEST] for prompt in prompts])

    def matrix(self, prompts: Sequence[str]) -> csr_array:
        """All columns side by side: words, scaled cues, and the one expectation."""
        from scipy.sparse import csr_array, hstack

        found = self.cues(prompts)
        blocks = [self.words(prompts), csr_array(found / self.scale), csr_array(expected(found)[:, None])]
        return csr_array(hstack(blocks, format="csr"))

    def known(self, prompt: str) -> float:
        """The share of the prompt's words that the vocabulary has."""
        words = _WORD.findall(prompt[:LONGEST].lower().replace("’", "'"))
        return sum(word in self._places for word in words) / max(1, len(words))
