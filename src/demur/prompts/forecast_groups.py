"""Groups of prompts that must stay on one side of a split, because they share a frame.

Prompts made from a template ("write a poem about X") resemble one another so much that a model which has seen some
of them knows the rest. Judged on random folds it looks better than it is. Grouping keeps a template together.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from demur.errors import InputError

__all__ = ["COMMON", "GRAMMAR", "RUN", "SHARED_BY", "frames", "grouped_folds"]

RUN = 4
"""Words in a row that make a frame: three ("how do I", "what is the") are grammar."""

SHARED_BY = 5
"""Prompts that must share a run before it counts as a frame; fewer may agree by chance."""

GRAMMAR, GRAMMAR_WORDS = 0.05, 2
"""A frame holds at least two words that this share of the prompts has; a long name that fills many frames does not."""

COMMON = 0.5
"""A run in more than this share of the prompts is a frame of the collection, and tells nothing apart within it."""

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)?")


def frames(prompts: Sequence[str], known: Sequence[Hashable | None] | None = None) -> NDArray[np.intp]:
    """A group number for each prompt; prompts that share a frame share a number.

    A frame is a run of `RUN` words that at least `SHARED_BY` and at most a share `COMMON` of the different prompts have
    and that holds `GRAMMAR_WORDS` common ones. Two prompts belong together when the frame that most prompts have is the
    same for both, when their words are the same (case and punctuation aside), or when `known` says so. So "write me a
    poem about X" and "write me a poem in praise of Y" are one group. Lesser runs do not link: where prompts are built
    from a few parts in all combinations, everything would hang together. Work is linear in the number of words.

    Args:
        prompts: The texts.
        known: Groups that are known already, a pair's id for one; None where nothing is known.

    Returns:
        Shape `(len(prompts),)`, numbered from 0 by first appearance.
    """
    worded = [tuple(_WORD.findall(prompt.lower())) for prompt in prompts]
    # a prompt without any word is only like itself
    keys: list[Hashable] = [words or prompt for words, prompt in zip(worded, prompts, strict=True)]
    first = {key: place for place, key in reversed(list(enumerate(keys)))}
    had_by = Counter(word for place in first.values() for word in set(worded[place]))
    grammar = {word for word, count in had_by.items() if count >= GRAMMAR * len(first)}
    sharing: dict[tuple[str, ...], list[int]] = {}
    for place in first.values():
        words = worded[place]
        for run in {words[at : at + RUN] for at in range(len(words) - RUN + 1)}:
            if sum(word in grammar for word in run) >= GRAMMAR_WORDS:
                sharing.setdefault(run, []).append(place)
    parents = list(range(len(prompts)))

    def root(place: int) -> int:
        while parents[place] != place:
            parents[place] = parents[parents[place]]
            place = parents[place]
        return place

    def join(one: int, other: int) -> None:
        # towards the smaller number, so that the order of joining does not matter
        low, high = sorted((root(one), root(other)))
        parents[high] = low

    for place, key in enumerate(keys):
        join(first[key], place)
    frame: dict[int, tuple[int, tuple[str, ...]]] = {}
    for run, places in sharing.items():
        if SHARED_BY <= len(places) <= COMMON * len(first):
            for place in places:
                frame[place] = max(frame.get(place, (0, ())), (len(places), run))
    chief: dict[tuple[str, ...], int] = {}
    for place, (_, run) in frame.items():
        join(chief.setdefault(run, place), place)
    seen: dict[Hashable, int] = {}
    for place, group in enumerate(known or ()):
        if group is not None:
            join(seen.setdefault(group, place), place)
    numbers: dict[int, int] = {}
    return np.array([numbers.setdefault(root(place), len(numbers)) for place in range(len(prompts))], dtype=np.intp)


def grouped_folds(groups: NDArray[np.intp], folds: int, *, seed: int) -> NDArray[np.intp]:
    """A fold for each sample, whole groups at a time, in folds of about equal size.

    Groups are dealt from the largest to the smallest, equal ones in a seeded order, each to the smallest fold so far.
    Classes play no part: folds with equal shares of them would give a fold that holds a template which is always
    declined nothing else that is declined, and so teach the rest the opposite.

    Args:
        groups: Shape `(n,)`, group numbers from 0.
        folds: How many.
        seed: Of the order.

    Returns:
        Shape `(n,)`, fold numbers from 0.

    Raises:
        InputError: There are fewer groups than folds.
    """
    sizes = np.bincount(groups)
    if len(sizes) < folds:
        raise InputError(f"{folds} grouped folds need at least {folds} groups of prompts, found {len(sizes)}")
    order = np.random.default_rng(seed).permutation(len(sizes))
    order = order[np.argsort(-sizes[order], kind="stable")]
    filled = np.zeros(folds)
    chosen = np.empty(len(sizes), dtype=np.intp)
    for group in order:
        fold = int(np.argmin(filled))
        chosen[group] = fold
        filled[fold] += sizes[group]
    return chosen[groups]
