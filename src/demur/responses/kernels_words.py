"""Compiled loops over words: what is known of them, phrases, speakers, and which words two texts share."""

from __future__ import annotations

import numpy as np

from demur.responses.compiling import (
    BYTES,
    FLAGS,
    HASHES,
    INTS,
    SHORTS,
    Bytes,
    Flags,
    Hashes,
    Ints,
    Shorts,
    compiled,
    inlined,
    types,
)

__all__ = [
    "find_voices",
    "foreign_counts",
    "known_words",
    "overlaps",
    "walk",
]

_ODD_1 = np.uint64(0x9E3779B97F4A7C15)


@inlined
def _holds(table: Hashes, shift: np.uint64, hashed: np.uint64) -> bool:
    """Whether a hash is in a `HashSet.table`."""
    at = np.int64((hashed * _ODD_1) >> shift)
    held = False
    for place in range(at, at + 1 + len(table) - (1 << (np.uint64(64) - shift))):
        held |= table[place] == hashed
    return held


@compiled(HASHES, HASHES, SHORTS, INTS)
def known_words(hashes: Hashes, keys: Hashes, numbers: Shorts, layers: Ints) -> Shorts:
    """The number of each word in a vocabulary, 0 for others, and one more 0 at the end.

    Args:
        hashes: The words.
        keys: Hashes of the vocabulary, table behind table.
        numbers: Its numbers at the same places.
        layers: Base-2 logarithms of the sizes of the tables.
    """
    out = np.zeros(len(hashes) + 1, dtype=np.int16)
    for word in range(len(hashes)):
        hashed, offset, layer = hashes[word], 0, 0
        while layer < len(layers):
            bits = layers[layer]
            factor = np.uint64(0x9E3779B97F4A7C15) + np.uint64(2 * bits)
            at = offset + np.int64((hashed * factor) >> np.uint64(64 - bits))
            found = keys[at] == hashed
            out[word] = numbers[at] if found else 0  # without a branch, which could not be foretold
            # only a word that finds another in its place can be in the next table
            layer = len(layers) if found or keys[at] == 0 else layer + 1
            offset += 1 << bits
    return out


_TOGETHER = 2048  # words; what is known of them stays in the nearest cache


@compiled(SHORTS, FLAGS, SHORTS, INTS, SHORTS, types.int64, types.int64, INTS, INTS, types.int64, types.int64)
def walk(
    known: Shorts, closed: Flags, classes: Shorts, first: Ints, step: Shorts, width: int, accepting: int,
    accepts_from: Ints, accepts: Ints, longest: int, room: int,
) -> tuple[Ints, Ints, Ints, int]:  # fmt: skip
    """Everything that an automaton accepts: families, first words, words behind the last; and how many there are.

    Args:
        known: Number of each word in the vocabulary, and one more 0.
        closed: Whether a sentence begins at each word, and one more True.
        classes: `Automaton.classes`; and so on: its tables, the one of steps flattened.
        first: See there.
        step: See there.
        width: Columns of `step`.
        accepting: See there.
        accepts_from: See there.
        accepts: See there.
        longest: Words that a phrase has at most.
        room: How many are returned; when there are more, ask again.
    """
    family, start, end = np.empty(room, dtype=np.int64), np.empty(room, dtype=np.int64), np.empty(room, dtype=np.int64)
    n, words, sentence = 0, len(known) - 1, len(classes)
    following = np.empty(_TOGETHER + longest + 1, dtype=np.int64)
    origin, state = np.empty(_TOGETHER + 1, dtype=np.int64), np.empty(_TOGETHER + 1, dtype=np.int64)
    for base in range(0, words, _TOGETHER):
        numbers, ends = known[base : base + len(following)], closed[base : base + len(following)]
        for place in range(len(numbers)):
            following[place] = width - 1 if ends[place] else classes[numbers[place]]
        alive = 0
        # many starts take a step together: most die at once, and whether one does could not be foretold
        for place in range(min(_TOGETHER, words - base)):
            origin[alive] = place
            state[alive] = first[numbers[place] + (sentence if ends[place] else 0)]
            alive += state[alive] > 0
        for length in range(1, longest + 1):
            before, alive = alive, 0
            for number in range(before):
                here, begin = state[number], origin[number]
                if here >= accepting:
                    for which in range(accepts_from[here], accepts_from[here + 1]):
                        if n < room:
                            family[n], start[n], end[n] = accepts[which], base + begin, base + begin + length
                        n += 1
                origin[alive] = begin
                state[alive] = step[here * width + following[begin + length]]
                alive += state[alive] > 0
            if not alive:
                break
    kept = min(n, room)
    return family[:kept], start[:kept], end[:kept], n


@compiled(HASHES, INTS, HASHES, types.uint64, HASHES, types.uint64, types.int64)
def foreign_counts(
    hashes: Hashes, first: Ints, small: Hashes, small_shift: np.uint64, only: Hashes, only_shift: np.uint64, limit: int
) -> tuple[Ints, Ints]:
    """How many of the first words of each text are in each of two sets.

    Args:
        hashes: The words.
        first: First word of each text, and the end.
        small: A `HashSet.table`, as is `only`; both with their shifts.
        small_shift: See there.
        only: See there.
        only_shift: See there.
        limit: Words read of each text.
    """
    texts = len(first) - 1
    of_small, of_only = np.zeros(texts, dtype=np.int64), np.zeros(texts, dtype=np.int64)
    for text in range(texts):
        for word in range(first[text], min(first[text + 1], first[text] + limit)):
            of_small[text] += _holds(small, small_shift, hashes[word])
            of_only[text] += _holds(only, only_shift, hashes[word])
    return of_small, of_only


_SEEN = 512  # places of a table that holds up to 150 words


@compiled(HASHES, INTS, INTS, INTS, HASHES, INTS, INTS, INTS, HASHES, types.uint64, types.int64, types.int64)
def overlaps(
    their_hash: Hashes, their_start: Ints, their_end: Ints, their_first: Ints,
    our_hash: Hashes, our_start: Ints, our_end: Ints, our_first: Ints,
    small: Hashes, small_shift: np.uint64, limit: int, opening: int,
) -> Ints:  # fmt: skip
    """How far replies take up the words of their prompts, without short and small words.

    Args:
        their_hash: Words of the prompts, with their bounds and the first of each text.
        their_start: See there.
        their_end: See there.
        their_first: See there.
        our_hash: Words of the replies, alike.
        our_start: See there.
        our_end: See there.
        our_first: See there.
        small: A `HashSet.table` of small words, and its shift.
        small_shift: See there.
        limit: Words read of each text; at most a third of `_SEEN`.
        opening: Words of a reply that are its opening.

    Returns:
        Shape `(6, texts)`: words of the reply and those among them that the prompt has, words of the prompt and those
        that the reply has, words of the opening and those that the prompt has.
    """
    texts = len(our_first) - 1
    out = np.zeros((6, texts), dtype=np.int64)
    seen, stamp = np.zeros(_SEEN, dtype=np.uint64), np.zeros(_SEEN, dtype=np.int64)
    telling = np.empty(limit + 1, dtype=np.uint64)
    times, used = np.zeros(_SEEN, dtype=np.int64), np.zeros(_SEEN, dtype=np.bool_)
    shift = np.uint64(64 - 9)
    for text in range(texts):
        count = 0
        for word in range(their_first[text], min(their_first[text + 1], their_first[text] + limit)):
            telling[count] = their_hash[word]
            count += (their_end[word] - their_start[word] > 3) & (not _holds(small, small_shift, their_hash[word]))
        out[2, text] = count
        for hashed in telling[:count]:
            at = np.int64((hashed * _ODD_1) >> shift)
            while stamp[at] == text + 1 and seen[at] != hashed:
                at = (at + 1) & (_SEEN - 1)
            if stamp[at] != text + 1:
                seen[at], stamp[at], times[at], used[at] = hashed, text + 1, 0, False
            times[at] += 1
        count = 0
        for word in range(our_first[text], min(our_first[text + 1], our_first[text] + limit)):
            telling[count] = our_hash[word]
            count += (our_end[word] - our_start[word] > 3) & (not _holds(small, small_shift, our_hash[word]))
        out[0, text], out[4, text] = count, min(count, opening)
        for number in range(count):
            hashed = telling[number]
            at = np.int64((hashed * _ODD_1) >> shift)
            while stamp[at] == text + 1 and seen[at] != hashed:
                at = (at + 1) & (_SEEN - 1)
            copied = stamp[at] == text + 1
            if copied and not used[at]:
                used[at] = True
                out[3, text] += times[at]
            out[1, text] += copied
            out[5, text] += copied and number < opening
    return out


@compiled(
    BYTES, INTS, INTS, HASHES, FLAGS, INTS, INTS, INTS, INTS, types.uint64,
    HASHES, types.uint64, HASHES, types.uint64, types.int64, types.int64,
)  # fmt: skip
def find_voices(
    buffer: Bytes, start: Ints, end: Ints, hashes: Hashes, after_stop: Flags, first: Ints,
    opens: Ints, ends: Ints, line_row: Ints, as_hash: np.uint64,
    no_speaker: Hashes, speaker_shift: np.uint64, no_name: Hashes, name_shift: np.uint64,
    label_most: int, names_most: int,
) -> tuple[Ints, Ints]:  # fmt: skip
    """`findings._voices`: how many speakers each text names, and where the last of them begins.

    Args:
        buffer: `Words.buffer`, as are the next five.
        start: See there.
        end: See there.
        hashes: See there.
        after_stop: See there.
        first: See there.
        opens: First byte of each line that is no blank and no mark of emphasis.
        ends: Its line end.
        line_row: Its text.
        as_hash: Hash of "as".
        no_speaker: A `HashSet.table` of labels that name nobody, and its shift.
        speaker_shift: See there.
        no_name: A table of words behind "as" that name nobody, and its shift.
        name_shift: See there.
        label_most: Bytes of the longest label.
        names_most: Names beyond which nobody is believed to speak.
    """
    texts = len(first) - 1
    voices, last = np.zeros(texts, dtype=np.int64), np.zeros(texts, dtype=np.int64)
    # who is named, in order: first word, word behind, and whether brackets or "as" mark it as more than a label
    most = 2 * len(start) + 1
    begins, behinds = np.empty(most, dtype=np.int64), np.empty(most, dtype=np.int64)
    marks, seen = np.empty(most, dtype=np.bool_), np.empty(names_most + 1, dtype=np.uint64)
    line = 0
    for text in range(texts):
        low, high, named = first[text], first[text + 1], 0
        word = low
        while word < high:
            # lines that open at or before this word
            while line < len(opens) and line_row[line] == text and opens[line] <= start[word]:
                opened = opens[line]
                opener = buffer[opened]
                bracket = opener == 91 or opener == 40
                line_end = ends[line]
                line += 1
                if not bracket and not (97 <= opener <= 122 or opener >= 128):
                    continue
                stop = opened
                while (
                    stop < line_end
                    and stop - opened <= label_most
                    and not ((buffer[stop] == 93 or buffer[stop] == 41) if bracket else buffer[stop] == 58)
                ):
                    stop += 1
                if stop == line_end or stop - opened > label_most:
                    continue
                behind = word
                while behind < high and start[behind] < stop:
                    behind += 1
                if behind == word or (behind - word > 3 and not bracket):
                    continue
                begins[named], behinds[named], marks[named] = word, behind, bracket
                named += not _holds(no_speaker, speaker_shift, hashes[word])
            as_somebody = hashes[word] == as_hash and after_stop[word] and word + 1 < high
            if as_somebody and not _holds(no_name, name_shift, hashes[word + 1]):
                behind = word + 2
                for _ in range(2):  # names of up to three words
                    mark = buffer[end[behind - 1]]
                    behind += mark != 44 and mark != 58 and behind < len(start)
                mark = buffer[end[behind - 1]]
                if (mark == 44 or mark == 58) and behind <= high:
                    begins[named], behinds[named], marks[named] = word, behind, True
                    named += not _holds(no_speaker, speaker_shift, hashes[word])
            word += 1
        while line < len(opens) and line_row[line] == text:
            line += 1
        asked = named > 1
        for number in range(named):
            asked |= marks[number] and begins[number] - low > 3
        if not asked:
            continue
        distinct = 0
        for number in range(named):
            name, new = hashes[behinds[number] - 1], True
            for other in range(distinct):
                new &= seen[other] != name
            seen[distinct] = name
            distinct += new
            if distinct > names_most:
                break
        # untitled text before the first name is a voice, too
        speakers = distinct + (marks[0] and begins[0] - low > 3)
        if speakers < 2 or distinct > names_most:
            continue
        voices[text] = speakers
        for number in range(named - 1, -1, -1):
            if high - behinds[number] >= 3:
                last[text] = begins[number] - low
                break
    return voices, last
