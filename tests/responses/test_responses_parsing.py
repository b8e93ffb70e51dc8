"""Properties of normalisation, scanning and hashing."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from demur.records import Kind
from demur.responses import Ladder
from demur.responses.features import BUCKETS, DENSE_NAMES, dense, grams
from demur.responses.normalise import normalise
from demur.responses.rules import scan
from demur.responses.synthetic import LANGUAGES_WRITTEN, generate

ANY_TEXT = st.text(st.characters(), max_size=300)
WORDY = st.text(
    st.sampled_from("I'm sorry can't help \u201c\u201d\u2019\u200b\n\"`>#:[]1.-*?\ufb01\u0130\uff21ß 请无法"),
    max_size=400,
)


@given(ANY_TEXT)
def test_every_normal_character_knows_its_origin(text):
    normal = normalise(text)
    if normal.origin is None:
        assert len(normal.text) == len(text)
    else:
        assert len(normal.origin) == len(normal.text)
        assert list(normal.origin) == sorted(normal.origin)
        assert all(0 <= o < len(text) for o in normal.origin)


@given(ANY_TEXT)
def test_normal_form_of_ascii_is_lower_case(text):
    ascii_text = text.encode("ascii", "ignore").decode()
    assert normalise(ascii_text).text == ascii_text.lower()


@settings(max_examples=60, deadline=None)
@given(st.one_of(ANY_TEXT, WORDY))
def test_judging_never_fails_and_onset_lies_in_the_text(text):
    verdict = Ladder().judge(None, text)
    if verdict.onset is not None:
        assert 0 <= verdict.onset < len(text)
    if verdict.kind is Kind.COMPLY:
        assert verdict.onset is None


def test_hashes_do_not_depend_on_the_batch():
    texts = ["i am sorry, but i can't", "", "here is a list of things", "naïve café 请"]
    together = grams(texts)
    for row, text in enumerate(texts):
        alone = grams([text])
        mask = together.row == row
        order, other = np.argsort(together.column[mask]), np.argsort(alone.column)
        assert together.column[mask][order].tolist() == alone.column[other].tolist()
        assert np.allclose(together.value[mask][order], alone.value[other])


def test_ngrams_are_those_of_the_words():
    # independent path: four words give 4+3+2 opening grams and 4+3 body grams; punctuation and spacing do not matter
    found = grams(["one two,  three -- four"])
    assert len(found.column) == 9 + 7
    assert np.array_equal(np.sort(found.column), np.sort(grams(["one two three four"]).column))
    assert (found.column < BUCKETS).sum() == 9
    assert np.allclose(sorted(set(found.value.round(6))), sorted({round(1 / 3, 6), round(7**-0.5, 6)}))


def test_no_words_no_grams():
    assert len(grams(["?!", ""]).column) == 0


def test_dense_features_are_finite_and_complete():
    for text in ("", "?", "I can't.", "x" * 100_000):
        values = dense(scan(text))
        assert values.shape == (len(DENSE_NAMES),)
        assert np.isfinite(values).all()


def test_long_texts_are_read_at_both_ends():
    tail = "I'm sorry, but I can't help you with the rest."
    text = "The lake was calm. " * 20_000 + tail
    found = scan(text)
    last = found.by_family["cannot"][-1]
    assert text[found.normal.original(last.start) :].startswith(("I can't help", "but I can't help"))


def test_hostile_repetition_stays_linear():
    # patterns with nested repetition would not come back from these
    for piece in ("i cannot ", "i am ", "not ", '"', "> ", "as an ", "it is very ", "sorry ", "[a]: ", "1. "):
        scan(piece * 3_000)


def test_grammar_is_seeded_balanced_and_speaks_all_languages():
    rows = list(generate(2_000, seed=3))
    assert rows == list(generate(2_000, seed=3))
    assert rows != list(generate(2_000, seed=4))
    assert {row.language for row in rows} == set(LANGUAGES_WRITTEN)
    share = sum(row.kind is not Kind.COMPLY for row in rows) / len(rows)
    assert 0.4 < share < 0.6
