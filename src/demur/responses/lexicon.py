"""Regular expressions over words, compiled into automata that read a whole batch at once.

A pattern is written in words: `i ADV* (cannot|am not able to) help`. It knows groups with `|`, the suffixes `?` and
`*`, `_` for any word (`_3`: up to three of them), `^` for the beginning of a sentence, and names in capitals that stand
for groups. A pattern never reaches across a stop. Patterns become deterministic automata over classes of words; `find`
starts them at every word of a batch and steps all starts together, so that the cost hardly depends on how many patterns
there are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from demur.errors import InputError
from demur.responses.patterns import Draft, draft
from demur.responses.words import HashSet, Words, hash_words

__all__ = ["Automaton", "Lexicon", "Mentions", "compile_lexicon", "foreign_texts"]

Ints = NDArray[np.int64]

_LONGEST = 24  # words; repeated adverbs must end somewhere
_TABLE_BITS = (15, 13, 11, 9)


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

    classes: Ints
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
        width = self.step.shape[1]
        flat = self.step.ravel()
        may = self.anchors[0].take(known)
        for place, anchor in enumerate(self.anchors[1:], 1):
            may[:-place] |= anchor.take(known[place:])
        if len(self.anchors) > 1:
            may &= self.begins.take(known)
        origin = np.flatnonzero(may)
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
class Lexicon:
    """A compiled set of families."""

    families: tuple[str, ...]
    keys: tuple[NDArray[np.uint64], ...]
    """Hashes of the words that patterns name; each table is for those that found their place taken in the last."""
    numbers: tuple[NDArray[np.int16], ...]
    """Number of the word at the same place of `keys`."""
    english: tuple[Automaton, ...]
    world: tuple[Automaton, ...]
    """For texts that are not plainly English."""

    def _known(self, hashes: NDArray[np.uint64]) -> NDArray[np.int16]:
        out = np.zeros(len(hashes) + 1, dtype=np.int16)
        rest: Ints | None = None
        for bits, keys, numbers in zip(_TABLE_BITS, self.keys, self.numbers, strict=True):
            asked = hashes if rest is None else hashes[rest]
            place = _place(asked, bits)
            there = keys.take(place)
            same = there == asked
            found = np.flatnonzero(same)
            out[found if rest is None else rest[found]] = numbers.take(place.take(found))
            # only a word that finds another in its place can be in the next table
            other = np.flatnonzero((there != 0) & ~same)
            rest = other if rest is None else rest[other]
        return out

    def find(self, words: Words, foreign: NDArray[np.bool_]) -> Mentions:
        """Every phrase of every family in a batch.

        Args:
            words: The batch.
            foreign: Texts in which phrases of other languages are looked for, too.
        """
        known = self._known(words.hash)
        closed = np.append(words.after_stop, True)
        found = [part for automaton in self.english for part in automaton.hits(known, closed)]
        if foreign.any():
            chosen = np.append(np.flatnonzero(foreign[words.row]), len(words.hash))
            known, closed = known[chosen], closed[chosen]
            for automaton in self.world:
                for family, start, end in automaton.hits(known, closed):
                    found.append((family, chosen[start], chosen[end - 1] + 1))
        if not found:
            none = np.zeros(0, dtype=np.int64)
            return Mentions(none, none, none)
        family, start, end = (np.concatenate(part) for part in zip(*found, strict=True))
        # Within a text and a family: by start, the longest last, so that it can be told apart by its successor.
        group = words.row.take(start) * len(self.families) + family
        size = len(words.hash) + 2
        order = np.argsort((group * size + start) * 32 + (end - start))
        group, family, start, end = group.take(order), family.take(order), start.take(order), end.take(order)
        longest = np.ones(len(start), dtype=bool)
        longest[:-1] = (group[1:] != group[:-1]) | (start[1:] != start[:-1])
        if not longest.all():
            group, family, start, end = group[longest], family[longest], start[longest], end[longest]
        shift = group * size
        reach = np.maximum.accumulate(end + shift)
        keep = np.ones(len(start), dtype=bool)
        keep[1:] = start[1:] + shift[1:] >= reach[:-1]  # a later group begins beyond the reach of all before it
        return Mentions(family[keep], start[keep], end[keep])


_ENGLISH = HashSet.of(
    "the to and you i is that of a in it for with not but are this be or as can your have my do an on will"
)


def foreign_texts(words: Words) -> NDArray[np.bool_]:
    """Which texts are not plainly English: few of their first words are its small ones, or many are not in ASCII."""
    head = np.minimum(np.diff(words.first), 60)
    index = np.flatnonzero(words.place < 60)
    small = np.bincount(words.row.take(index[_ENGLISH.holds(words.hash.take(index))]), minlength=len(head))
    odd = words.sums(words.initial >= 128)
    return np.asarray((small < 0.12 * head) | (odd > 0.15 * np.diff(words.first)))


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
    vocabulary: dict[str, int] = {}
    automata: list[list[Automaton]] = []
    drafts = [list(_drafts(table, families, names)) for table in (english, world)]
    for part in (part for parts in drafts for part in parts):
        for word in part.class_of:
            vocabulary.setdefault(word, len(vocabulary) + 1)
    for parts in drafts:
        automata.append([])
        for part in parts:
            classes = np.zeros(len(vocabulary) + 1, dtype=np.int64)
            for word, number in part.class_of.items():
                classes[vocabulary[word]] = number
            automata[-1].append(_automaton(part, classes))
    keys, numbers = _tables(vocabulary)
    return Lexicon(families, keys, numbers, tuple(automata[0]), tuple(automata[1]))


def _automaton(part: Draft, classes: Ints) -> Automaton:
    # states that accept are numbered last, and every state has a way out at the end of a sentence
    order = np.array(sorted(range(len(part.accepts)), key=lambda state: bool(part.accepts[state])))
    number = np.argsort(order).astype(np.int16)
    step = np.concatenate((number[part.step[order]], np.zeros((len(order), 1), dtype=np.int16)), axis=1)
    starts = [int(number[start]) for start in part.starts]
    accepts = [part.accepts[state] for state in order]
    first = np.stack([step[start].take(classes) for start in starts]).astype(np.int64)
    begins: NDArray[np.bool_] = first > 0
    begins = begins[0] | begins[1]
    begins[0] = False  # no pattern begins with a gap
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
    step: NDArray[np.int16], starts: Sequence[int], accepts: Sequence[Sequence[int]], classes: Ints
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


def _tables(vocabulary: Mapping[str, int]) -> tuple[tuple[NDArray[np.uint64], ...], tuple[NDArray[np.int16], ...]]:
    waiting = dict(zip(vocabulary.values(), hash_words(vocabulary), strict=True))
    keys = tuple(np.zeros(1 << bits, dtype=np.uint64) for bits in _TABLE_BITS)
    numbers = tuple(np.zeros(1 << bits, dtype=np.int16) for bits in _TABLE_BITS)
    for bits, key, number in zip(_TABLE_BITS, keys, numbers, strict=True):
        for word, hashed in list(waiting.items()):
            place = int(_place(np.array([hashed]), bits)[0])
            if not key[place]:
                key[place], number[place] = hashed, word
                del waiting[word]
    if waiting:
        raise InputError(f"no place for {len(waiting)} words: make the tables larger")
    return keys, numbers


def _drafts(table: Mapping[str, Sequence[str]], families: Sequence[str], names: Mapping[str, str]) -> Iterator[Draft]:
    # wide gaps multiply states with whatever else may stand in them, so their patterns have an automaton of their own
    pairs = [(number, pattern) for number, family in enumerate(families) for pattern in table.get(family, ())]
    for wide in (False, True):
        if part := [pair for pair in pairs if bool(re.search(r"_[2-9]", pair[1])) == wide]:
            yield draft(part, names)
