"""A batch of texts as one array of words: where each stands, its hash, and where sentences begin.

Everything that reads many texts reads these arrays, so that no Python loop touches a word. A character of a script
that is written without spaces, or whose words carry long endings (Chinese, Japanese, Korean, Thai), is a word.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from demur.responses.normalise import fold_many, fold_with
from demur.responses.speed import kernels

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
    initial: NDArray[np.uint8]
    """First byte of each word."""
    hash: Hashes
    after_stop: NDArray[np.bool_]
    """Whether a sentence or a line begins at this word."""

    place: Ints
    """Number of each word in its text, from 0."""
    odd: Ints
    """How many words of each text begin with a byte outside ASCII, shape `(texts,)`."""
    digits: Ints
    """How many begin with a digit."""
    sentences: Ints
    """How many begin a sentence or a line."""


def read_words(texts: Sequence[str]) -> Words:
    """Splits texts into words.

    Args:
        texts: Any strings; folded here.
    """
    if fast := kernels():
        padded, total, size = fold_with(fast, texts)
        buffer = padded[:total]
        begin, *arrays = fast.split_words(buffer, _stretches(padded), size)
        return Words(buffer, begin, size, *arrays)
    pieces = [text.lower().encode() if text.isascii() else b"" for text in texts]
    odd = [number for number, text in enumerate(texts) if not text.isascii()]
    for number, folded in zip(odd, fold_many([texts[number] for number in odd]), strict=True):
        pieces[number] = folded.encode("utf-8", "replace")
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
    ends &= is_word[:-1]
    end = np.flatnonzero(ends) + 1
    # beginnings of words and stops in one list: a sentence begins at a word that follows a stop
    telling = np.flatnonzero(starts | (classes == _STOP))
    of_word = is_word.take(telling)
    which = np.flatnonzero(of_word)
    start: Ints = telling[which]
    after = ~of_word[np.maximum(which - 1, 0)]
    after[:1] = True
    first = np.searchsorted(start, np.append(begin, len(buffer)))
    counts = np.diff(first)
    row = np.repeat(np.arange(len(pieces)), counts)
    place = np.arange(len(start)) - np.repeat(first[:-1], counts)
    hashed = _hash(joined + _PADDING, start, end)
    initial = buffer[start]
    digit = (initial >= ord("0")) & (initial <= ord("9"))
    sums = (np.bincount(row[np.flatnonzero(flags)], minlength=len(pieces)) for flags in (initial >= 128, digit, after))
    return Words(buffer, begin, size, start, end, row, first, initial, hashed, after, place, *sums)


def _stretches(padded: bytes | NDArray[np.uint8]) -> Hashes:
    """Any eight bytes, read as one number."""
    return np.ndarray((len(padded) - 7,), dtype="<u8", buffer=padded, strides=(1,))


def _hash(padded: bytes, start: Ints, end: Ints) -> Hashes:
    stretches = _stretches(padded)  # bytes behind the word are masked; after 24 bytes nothing is read
    size = end - start
    hashed = stretches[start]
    hashed &= _MASKS.take(size, mode="clip")
    hashed *= np.uint64(_ODD[0])
    hashed += size.view(np.uint64) * np.uint64(_BY_LENGTH)
    for number in (1, 2):
        long = np.flatnonzero(size > 8 * number)
        part = stretches[start.take(long) + 8 * number]
        part &= _MASKS.take(size.take(long) - 8 * number, mode="clip")
        part *= np.uint64(_ODD[number])
        hashed[long] ^= part
    hashed ^= hashed >> np.uint64(29)
    hashed *= np.uint64(0xBF58476D1CE4E5B9)
    return np.asarray(hashed)


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
        spare: Larger tables, by powers of two, leave fewer members that must be looked for in another one.
    """

    def __init__(self, hashes: Hashes, *, spare: int = 1) -> None:
        self._members = hashes
        self._layers: list[tuple[np.uint64, np.uint64, Hashes]] = []
        bits = max(len(hashes).bit_length() + spare, 6)
        factor = 0x9E3779B97F4A7C15
        while len(hashes):
            shift, odd = np.uint64(64 - bits), np.uint64(factor)
            # a place that nobody takes holds a number that would be looked for elsewhere
            one, other = _apart(odd, shift)
            keys = np.full(1 << bits, one)
            keys[(one * odd) >> shift] = other
            place = ((hashes * odd) >> shift).view(np.int64)
            keys[place] = hashes
            self._layers.append((odd, shift, keys))
            hashes = hashes[keys.take(place) != hashes]  # those that found their place taken go one layer down
            bits = max(len(hashes).bit_length() + spare, 6)
            factor = (factor * 0xBF58476D1CE4E5B9 + 2) % 2**64 | 1

    @classmethod
    def of(cls, words: str) -> HashSet:
        """The set of some words, given with blanks between them."""
        return cls(hash_words(words.split()), spare=5)

    @cached_property
    def table(self) -> tuple[Hashes, np.uint64]:
        """The members as kernels look for them, each at its place or a little behind it, and the shift to its place.

        What is longer than a power of two says how far behind: so many more places have to be looked at.
        """
        bits = max(len(self._members).bit_length() + 2, 6)
        keys, shift = np.zeros((1 << bits) + len(self._members), dtype=np.uint64), np.uint64(64 - bits)
        farthest = 0
        for member, at in zip(self._members, ((self._members * np.uint64(_ODD[0])) >> shift).tolist(), strict=True):
            behind = int(np.argmin(keys[at:] != 0))
            keys[at + behind] = member
            farthest = max(farthest, behind)
        return keys[: (1 << bits) + farthest].copy(), shift

    def holds(self, hashes: Hashes) -> NDArray[np.bool_]:
        """Which of these are members."""
        out = np.zeros(len(hashes), dtype=bool)
        for odd, shift, keys in self._layers:
            place = hashes * odd
            place >>= shift
            out |= keys.take(place.view(np.int64)) == hashes
        return out


def _apart(odd: np.uint64, shift: np.uint64) -> Hashes:
    """Two numbers with different places."""
    some = np.arange(1, 65, dtype=np.uint64)
    places = (some * odd) >> shift
    return some[[0, int(np.argmax(places != places[0]))]]
