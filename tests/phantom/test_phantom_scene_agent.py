"""Scene `agent`: twins differ in one word, calls are what the template renders, turns follow on each other."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from demur.errors import InputError
from demur.phantom import scenes
from demur.phantom.scenes import agent, decision, measuring
from demur.phantom.specification import default

NAME = "agent"


@pytest.fixture(scope="module")
def table():
    return agent.Table.model_validate(default().scene[NAME])


@pytest.fixture(scope="module")
def every():
    return {d.name.partition("/")[2]: d for d in scenes.decisions(NAME)}


def _key(place):
    return json.dumps(place.messages)


def _places(one):
    return (*one.places, *one.held_out)


def test_the_shares_are_those_of_the_table(every, table):
    for name, one in every.items():
        turn, _, side = name.partition("/")
        assert one.shares == getattr(table, turn)[side]


def test_a_harmful_goal_and_its_twin_differ_in_one_word(table):
    every = list(agent.goals(table))
    assert len(every) == len({g.text for g in every}) >= 300
    side = {g.text: g.side for g in every}
    for goal in every:
        assert side[goal.twin] != goal.side
        assert sum(a != b for a, b in zip(goal.text.split(), goal.twin.split(), strict=True)) == 1


def test_what_is_held_out_is_never_shown_and_its_words_are(every, table):
    shown = {p.messages[0]["content"] for d in every.values() for p in d.places}
    hidden = {p.messages[0]["content"] for d in every.values() for p in d.held_out}
    assert len(hidden) > 40
    assert not shown & hidden
    words = {word.strip(".") for text in shown for word in text.split()}
    assert {word.strip(".") for text in hidden for word in text.split()} <= words


def test_no_text_belongs_to_two_decisions(every):
    texts = Counter(_key(p) for d in every.values() for p in _places(d))
    assert set(texts.values()) == {1}


def test_a_written_call_is_what_the_template_renders_for_the_next_turn(every, tokenizer):
    first = {_key(p): p for d in every.values() for p in _places(d) if not p.meta["results"]}
    for name, one in every.items():
        if not name.startswith("second"):
            continue
        for place in _places(one):
            before = first[json.dumps(place.messages[:1])]
            start = decision.rendered(before, tokenizer.apply_chat_template) + before.outcomes["call"][0]
            assert decision.rendered(place, tokenizer.apply_chat_template).startswith(f"{start}<|eot_id|>")


def test_a_call_is_right_json_for_a_tool_that_is_offered(every):
    for one in every.values():
        for place in _places(one):
            for text in [t for label in ("call", "again") for t in place.outcomes.get(label, ())]:
                call = json.loads(text.removeprefix("<tool_call>").removesuffix("</tool_call>"))
                assert call == place.meta["call"]
                offered = {t["function"]["name"]: t["function"]["parameters"]["properties"] for t in place.tools}
                assert set(call["arguments"]) == set(offered[call["name"]])


def test_tools_are_written_as_inspect_passes_them_on(table):
    inspect_tool = pytest.importorskip("inspect_ai.tool", reason="needs the extra 'inspect'")
    for domain in table.domain.values():
        for written in agent.tools(domain):
            function = written["function"]
            parameters = inspect_tool.ToolParams.model_validate(function["parameters"])
            assert json.dumps(parameters.model_dump(mode="json", exclude_none=True)) == json.dumps(
                function["parameters"]
            )


def test_later_turns_come_with_and_without_pressure_and_with_both_results(every, table):
    for name, one in every.items():
        if name.startswith("first"):
            continue
        assert {p.meta["pressed"] for p in one.places} == {True, False}
        assert all((table.pressure in p.messages[0]["content"]) == p.meta["pressed"] for p in _places(one))
        if name.startswith("third"):
            assert {tuple(p.meta["results"]) for p in one.places} == {
                (a, b) for a in ("ok", "failed") for b in ("ok", "failed")
            }
        for domain in table.domain.values():
            said = " ".join(p.messages[0]["content"] for p in one.places)
            assert all(other in said for other in domain.others)


def test_harmful_goals_should_be_refused_and_benign_ones_done(every):
    for name, one in every.items():
        turn, _, side = name.partition("/")
        wanted = "refuse" if side.startswith("harmful") else "call" if turn == "first" else "finish"
        assert {p.meta["desired"] for p in one.places} == {wanted}


def test_first_tokens_are_apart_and_the_longest_text_fits(every, tokenizer):
    for one in every.values():
        for place in _places(one):
            measuring._firsts(tokenizer, place)
            text = decision.rendered(place, tokenizer.apply_chat_template)
            assert len(tokenizer.encode(text, add_special_tokens=False)) < 500


def test_shares_that_lack_a_condition_are_refused():
    one = default().scene[NAME]
    second = {k: v for k, v in one["second"].items() if k != "benign_ok"}
    spec = default().model_copy(update={"scene": {NAME: {**one, "second": second}}})
    with pytest.raises(InputError, match="benign_ok"):
        scenes.decisions(NAME, spec)
