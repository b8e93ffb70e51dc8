"""Regular expressions over words, compiled into automata that read a whole batch at once.

A pattern is written in words: `i ADV* (cannot|am not able to) help`. It knows groups with `|`, the suffixes `?` and
`*` (of the word or group before them), `_` for any one word (`_3`: up to three of them, or none), `^` for the beginning
of a sentence, and names in capitals that stand for groups. A pattern never reaches across a stop. Patterns become
deterministic automata over classes of words; `find` starts them at every word of a batch and steps all starts together,
so that the cost hardly depends on how many patterns there are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from demur.errors import InputError
from demur.responses.patterns import Draft, draft
from demur.responses.speed import kernels
from demur.responses.words import HashSet, Words, hash_words

__all__ = ["Automaton", "Lexicon", "Mentions", "compile_lexicon", "foreign_texts"]

Ints = NDArray[np.int64]

_LONGEST = 24  # words; repeated adverbs must end somewhere
_LENGTH_BITS = 5  # enough for it
_TABLES = 5


class Mentions(NamedTuple):
    """Phrases found in a batch, ordered by text, family and position; of one family none overlap."""

    family: Ints
    start: Ints
    """First word, as a number in the batch."""
    end: Ints
    """One past the last word."""


@dataclass(frozen=True, slots=True)
class Automaton:
    """Some patterns, compiled."""

    classes: NDArray[np.int16]
    """Class of each word of the vocabulary; class 0 is every other word, the last class the end of a sentence."""
    begins: NDArray[np.bool_]
    """Whether a pattern can begin with each word of the vocabulary."""
    anchors: tuple[NDArray[np.bool_], ...]
    """Where patterns may begin with a gap: words of which one must stand at its place, 0, 1, ..., for any to go on."""
    first: Ints
    """State after each word of the vocabulary, within a sentence and then, all over again, at its beginning."""
    step: NDArray[np.int16]
    """Next state by state and class; state 0 is dead."""
    accepting: int
    """The first state that accepts; so do all behind it."""
    accepts_from: Ints
    """Families of state `s` are `accepts[accepts_from[s]:accepts_from[s + 1]]`."""
    accepts: Ints

    def hits(self, known: NDArray[np.int16], closed: NDArray[np.bool_]) -> Iterator[tuple[Ints, Ints, Ints]]:
        """Everything accepted, in portions: families, first words, and words behind the last.

        Args:
            known: Number of each word in the vocabulary, 0 for others, and one more 0 at the end.
            closed: Whether a sentence begins at each word, and one more True at the end.
        """
        if fast := kernels():
            room, count = len(known) + 16, len(known) + 17
            while count > room:
                room = max(room, count)
                *found, count = fast.walk(
                    known, closed, self.classes, self.first, self.step.ravel(), self.step.shape[1], self.accepting,
                    self.accepts_from, self.accepts, _LONGEST, room,
                )  # fmt: skip
            yield found[0], found[1], found[2]
            return
        width = self.step.shape[1]
        flat = self.step.ravel()
        may = self.anchors[0].take(known)
        for place, anchor in enumerate(self.anchors[1:], 1):
            may[:-place] |= anchor.take(known[place:])
        if len(self.anchors) > 1:
            may &= self.begins.take(known)
        origin = np.flatnonzero(may)
        if not len(origin):
            return
        state = self.first.take(known.take(origin) + closed.take(origin) * np.int64(len(self.classes)))
        alive = np.flatnonzero(state)
        origin, state = origin.take(alive), state.take(alive)
        following = self.classes.take(known)
        following[closed] = width - 1
        for length in range(1, _LONGEST + 1):
            if not len(origin):
                break
            hit = np.flatnonzero(state >= self.accepting)
            if len(hit):
                there, begin = state.take(hit), origin.take(hit)
                many = self.accepts_from[there + 1] - self.accepts_from[there]
                which = np.repeat(self.accepts_from[there] - np.append(0, np.cumsum(many)[:-1]), many)
                begin = begin.repeat(many)
                yield self.accepts[which + np.arange(len(which))], begin, begin + length
            state = flat.take(state * width + following.take(origin + length))
            alive = np.flatnonzero(state)
            origin, state = origin.take(alive), state.take(alive).astype(np.int64)


@dataclass(frozen=True, slots=True)
class _Tables:
    """Automata with the words that their patterns name."""

    keys: NDArray[np.uint64]
    """Hashes of the words that patterns name, table behind table; each is for those that found their place taken in the
    last."""
    numbers: NDArray[np.int16]
    """Number of the word at the same place of `keys`."""
    layers: Ints
    """Base-2 logarithms of the sizes of the tables."""
    automata: tuple[Automaton, ...]

    def known(self, hashes: NDArray[np.uint64]) -> NDArray[np.int16]:
        """Number of each word, 0 for others, and one more 0 at the end."""
        if fast := kernels():
            numbers: NDArray[np.int16] = fast.known_words(hashes, self.keys, self.numbers, self.layers)
            return numbers
        out = np.zeros(len(hashes) + 1, dtype=np.int16)
        rest: Ints | None = None
        offset = 0
        for bits in self.layers.tolist():
            asked = hashes if rest is None else hashes[rest]
            place = _place(asked, bits) + offset
            there = self.keys.take(place)
            same = there == asked
            found = np.flatnonzero(same)
            out[found if rest is None else rest[found]] = self.numbers.take(place.take(found))
            offset += 1 << bits
            # only a word that finds another in its place can be in the next table
            other = np.flatnonzero((there != 0) & ~same)
            rest = other if rest is None else rest[other]
        return out


class Lexicon:
    """A compiled set of families.

    Args:
        families: Names; their order numbers the families.
        english: Patterns of English.
        world: Compiles those for texts that are not plainly English, when there is one.
    """

    def __init__(self, families: tuple[str, ...], english: _Tables, world: Callable[[], _Tables]) -> None:
        self.families = families
        self._english = english
        self._compile = world
        self._world: _Tables | None = None

    def find(self, words: Words, foreign: NDArray[np.bool_]) -> Mentions:
        """Every phrase of every family in a batch.

        Args:
            words: The batch.
            foreign: Texts in which phrases of other languages are looked for, too.
        """
        closed = np.append(words.after_stop, True)
        known = self._english.known(words.hash)
        found = [part for automaton in self._english.automata for part in automaton.hits(known, closed)]
        if foreign.any():
            if self._world is None:
                self._world = self._compile()
            chosen = np.append(np.flatnonzero(foreign[words.row]), len(words.hash))
            known, closed = self._world.known(words.hash[chosen[:-1]]), closed[chosen]
            for automaton in self._world.automata:
                for family, start, end in automaton.hits(known, closed):
                    found.append((family, chosen[start], chosen[end - 1] + 1))
        if not found:
            none = np.zeros(0, dtype=np.int64)
            return Mentions(none, none, none)
        family, start, end = (np.concatenate(part) for part in zip(*found, strict=True))
        # One number says where a mention is: text and family, first word, length. Numbers sort much faster than their
        # order, and everything can be read off them again.
        bits = (len(words.hash) + 2).bit_length()
        key = (((words.row.take(start) * len(self.families) + family) << bits | start) << _LENGTH_BITS) | (end - start)
        key.sort()
        longest = np.ones(len(key), dtype=bool)
        longest[:-1] = (key[1:] >> _LENGTH_BITS) != (key[:-1] >> _LENGTH_BITS)
        key = key[longest]
        group, start = key >> (bits + _LENGTH_BITS), (key >> _LENGTH_BITS) & ((1 << bits) - 1)
        end = start + (key & ((1 << _LENGTH_BITS) - 1))
        shift = group << bits
        reach = np.maximum.accumulate(end + shift)
        keep = np.ones(len(start), dtype=bool)
        keep[1:] = start[1:] + shift[1:] >= reach[:-1]  # a later group begins beyond the reach of all before it
        return Mentions(group[keep] % len(self.families), start[keep], end[keep])


_ENGLISH = HashSet.of(
    "the to and you i is that of a in it for with not but are this be or as can your have my do an on will"
)
# Small words that no other language of the lexicon has: "a", "in", "to" or "do" are small words elsewhere, too.
_ENGLISH_ONLY = HashSet.of(
    "the and you that with not this your they their there from would should could which when what how if it's its i'm "
    "i've i'd i'll can't cannot don't isn't doesn't she his our than these those been has had were "
    "about because into are it"
)


def foreign_texts(words: Words) -> NDArray[np.bool_]:
    """Which texts are not plainly English: few of their first words are its small ones, or many are not in ASCII."""
    counts = np.diff(words.first)
    head = np.minimum(counts, 60)
    if fast := kernels():
        small, only = fast.foreign_counts(words.hash, words.first, *_ENGLISH.table, *_ENGLISH_ONLY.table, 60)
    else:
        index = np.flatnonzero(words.place < 60)
        hashes, row = words.hash.take(index), words.row.take(index)
        small, only = (np.bincount(row[held.holds(hashes)], minlength=len(head)) for held in (_ENGLISH, _ENGLISH_ONLY))
    return np.asarray((small < 0.12 * head) | (only < 0.04 * head) | (words.odd > 0.15 * counts))


def _place(hashes: NDArray[np.uint64], bits: int) -> NDArray[np.int64]:
    return ((hashes * np.uint64(0x9E3779B97F4A7C15 + 2 * bits)) >> np.uint64(64 - bits)).astype(np.int64)


def compile_lexicon(
    english: Mapping[str, Sequence[str]], world: Mapping[str, Sequence[str]], names: Mapping[str, str]
) -> Lexicon:
    """Compiles families of patterns.

    Args:
        english: Patterns by family; the order numbers the families.
        world: Patterns for texts that are not plainly English; families of `english` only.
        names: What names in capitals stand for, as alternatives without brackets around them.

    Raises:
        InputError: A pattern is malformed, or a family of `world` is none of `english`.
    """
    if unknown := set(world) - set(english):
        raise InputError(f"families of other languages that English does not have: {sorted(unknown)}")
    families = tuple(english)
    return Lexicon(families, _compile(english, families, names), partial(_compile, world, families, names))


def _compile(table: Mapping[str, Sequence[str]], families: Sequence[str], names: Mapping[str, str]) -> _Tables:
    vocabulary: dict[str, int] = {}
    drafts = list(_drafts(table, families, names))
    for part in drafts:
        for word in part.class_of:
            vocabulary.setdefault(word, len(vocabulary) + 1)
    automata = []
    for part in drafts:
        classes = np.zeros(len(vocabulary) + 1, dtype=np.int16)
        for word, number in part.class_of.items():
            classes[vocabulary[word]] = number
        automata.append(_automaton(part, classes))
    return _Tables(*_tables(vocabulary), tuple(automata))


def _automaton(part: Draft, classes: NDArray[np.int16]) -> Automaton:
    # states that accept are numbered last, and every state has a way out at the end of a sentence
    order = np.array(sorted(range(len(part.accepts)), key=lambda state: bool(part.accepts[state])))
    number = np.argsort(order).astype(np.int16)
    step = np.concatenate((number[part.step[order]], np.zeros((len(order), 1), dtype=np.int16)), axis=1)
    starts = [int(number[start]) for start in part.starts]
    accepts = [part.accepts[state] for state in order]
    first = np.stack([step[start].take(classes) for start in starts]).astype(np.int64)
    first[:, 0] = 0  # no pattern begins with a gap
    begins = (first[0] > 0) | (first[1] > 0)
    return Automaton(
        classes,
        begins,
        _anchors(step, starts, accepts, classes) or (begins,),
        first.ravel(),
        step,
        sum(not families for families in accepts),
        *_flatten(accepts),
    )


def _anchors(
    step: NDArray[np.int16], starts: Sequence[int], accepts: Sequence[Sequence[int]], classes: NDArray[np.int16]
) -> tuple[NDArray[np.bool_], ...] | None:
    """Words that lead away from the path of words that nobody knows, by place; None where that path is endless."""
    anchors: list[NDArray[np.bool_]] = []
    for start in starts:
        state = start
        for place in range(_LONGEST):
            if not state or accepts[state]:
                break
            if place == len(anchors):
                anchors.append(np.zeros(len(classes), dtype=bool))
            anchors[place] |= (step[state] != step[state][0]).take(classes)
            state = int(step[state][0])
        if state:
            return None
    return tuple(anchors)


def _flatten(groups: Sequence[Sequence[int]]) -> tuple[Ints, Ints]:
    flat = [family for group in groups for family in group]
    return np.cumsum([0, *map(len, groups)], dtype=np.int64), np.array(flat, dtype=np.int64)


def _tables(vocabulary: Mapping[str, int]) -> tuple[NDArray[np.uint64], NDArray[np.int16], Ints]:
    waiting = dict(zip(vocabulary.values(), hash_words(vocabulary), strict=True))
    # four places a word in the first table: of the words that patterns do not name, few find one that they do
    most = max(len(vocabulary).bit_length() + 2, 9)
    sizes = [max(most - 2 * layer, 6) for layer in range(_TABLES)]
    keys = tuple(np.zeros(1 << bits, dtype=np.uint64) for bits in sizes)
    numbers = tuple(np.zeros(1 << bits, dtype=np.int16) for bits in sizes)
    for bits, key, number in zip(sizes, keys, numbers, strict=True):
        for word, hashed in list(waiting.items()):
            place = int(_place(np.array([hashed]), bits)[0])
            if not key[place]:
                key[place], number[place] = hashed, word
                del waiting[word]
    if waiting:
        raise InputError(f"no place for {len(waiting)} words: make the tables larger")
    return np.concatenate(keys), np.concatenate(numbers), np.array(sizes)


def _drafts(table: Mapping[str, Sequence[str]], families: Sequence[str], names: Mapping[str, str]) -> Iterator[Draft]:
    # wide gaps multiply states with whatever else may stand in them, and a table has a row a state and a column a class
    # of words: patterns with such gaps have an automaton of their own, and so has every script
    parts: dict[tuple[int, bool], list[tuple[int, str]]] = {}
    for number, family in enumerate(families):
        for pattern in table.get(family, ()):
            parts.setdefault((_script(pattern), bool(re.search(r"_[2-9]", pattern))), []).append((number, pattern))
    for key in sorted(parts):
        yield draft(parts[key], names)


def _script(pattern: str) -> int:
    """A number for the script of a pattern; Latin, with all its accents, is 0."""
    for code in map(ord, pattern):
        if code >= 0x370 and code >> 8 != 0x1E:
            return min(code >> 8, 0xAC) if code >= 0xAC00 else min(code >> 8, 0x30)
    return 0
