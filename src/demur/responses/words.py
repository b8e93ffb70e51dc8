"""A batch of texts as one array of words: where each stands, its hash, and where sentences begin.

Everything that reads many texts reads these arrays, so that no Python loop touches a word. A character of a script
that is written without spaces, or whose words carry long endings (Chinese, Japanese, Korean, Thai), is a word.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from demur.responses.normalise import fold

__all__ = ["HashSet", "Words", "hash_words", "read_words"]

Ints = NDArray[np.int64]
Hashes = NDArray[np.uint64]

# Multipliers of the three stretches of eight bytes that a word's hash reads, and of its length.
_ODD = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9)
_BY_LENGTH = 0xD6E8FEB86659FD93
_MASKS = np.array([(1 << (8 * size)) - 1 for size in range(9)], dtype=np.uint64)
_WORD, _STOP = 1, 2
_CLASS = bytes(
    _WORD if chr(code).isalnum() or chr(code) == "'" or code >= 128 else _STOP if chr(code) in ".!?\n" else 0
    for code in range(256)
)
_SEPARATOR = b"\n\n"
_PADDING = bytes(24)


@dataclass(frozen=True, slots=True)
class Words:
    """Words of a batch of texts, in order."""

    buffer: NDArray[np.uint8]
    """The folded texts in UTF-8, one after the other, two line ends behind each."""
    begin: Ints
    """Byte at which each text begins, shape `(texts,)`."""
    size: Ints
    """Bytes of each text, without the line ends."""
    start: Ints
    """First byte of each word, shape `(words,)`."""
    end: Ints
    """One past its last byte."""
    row: Ints
    """Which text."""
    first: Ints
    """First word of each text, and the number of words at the end: shape `(texts + 1,)`."""
    hash: Hashes
    after_stop: NDArray[np.bool_]
    """Whether a sentence or a line begins at this word."""

    place: Ints
    """Number of each word in its text, from 0."""

    def sums(self, flags: NDArray[np.bool_]) -> Ints:
        """How many words of each text a flag marks."""
        total = np.append(0, np.cumsum(flags))
        return np.asarray(total[self.first[1:]] - total[self.first[:-1]])


def read_words(texts: Sequence[str]) -> Words:
    """Splits texts into words.

    Args:
        texts: Any strings; folded here.
    """
    pieces = [fold(text).encode("utf-8", "replace") for text in texts]
    size = np.fromiter(map(len, pieces), dtype=np.int64, count=len(pieces))
    begin = np.zeros(len(pieces), dtype=np.int64)
    np.cumsum(size[:-1] + len(_SEPARATOR), out=begin[1:])
    joined = _SEPARATOR.join([*pieces, b""])
    buffer = np.frombuffer(joined, dtype=np.uint8)
    classes = np.frombuffer(joined.translate(_CLASS), dtype=np.uint8)
    is_word = (classes & _WORD).view(np.bool_)
    starts = is_word.copy()
    starts[1:] &= ~is_word[:-1]
    ends = ~is_word[1:]
    if not joined.isascii():
        lone = np.flatnonzero((buffer >= 0xE3) & (buffer <= 0xED))  # kana, ideographs, Hangul: three bytes each
        thai = np.flatnonzero(buffer[:-1] == 0xE0)
        lone = np.concatenate((lone, thai[(buffer[thai + 1] & 0xFE) == 0xB8]))
        starts[lone] = True
        starts[lone + 3] |= is_word[lone + 3]  # the line ends behind the last text keep this in bounds
        ends |= starts[1:]
    start, end = np.flatnonzero(starts), np.flatnonzero(is_word[:-1] & ends) + 1
    hashed = _hash(joined + _PADDING, start, end)
    first = np.searchsorted(start, np.append(begin, len(buffer)))
    row = np.repeat(np.arange(len(pieces)), np.diff(first))
    stop = np.cumsum(classes >> 1, dtype=np.int32)
    after = np.ones(len(start), dtype=bool)
    after[1:] = stop[start[1:]] != stop[end[:-1] - 1]
    place = np.arange(len(start)) - np.repeat(first[:-1], np.diff(first))
    return Words(buffer, begin, size, start, end, row, first, hashed, after, place)


def _hash(padded: bytes, start: Ints, end: Ints) -> Hashes:
    # Any eight bytes can be read as one number; bytes behind the word are masked. After 24 bytes nothing is read.
    stretches: Hashes = np.ndarray((len(padded) - 7,), dtype="<u8", buffer=padded, strides=(1,))
    size = end - start
    hashed = (stretches[start] & _MASKS[np.minimum(size, 8)]) * np.uint64(_ODD[0])
    hashed += size.view(np.uint64) * np.uint64(_BY_LENGTH)
    for number in (1, 2):
        long = np.flatnonzero(size > 8 * number)
        part = stretches[start[long] + 8 * number] & _MASKS[np.minimum(size[long] - 8 * number, 8)]
        hashed[long] ^= part * np.uint64(_ODD[number])
    hashed ^= hashed >> np.uint64(29)
    return np.asarray(hashed * np.uint64(0xBF58476D1CE4E5B9))


def hash_words(words: Iterable[str]) -> Hashes:
    """The hashes by which `read_words` knows single words.

    Args:
        words: Folded words without spaces.
    """
    pieces = [word.encode("utf-8") for word in words]
    end = np.cumsum([len(piece) for piece in pieces], dtype=np.int64)
    start = end - np.array([len(piece) for piece in pieces], dtype=np.int64)
    return _hash(b"".join(pieces) + _PADDING, start, end)


class HashSet:
    """A fixed set of hashes that answers for a whole array at once, and exactly.

    Args:
        hashes: The members.
    """

    def __init__(self, hashes: Hashes) -> None:
        self._layers: list[tuple[np.uint64, np.uint64, Hashes, NDArray[np.bool_]]] = []
        bits = max(len(hashes).bit_length() + 3, 6)
        factor = 0x9E3779B97F4A7C15
        while len(hashes):
            shift, odd = np.uint64(64 - bits), np.uint64(factor)
            place = (hashes * odd) >> shift
            keys = np.zeros(1 << bits, dtype=np.uint64)
            taken = np.zeros(1 << bits, dtype=bool)
            keys[place], taken[place] = hashes, True
            self._layers.append((odd, shift, keys, taken))
            hashes = hashes[keys[place] != hashes]  # those that found their place taken go one layer down
            factor = (factor * 0xBF58476D1CE4E5B9 + 2) % 2**64 | 1

    @classmethod
    def of(cls, words: str) -> HashSet:
        """The set of some words, given with blanks between them."""
        return cls(hash_words(words.split()))

    def holds(self, hashes: Hashes) -> NDArray[np.bool_]:
        """Which of these are members."""
        out = np.zeros(len(hashes), dtype=bool)
        for odd, shift, keys, taken in self._layers:
            place = (hashes * odd) >> shift
            out |= (keys.take(place.view(np.int64)) == hashes) & taken.take(place.view(np.int64))
        return out
