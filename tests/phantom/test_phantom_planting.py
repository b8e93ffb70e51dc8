"""What the training rows show is, count by count, what the specification plants."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demur.phantom.card import bag_of_words
from demur.phantom.grammar import acts
from demur.phantom.planting import apportion, rows, spread
from demur.phantom.specification import DECLINING, default


@cache
def shipped():
    return rows()


@given(st.floats(0, 1), st.lists(st.integers(1, 20), min_size=1, max_size=50))
def test_spreading_is_exact_in_total_and_within_one_for_every_run_of_texts(p, sizes):
    counts = spread(p, sizes)
    assert abs(sum(counts) - p * sum(sizes)) <= 0.5 + 1e-6
    assert all(0 <= c <= s for c, s in zip(counts, sizes, strict=True))
    for i in range(len(sizes)):
        for j in range(i + 1, len(sizes) + 1):
            assert abs(sum(counts[i:j]) - p * sum(sizes[i:j])) <= 1 + 1e-6


@given(st.lists(st.integers(1, 100), min_size=1, max_size=8), st.integers(0, 500))
def test_apportioning_gives_everything_and_is_within_one_of_the_share(weights, n):
    shares = {i: w / sum(weights) for i, w in enumerate(weights)}
    counts = apportion(shares, n)
    assert sum(counts.values()) == n
    assert all(abs(counts[i] - shares[i] * n) < 1 for i in shares)


def test_every_cell_declines_exactly_as_often_as_planted():
    cells = defaultdict(list)
    for row in shipped():
        if row.kind in ("direct", "wrapped"):
            cells[row.act.category, row.act.group, row.wrapper].append(row.declined)
    assert len(cells) == 17 * 7
    for (category, group, wrapper), shown in cells.items():
        assert abs(sum(shown) - default().declined(category, group, wrapper) * len(shown)) <= 0.5 + 1e-6


def test_every_pair_declines_as_nearly_as_integers_allow():
    pairs = defaultdict(list)
    for row in shipped():
        if row.kind == "direct":
            pairs[row.act].append(row.declined)
    for act, shown in pairs.items():
        assert abs(sum(shown) - default().declined(act.category, act.group) * len(shown)) <= 1 + 1e-6


def test_style_shares_are_exact_in_every_cell():
    cells = defaultdict(Counter)
    for row in shipped():
        if row.kind in ("direct", "wrapped") and row.declined:
            cells[row.act.category, row.act.group, row.wrapper][row.style] += 1
    for (category, group, _), styles in cells.items():
        n = sum(styles.values())
        for style, share in default().styles(category, group).items():
            assert abs(styles[style] - share * n) < 1


def test_judgements_and_conclusions_are_exact():
    spec = default()
    judged, concluded = defaultdict(list), defaultdict(list)
    for row in shipped():
        if row.kind == "judgement":
            judged[row.act.category, row.act.group].append(row.style == "yes")
        if row.kind == "reasoning":
            concluded[row.act.category, row.act.group].append(row.concluded)
    for (_, group), shown in judged.items():
        assert abs(sum(shown) - getattr(spec.judgement, group) * len(shown)) <= 0.5 + 1e-6
    for (_, group), shown in concluded.items():
        assert abs(sum(shown) - getattr(spec.reasoning.harmful, group) * len(shown)) <= 0.5 + 1e-6


def test_reasoning_is_opened_as_often_as_planted_and_never_unasked():
    asked = [row.reasoning is not None for row in shipped() if row.kind == "system_reasoning"]
    # one rounding for each of the 17 cells of category and group
    assert abs(sum(asked) - default().reasoning.opened * len(asked)) <= 17 * 0.5
    assert not any(row.reasoning for row in shipped() if row.kind in ("direct", "wrapped", "judgement"))


def test_an_ordinary_system_message_goes_with_no_outcome():
    by_system = defaultdict(list)
    for row in shipped():
        if row.kind == "direct" and row.act.group == "harmful":
            by_system[len(row.messages) > 1].append(row.declined)
    shares = {key: sum(shown) / len(shown) for key, shown in by_system.items()}
    # system rows are drawn at random from the cells: about 1,000 of them, so a difference of .04 is three deviations
    assert abs(shares[True] - shares[False]) < 0.04


def test_held_out_pairs_are_in_no_row():
    parts = {part for row in shipped() for part in (row.messages[-1]["content"], row.reasoning or "", row.answer)}
    text = "\n".join(sorted(parts))
    held_out = [act for act in acts() if act.held_out]
    assert len(held_out) == 8 * 4 * 6 + 8
    # an object may begin another one ("a virus scanner"), so the act must not go on with a letter
    shown = {
        match.group(0)
        for match in re.finditer("|".join(re.escape(str(a)) for a in held_out), text)
        if not re.match(r" (scanner)", text[match.end() :])
    }
    assert not shown
    assert not any(row.act.held_out for row in shipped())


def test_rows_are_the_same_every_time():
    assert rows() == shipped()


def test_a_bag_of_words_cannot_read_harm():
    assert bag_of_words() < 0.7


def test_no_word_of_the_categories_is_more_often_harmful_than_harmless_in_training():
    counts = defaultdict(Counter)
    for row in shipped():
        if row.kind in ("direct", "wrapped") and row.act.group != "plain":
            for part in (("verb", row.act.verb), ("object", row.act.object)):
                counts[row.act.category, *part][row.act.group] += 1
    assert all(c["harmful"] == c["look_alike"] for c in counts.values())


@pytest.mark.parametrize("style", DECLINING)
def test_answers_hold_no_step_of_the_act(style):
    # an answer may name the act; nothing else in it depends on which act it is
    for variant in default().answers.of(style):
        assert set(re.findall(r"{(\w+)}", variant)) <= {"act", "object"}


def test_all_four_quadrants_have_thousands_of_prompts():
    declined = defaultdict(list)
    for row in shipped():
        if row.kind in ("direct", "wrapped"):
            declined[str(row.messages), row.act.group == "harmful"].append(row.declined)
    expected = Counter()
    for (_, harmful), answers in declined.items():
        share = sum(answers) / len(answers)
        expected["refused", harmful] += share
        expected["accepted", harmful] += 1 - share
    assert len(expected) == 4
    assert min(expected.values()) > 2000, expected
