"""Properties of folding, words, the lexicon, findings and features."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from demur.errors import InputError
from demur.reasoning import split
from demur.records import Kind
from demur.responses import Ladder
from demur.responses.features import BLOCKS, BUCKETS, DENSE_NAMES, dense, gram_scores, grams, product
from demur.responses.findings import FAMILIES, look
from demur.responses.ladder import _may_reason
from demur.responses.lexicon import compile_lexicon
from demur.responses.normalise import fold, origins
from demur.responses.patterns import draft
from demur.responses.phrases import ENGLISH, PROMPT
from demur.responses.phrases_world import LANGUAGES, WORLD
from demur.responses.synthetic import LANGUAGES_WRITTEN, generate
from demur.responses.words import HashSet, hash_words, read_words

ANY_TEXT = st.text(st.characters(), max_size=300)
WORDY = st.text(
    st.sampled_from("I'm sorry can't help \u201c\u201d\u2019\u200b\n\"`>#:[]1.-*?\ufb01\u0130\uff21ß 请无法도와"),
    max_size=400,
)


def _spelled(words):
    raw = words.buffer.tobytes()
    return [raw[a:b].decode("utf-8", "replace") for a, b in zip(words.start, words.end, strict=True)]


@given(ANY_TEXT)
def test_every_folded_character_knows_its_origin(text):
    back, folded = origins(text), fold(text)
    if back is None:
        assert len(folded) == len(text)
    else:
        assert len(back) == len(folded)
        assert back == sorted(back)
        assert all(0 <= o < len(text) for o in back)


@given(ANY_TEXT)
def test_folded_ascii_is_lower_case(text):
    ascii_text = text.encode("ascii", "ignore").decode()
    assert fold(ascii_text) == ascii_text.lower()


@given(ANY_TEXT)
def test_folding_works_character_by_character(text):
    # independent path: a text with many odd characters is folded by a table, one with few by replacing them
    odd = "".join(map(chr, range(0x4E00, 0x4E20)))
    assert fold(text + " " + odd) == fold(text) + " " + odd


def test_folding_takes_every_scripts_marks_to_one():
    assert fold("I\u2019m \uff21\u3002\u201cB\u201d\u061f") == 'i\'m a."b"?'


@given(st.lists(st.text(st.sampled_from("ab' .,\n-9é"), max_size=40), max_size=5))
def test_words_are_those_of_a_regular_expression(texts):
    # independent path: the same words by a pattern, text by text
    words = read_words(texts)
    expected = [re.findall(r"[a-z0-9'é]+", text) for text in texts]
    assert _spelled(words) == [word for part in expected for word in part]
    assert words.row.tolist() == [row for row, part in enumerate(expected) for _ in part]
    assert words.place.tolist() == [place for part in expected for place in range(len(part))]


def test_scripts_without_spaces_are_read_by_character():
    assert _spelled(read_words(["我无法help。도와 ไม่"])) == ["我", "无", "法", "help", "도", "와", "ไ", "ม", "่"]


def test_a_word_has_the_same_hash_wherever_it_stands():
    long = "a" * 23
    words = read_words([f"i can't {long} antidisestablishment", f"x {long} can't", "我"])
    by_word = {}
    for word, value in zip(_spelled(words), words.hash.tolist(), strict=True):
        assert by_word.setdefault(word, value) == value
    assert len(set(by_word.values())) == len(by_word)
    assert hash_words(list(by_word)).tolist() == list(by_word.values())


def test_sentences_begin_behind_stops_and_at_every_text():
    words = read_words(["one two. three, four\nfive", "six"])
    assert words.after_stop.tolist() == [True, False, True, False, True, True]


@given(st.sets(st.integers(0, 2**64 - 1), max_size=200), st.lists(st.integers(0, 2**64 - 1), max_size=50))
def test_hash_set_answers_exactly(members, others):
    held = HashSet(np.array(sorted(members), dtype=np.uint64))
    asked = [*sorted(members), *others]
    assert held.holds(np.array(asked, dtype=np.uint64)).tolist() == [value in members for value in asked]


NAMES = {"I": "i|we|this model", "ADV": "simply|at this time"}


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        ("I ADV* cannot", "we simply at this time cannot", ["we simply at this time cannot"]),
        ("I ADV* cannot", "we. cannot", []),
        ("^no way", "oh no way. no way", ["no way"]),
        ("not _2 here", "not really now here, not a b c here", ["not really now here"]),
        ("a (b|c d)? e", "a e a b e a c d e a d e", ["a e", "a b e", "a c d e"]),
        ("a b*", "a b b b", ["a b b b"]),
        ("我(无法|不能)提供", "我无法提供", ["我无法提供"]),
    ],
)
def test_patterns_read_as_documented(pattern, text, found):
    lexicon = compile_lexicon({"f": (pattern,)}, {}, NAMES)
    words = read_words([text])
    mentions = lexicon.find(words, np.array([False]))
    raw = words.buffer.tobytes()
    spans = [raw[words.start[a] : words.end[b - 1]].decode() for a, b in zip(mentions.start, mentions.end, strict=True)]
    assert spans == found


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("أستطيع", "لا استطيع"),  # alif with and without its hamza
        ("عذرًا", "عذرا لك"),  # vowel signs are optional, in the pattern and in the text
        ("اسف", "آسِفٌ جدا"),
        ("نمی‌توانم", "من نمي\u200cتوانم"),
        ("माफ़ हूं", "मैं माफ हूँ"),
        ("לא", "לֹא עכשיו"),
    ],
)
def test_patterns_and_texts_are_folded_alike(pattern, text):
    found = compile_lexicon({"f": (pattern,)}, {}, {}).find(read_words([text]), np.array([False]))
    assert len(found.start) == 1


@pytest.mark.parametrize("pattern", ["pourriez-vous", "a,b", "a simple_function", "what's-up"])
def test_what_no_text_can_hold_as_one_word_is_no_pattern(pattern):
    with pytest.raises(InputError, match="not one word"):
        compile_lexicon({"f": (pattern,)}, {}, {})


@pytest.mark.parametrize("table", [ENGLISH, WORLD, PROMPT])
def test_no_phrase_begins_with_whatever_comes_or_is_empty(table):
    # a pattern that any word may begin starts at every word of every text
    names = _names()
    for patterns in table.values():
        for pattern in patterns:
            automaton = draft([(0, pattern)], names)
            for start in automaton.starts:
                assert not automaton.accepts[start], pattern
                assert not automaton.step[start][0], pattern


def test_other_languages_are_compiled_when_a_text_needs_them():
    families = {"f": ("no",)}, {"f": ("nein",)}
    lexicon = compile_lexicon(*families, {})
    words = read_words(["no no", "nein nein"])
    assert len(lexicon.find(words, np.array([False, False])).start) == 2
    assert len(lexicon.find(words, np.array([False, True])).start) == 4


@pytest.mark.parametrize("pattern", ["a (b", "a b)", "NOBODY said"])
def test_malformed_patterns_are_refused(pattern):
    with pytest.raises(InputError, match="pattern"):
        compile_lexicon({"f": (pattern,)}, {}, NAMES)


def test_families_of_other_languages_are_those_of_english():
    assert set(WORLD) <= set(ENGLISH)
    assert len(LANGUAGES) >= 20
    with pytest.raises(InputError, match="does not have"):
        compile_lexicon({"f": ("a",)}, {"g": ("b",)}, {})


def test_patterns_do_not_depend_on_each_other():
    # independent path: each family compiled alone finds what it finds among all
    texts = [row.response for row in generate(60, seed=9)]
    found = look(texts)
    for family in ("cannot", "refuse", "dontknow", "false", "seek"):
        alone = compile_lexicon({family: ENGLISH[family]}, {family: WORLD.get(family, ())}, _names())
        mentions = alone.find(found.words, found.foreign)
        mine = found.mentions.family == FAMILIES.index(family)
        assert mentions.start.tolist() == found.mentions.start[mine].tolist()
        assert mentions.end.tolist() == found.mentions.end[mine].tolist()


def _names():
    from demur.responses.phrases import NAMES
    from demur.responses.phrases_declining import DECLINING_NAMES

    return {**NAMES, **DECLINING_NAMES}


def _families(text, *, quoted):
    found = look([text])
    return {FAMILIES[f] for f, q in zip(found.mentions.family, found.quoted, strict=True) if q == quoted}


def test_what_others_say_is_quoted():
    text = 'He said "I cannot help you" and left.\n> I must refuse\n```\ni cannot assist\n```\nWe decline.'
    assert "cannot" not in _families(text, quoted=False)
    assert {"cannot", "refuse"} <= _families(text, quoted=True)
    assert "cannot" in _families('"I cannot help you with that."', quoted=False)  # quotes nobody


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("[Calm]: I cannot do it.\n\n[Wild]: Sure, take the stairs down.", 5),
        ("As GPT, I cannot. As Rex, I say take the stairs.", 4),
        ("Flour: two cups.\nSugar: one cup.\nEggs: three.\nMilk: half a pint.", 0),
        ("I was happy. As a child, I liked rain.", 0),
    ],
)
def test_the_last_of_several_speakers_is_heard(text, start):
    assert look([text]).last_voice[0] == start


@settings(max_examples=60, deadline=None)
@given(st.one_of(ANY_TEXT, WORDY))
def test_judging_never_fails_and_onset_lies_in_the_text(text):
    verdict = Ladder().judge(None, text)
    if verdict.onset is not None:
        assert 0 <= verdict.onset < len(text)
    if verdict.kind is Kind.COMPLY:
        assert verdict.onset is None


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.one_of(st.none(), ANY_TEXT), WORDY), max_size=6))
def test_a_text_is_judged_alike_alone_and_among_others(rows):
    ladder = Ladder()
    alone = [ladder.judge(*row) for row in rows]
    for one, many in zip(alone, ladder.judge_many(rows), strict=True):
        assert (one.kind, one.reason, one.onset) == (many.kind, many.reason, many.onset)
        if one.probability is not None:
            assert abs(one.probability - many.probability) <= 1e-4  # sums in another order


@settings(max_examples=200)
@given(
    st.lists(
        st.sampled_from(
            ["<think>", "</think>", "Thoughts:", "**Reasoning**:", "### Thinking", "Answer:", "analysis", "a b", "\n",
             "x", ": ", "rationale", "<|channel|>final<|message|>", "\u25c1think\u25b7", "[THINK]", " ",
             "Here\u2019s my thought process:"]
        ),
        max_size=8,
    )
)  # fmt: skip
def test_texts_that_are_not_split_are_those_that_split_leaves_alone(pieces):
    text = "".join(pieces)
    if not _may_reason(text):
        parts = split(text)
        assert (parts.reasoning, parts.state) == (None, "none")


def test_ngrams_are_those_of_the_words():
    # independent path: four words give 4+3+2 opening grams and 4+3 body grams; punctuation and spacing do not matter
    found = grams(look(["you are, it -- is"]))
    assert len(found.column) == 9 + 7
    assert np.array_equal(np.sort(found.column), np.sort(grams(look(["you are it is"])).column))
    assert (found.column < BUCKETS).sum() == 9
    assert found.column.max() < BLOCKS * BUCKETS
    assert np.allclose(sorted(set(found.value.round(6))), sorted({round(1 / 3, 6), round(7**-0.5, 6)}))


def test_other_languages_have_phrases_and_no_ngrams():
    found = look(["Je refuse de vous aider.", "I refuse to help you with that."])
    assert found.foreign.tolist() == [True, False]
    assert set(grams(found).row.tolist()) == {1}
    assert set(found.row.tolist()) == {0, 1}


def test_no_words_no_grams():
    assert len(grams(look(["?!", ""])).column) == 0


def test_dense_features_are_finite_and_complete():
    texts = ["", "?", "I can't.", "x" * 100_000, "x " * 60_000]
    values = dense(look(texts), [None, "", "why?", "x " * 1000, None])
    assert values.shape == (len(texts), len(DENSE_NAMES))
    assert np.isfinite(values).all()
    assert dense(look([]), []).shape == (0, len(DENSE_NAMES))


def test_long_texts_are_read_at_both_ends():
    tail = "I'm sorry, but I can't help you with the rest."
    text = "The lake was calm. " * 20_000 + tail
    ladder = Ladder()
    found = look([text])
    assert FAMILIES.index("cannot") in found.mentions.family
    verdict = ladder.judge(None, text)
    assert verdict.onset is None or verdict.onset >= len(text) - len(tail)


def test_hostile_repetition_comes_back_and_counts_no_phrase_twice():
    # patterns with nested repetition would not come back from these
    for piece in ("i cannot ", "i am ", "not ", '"', "> ", "as an ", "it is very ", "sorry ", "[a]: ", "1. ", "as a, "):
        found = look([piece * 3_000])
        key = found.mentions.family * len(found.words.hash) + found.mentions.start
        assert len(set(key.tolist())) == len(key)


def test_grammar_is_seeded_balanced_and_speaks_all_languages():
    rows = list(generate(2_000, seed=3))
    assert rows == list(generate(2_000, seed=3))
    assert rows != list(generate(2_000, seed=4))
    assert {row.language for row in rows} == set(LANGUAGES_WRITTEN)
    share = sum(row.kind is not Kind.COMPLY for row in rows) / len(rows)
    assert 0.4 < share < 0.65
    assert not any(re.search(r"<do(ing)?>|\[[A-Z_]{4,}_[A-Z]+\]", row.response) for row in rows)


def test_the_card_tells_what_the_weights_are():
    from demur.responses.classifier import SHIPPED, shipped
    from demur.responses.training import SOURCES

    card = json.loads(SHIPPED.with_suffix(".json").read_text("utf-8"))
    assert {part["source"] for part in card["training"]} == {*SOURCES, "synthetic"}
    assert card["dense_names"] == list(DENSE_NAMES)
    assert shipped().slope == pytest.approx(card["recipe"]["slope"])


def test_what_grams_weigh_is_the_sum_over_their_weights():
    texts = [
        "No.",
        "one two",
        "I cannot help with that, but here is a long list of other things. " * 9,
        "",
        "Я не могу.",
    ]
    found = look(texts)
    weights = np.random.default_rng(0).normal(size=BLOCKS * BUCKETS).astype(np.float32)
    one_by_one = grams(found)
    wanted = np.bincount(one_by_one.row, weights[one_by_one.column] * one_by_one.value, minlength=len(texts))
    assert np.allclose(gram_scores(found, weights), wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize("rows", [0, 1, 40, 700])
def test_a_product_in_parts_is_the_product(rows):
    left, right = np.arange(rows * 400.0).reshape(rows, 400) % 7, np.arange(2_400.0).reshape(400, 6) % 5
    assert np.array_equal(product(left, right), left @ right)


@given(st.lists(st.text(max_size=60), max_size=6))
def test_a_batch_is_folded_as_single_texts_are(texts):
    many = [text + "ж\u200bﬁ…İΣ" * 9 for text in texts]
    words = read_words([*texts, *many])
    assert words.buffer.tobytes() == b"".join(
        fold(text).encode("utf-8", "replace") + b"\n\n" for text in [*texts, *many]
    )


def test_a_pattern_that_begins_with_a_gap_is_found_at_its_first_known_word():
    lexicon = compile_lexicon({"a": ("(puts)? _3 at risk", "alpha _2 beta"), "b": ("(puts)? two",)}, {}, {})
    words = read_words(["alpha puts us all at risk. two at. odd at risk alpha odd odd beta"])
    found = lexicon.find(words, np.zeros(1, dtype=bool))
    assert list(zip(found.family.tolist(), found.start.tolist(), found.end.tolist(), strict=True)) == [
        (0, 1, 6), (0, 9, 11), (0, 11, 15), (1, 6, 7),
    ]  # fmt: skip
