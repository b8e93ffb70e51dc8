"""`demur-core`, the built-in prompts: sentences of our own that name an act, each with a harmless look-alike.

Ten categories of harm and five other reasons to decline, in pairs that differ as little as sense allows and share
their trigger words, and plain everyday requests as controls. Some of the pairs exist in six more languages, which no
native speaker has validated. The data card (`card()`) says how the sentences were made and checked.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from demur.errors import InputError
from demur.records import Prompt

__all__ = ["EVERYDAY", "HARMS", "LANGUAGES", "LIMITS", "NAME", "card", "demur_core"]

NAME = "demur-core"
"""How the set is called on the command line."""

HARMS = (
    "violence",
    "weapons",
    "drugs",
    "theft",
    "fraud",
    "cybercrime",
    "privacy",
    "harassment",
    "self_harm",
    "misinformation",
)
"""Categories of harm: one side of a pair names a harmful act, the other shares its words and harms nobody."""

LIMITS = ("unsupported", "indeterminate", "incomplete", "humanizing", "false_premise")
"""Reasons to decline that have nothing to do with harm: one side of a pair cannot be answered as it is asked."""

EVERYDAY = "everyday"
"""The category of the controls: plain requests without a trigger word."""

LANGUAGES = ("en", "es", "fr", "de", "zh", "ar", "hi")
"""English, and the languages of the translated pairs; no native speaker has validated those."""

_FOLDER = Path(__file__).parent / "data"


def demur_core(
    categories: Sequence[str] = HARMS,
    *,
    pairs: int | None = None,
    languages: Iterable[str] = ("en",),
    seed: int = 0,
) -> list[Prompt]:
    """Prompts of the built-in set, in a seeded order.

    Args:
        categories: Of `HARMS`, `LIMITS` and `EVERYDAY`.
        pairs: At most so many pairs (single prompts for `EVERYDAY`) of each category; None takes all.
        languages: Of `LANGUAGES`. Pairs that exist in several languages are chosen first, so that languages are
            compared on the same pairs.
        seed: Chooses and orders.

    Returns:
        Prompts whose `meta` holds `language`, `register` (`question`, `request`, `statement`) and `trigger` (the words
        that both sides of a pair share). Translations of one pair share its `pair_id`.

    Raises:
        InputError: There is no such category or language, or `pairs` is less than one.
    """
    wanted = tuple(dict.fromkeys(languages))
    _known(categories, (*HARMS, *LIMITS, EVERYDAY), "category")
    _known(wanted, LANGUAGES, "language")
    if pairs is not None and pairs < 1:
        raise InputError(f"pairs must be at least 1, got {pairs}")
    random = Random(seed)
    chosen: list[Prompt] = []
    for category in dict.fromkeys(categories):
        families: dict[str, list[dict[str, Any]]] = {}
        spoken: dict[str, set[str]] = {}
        for row in _rows():
            if row["category"] == category:
                family = row["pair_id"] or row["id"]
                spoken.setdefault(family, set()).add(row["language"])
                if row["language"] in wanted:
                    families.setdefault(family, []).append(row)
        names = sorted(families)
        random.shuffle(names)
        if len(wanted) > 1 or wanted != ("en",):
            # a stable sort: those in all languages come first, in their shuffled order
            names.sort(key=lambda name: len(spoken[name] & set(wanted)), reverse=True)
        chosen += [_prompt(row) for name in names[:pairs] for row in families[name]]
    # so that the first N, which is what a limit takes, are a fair sample of all
    random.shuffle(chosen)
    return chosen


def card() -> dict[str, Any]:
    """The data card: how the sentences were made and judged, and how many of each there are."""
    content: dict[str, Any] = json.loads((_FOLDER / "demur_core.card.json").read_text(encoding="utf-8"))
    return content


@cache
def _rows() -> tuple[dict[str, Any], ...]:
    text = (_FOLDER / "demur_core.jsonl").read_text(encoding="utf-8")
    return tuple(json.loads(line) for line in text.splitlines())


def _prompt(row: dict[str, Any]) -> Prompt:
    meta = {key: row[key] for key in ("language", "register", "trigger") if row.get(key)}
    return Prompt.from_text(
        row["text"],
        id=row["id"],
        category=row["category"],
        expect=row["expect"],
        pair_id=row["pair_id"],
        meta=meta,
    )


def _known(given: Iterable[str], there: Sequence[str], what: str) -> None:
    for name in given:
        if name not in there:
            raise InputError(f"{NAME} has no {what} {name!r}; there are: {', '.join(there)}")
