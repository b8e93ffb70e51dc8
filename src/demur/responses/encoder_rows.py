"""The rows that fit the response encoder: labelled collections, generated rows, and recombined ones.

Recombined rows teach what the collections lack: of several voices in a reply the last one has the word.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from demur.errors import InputError
from demur.records import Kind
from demur.responses.synthetic import generate
from demur.responses.training import READ_AS

__all__ = ["SOURCES", "Example", "read_source", "training_rows"]

SOURCES: dict[str, str] = {
    "chatgpt_refusals.train": "MIT",
    "gptfuzz.train": "MIT",
    "rbr_gold.train": "MIT",
    "jbb_comply.train": "MIT",
}
"""File stems that may train shipped weights, with the licence stated at the source."""

FINE: dict[str, Kind] = {
    "compliance": Kind.COMPLY,
    "full_compliance": Kind.COMPLY,
    "jailbroken": Kind.COMPLY,
    "pref_chosen": Kind.COMPLY,
    "balanced": Kind.COMPLY,  # both sides of a question are laid out: that answers it
    "refusal": Kind.REFUSE,
    "reject": Kind.REFUSE,
    "deflection": Kind.DEFLECT,
    "rebuttal": Kind.REBUT,
    "abstention": Kind.ABSTAIN,
    "partial_compliance": Kind.PARTIAL,
}
"""The finer labels of the collections as kinds; what is not here trains only the first head."""

# Rows drawn a source: half of each class, no text twice. More of gptfuzz only repeats its templates.
DRAWN = {"gptfuzz.train": 2_500, "jbb_comply.train": 500}
SYNTHETIC_ROWS, SYNTHETIC_SEED, VOICED_ROWS = 1_500, 20_25, 700
SEED = 0


@dataclass(frozen=True, slots=True)
class Example:
    """One labelled exchange."""

    source: str
    text: str
    declines: bool
    """Under the mapping `any`: a partial answer counts."""
    kind: Kind | None
    label: str
    """`refusal`, `compliance`, `partial` or `unknown`, as the collection has it."""


def read_source(folder: Path, name: str) -> list[Example]:
    """The judgeable rows of one source: not blank, not called incoherent.

    Raises:
        InputError: The file is missing.
    """
    path = folder / f"{name}.jsonl"
    if not path.exists():
        raise InputError(f"training needs {path}, which is not there; give the folder that holds it with --data")
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    kinds = READ_AS if name.startswith("do_not_answer") else FINE
    declining = {"rebuttal", "abstention", "counseling"}  # labelled `unknown`, because they are no plain refusals
    return [
        Example(
            name, row["response"],
            row["label"] in {"refusal", "partial"} or row["fine"] in declining,
            # in this collection non-compliance takes many forms
            None if name.startswith("rbr") and row["fine"] == "no_compliance" else kinds.get(row["fine"]),
            row["label"],
        )
        for row in rows
        if row["response"].strip() and row["fine"] not in {"incoherent", "illogical"}
    ]  # fmt: skip


def _thin(rows: Sequence[Example], count: int, rng: random.Random) -> list[Example]:
    """At most `count` rows without repeated texts, half of each class where there are enough."""
    shuffled = rng.sample(list(rows), len(rows))
    unique = list({row.text: row for row in shuffled}.values())
    declining = [row for row in unique if row.declines]
    complying = [row for row in unique if not row.declines]
    half = count // 2 if declining else 0
    return declining[:half] + complying[: count - min(half, len(declining))]


# Ways to mark who speaks, and names for the speakers: our own.
_MARKS = (
    ("[{}] ", "[{}] "),
    ("{}: ", "{}: "),
    ("({}) ", "({}) "),
    ("**{}**: ", "**{}**: "),
    ("", "{}: "),
    ("", "[{}]: "),
)
_VOICES = (
    ("Plain", "Free"),
    ("Assistant", "Rex"),
    ("Calm", "Wild"),
    ("Standard mode", "Story mode"),
    ("Bot", "Max"),
    ("A", "Z"),
    ("Old", "New"),
)
# What the first voice does (none: there is one voice), what the last does, and how often.
_CASTS = (
    ("refuse", "comply", 5),
    ("refuse", "refuse", 4),
    ("comply", "refuse", 1),
    ("refuse", "deflect", 1),
    ("", "comply", 2),
    ("", "refuse", 3),
    ("", "deflect", 1),
)


def _voiced(rows: Sequence[Example], count: int, rng: random.Random) -> list[Example]:
    """Replies in two voices, or in one that names itself, joined from texts of collections without such replies."""
    said: dict[str, list[Example]] = {"comply": [], "refuse": [], "deflect": []}
    for row in rows:
        if row.source != "gptfuzz.train" and row.kind is not None and row.kind.value in said:
            said[row.kind.value].append(row)
    if not all(said.values()):
        return []  # with one side alone, the marks themselves would give the label away
    casts = [cast for cast in _CASTS for _ in range(cast[2])]
    out: list[Example] = []
    while len(out) < count:
        first, second, _ = rng.choice(casts)
        main = rng.choice(said[second])
        marks, names = rng.choice(_MARKS), rng.choice(_VOICES)
        text = (marks[1] or "{}: ").format(names[1]) + main.text
        if first:
            opening = rng.choice(said[first]).text
            text = (
                marks[0].format(names[0]) + opening[: rng.choice((120, 300, 2_000))] + rng.choice(("\n\n", "\n")) + text
            )
        label = "compliance" if second == "comply" else "refusal"
        out.append(Example("voiced", text, main.declines, main.kind, label))
    return out


def training_rows(folder: Path, left_out: str | None = None, seed: int = SEED) -> list[Example]:
    """All rows of one fit.

    Args:
        folder: Folder of the sources.
        left_out: A source that takes no part.
        seed: Of drawing.
    """
    rng = random.Random(seed)
    rows: list[Example] = []
    for name in SOURCES:
        if name != left_out:
            source = read_source(folder, name)
            rows += _thin(source, DRAWN[name], rng) if name in DRAWN else source
    made = [
        Example("synthetic", row.response, row.kind is not Kind.COMPLY, row.kind,
                "compliance" if row.kind is Kind.COMPLY else "refusal")
        for row in generate(SYNTHETIC_ROWS, seed=SYNTHETIC_SEED, foreign_share=0.0)
    ]  # fmt: skip
    return rows + _voiced(rows, VOICED_ROWS, rng) + made
