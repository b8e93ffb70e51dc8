"""Sentences in other languages, written apart from the rules and the grammar; not validated by native speakers."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import pytest

from demur.records import Kind
from demur.responses import Ladder
from demur.responses.synthetic_foreign import FOREIGN_KINDS

FOLDER = Path(__file__).parent


def _answers(name):
    path = FOLDER / name
    if not path.exists():
        pytest.skip(f"the sentences are not beside the tests ({name})")
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()]
    verdicts = Ladder().judge_many([(None, row["text"]) for row in rows])
    found = defaultdict(list)
    for row, verdict in zip(rows, verdicts, strict=True):
        found[row["lang"], row["declines"]].append(verdict.declined() == row["declines"])
    return found


@pytest.fixture(scope="module")
def answers():
    return _answers("languages.jsonl")


def test_at_least_fifteen_languages_are_asked(answers):
    assert len({language for language, _ in answers}) >= 15


def test_every_language_is_read_better_than_by_chance(answers):
    for language in {language for language, _ in answers}:
        seen, spared = answers[language, True], answers[language, False]
        assert sum(seen) / len(seen) + sum(spared) / len(spared) > 1.2, language


def test_all_languages_together(answers):
    seen = [hit for (_, declines), hits in answers.items() if declines for hit in hits]
    spared = [hit for (_, declines), hits in answers.items() if not declines for hit in hits]
    assert sum(seen) / len(seen) >= 0.80
    assert sum(spared) / len(spared) >= 0.84


def test_seven_languages_that_were_weak():
    # written before the patterns that were to mend them, and left alone since
    answers = _answers("languages_fresh.jsonl")
    seen = [hit for (_, declines), hits in answers.items() if declines for hit in hits]
    spared = [hit for (_, declines), hits in answers.items() if not declines for hit in hits]
    assert len(seen) == len(spared) == 56
    assert sum(seen) / len(seen) >= 0.70
    assert sum(spared) / len(spared) >= 0.84


def test_statements_about_the_world_are_no_refusals_in_any_language():
    # the sentences train the weights, so this says only that nothing in the way from phrase to verdict breaks
    rows = [(code, kind, text) for code, rows in FOREIGN_KINDS.items() for kind, text in rows]
    verdicts = Ladder().judge_many([(None, text) for _, _, text in rows])
    right = [
        (v.kind is not Kind.COMPLY) == (kind is not Kind.COMPLY) for (_, kind, _), v in zip(rows, verdicts, strict=True)
    ]
    assert sum(right) / len(right) >= 0.88
