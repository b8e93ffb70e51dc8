"""Compiled loops over what was found: mentions counted by place, and weights of n-grams."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from demur.responses.compiling import (
    FLAGS,
    FLOATS,
    HASHES,
    INTS,
    Flags,
    Floats,
    Hashes,
    Ints,
    array,
    compiled,
    inlined,
    types,
)

__all__ = [
    "gram_sums",
    "spread",
    "tally",
]


_MIX_1, _MIX_2, _CHAIN = np.uint64(1_000_003), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0xD6E8FEB86659FD93)


@inlined
def _bucket(gram: np.uint64, salt: int, buckets: int) -> np.int64:
    mixed = gram + _MIX_1 * np.uint64(salt)
    mixed ^= mixed >> np.uint64(31)
    mixed *= _MIX_2
    mixed ^= mixed >> np.uint64(29)
    return np.int64(mixed & np.uint64(buckets - 1))


@compiled(HASHES, INTS, FLAGS, array(types.float32), array(types.int64, 2), types.int64)
def gram_sums(
    hashes: Hashes, first: Ints, left_out: Flags, weights: NDArray[np.float32], read: Ints, buckets: int
) -> Floats:
    """`gram_scores` of each text.

    Args:
        hashes: The words.
        first: First word of each text, and the end.
        left_out: Texts that are not read.
        weights: One a bucket, block behind block.
        read: Words and longest n-gram of each block, shape `(blocks, 2)`; no n-gram is longer than three words.
        buckets: Of one block; a power of two.
    """
    out = np.zeros(len(first) - 1)
    for block in range(len(read)):
        offset, longest = block * buckets, read[block, 1]
        for text in range(len(out)):
            n = 0 if left_out[text] else min(first[text + 1] - first[text], read[block, 0])
            total = 0.0
            for word in range(first[text], first[text] + n):
                value = np.float64(weights[offset + _bucket(hashes[word], 4 * block + 1, buckets)])
                gram = hashes[word]
                for order in range(2, min(longest, first[text] + n - word) + 1):
                    gram = gram * _CHAIN + hashes[word + order - 1]
                    value += weights[offset + _bucket(gram, 4 * block + order, buckets)]
                total += value
            count = 0
            for order in range(longest):
                count += max(n - order, 0)
            out[text] += total / math.sqrt(max(count, 1))
    return out


@compiled(INTS, INTS, INTS, FLAGS, INTS, array(types.float64, 2), FLAGS, FLAGS, INTS)
def tally(
    family: Ints, row: Ints, place: Ints, quoted: Flags, size: Ints, member: Floats, hard: Flags, work: Flags,
    limits: Ints,
) -> tuple[Floats, Floats, Ints, Ints, Ints, Ints, Flags]:  # fmt: skip
    """Mentions counted by text, family and place; see `features.Tally`.

    Args:
        family: Of each mention, as are `row`, `place` (from the last voice) and `quoted`.
        row: See there.
        place: See there.
        quoted: See there.
        size: Words of each text behind its last voice.
        member: Weight of each family in each sum, shape `(families, sums)`.
        hard: Which families decline plainly.
        work: Which families do what was asked.
        limits: Words that count as opening, early, and ending.
    """
    texts, kinds = len(size), len(member)
    tables = np.zeros((5, texts, kinds))
    sums = np.zeros((4, texts, member.shape[1]))
    last, begin = np.full(texts, -1, dtype=np.int64), np.full(texts, -1, dtype=np.int64)
    after, before = np.zeros(texts, dtype=np.int64), np.zeros(texts, dtype=np.int64)
    spoken_by_others = np.zeros(texts, dtype=np.bool_)
    opening, early, ending = limits
    for number in range(len(family)):
        of, text, at = family[number], row[number], place[number]
        if quoted[number]:
            if hard[of]:
                spoken_by_others[text] = True
            continue
        tables[4, text, of] += 1.0
        if at < 0:
            continue
        for table, there in enumerate((at < opening, at < early, True, size[text] - at <= ending and at >= opening)):
            if there:
                tables[table, text, of] += 1.0
                for which in range(member.shape[1]):
                    sums[table, text, which] += member[of, which]
        if hard[of]:
            last[text] = max(last[text], at)
            begin[text] = at if begin[text] < 0 else min(begin[text], at)
    for number in range(len(family)):
        text, at = row[number], place[number]
        if work[family[number]] and not quoted[number] and at >= 0:
            after[text] += at > last[text]
            before[text] += at < begin[text]
    return tables, sums, last, begin, after, before, spoken_by_others


@compiled(types.Array(types.float64, 2, "C"), array(types.float64, 3), INTS, FLOATS)
def spread(numbers: Floats, tables: Floats, spoken: Ints, logarithms: Floats) -> None:
    """Writes what families weigh at each place into the first columns of the dense features.

    Args:
        numbers: Where to write; five columns a family.
        tables: Counts by place, text and family: opening, early, everywhere, ending.
        spoken: Words of each text behind its last voice, at least 1.
        logarithms: `log1p` of 0, 1, 2, ...; counts beyond are computed.
    """
    for text in range(tables.shape[1]):
        for family in range(tables.shape[2]):
            column = 5 * family
            count = tables[2, text, family]
            if count == 0:  # then it is nowhere
                for place in range(5):
                    numbers[text, column + place] = 0.0
                continue
            numbers[text, column] = min(tables[0, text, family], 1.0)
            numbers[text, column + 1] = min(tables[1, text, family], 1.0)
            numbers[text, column + 2] = logarithms[int(count)] if count < len(logarithms) else math.log1p(count)
            numbers[text, column + 3] = min(count * 20.0 / spoken[text], 3.0)
            numbers[text, column + 4] = min(tables[3, text, family], 1.0)
