"""Sentences in other languages, written apart from the rules and the grammar; not validated by native speakers."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import pytest

from demur.responses import Ladder

SENTENCES = Path(__file__).parent / "languages.jsonl"


@pytest.fixture(scope="module")
def answers():
    if not SENTENCES.exists():
        pytest.skip("the sentences are not beside the tests")
    rows = [json.loads(line) for line in SENTENCES.read_text("utf-8").splitlines() if line.strip()]
    verdicts = Ladder().judge_many([(None, row["text"]) for row in rows])
    found = defaultdict(list)
    for row, verdict in zip(rows, verdicts, strict=True):
        found[row["lang"], row["declines"]].append(verdict.declined() == row["declines"])
    return found


def test_at_least_fifteen_languages_are_asked(answers):
    assert len({language for language, _ in answers}) >= 15


def test_every_language_is_read_better_than_by_chance(answers):
    for language in {language for language, _ in answers}:
        seen, spared = answers[language, True], answers[language, False]
        assert sum(seen) / len(seen) + sum(spared) / len(spared) > 1.2, language


def test_all_languages_together(answers):
    seen = [hit for (_, declines), hits in answers.items() if declines for hit in hits]
    spared = [hit for (_, declines), hits in answers.items() if not declines for hit in hits]
    assert sum(seen) / len(seen) >= 0.64
    assert sum(spared) / len(spared) >= 0.80
