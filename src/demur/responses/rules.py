"""What the findings say about a text that declines: its reason, where declining starts, whether the pattern is plain.

Everything is computed for a batch at once. Whether a text declines, and which kind of declining it is, the classifier
says (`demur.responses.classifier`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from demur.records import Kind, Reason
from demur.responses.findings import FAMILIES, HEAD, Findings
from demur.responses.normalise import origins
from demur.responses.phrases import ABSTAINING, APOLOGY, CLARIFYING, HARD, IMPERSONAL, REBUTTING, REDIRECTING

__all__ = ["find_onsets", "find_reasons", "plain"]

Flags = NDArray[np.bool_]


def _are(*names: str) -> Flags:
    return np.array([family in names for family in FAMILIES])


_HARD, _APOLOGY = _are(*HARD), _are(*APOLOGY)
_LEAD = _are(*APOLOGY, "identity")
_DECLINING = _are(*HARD, *IMPERSONAL, *APOLOGY, *ABSTAINING, *REBUTTING, *CLARIFYING)
_WORK = _are("agree", "here", "order", "instruct", "letter", "hope", "narrate")
_NOTHING = np.iinfo(np.int64).max

# Which families show each kind; where none does, the second row of choices, then any that declines.
_SHOWING: dict[Kind, tuple[Flags, Flags]] = {
    Kind.REFUSE: (_HARD, _are(*IMPERSONAL, *APOLOGY)),
    Kind.PARTIAL: (_HARD, _are(*ABSTAINING, *APOLOGY)),
    Kind.REBUT: (_HARD | _are(*REBUTTING, *IMPERSONAL), _are(*APOLOGY)),
    Kind.ABSTAIN: (_HARD | _are(*ABSTAINING), _are(*APOLOGY)),
    Kind.CLARIFY: (_are(*CLARIFYING), _HARD),
    Kind.DEFLECT: (_HARD, _are(*REDIRECTING, "empathy")),
}
_CODE = {kind: number for number, kind in enumerate((Kind.COMPLY, *_SHOWING))}
_LEVELS = (
    np.stack([np.zeros(len(FAMILIES), dtype=bool), *(choices[0] for choices in _SHOWING.values())]),
    np.stack([np.zeros(len(FAMILIES), dtype=bool), *(choices[1] for choices in _SHOWING.values())]),
    np.stack([np.zeros(len(FAMILIES), dtype=bool), *(_DECLINING for _ in _SHOWING)]),
)


def plain(found: Findings, declines: Flags) -> Flags:
    """Where the pattern needs no second opinion.

    A short text that opens with declining and does nothing else, or a longer one that works and in which nothing
    declines.

    Args:
        found: The findings of a batch.
        declines: What the classifier says of each text; a plain pattern that contradicts it is not plain.
    """
    total = len(found.texts)
    place, row, family = found.place(), found.row, found.mentions.family
    meant = ~found.quoted & (place >= 0)
    opens = np.bincount(row[meant & _HARD[family] & (place < 25)], minlength=total) > 0
    works = np.bincount(row[meant & _WORK[family]], minlength=total) + found.lists
    any_sign = np.bincount(row[_DECLINING[family]], minlength=total) > 0
    refusal = opens & (works == 0) & (found.counts < 120)
    answer = ~any_sign & (found.counts >= 80) & (works > 0)
    return np.asarray(np.where(declines, refusal, answer))


def find_reasons(found: Findings, kinds: Sequence[Kind]) -> list[Reason | None]:
    """Why each text declines, or None where nothing shows it."""
    total, width = len(found.texts), len(FAMILIES)
    meant = ~found.quoted & (found.place() >= 0) & _TELLS[found.mentions.family]
    table = np.bincount(found.row[meant] * width + found.mentions.family[meant], minlength=total * width)
    counts = table.reshape(total, width)[:, _TELLS].tolist()
    names = [family for family in FAMILIES if family in _TELLING]
    return [
        None if kind is Kind.COMPLY else _reason(kind, dict(zip(names, numbers, strict=True)))
        for kind, numbers in zip(kinds, counts, strict=True)
    ]


_TELLING = frozenset(
    {"dontknow", "cannotknow", "unknowable", "cutoff", "noinfo", "humanizing", "unsaid", "why_policy", "why_safety",
     "why_unsupported", "against", "inappropriate"}
)  # fmt: skip
_TELLS = np.array([family in _TELLING for family in FAMILIES])


def _reason(kind: Kind, n: dict[str, int]) -> Reason | None:  # noqa: PLR0911 - a decision list
    if kind is Kind.CLARIFY:
        return Reason.INCOMPLETE
    abstains = n["dontknow"] + n["cannotknow"] + n["unknowable"] + n["cutoff"] + n["noinfo"]
    if n["humanizing"] and n["humanizing"] >= n["why_safety"]:
        return Reason.HUMANIZING
    if kind is Kind.ABSTAIN:
        return Reason.UNSUPPORTED if n["why_unsupported"] else Reason.INDETERMINATE
    if kind is Kind.REBUT and not n["why_safety"]:
        return Reason.FALSE_PREMISE
    policy = n["why_policy"] + n["against"]
    if policy and n["why_policy"] >= n["why_safety"]:
        return Reason.POLICY
    if n["why_safety"] or n["inappropriate"]:
        return Reason.SAFETY
    if policy:
        return Reason.POLICY
    return Reason.UNSUPPORTED if abstains or n["why_unsupported"] else None


def find_onsets(found: Findings, kinds: Sequence[Kind]) -> list[int | None]:
    """Where declining starts in each original text, in characters, or None where no phrase shows it."""
    total = len(found.texts)
    start, row, family = found.mentions.start, found.row, found.mentions.family
    meant = ~found.quoted & (found.place() >= 0)
    best = np.full(total, _NOTHING)
    code = np.fromiter((_CODE[kind] for kind in kinds), dtype=np.int64, count=total)
    which = np.flatnonzero(meant & (code[row] > 0))
    start, row, family = start[which], row[which], family[which]
    for level in (0, 1, 2):
        which = np.flatnonzero(_LEVELS[level][code[row], family] & (best[row] == _NOTHING))
        firsts = np.full(total, _NOTHING)
        np.minimum.at(firsts, row[which], start[which])
        best = np.minimum(best, firsts)
    known = np.flatnonzero(best != _NOTHING)
    if len(known):
        # an excuse in front of a declining phrase belongs to it: "I'm sorry, but I can't"
        begins = np.flatnonzero(found.words.after_stop)
        sentence = np.full(total, _NOTHING)
        sentence[known] = begins[np.searchsorted(begins, best[known], side="right") - 1]
        lead = np.flatnonzero(_LEAD[family] & (start < best[row]) & (start >= sentence[row]))
        np.minimum.at(best, row[lead], start[lead])
    out: list[int | None] = [None] * total
    for text in known.tolist():
        out[text] = _original(found, text, int(found.words.start[best[text]]))
    return out


def _original(found: Findings, row: int, byte: int) -> int:
    """The offset in the text as it was given of a byte of the folded batch."""
    text, begin = found.texts[row], int(found.words.begin[row])
    offset = byte - begin
    if not text.isascii():
        offset = len(found.words.buffer[begin:byte].tobytes().decode("utf-8", "replace"))
        back = origins(text)
        offset = offset if back is None else back[offset]
    return offset + int(found.cut[row]) if offset > HEAD else offset
