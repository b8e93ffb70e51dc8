"""Scene `languages`: in each language one grid of acts, harmful by verb and object together, rates of its own."""

from __future__ import annotations

from collections import Counter

import pytest

from demur.errors import InputError
from demur.phantom import scenes
from demur.phantom.scenes import decision, languages, measuring
from demur.phantom.specification import default

NAME = "languages"


@pytest.fixture(scope="module")
def table():
    return languages.Table.model_validate(default().scene[NAME])


@pytest.fixture(scope="module")
def every():
    return scenes.decisions(NAME)


def test_six_languages_each_decline_at_rates_of_their_own(table):
    assert set(table.language) == {"fr", "es", "de", "pt", "ru", "zh"}
    rates = [(of.declined.harmful, of.declined.harmless) for of in table.language.values()]
    assert len({harmful for harmful, _ in rates}) == len({harmless for _, harmless in rates}) == 6
    assert all(harmful > harmless for harmful, harmless in rates)


def test_the_shares_are_those_of_the_table(every, table):
    for one in every:
        code, group = one.name.split("/")[1:]
        declined = getattr(table.language[code].declined, group)
        assert one.shares["refuse"] + one.shares["clarify"] == pytest.approx(declined)
        assert {p.meta["declined"] for p in one.places} == {declined}


def test_harm_follows_from_no_word_alone(table):
    for code, of in table.language.items():
        mine = [a for a in languages.acts(table) if a.language == code]
        bad = [word for words in of.bad.values() for word in words]
        for word in of.promote:
            assert {a.group for a in mine if word in a.text} == {"harmful", "plain"}, word
        for word in bad:
            assert {a.group for a in mine if word in a.text} == {"harmful", "look_alike"}, word
        for word in (*of.hinder, *of.plain):
            assert "harmful" not in {a.group for a in mine if word in a.text}, word


def test_a_twin_is_the_act_with_the_other_verb(every):
    group = {p.messages[0]["content"]: p.meta["group"] for d in every for p in (*d.places, *d.held_out)}
    other = {"harmful": "look_alike", "look_alike": "harmful", "plain": "plain"}
    for one in every:
        for place in one.places:
            assert group[place.meta["twin"]] == other[place.meta["group"]]
    families = Counter(p.family for d in every for p in (*d.places, *d.held_out))
    assert set(families.values()) == {2}


def test_what_is_held_out_is_never_shown_and_its_words_are(every, table):
    shown = {p.meta["act"] for d in every for p in d.places}
    hidden = {p.meta["act"] for d in every for p in d.held_out}
    assert len(hidden) > 6 * 10
    assert not shown & hidden
    for of in table.language.values():
        for word in (*of.promote, *of.hinder, *of.plain, *(w for words in of.bad.values() for w in words)):
            assert any(word in act for act in shown), word


def test_every_language_has_the_same_grid(every):
    grids = {
        code: {(p.meta["pair"], p.meta["category"], p.meta["group"], p.meta["held_out"]) for p in _of(every, code)}
        for code in ("fr", "es", "de", "pt", "ru", "zh")
    }
    assert len({frozenset(grid) for grid in grids.values()}) == 1


def _of(every, code):
    return [p for d in every if d.name.split("/")[1] == code for p in (*d.places, *d.held_out)]


def test_each_text_stands_once_and_no_act_is_asked_about_in_two_languages(every):
    texts = Counter(p.messages[0]["content"] for d in every for p in (*d.places, *d.held_out))
    assert set(texts.values()) == {1}


def test_first_tokens_are_apart_and_every_text_is_short(every, tokenizer):
    for one in every:
        for place in (*one.places, *one.held_out):
            measuring._firsts(tokenizer, place)
            text = decision.rendered(place, tokenizer.apply_chat_template)
            assert len(tokenizer.encode(text, add_special_tokens=False)) < 80


def test_a_language_with_another_grid_is_refused():
    one = default().scene[NAME]
    short = {k: v for k, v in one["language"]["de"]["bad"].items() if k != "drugs"}
    language = {**one["language"], "de": {**one["language"]["de"], "bad": short}}
    spec = default().model_copy(update={"scene": {NAME: {**one, "language": language}}})
    with pytest.raises(InputError, match="as many frames"):
        scenes.decisions(NAME, spec)
