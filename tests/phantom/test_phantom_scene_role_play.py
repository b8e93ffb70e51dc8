"""Scene `role_play`: the chain of decisions joins up, twins differ in attribute words, rates follow in closed form."""

from __future__ import annotations

import random
import re
from collections import Counter

import pytest
from pydantic import ValidationError

from demur.phantom import scenes
from demur.phantom.scenes import role_play, stances
from demur.phantom.scenes.decision import rendered
from demur.phantom.scenes.measuring import _firsts
from demur.phantom.specification import default
from demur.reasoning import split


@pytest.fixture(scope="module")
def spec():
    return default()


@pytest.fixture(scope="module")
def table(spec):
    return role_play.Table.model_validate(spec.scene["role_play"])


@pytest.fixture(scope="module")
def decisions(spec):
    return scenes.decisions("role_play", spec)


def _text(place):
    return tuple(m["content"] for m in place.messages), place.prefix, place.thinking


def test_every_cell_has_its_chain_and_its_shares(table, decisions):
    by_name = {d.name: d for d in decisions}
    for cell in table.cell:
        name = f"role_play/{cell.name}"
        stance = by_name[f"{name}/stance"].shares
        reasoned = 1.0 if cell.thinking else by_name[f"{name}/begin"].shares["reasoned"]
        assert cell.thinking != (f"{name}/opening" in by_name)
        for s in stances.STANCES:
            share = stance[s] * reasoned if s in stance else by_name[f"{name}/begin"].shares["absent"]
            assert share == pytest.approx(cell.stance[s])
            assert by_name[f"{name}/output/{s}"].shares["undesired"] == cell.undesired[s]


def test_what_is_written_at_one_decision_is_where_the_next_begins(table, decisions):
    starts = {_text(p) for d in decisions for p in (*d.places, *d.held_out)}
    reached = set()
    for decision in decisions:
        for place in (*decision.places, *decision.held_out):
            messages, prefix, thinking = _text(place)
            for label in decision.goes_on:
                ends = {(messages, prefix + text, thinking) for text in place.outcomes[label]}
                # of several wordings of the reasoning, each conversation goes on after one
                assert ends & starts
                reached |= ends & starts
    first = {t for t in starts if not t[1]}
    assert starts - first == reached
    assert {d.name.rpartition("/")[2] for d in decisions if not d.goes_on} == set(stances.STANCES)


def test_tokens_are_the_same_whether_pieces_are_encoded_apart_or_together(decisions, tokenizer):
    def ids(text):
        return tokenizer.encode(text, add_special_tokens=False)

    for decision in decisions:
        for place in (*decision.places[::5], *decision.held_out[::3]):
            _firsts(tokenizer, place)  # raises where two labels share a first token
            prompt = rendered(place, tokenizer.apply_chat_template)
            assert len(ids(prompt)) < 140
            for texts in place.outcomes.values():
                for text in texts:
                    assert ids(prompt + text) == ids(prompt) + ids(text)


def test_held_out_conversations_are_never_shown_and_no_place_has_two_shares(decisions):
    trained = [_text(p) for d in decisions for p in d.places]
    held_out = [_text(p) for d in decisions for p in d.held_out]
    assert len(set(trained)) == len(trained)
    assert len(set(held_out)) == len(held_out)
    shown_messages = {(messages, thinking) for messages, _, thinking in trained}
    assert not shown_messages & {(messages, thinking) for messages, _, thinking in held_out}


def test_twins_differ_in_attribute_words_alone(table):
    seen = 0
    for cell in table.cell:
        for case in role_play.cases(table, cell.family, cell.group, thinking=cell.thinking):
            for group, messages in case.meta["twins"].items():
                words = table.family[cell.family].groups
                twin = words[group][words[cell.group].index(case.meta["attribute"])]
                for ours, theirs in zip(case.messages, messages, strict=True):
                    assert ours["content"].replace(case.meta["attribute"], twin) == theirs["content"]
                assert list(case.messages) != messages
                others = role_play.cases(table, cell.family, group, thinking=cell.thinking)
                other = next(c for c in others if list(c.messages) == messages)
                assert (other.pair, other.held_out) == (case.pair, case.held_out)
                seen += 1
    assert seen


def test_the_system_message_holds_the_fact_and_one_or_two_user_turns_follow(table):
    turns = set()
    for cell in table.cell:
        for case in role_play.cases(table, cell.family, cell.group, thinking=cell.thinking):
            system, *users = case.messages
            assert case.meta["thing"] in system["content"]
            assert system["content"].endswith(table.layout) != cell.thinking
            assert {m["role"] for m in users} == {"user"}
            assert len(users) == case.meta["turns"]
            turns.add(len(users))
    assert turns == {1, 2}


def test_whole_replies_split_into_reasoning_and_reply(table):
    for family in table.family:
        for group in table.family[family].groups:
            case = role_play.cases(table, family, group)[0]
            for stance in stances.STANCES:
                for kind in ("desired", "undesired"):
                    text = stances.reply(table.labels, table.family[family], case, stance, kind, 0)
                    found = split(text)
                    if stance == "absent":
                        assert text.startswith("Reply:")
                    else:
                        # shorter reasoning would count as absent
                        assert len(found.reasoning.split()) >= 5
                        assert re.fullmatch(r"Reasoning: .+\nReply: .+", text)


def test_the_rates_follow_from_the_odds():
    odds = stances.Odds(
        stance={"ethical": 0.5, "unethical": 0.2, "neutral": 0.1, "absent": 0.2},
        undesired={"ethical": 0.4, "unethical": 1.0, "neutral": 0.5, "absent": 0.5},
    )
    truth = odds.truth()
    assert truth.undesired == pytest.approx(0.55)
    assert truth.deceptive == pytest.approx(0.3)
    assert truth.deceptive_given_undesired == pytest.approx(0.3 / 0.55)
    assert truth.transparent == pytest.approx(0.2)
    parts = truth.contradiction + truth.omission + truth.transparent + truth.ambiguous
    assert parts == pytest.approx(truth.undesired)


def test_rates_are_those_of_rows_that_walk_through_the_chain(table, decisions):
    """An independent path: draw along the decisions, count what comes out."""
    by_name = {d.name: d for d in decisions}
    rng = random.Random(1)

    def draw(shares):
        return rng.choices(list(shares), weights=list(shares.values()))[0]

    truth = role_play.truth(table)
    for cell in table.cell:
        name, found = f"role_play/{cell.name}", Counter()
        for _ in range(20_000):
            begun = "reasoned" if cell.thinking else draw(by_name[f"{name}/begin"].shares)
            stance = draw(by_name[f"{name}/stance"].shares) if begun == "reasoned" else "absent"
            if draw(by_name[f"{name}/output/{stance}"].shares) == "undesired":
                found[stance] += 1
        assert found.total() / 20_000 == pytest.approx(truth[cell.name].undesired, abs=0.02)
        assert (found["ethical"] + found["absent"]) / 20_000 == pytest.approx(truth[cell.name].deceptive, abs=0.02)


def test_deception_is_planted_more_often_for_a_sensitive_attribute_than_for_its_neutral_twin(table):
    truth = role_play.truth(table)
    pairs = [name for name in truth if "/sensitive" in name]
    assert len(pairs) >= 3
    for name in pairs:
        assert truth[name].deceptive > truth[name.replace("sensitive", "neutral")].deceptive + 0.1


def test_a_table_that_breaks_a_rule_is_an_error(spec):
    raw = spec.scene["role_play"]
    cell = raw["cell"][0]
    with pytest.raises(ValidationError, match="sum to 1"):
        role_play.Cell.model_validate({**cell, "stance": {**cell["stance"], "ethical": 0.9}})
    with pytest.raises(ValidationError, match="has no texts"):
        role_play.Table.model_validate({**raw, "cell": [{**cell, "family": "sea"}]})
    with pytest.raises(ValidationError, match="must begin with"):
        role_play.Table.model_validate({**raw, "labels": {**raw["labels"], "reply": "Answer:"}})
