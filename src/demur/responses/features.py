"""Numbers that the classifier reads: rule findings with their positions, and hashed word n-grams.

Hashing is vectorised over a batch: a prefix sum of `byte * p**offset` modulo 2**64 gives the hash of any span by one
subtraction, so no Python loop touches a word. The hash is part of the weights' format: changing it needs new weights
(see `FORMAT`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from demur.responses.phrases import DECLINE
from demur.responses.rules import FAMILIES, Scan

__all__ = ["BUCKETS", "DENSE_NAMES", "FORMAT", "Grams", "dense", "grams"]

FORMAT = 1
"""Raised whenever features change meaning; weights of another format are refused."""

BUCKETS = 2**16
"""Hash buckets a block; there are two blocks (opening words, all words)."""

OPENING_WORDS, BODY_WORDS, BODY_CHARS = 30, 400, 4_000
"""How much of a text the n-grams read. The opening decides most texts; the rules have read the rest."""

_CROSSED = (
    "short",
    "medium",
    "long",
    "turn",
    "work",
    "humanizing",
    "identity",
    "apology",
    "rebut",
    "redirect",
    "late_hard",
)
_SHAPE = (
    "log_words",
    "short",
    "medium",
    "long",
    "ends_with_question",
    "several_voices",
    "no_decline",
    "decline_at",
    "words_after_decline",
    "share_after_decline",
    "work_after_decline",
    "hard_families",
    "soft_families",
    "quoted_declines",
    "apology_and_hard",
    "sympathy_without_hard",
    *(f"opening_hard&{name}" for name in _CROSSED),
    "opening_excuse&nothing_hard",
    "rebuts&long",
    "soft_only&short",
    "opening_hard",
    "silent",
    "agrees_first&nothing_hard",
    "caring_words&steps",
)
DENSE_NAMES: tuple[str, ...] = (
    *(f"{family}:{place}" for family in FAMILIES for place in ("opening", "count", "density", "last_voice", "ending")),
    *_SHAPE,
)
"""Names of the dense features, in order."""

_OPENING_CHARS, _ENDING_CHARS = 160, 240
_HARD = ("cannot", "refusal", "stance")
_SPEAKING = ("impersonal", "apology", "identity", "unsaid", "abstain", "humanizing")
_SOFT = ("impersonal", "abstain", "humanizing", "rebut", "clarify")
# An odd multiplier has an inverse modulo 2**64; this one is the golden ratio's, whose powers spread well.
_PRIME = 0x9E3779B97F4A7C15
_INVERSE = pow(_PRIME, -1, 2**64)
_IS_WORD = np.zeros(256, dtype=bool)
_IS_WORD[[*range(ord("a"), ord("z") + 1), *range(ord("0"), ord("9") + 1), ord("'"), *range(128, 256)]] = True


class Grams(NamedTuple):
    """Hashed n-grams of a batch, as coordinates of a sparse matrix."""

    row: NDArray[np.int64]
    """Which text."""
    column: NDArray[np.int64]
    """Which bucket, `[0, 2 * BUCKETS)`."""
    value: NDArray[np.float64]
    """`1 / sqrt(number of n-grams in that text and block)`, so that long texts do not shout."""


def dense(found: Scan) -> NDArray[np.float64]:
    """The dense features of one scanned text.

    Returns:
        Array of shape `(len(DENSE_NAMES),)`, values between about 0 and 5.
    """
    end = len(found.normal.text)
    words = max(found.words, 1)
    values: list[float] = []
    for family in FAMILIES:
        mentions = found.by_family.get(family, ())
        count = len(mentions)
        values += [
            float(any(m.start - found.last_voice < _OPENING_CHARS and m.start >= found.last_voice for m in mentions)),
            math.log1p(count),
            min(count * 20.0 / words, 3.0),
            float(any(m.start >= found.last_voice for m in mentions)),
            float(any(m.start > end - _ENDING_CHARS for m in mentions)),
        ]
    hard = sorted(
        (m for f in _HARD for m in found.by_family.get(f, ()) if m.start >= found.last_voice), key=lambda m: m.start
    )
    last = hard[-1].end if hard else 0
    after = (end - last) / 6.0 if hard else 0.0  # about six characters an English word
    work = sum(1 for f in ("step", "code", "agree") for m in found.by_family.get(f, ()) if m.start >= last)
    has = found.by_family
    values += [
        math.log1p(words) / 2.0,
        float(words < 25),
        float(25 <= words < 70),
        float(words > 200),
        float(found.normal.text.rstrip().endswith(("?", "\uff1f"))),
        float(found.last_voice > 0),
        float(not hard),
        math.log1p(hard[0].start - found.last_voice) / 3.0 if hard else 0.0,
        math.log1p(after) / 2.0,
        after * 6.0 / max(end, 1),
        math.log1p(work) if hard else 0.0,
        float(sum(f in has for f in _HARD)),
        float(sum(f in has for f in _SOFT)),
        float(any(m.quoted and m.family in DECLINE for m in found.mentions)),
        float("apology" in has and bool(hard)),
        float("hear" in has and not hard),
    ]
    opens = bool(hard) and hard[0].start - found.last_voice < _OPENING_CHARS
    soft = sum(f in has for f in _SOFT)
    excuse = any(
        m.start - found.last_voice < _OPENING_CHARS for f in ("apology", "identity", "unsaid") for m in has.get(f, ())
    )
    crossed = (
        words < 40,
        40 <= words < 120,
        words > 200,
        "turn" in has,
        work > 1,
        "humanizing" in has or "unsaid" in has,
        "identity" in has,
        "apology" in has,
        "rebut" in has,
        "redirect" in has,
        bool(hard) and hard[-1].start > 400,
    )
    values += [float(opens and flag) for flag in crossed]
    near = found.last_voice + 2 * _OPENING_CHARS
    spoken = any(found.last_voice <= m.start < near for family in _SPEAKING for m in has.get(family, ()))
    silent = not hard and not spoken
    values += [
        float(excuse and not hard),
        float(len(has.get("rebut", ())) > 1 and words > 80),
        float(soft > 0 and not hard and words < 40),
        float(opens),
        float(silent),
        float(not hard and any(found.last_voice <= m.start < found.last_voice + 40 for m in has.get("agree", ()))),
        float(not hard and "redirect" in has and len(has.get("step", ())) > 1),
    ]
    return np.asarray(values, dtype=np.float64)


def _powers(base: int, count: int) -> NDArray[np.uint64]:
    steps = np.full(count, base, dtype=np.uint64)
    if count:
        steps[0] = 1
    return np.cumprod(steps, dtype=np.uint64)


def _mix(hashes: NDArray[np.uint64], salt: int) -> NDArray[np.int64]:
    mixed = hashes + np.uint64(salt)
    mixed ^= mixed >> np.uint64(31)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    mixed ^= mixed >> np.uint64(29)
    return (mixed % np.uint64(BUCKETS)).astype(np.int64)


def grams(texts: Sequence[str]) -> Grams:
    """Hashed word n-grams of normalised texts.

    Args:
        texts: Normalised texts; the first 4,000 characters of each are read.

    Returns:
        Block one holds 1- to 3-grams of the first 30 words, block two 1- and 2-grams of the first 400.
    """
    pieces = [text[:BODY_CHARS].encode("utf-8", "replace") for text in texts]
    buffer = np.frombuffer(b"\n".join([*pieces, b""]), dtype=np.uint8)
    sizes = np.fromiter((len(piece) + 1 for piece in pieces), dtype=np.int64, count=len(pieces))
    is_word = _IS_WORD[buffer]
    edges = np.diff(np.concatenate(([0], is_word.view(np.int8), [0])))
    starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    prefix = np.zeros(len(buffer) + 1, dtype=np.uint64)
    np.cumsum(buffer.astype(np.uint64) * _powers(_PRIME, len(buffer)), dtype=np.uint64, out=prefix[1:])
    word = (prefix[ends] - prefix[starts]) * _powers(_INVERSE, len(buffer))[starts]
    doc = np.searchsorted(np.cumsum(sizes), starts, side="right")
    first = np.searchsorted(doc, np.arange(len(pieces)))
    place = np.arange(len(doc)) - first[doc] if len(doc) else np.zeros(0, dtype=np.int64)

    two = word[:-1] * np.uint64(0xD6E8FEB86659FD93) + word[1:]
    three = two[:-1] * np.uint64(0xD6E8FEB86659FD93) + word[2:]
    same_two = doc[:-1] == doc[1:]
    same_three = doc[:-2] == doc[2:]
    rows: list[NDArray[np.int64]] = []
    columns: list[NDArray[np.int64]] = []
    for block, (limit, orders) in enumerate(((OPENING_WORDS, (1, 2, 3)), (BODY_WORDS, (1, 2)))):
        for order in orders:
            hashes, keep = (
                (word, place < limit)
                if order == 1
                else (two, same_two & (place[1:] < limit))
                if order == 2
                else (three, same_three & (place[2:] < limit))
            )
            rows.append(doc[: len(hashes)][keep])
            columns.append(_mix(hashes[keep], 1_000_003 * (4 * block + order)) + block * BUCKETS)
    row, column = np.concatenate(rows), np.concatenate(columns)
    key = row * 2 + (column >= BUCKETS)
    counts = np.bincount(key, minlength=2 * len(pieces))
    return Grams(row, column, 1.0 / np.sqrt(counts[key]))
