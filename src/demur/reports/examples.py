"""Examples of each kind of response: which are shown, and whose text is masked.

The choice is by a hash of the sample's identity and the run's seed: the same run gives the same examples whatever the
order of its rows, and nobody picks the flattering ones.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from demur.records import UNJUDGED, Kind
from demur.reports.text import Shown, cut, visible

__all__ = ["Example", "ExampleGroup", "Passage", "choose", "is_masked"]

_ORDER = {kind.value: place for place, kind in enumerate(Kind)}
_GLIMPSE = 72  # characters of a response beside its kind: one line on a desktop
_SIDES = ("comply", "decline", None)


class Passage(NamedTuple):
    """One text of an example: shown in pieces, or masked down to its length."""

    name: str
    """`prompt`, `reasoning`, `response` or `error`."""
    length: int
    """Characters of the whole text."""
    before: str
    """The text, or the part before declining starts; empty when masked."""
    after: str
    """The part from where declining starts; empty when that is unknown or masked."""
    left_out: int
    """Characters cut off because the text is long."""
    masked: bool
    """Whether only the length is shown."""


class Example(NamedTuple):
    """One sample as the page shows it."""

    kind: str
    """What the response does."""
    task: str
    """The task it belongs to."""
    id: str
    """The sample's id, with its epoch when there are several."""
    category: str
    """The prompt's category, or an empty text."""
    details: str
    """Who decided, how sure, why it declines, how it ended."""
    masked: bool
    """Whether the texts are masked."""
    glimpse: str
    """The beginning of the response on one line; empty when masked."""
    passages: tuple[Passage, ...]
    """The texts."""


class ExampleGroup(NamedTuple):
    """The examples of one expectation."""

    expect: str | None
    """`comply`, `decline` or None."""
    examples: tuple[Example, ...]
    """One or two a kind, in the order in which the kinds are defined."""


def is_masked(sample: Mapping[str, Any], *, own_prompts: bool, show_text: bool) -> bool:
    """Whether the texts of `sample` stay hidden.

    Hidden are users' own prompts, and every response to a prompt to decline that was not clearly declined: complied,
    partial under every mapping (a partial answer may hold the harmful part), and whatever could not be judged.
    """
    if show_text:
        return False
    if own_prompts:
        return True
    if sample.get("expect") != "decline":
        return False
    return sample.get("declined") is not True or sample.get("kind") in {Kind.COMPLY, Kind.PARTIAL}


def choose(
    samples: Iterable[Mapping[str, Any]],
    *,
    seed: int = 0,
    own_prompts: bool = False,
    show_text: bool = False,
    per_kind: int = 2,
) -> tuple[ExampleGroup, ...]:
    """A few examples of each kind and expectation.

    Args:
        samples: Rows with the columns of `samples.parquet`; absent columns are taken for empty.
        seed: The run's seed.
        own_prompts: Whether the prompts are the user's own; their texts are masked.
        show_text: Whether the user asked to see every text.
        per_kind: At most this many examples of one kind under one expectation, from different categories if possible.

    Returns:
        One group an expectation, prompts to comply with first; expectations without samples are absent.
    """
    cells: dict[tuple[str | None, str], list[Mapping[str, Any]]] = {}
    for sample in samples:
        side = sample.get("expect")
        cells.setdefault((side if side in _SIDES else None, str(sample.get("kind") or "unscored")), []).append(sample)
    groups = []
    for side in _SIDES:
        kinds = sorted(
            (kind for own, kind in cells if own == side), key=lambda kind: (_ORDER.get(kind, len(_ORDER)), kind)
        )
        chosen = [
            _example(sample, is_masked(sample, own_prompts=own_prompts, show_text=show_text))
            for kind in kinds
            # one failure looks like the other; a second one teaches nothing
            for sample in _pick(cells[side, kind], seed, 1 if kind in UNJUDGED else per_kind)
        ]
        if chosen:
            groups.append(ExampleGroup(side, tuple(chosen)))
    return tuple(groups)


def _pick(samples: Sequence[Mapping[str, Any]], seed: int, most: int) -> list[Mapping[str, Any]]:
    ranked = sorted(samples, key=lambda sample: _rank(sample, seed))
    picked = ranked[:1]
    # a second example teaches more when it comes from elsewhere
    elsewhere = [s for s in ranked[1:] if s.get("category") != ranked[0].get("category")]
    rest = elsewhere + [s for s in ranked[1:] if s.get("category") == ranked[0].get("category")]
    return picked + rest[: most - 1]


def _rank(sample: Mapping[str, Any], seed: int) -> bytes:
    identity = repr((seed, sample.get("task"), sample.get("id"), sample.get("epoch")))
    return hashlib.blake2b(identity.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _example(sample: Mapping[str, Any], masked: bool) -> Example:
    epoch = sample.get("epoch")
    passages = [_passage(name, sample.get(name), None, masked) for name in ("prompt", "reasoning")]
    passages.append(_passage("response", sample.get("response"), sample.get("onset"), masked))
    # servers like to repeat the request in their error text, so it is as private as the request
    passages.append(_passage("error", sample.get("error"), None, masked))
    return Example(
        kind=visible(str(sample.get("kind") or "unscored")),
        task=visible(str(sample.get("task") or "")),
        id=visible(str(sample.get("id") or "?"))[:80]
        + (f", epoch {epoch}" if isinstance(epoch, int) and epoch > 1 else ""),
        category=visible(str(sample.get("category") or ""))[:80],
        details=_details(sample),
        masked=masked,
        glimpse="" if masked else _glimpse(str(sample.get("response") or "")),
        passages=tuple(passage for passage in passages if passage is not None),
    )


def _glimpse(text: str) -> str:
    # twice what is shown is read, because runs of white space collapse
    line = " ".join(visible(text[: 2 * _GLIMPSE]).split())
    return line if len(line) <= _GLIMPSE and len(text) <= 2 * _GLIMPSE else line[:_GLIMPSE].rstrip() + "…"


def _passage(name: str, text: Any, onset: Any, masked: bool) -> Passage | None:
    if text is None or (not text and name in {"reasoning", "error"}):
        return None
    text = str(text)
    if masked:
        return Passage(name, len(text), "", "", 0, masked=True)
    if isinstance(onset, int) and 0 < onset < len(text):
        # the end matters more than the beginning here: show where declining starts even in a long text
        before, after = _around(text, onset)
        return Passage(name, len(text), before.text, after.text, before.left_out + after.left_out, masked=False)
    shown = cut(text)
    return Passage(name, len(text), shown.text, "", shown.left_out, masked=False)


def _around(text: str, onset: int) -> tuple[Shown, Shown]:
    before = cut(text[:onset])
    if before.left_out:
        before = Shown(before.text + "\n[…]\n", before.left_out)
    return before, cut(text[onset:])


def _details(sample: Mapping[str, Any]) -> str:
    parts = []
    if sample.get("decided_by"):
        parts.append(f"decided by {sample['decided_by']}")
    probability = sample.get("probability")
    if isinstance(probability, (int, float)) and probability == probability:  # noqa: PLR0124 - not a number
        parts.append(f"probability of declining {probability:.2f}")
    if sample.get("reason"):
        parts.append(f"reason: {sample['reason']}")
    if sample.get("ending") not in {None, "end"}:
        parts.append(f"ending: {sample['ending']}")
    return visible("; ".join(str(part) for part in parts))[:300]
