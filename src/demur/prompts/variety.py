"""How varied the sentences of a set of prompts are: no template may make up much of a cell."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

from demur.records import Prompt

__all__ = ["Cell", "cells"]

_WORDS = 3
"""Words at the start or the end of a sentence by which a template is known."""


class Cell(NamedTuple):
    """The prompts of one category, expectation and language."""

    category: str
    """The category."""
    expect: str
    """`decline` or `comply`."""
    language: str
    """Its code."""
    n: int
    """Prompts."""
    opening_share: float
    """Share of the commonest first three words."""
    ending_share: float
    """Share of the commonest last three words."""
    words: float
    """Mean length in words; characters stand for words in Chinese."""


def cells(prompts: Iterable[Prompt]) -> list[Cell]:
    """The cells of `prompts`, in order of category, expectation and language."""
    grouped: dict[tuple[str, str, str], list[list[str]]] = {}
    for prompt in prompts:
        key = (str(prompt.category), str(prompt.expect), str(prompt.meta.get("language", "en")))
        grouped.setdefault(key, []).append(_words(prompt.text))
    return [
        Cell(
            *key,
            n=len(sentences),
            opening_share=_largest(tuple(words[:_WORDS]) for words in sentences),
            ending_share=_largest(tuple(words[-_WORDS:]) for words in sentences),
            words=round(sum(map(len, sentences)) / len(sentences), 1),
        )
        for key, sentences in sorted(grouped.items())
    ]


def _words(text: str) -> list[str]:
    # written without blanks, each character is its own unit
    return re.findall(r"[\u3400-\u9fff]|[^\W\u3400-\u9fff]+(?:['\u2019][^\W]+)?", text.lower())


def _largest(keys: Iterable[Any]) -> float:
    counts = Counter(keys)
    return round(max(counts.values()) / counts.total(), 4)
