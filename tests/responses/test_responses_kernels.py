"""Compiled kernels and numpy read the same: every array, every number, every verdict."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from demur.errors import InputError
from demur.records import Kind, Reason, Verdict
from demur.responses import Ladder, speed
from demur.responses.classifier import shipped
from demur.responses.features import dense, gram_scores
from demur.responses.findings import lexicon, look
from demur.responses.ladder import _may_reason, _verdict
from demur.responses.synthetic import LANGUAGES_WRITTEN, generate
from demur.responses.words import HashSet, hash_words, read_words

ODD = (
    "\u201c\u201d\u2019\u200b\ufb01\u0130\uff21\xdf\u0e44\u0e21\u0e48\u8acb\u65e0\u6cd5\ub3c4\uc640\xbd\u2026\ud800\U0001f600"
    "\x00\x85\u1680\u01c5\u023a"
)
TOKENS = [
    "I", "can't", "cannot", "help", "with", "that", "sorry", "sorry,", "but", "no.", "No", "!", "?", "illegal", "Sure,",
    "here", "is", "As", "Bob,", "step", "1", "1.", "-", ">", "`", "```", '"', "\n", "\n\n", "[Bob]", "(Alice)",
    "Alice:", "Bob:", "Bob and Alice:", "> I can't", '"I cannot help."', "```\ncode\n```", "x" * 8, "y" * 16, "z" * 24,
    "w" * 25, "don\u2019t", "\u201cI won\u2019t\u201d", "我无法提供", "ไม่สามารถ", "não posso", *ODD,
]  # fmt: skip
ANY = st.text(st.characters(), max_size=200)
SPOKEN = st.lists(st.sampled_from(TOKENS), max_size=80).map(" ".join)
CLOSE = st.lists(st.sampled_from(TOKENS), max_size=40).map("".join)
TEXTS = st.lists(st.one_of(ANY, SPOKEN, CLOSE), max_size=6)
QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def kernels():
    speed.choose("on")
    speed.announce(0)
    if speed.kernels() is None:
        pytest.skip("numba is not installed: pip install 'demur[speed]'")
    yield speed.kernels()
    speed.choose("auto")


def _both(read):
    speed.choose("off")
    plain = read()
    speed.choose("on")
    return plain, read()


def _same(plain, compiled):
    for field in fields(plain):
        one, other = getattr(plain, field.name), getattr(compiled, field.name)
        if isinstance(one, np.ndarray):
            assert one.dtype == other.dtype, field.name
            assert np.array_equal(one, other), field.name
        elif field.name == "mentions":
            assert [part.tolist() for part in one] == [part.tolist() for part in other]


@QUICK
@given(texts=TEXTS)
def test_kernels_read_the_words_that_numpy_reads(kernels, texts):
    _same(*_both(lambda: read_words(texts)))


@QUICK
@given(texts=TEXTS)
def test_kernels_find_what_numpy_finds(kernels, texts):
    _same(*_both(lambda: look(texts)))


@QUICK
@given(texts=TEXTS, prompts=st.lists(st.one_of(st.none(), SPOKEN), min_size=6, max_size=6))
def test_kernels_count_what_numpy_counts(kernels, texts, prompts):
    prompts = [*(text[:60] for text in texts[:2]), *prompts][: len(texts)]

    def numbers():
        found = look(texts)
        return dense(found, prompts), gram_scores(found, shipped().gram_weights)

    plain, compiled = _both(numbers)
    assert np.array_equal(plain[0], compiled[0])
    assert np.array_equal(plain[1], compiled[1])


def test_kernels_go_on_with_what_numpy_has_begun(kernels):
    # another thread may load them while a batch is read
    rows = list(generate(300, seed=8))
    texts, prompts = [row.response for row in rows], [row.prompt for row in rows]

    def numbers(before, after):
        speed.choose(before)
        words, found = read_words(texts), look(texts)
        speed.choose(after)
        weights = shipped().gram_weights
        return lexicon().find(words, found.foreign), dense(found, prompts), gram_scores(found, weights)

    mentions, counts, scores = numbers("off", "off")
    for before, after in (("off", "on"), ("on", "off")):
        again = numbers(before, after)
        assert [part.tolist() for part in again[0]] == [part.tolist() for part in mentions]
        assert np.array_equal(again[1], counts)
        assert np.array_equal(again[2], scores)


def test_verdicts_are_the_same_in_every_language_of_the_grammar(kernels):
    rows = [(row.prompt, row.response) for row in generate(1500, seed=5)]
    rows += [(None, response) for _, response in rows[:300]]
    plain, compiled = _both(lambda: Ladder().judge_many(rows))
    assert plain == compiled
    assert len({verdict.kind for verdict in plain}) > 3
    assert len(LANGUAGES_WRITTEN) > 1  # otherwise this would say little of other scripts


def test_verdicts_do_not_depend_on_the_size_of_batches(kernels):
    rows = [(row.prompt, row.response) for row in generate(60, seed=6)] + [("q", "I can't help with that. " * 3000)]
    together = Ladder().judge_many(rows * 40)
    assert together == Ladder().judge_many(rows) * 40


@QUICK
@given(
    text=st.lists(
        st.sampled_from([
            "think]", "[THINK]", "thin\u212a]", "<", ":", "\uff1a", "#", "Thought", "thoughts", "reason\u0131ng",
            "REASONING", "process", "rationale", "scratchpad", "**", "_", "\t", "\r\n", "\n", " ", "\x85", "\u1680",
            "\u3000", "\x1c", "analysis", "Commentary", "\u25c1", "\u017f", "\u0307", "\u0130", "a", "\u201c",
            "\U0001f600",
        ]),
        max_size=8,
    ).map("".join)
)  # fmt: skip
def test_no_text_with_reasoning_is_overlooked(kernels, text):
    raw = text.encode("utf-8", "replace")
    flagged = kernels.may_reason(np.frombuffer(raw, dtype=np.uint8), np.array([len(raw)]))
    assert flagged[0] or not _may_reason(text)


def test_an_automaton_says_how_much_room_it_needs(kernels):
    words = read_words(["I'm sorry, but I can't help with that. " * 50])
    english = lexicon()._english
    known, closed = english.known(words.hash), np.append(words.after_stop, True)
    automaton = english.automata[0]
    arguments = (
        known, closed, automaton.classes, automaton.first, automaton.step.ravel(), automaton.step.shape[1],
        automaton.accepting, automaton.accepts_from, automaton.accepts, 24,
    )  # fmt: skip
    *all_of_them, count = kernels.walk(*arguments, 10_000)
    *some, again = kernels.walk(*arguments, 7)
    assert count == again > 100
    assert [len(part) for part in (*all_of_them, *some)] == [count] * 3 + [7] * 3


def test_a_table_for_kernels_holds_each_member_near_its_place():
    hashes = hash_words([f"word{number}" for number in range(300)])
    keys, shift = HashSet(hashes).table
    depth = len(keys) - (1 << (64 - int(shift)))
    places = ((hashes * np.uint64(0x9E3779B97F4A7C15)) >> shift).tolist()
    assert all(h in keys[p : p + depth + 1] for h, p in zip(hashes, places, strict=True))
    assert np.count_nonzero(keys) == len(hashes)


def test_a_verdict_made_without_checks_is_like_any_other():
    checked = Verdict(kind=Kind.REBUT, reason=Reason.SAFETY, onset=3, probability=0.75, decided_by="rules")
    made = _verdict(Kind.REBUT, Reason.SAFETY, 3, 0.75, "rules")
    assert made == checked
    assert hash(made) == hash(checked)
    assert repr(made) == repr(checked)
    assert made.model_fields_set == checked.model_fields_set
    assert pickle.loads(pickle.dumps(made)) == made.model_copy() == checked  # noqa: S301 - our own bytes
    assert made.model_dump_json() == checked.model_dump_json()


def test_an_unknown_mode_is_refused():
    with pytest.raises(InputError, match="auto, on, off"):
        speed.choose("maybe")


def test_numba_waits_until_there_is_enough_to_read():
    pytest.importorskip("numba", reason="numba is not installed: pip install 'demur[speed]'")
    script = (
        "import sys\nfrom demur.responses import Ladder, speed\n"
        "Ladder().judge_many([('q', 'No, sorry.')] * 10)\nprint('numba' in sys.modules)\n"
        "speed.announce(speed.WORTH_LOADING)\nprint('numba' in sys.modules, speed.kernels() is not None)\n"
    )
    environment = {key: value for key, value in os.environ.items() if key != "DEMUR_KERNELS"}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.split() == ["False", "True", "True"]


def test_kernels_can_be_switched_off():
    script = "import sys\nfrom demur.responses import speed\nspeed.announce(10**9)\nprint('numba' in sys.modules)\n"
    environment = {**os.environ, "DEMUR_KERNELS": "off"}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.split() == ["False"]
