"""Compiled loops over the bytes of texts: where reasoning may show, folding, and cutting into words."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from demur.responses.compiling import (
    BYTES,
    INTS,
    Bytes,
    Flags,
    Hashes,
    Ints,
    array,
    compiled,
    types,
)

__all__ = [
    "fold_bytes",
    "may_reason",
    "split_words",
]

_LOWER = np.frombuffer(bytes(range(256)).lower(), dtype=np.uint8).copy()
_NEWLINE = np.uint8(10)
_ODD_1, _ODD_2, _ODD_3 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F), np.uint64(0x165667B19E3779F9)
_BY_LENGTH, _LAST = np.uint64(0xD6E8FEB86659FD93), np.uint64(0xBF58476D1CE4E5B9)
_MASKS = np.array([(1 << (8 * size)) - 1 for size in range(9)], dtype=np.uint64)
_SPARE = 32
_UNMET, _GONE, _LONGER = 0x110000, 0x110001, 0x110002

# Where reasoning may show: tags, brackets, ends of lines and labels, and first bytes of letters whose lower case is, or
# may be taken for, one of ASCII.
_TELLING = np.zeros(256, dtype=np.uint8)
_TELLING[[ord("<"), ord("]"), ord(":"), ord("\n"), 0xC4, 0xC5, 0xCC, 0xE2, 0xEF]] = 1
_BLANK = np.zeros(256, dtype=np.uint8)
_BLANK[[ord(c) for c in " \t\r*_"]] = 1


def _four(letters: str) -> np.uint32:
    return np.uint32(int.from_bytes(letters.encode(), "big"))


_KING, _NING, _UGHT, _GHTS = _four("king"), _four("ning"), _four("ught"), _four("ghts")
_CESS, _NALE, _HPAD, _ANAL, _COMM = _four("cess"), _four("nale"), _four("hpad"), _four("anal"), _four("comm")


@compiled(BYTES, INTS)
def may_reason(raw: Bytes, sizes: Ints) -> Flags:
    """Which texts have to be asked whether they hold reasoning; all that do are among them.

    Args:
        raw: Texts in UTF-8, one after the other.
        sizes: Bytes of each.
    """
    out = np.zeros(len(sizes), dtype=np.bool_)
    begin = 0
    for text in range(len(sizes)):
        stop = begin + sizes[text]
        at = begin
        while at < stop and (raw[at] <= 32 or raw[at] == 127):
            at += 1
        if at + 4 <= stop:
            head = np.uint32(0)
            for place in range(at, at + 4):
                head = np.uint32(head << 8 | (raw[place] | 32))
            # a channel's name, or white space that is not in ASCII before one
            out[text] = head == _ANAL or head == _COMM or raw[at] == 0xC2 or raw[at] == 0xE1 or raw[at] == 0xE3
            if raw[at] == 0xE2:
                out[text] = raw[at + 1] == 0x81 or (raw[at + 1] == 0x80 and not 0x8B <= raw[at + 2] <= 0xA7)
        for place in range(at, stop + 1):
            byte = raw[place] if place < stop else _NEWLINE
            if not _TELLING[byte]:
                continue
            if byte == ord("<"):
                out[text] = True
            elif byte == ord("]"):
                out[text] |= place > begin and (raw[place - 1] | 32) == ord("k")
            elif byte == 0xC4 or byte == 0xC5 or byte == 0xCC:
                following = raw[place + 1]
                out[text] |= following == (0xBF if byte == 0xC5 else 0x87 if byte == 0xCC else following & 0xB1 | 0xB0)
            elif byte == 0xE2:
                out[text] |= raw[place + 1] == 0x97 or raw[place + 1] == 0x84
            else:  # a label stands before it
                back = place - 1
                while back >= begin and _BLANK[raw[back]]:
                    back -= 1
                if back - 3 >= begin:
                    tail = np.uint32(0)
                    for letter in range(back - 3, back + 1):
                        tail = np.uint32(tail << 8 | (raw[letter] | 32))
                    out[text] |= (
                        tail == _KING or tail == _NING or tail == _UGHT or tail == _GHTS
                        or tail == _CESS or tail == _NALE or tail == _HPAD
                    )  # fmt: skip
            if out[text]:
                break
        begin = stop
    return out


@compiled(BYTES, INTS, array(types.uint32), INTS, BYTES)
def fold_bytes(
    raw: Bytes, sizes: Ints, codes: NDArray[np.uint32], at: Ints, pool: Bytes
) -> tuple[Bytes, int, Ints, int]:
    """`fold_many` on UTF-8.

    Args:
        raw: Texts in UTF-8, one after the other.
        sizes: Bytes of each.
        codes: What each character becomes: another, nothing (`_GONE`), or several (`_LONGER` and a number).
        at: Where in `pool` the several begin, by their number, and its end.
        pool: Their bytes.

    Returns:
        The folded texts with two line ends behind each, and room to spare; their bytes with line ends; their sizes
        without; and how many characters had no entry in `codes` (the texts are of no use, then).
    """
    longest, most = 4, 2 * len(sizes) + _SPARE
    for number in range(len(at) - 1):
        longest = max(longest, at[number + 1] - at[number])
    for byte in raw:
        most += (byte < 128) + longest * (byte >= 192)
    out = np.empty(most, dtype=np.uint8)
    folded = np.empty(len(sizes), dtype=np.int64)
    unmet, index, o = 0, 0, 0
    for text in range(len(sizes)):
        begin, stop = o, index + sizes[text]
        while index < stop:
            lead = raw[index]
            if lead < 128:
                out[o] = _LOWER[lead]
                o += 1
                index += 1
                continue
            if lead < 0xE0:
                code = (np.int64(lead) & 0x1F) << 6 | (np.int64(raw[index + 1]) & 0x3F)
                index += 2
            elif lead < 0xF0:
                code = (np.int64(lead) & 0x0F) << 12 | (np.int64(raw[index + 1]) & 0x3F) << 6
                code |= np.int64(raw[index + 2]) & 0x3F
                index += 3
            else:
                code = (np.int64(lead) & 0x07) << 18 | (np.int64(raw[index + 1]) & 0x3F) << 12
                code |= (np.int64(raw[index + 2]) & 0x3F) << 6 | (np.int64(raw[index + 3]) & 0x3F)
                index += 4
            became = np.int64(codes[code])
            if became < 0x80:
                out[o] = became
                o += 1
            elif became < 0x800:
                out[o] = 0xC0 | became >> 6
                out[o + 1] = 0x80 | became & 0x3F
                o += 2
            elif became < 0x10000:
                out[o] = 0xE0 | became >> 12
                out[o + 1] = 0x80 | became >> 6 & 0x3F
                out[o + 2] = 0x80 | became & 0x3F
                o += 3
            elif became < _UNMET:
                out[o] = 0xF0 | became >> 18
                out[o + 1] = 0x80 | became >> 12 & 0x3F
                out[o + 2] = 0x80 | became >> 6 & 0x3F
                out[o + 3] = 0x80 | became & 0x3F
                o += 4
            elif became == _UNMET or became - _LONGER >= len(at) - 1:  # a moment ago, in another thread
                unmet += 1
            elif became >= _LONGER:
                for place in range(at[became - _LONGER], at[became - _LONGER + 1]):
                    out[o] = pool[place]
                    o += 1
        folded[text] = o - begin
        out[o] = _NEWLINE
        out[o + 1] = _NEWLINE
        o += 2
    out[o : o + _SPARE] = 0
    return out, o, folded, unmet


@compiled(BYTES, types.Array(types.uint64, 1, "A", readonly=True, aligned=False), INTS)
def split_words(
    buffer: Bytes, stretches: Hashes, size: Ints
) -> tuple[Ints, Ints, Ints, Ints, Ints, Bytes, Hashes, Flags, Ints, Ints, Ints, Ints]:
    """The words of folded texts.

    Args:
        buffer: The texts in UTF-8, two line ends behind each.
        stretches: The eight bytes from each byte on as one number, 24 more than there are bytes.
        size: Bytes of each text, without the line ends.

    Returns:
        `begin` of each text; `start`, `end`, `row` of each word; `first` word of each text; `initial`, `hash`,
        `after_stop` and `place` of each word; and how many words of each text begin with a byte outside ASCII, with a
        digit, and a sentence.
    """
    total = len(buffer)
    # four bytes of room in front, so that what stands before the first byte can be asked for
    of_word, lone = np.zeros(total + 8, dtype=np.uint8), np.zeros(total + 8, dtype=np.uint8)
    telling = np.empty(total, dtype=np.uint8)
    # these three loops are over bytes alone, so that the compiler makes each step do many
    for at in range(total):
        byte = buffer[at]
        letter = byte | np.uint8(32)
        of_word[at + 4] = (
            ((letter >= 97) & (letter <= 122)) | ((byte >= 48) & (byte <= 57)) | (byte == 39) | (byte >= 128)
        )
    for at in range(total - 1):  # kana, ideographs, Hangul and Thai: a character of three bytes is a word
        byte = buffer[at]
        lone[at + 4] = ((byte >= 0xE3) & (byte <= 0xED)) | ((byte == 0xE0) & ((buffer[at + 1] & 0xFE) == 0xB8))
    for at in range(total):
        byte, inside, before = buffer[at], of_word[at + 4], of_word[at + 3]
        begins = (inside & ~before) | lone[at + 4] | (lone[at + 1] & inside)
        ends = before & (~inside | begins)
        stop = np.uint8((byte == 46) | (byte == 33) | (byte == 63) | (byte == 10))
        telling[at] = (begins & 1) | (ends & 1) << 1 | stop << 2
    most = total // 2 + 2
    start, end = np.empty(most, dtype=np.int64), np.empty(most, dtype=np.int64)
    after = np.empty(most, dtype=np.bool_)
    words, ended, stopped = np.int64(0), np.int64(0), np.int64(1)
    for at in range(total):  # and this one does not branch: what a byte is could not be foretold
        sign = np.int64(telling[at])
        stopped |= sign >> 2
        start[words], after[words], end[ended] = at, stopped, at
        words += sign & 1
        ended += sign >> 1 & 1
        stopped &= ~(sign & 1)
    texts = len(size)
    begin, first = np.empty(texts, dtype=np.int64), np.empty(texts + 1, dtype=np.int64)
    odd, digits, sentences = np.zeros(texts, np.int64), np.zeros(texts, np.int64), np.zeros(texts, np.int64)
    row, place = np.empty(words, dtype=np.int64), np.empty(words, dtype=np.int64)
    initial, hashes = np.empty(words, dtype=np.uint8), np.empty(words, dtype=np.uint64)
    word, at = 0, 0
    for text in range(texts):
        begin[text], first[text] = at, word
        at += size[text] + 2
        while word < words and start[word] < at:
            opened = start[word]
            long = end[word] - opened
            hashed = (stretches[opened] & _MASKS[min(long, 8)]) * _ODD_1 + np.uint64(long) * _BY_LENGTH
            if long > 8:
                hashed ^= (stretches[opened + 8] & _MASKS[min(long - 8, 8)]) * _ODD_2
                if long > 16:
                    hashed ^= (stretches[opened + 16] & _MASKS[min(long - 16, 8)]) * _ODD_3
            hashes[word] = (hashed ^ hashed >> np.uint64(29)) * _LAST
            byte = buffer[opened]
            row[word], place[word], initial[word] = text, word - first[text], byte
            odd[text] += byte >= 128
            digits[text] += 48 <= byte <= 57
            sentences[text] += after[word]
            word += 1
    first[texts] = words
    return (
        begin, start[:words], end[:words], row, first, initial, hashes, after[:words], place, odd, digits, sentences,
    )  # fmt: skip
