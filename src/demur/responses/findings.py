"""What the rules find in a batch of responses: phrases and their places, quotation, speakers, the shape of the text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from demur.responses.lexicon import Lexicon, Mentions, compile_lexicon, foreign_texts
from demur.responses.phrases import ENGLISH, NAMES
from demur.responses.phrases_declining import DECLINING_NAMES
from demur.responses.phrases_world import WORLD
from demur.responses.speed import kernels
from demur.responses.words import HashSet, Words, hash_words, read_words

__all__ = ["FAMILIES", "HEAD", "TAIL", "Findings", "last_character", "lexicon", "look"]

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

FAMILIES: tuple[str, ...] = tuple(ENGLISH)
"""All families, in the order in which mentions number them."""

HEAD, TAIL = 20_000, 8_000
"""Characters read from the start and from the end of a very long response: declining lives at the edges, and time stays
bounded."""

_ASKING = ("?", "\uff1f", "\u061f")
_LABEL_BYTES, _NAMES_AT_MOST = 32, 3
# Labels at the beginning of a line that name no speaker.
_NO_SPEAKER = HashSet.of(
    "step note title subject dear day chapter question answer example tip tips warning disclaimer ingredients "
    "instructions introduction conclusion http https method materials week part option scene act verse chorus "
    "summary overview reason reasons pros cons source input output q a e g i e ps p.s date time to from re cc"
)

_AS = hash_words(["as"])[0]
# What follows "as" where nobody is named.
_NO_NAME = HashSet.of(
    "an a the i you we it he she they for far long with of in to well such soon your my this that always per much "
    "mentioned stated if part time someone human humans described shown noted seen expected before discussed "
    "previously already usual requested many both our his her their its opposed follows people is was one time "
    "years"
)
_BEHIND_NAME = np.array([ord(","), ord(":")], dtype=np.uint8)


@dataclass(frozen=True, slots=True)
class Findings:
    """What was found in a batch of texts. `row` arrays have one entry a text, `mention` arrays one a mention."""

    texts: tuple[str, ...]
    """As they were given, cut in the middle when very long."""
    words: Words
    mentions: Mentions
    row: Ints
    """Which text a mention is in."""
    quoted: Flags
    """Whether a mention stands inside quotation marks, a block quote or a code block: spoken by somebody else."""
    counts: Ints
    """Words of each text."""
    last_voice: Ints
    """Word at which the last speaker of an answer with several personas starts; 0 with one voice."""
    voices: Ints
    """Speakers named in each text."""
    lists: Ints
    """Lines that are list items."""
    lines: Ints
    code: Flags
    foreign: Flags
    """Whether the text is not plainly English."""
    asks: Flags
    """Whether the text ends with a question."""
    cut: Ints
    """Characters left out in the middle of each text."""

    def place(self) -> Ints:
        """First word of each mention, counted from the last voice of its text: negative before it."""
        return self.mentions.start - self.words.first[self.row] - self.last_voice[self.row]


@cache
def lexicon() -> Lexicon:
    """The compiled phrases, built on first use."""
    return compile_lexicon(ENGLISH, WORLD, {**NAMES, **DECLINING_NAMES})


def _excerpt(text: str) -> str:
    if len(text) <= HEAD + TAIL:
        return text
    return text[:HEAD] + "\n" + text[-TAIL:]


def look(texts: Sequence[str]) -> Findings:
    """Reads a batch of responses.

    Args:
        texts: Answers without reasoning. Of texts beyond 28,000 characters the start and the end are read.
    """
    shown = tuple(_excerpt(text) for text in texts)
    words = read_words(shown)
    foreign = foreign_texts(words)
    mentions = lexicon().find(words, foreign)
    total = len(shown)
    buffer = words.buffer
    ends = np.flatnonzero(buffer == ord("\n"))
    line_begin = np.append(0, ends[:-1] + 1) if len(ends) else np.zeros(0, dtype=np.int64)
    line_row = np.searchsorted(words.begin, line_begin, side="right") - 1
    opens = _skip(buffer, line_begin)
    opener = buffer[np.minimum(opens, len(buffer) - 1)] if len(buffer) else buffer
    row = words.row[mentions.start]
    counts = np.diff(words.first)
    lists = _list_items(buffer, opens)
    voices, last_voice = _voices(words, opens, opener, ends, line_row)
    fences = _fences(buffer)
    where = words.start[mentions.start]
    return Findings(
        texts=shown,
        words=words,
        mentions=mentions,
        row=row,
        quoted=_quoted(words, where, row, ends, line_begin, opener) | _inside(fences, where, words.begin[row]),
        counts=counts,
        last_voice=last_voice,
        voices=voices,
        lists=np.bincount(line_row[lists], minlength=total),
        lines=np.bincount(line_row[opener != ord("\n")], minlength=total),
        code=np.bincount(np.searchsorted(words.begin, fences, side="right") - 1, minlength=total) > 0,
        foreign=foreign,
        asks=np.array([last_character(text) in _ASKING for text in shown], dtype=bool),
        cut=np.array([len(a) - len(b) for a, b in zip(texts, shown, strict=True)], dtype=np.int64),
    )


def last_character(text: str) -> str:
    """The last character that is no white space."""
    last = text[-1:]
    return text.rstrip()[-1:] if last.isspace() else last


def _skip(buffer: NDArray[np.uint8], at: Ints) -> Ints:
    """Behind blanks and marks of emphasis at the beginning of lines."""
    marks = np.zeros(256, dtype=bool)
    marks[[ord(c) for c in " \t*_#"]] = True
    at = at.copy()
    for _ in range(8):
        more = np.flatnonzero(marks[buffer[np.minimum(at, len(buffer) - 1)]]) if len(buffer) else at[:0]
        if not len(more):
            break
        at[more] += 1
    return at


def _list_items(buffer: NDArray[np.uint8], opens: Ints) -> Flags:
    """Which lines are items: `1.`, `12)`, `- `, `* `, `Step 3`."""
    if not len(buffer):
        return np.zeros(0, dtype=bool)
    last = len(buffer) - 1
    one, two, three = (buffer[np.minimum(opens + k, last)] for k in range(3))
    before = buffer[np.maximum(opens - 1, 0)], buffer[np.maximum(opens - 2, 0)]

    def digit(b: NDArray[np.uint8]) -> Flags:
        return np.asarray((b >= ord("0")) & (b <= ord("9")))

    def dot(b: NDArray[np.uint8]) -> Flags:
        return np.asarray((b == ord(".")) | (b == ord(")")))

    numbered = digit(one) & (dot(two) | (digit(two) & dot(three)))
    bulleted = ((one == ord("-")) & (two == ord(" "))) | ((before[0] == ord(" ")) & (before[1] == ord("*")))
    stepped = (one == ord("s")) & (two == ord("t")) & (three == ord("e"))
    return np.asarray(numbered | bulleted | stepped)


def _voices(words: Words, opens: Ints, opener: NDArray[np.uint8], ends: Ints, line_row: Ints) -> tuple[Ints, Ints]:
    """How many speakers each text names, and where the last of them begins, as a word of the text."""
    if fast := kernels():
        found: tuple[Ints, Ints] = fast.find_voices(
            words.buffer, words.start, words.end, words.hash, words.after_stop, words.first, opens, ends, line_row, _AS,
            *_NO_SPEAKER.table, *_NO_NAME.table, _LABEL_BYTES, _NAMES_AT_MOST,
        )  # fmt: skip
        return found
    total = len(words.begin)
    voices, last = np.zeros(total, dtype=np.int64), np.zeros(total, dtype=np.int64)
    parts = [_labels(words, opens, opener, ends), _as_somebody(words)]
    begin, behind, marked = (np.concatenate(part) for part in zip(*parts, strict=True))
    good = ~_NO_SPEAKER.holds(words.hash[begin])
    begin, behind, marked = begin[good], behind[good], marked[good]
    order = np.argsort(begin, kind="stable")
    begin, behind, marked = begin[order], behind[order], marked[order]
    row = words.row[begin]
    several = np.bincount(row, minlength=total) > 1
    alone = np.bincount(row, weights=marked & (begin - words.first[row] > 3), minlength=total) > 0
    name = words.hash[behind - 1]
    asked = np.flatnonzero(several | alone)
    lows, highs = np.searchsorted(row, asked).tolist(), np.searchsorted(row, asked + 1).tolist()
    for text, low, high in zip(asked.tolist(), lows, highs, strict=True):
        names = len(set(name[low:high].tolist()))
        # untitled text before the first name is a voice, too
        speakers = names + int(bool(marked[low]) and begin[low] - words.first[text] > 3)
        if not speakers >= 2 or names > _NAMES_AT_MOST:
            continue
        voices[text] = speakers
        for index in range(high - 1, low - 1, -1):
            if words.first[text + 1] - behind[index] >= 3:
                last[text] = begin[index] - words.first[text]
                break
    return voices, last


def _labels(words: Words, opens: Ints, opener: NDArray[np.uint8], ends: Ints) -> tuple[Ints, Ints, Flags]:
    """Labels at the beginning of lines, `[Name]`, `(Name)` or `Name:`: first word, word behind, whether in brackets."""
    buffer = words.buffer
    bracket = (opener == ord("[")) | (opener == ord("("))
    letter = ((opener >= ord("a")) & (opener <= ord("z"))) | (opener >= 128)
    stop = np.full(len(opens), len(buffer), dtype=np.int64)
    shut = np.flatnonzero((buffer == ord("]")) | (buffer == ord(")")))
    colon = np.flatnonzero(buffer == ord(":"))
    for kind, marks in ((bracket, shut), (letter, colon)):
        if len(marks):
            index = np.searchsorted(marks, opens[kind])
            stop[kind] = np.where(index < len(marks), marks[np.minimum(index, len(marks) - 1)], len(buffer))
    labels = np.flatnonzero((bracket | letter) & (stop < ends) & (stop - opens <= _LABEL_BYTES))
    begin = np.searchsorted(words.start, opens[labels])
    behind = np.searchsorted(words.start, stop[labels])
    good = (behind > begin) & ((behind - begin <= 3) | bracket[labels])
    return begin[good], behind[good], bracket[labels[good]]


def _as_somebody(words: Words) -> tuple[Ints, Ints, Flags]:
    """`As Name, ...` at the beginning of a sentence; the mark behind the name has to follow at once."""
    at = np.flatnonzero(words.hash[:-1] == _AS)
    at = at[words.after_stop[at] & (words.row[at + 1] == words.row[at])]
    at = at[~_NO_NAME.holds(words.hash[at + 1])]
    behind = at + 2
    for _ in range(2):  # names of up to three words
        open_end = np.flatnonzero(
            ~np.isin(words.buffer[words.end[behind - 1]], _BEHIND_NAME) & (behind < len(words.hash))
        )
        behind[open_end] += 1
    behind = np.minimum(behind, len(words.hash))
    good = np.isin(words.buffer[words.end[behind - 1]], _BEHIND_NAME) & (words.row[behind - 1] == words.row[at])
    return at[good], behind[good], np.ones(int(good.sum()), dtype=bool)


def _fences(buffer: NDArray[np.uint8]) -> Ints:
    ticks = np.flatnonzero(buffer == ord("`"))
    if len(ticks) < 3:
        return ticks[:0]
    triple = np.flatnonzero((ticks[1:-1] - ticks[:-2] == 1) & (ticks[2:] - ticks[1:-1] == 1))
    at = ticks[triple]
    return at[np.append(True, np.diff(at) > 2)] if len(at) else at


def _inside(fences: Ints, where: Ints, begin: Ints) -> Flags:
    return np.asarray((np.searchsorted(fences, where) - np.searchsorted(fences, begin)) % 2 == 1)


def _quoted(words: Words, where: Ints, row: Ints, ends: Ints, line_begin: Ints, opener: NDArray[np.uint8]) -> Flags:
    """Which bytes stand between quotation marks of their line, or in a line that is cited."""
    marks = np.flatnonzero(words.buffer == ord('"'))
    out = np.zeros(len(where), dtype=bool)
    telling = np.zeros(len(words.begin), dtype=bool)
    for signs in (marks, line_begin[opener == ord(">")]):
        telling[np.searchsorted(words.begin, signs, side="right") - 1] = True
    some = np.flatnonzero(telling[row])
    if len(some):
        out[some] = _between(words, where[some], row[some], ends, line_begin, opener, marks)
    return out


def _between(
    words: Words, where: Ints, row: Ints, ends: Ints, line_begin: Ints, opener: NDArray[np.uint8], marks: Ints
) -> Flags:
    line = np.searchsorted(ends, where)
    cited = opener[line] == ord(">")
    at = np.searchsorted(marks, where)
    before = at - np.searchsorted(marks, line_begin[line])
    after = np.searchsorted(marks, ends[line]) - at
    # a pair of marks around the whole text quotes nobody
    edge = (words.buffer[words.begin] == ord('"')) & (
        words.buffer[words.begin + np.maximum(words.size - 1, 0)] == ord('"')
    )
    return np.asarray(cited | ((before % 2 == 1) & (after > 0) & ~edge[row]), dtype=bool)
