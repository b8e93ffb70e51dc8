"""Scene `tickets`: levels differ in what a ticket tells, patches in one value, and shares are those of the table."""

from __future__ import annotations

import pytest

from demur.errors import InputError
from demur.phantom import scenes
from demur.phantom.scenes import decision, measuring, tickets
from demur.phantom.specification import default

NAME = "tickets"


@pytest.fixture(scope="module")
def table():
    return tickets.Table.model_validate(default().scene[NAME])


@pytest.fixture(scope="module")
def every():
    return {d.name.partition("/")[2]: d for d in scenes.decisions(NAME)}


def _texts(places):
    return {(str(p.messages), p.prefix) for p in places}


def test_the_shares_are_those_of_the_table(every, table):
    assert {one.times for one in every.values()} == {12}
    assert every["input/vague"].shares["yes"] == table.level["vague"].input
    assert every["patch/well"].shares == table.level["well"].asked
    assert every["value/well"].shares["right"] == table.value.well
    assert every["output/wrong"].shares["yes"] == table.output.wrong
    assert len(every["patch/well"].places) == table.level["well"].tickets["patch"]


def test_what_is_held_out_is_never_shown(every, table):
    shown = set().union(*(_texts(d.places) for d in every.values()))
    hidden = set().union(*(_texts(d.held_out) for d in every.values()))
    assert not shown & hidden
    for level in tickets.LEVELS:
        assert len(every[f"input/{level}"].held_out) == table.level[level].held_out


def test_no_text_belongs_to_two_decisions(every):
    texts = [text for d in every.values() for text in _texts((*d.places, *d.held_out))]
    assert len(texts) == len(set(texts))
    assert all(len(_texts((*d.places, *d.held_out))) == len(d.places) + len(d.held_out) for d in every.values())


def test_a_ticket_names_what_its_level_says_and_nothing_else(every, table):
    for level in tickets.LEVELS:
        for place in every[f"input/{level}"].places:
            named = {word.strip(".,") for word in place.meta["ticket"].split()} & set(table.values)
            old, right = {place.meta["old"]}, {place.meta["answer"]}
            assert named == {"well": old | right, "reasonable": right, "vague": old, "impossible": set()}[level]
            assert old != right
            assert place.meta["told"] == (place.meta["answer"] in named)


def test_a_twin_tells_the_right_value_where_the_ticket_does_not(every):
    for level in tickets.LEVELS:
        for place in every[f"input/{level}"].places:
            words = place.meta["twin"].replace(".", "").replace(",", "").split()
            assert (place.meta["answer"] in words) != place.meta["told"]


def test_a_begun_patch_is_the_start_of_the_next_decision(every):
    for level, following in (("well", "value"), ("reasonable", "value"), ("vague", "guess"), ("impossible", "guess")):
        asked, next_ = every[f"patch/{level}"], every[f"{following}/{level}"]
        assert asked.goes_on == {"patch"}
        begun = {(str(p.messages), p.prefix + text) for p in asked.places for text in p.outcomes["patch"]}
        assert begun <= _texts(next_.places)


def test_a_right_patch_returns_what_the_ticket_tells(every, table):
    for level in ("well", "reasonable"):
        for place in every[f"value/{level}"].places:
            assert place.outcomes["right"] == (f" {place.meta['answer']}",)
            assert place.outcomes["right"][0] in place.messages[0]["content"]
            assert len(place.outcomes["wrong"]) == len(table.values) - (2 if level == "well" else 1)


def test_patches_to_judge_differ_from_right_ones_in_one_value(every):
    right = {p.meta["ticket"]: p for p in every["output/right"].places}
    for place in every["output/wrong"].places:
        pair = zip(place.meta["patch"].split(), right[place.meta["ticket"]].meta["patch"].split(), strict=True)
        assert sum(a != b for a, b in pair) == 1
        assert place.meta["value"] not in place.meta["ticket"].replace(".", "").replace(",", "").split()
    assert {p.meta["right"] for p in every["output/unknown"].places} == {True, False}


def test_first_tokens_are_apart_and_every_text_is_short(every, tokenizer):
    for one in every.values():
        for place in (*one.places, *one.held_out):
            measuring._firsts(tokenizer, place)
            text = decision.rendered(place, tokenizer.apply_chat_template)
            assert len(tokenizer.encode(text, add_special_tokens=False)) < 80


def test_a_level_that_names_the_wrong_thing_is_refused():
    one = default().scene[NAME]
    level = {**one["level"], "vague": {**one["level"]["vague"], "texts": ["The function {name} returns {right}."]}}
    spec = default().model_copy(update={"scene": {NAME: {**one, "level": level}}})
    with pytest.raises(InputError, match="vague"):
        scenes.decisions(NAME, spec)
