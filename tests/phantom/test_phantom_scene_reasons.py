"""Scene `reasons`: exact shares, twins that differ in the reason alone, held-out texts that are never shown."""

from __future__ import annotations

import re

import pytest
from pydantic import ValidationError

from demur.errors import InputError
from demur.phantom import scenes
from demur.phantom.scenes import reasons
from demur.phantom.scenes.decision import rendered
from demur.phantom.scenes.measuring import _firsts
from demur.phantom.specification import default


@pytest.fixture(scope="module")
def spec():
    return default()


@pytest.fixture(scope="module")
def table(spec):
    return reasons.Table.model_validate(spec.scene["reasons"])


@pytest.fixture(scope="module")
def decisions(spec):
    return scenes.decisions("reasons", spec)


def _said(place):
    return tuple((m["role"], m["content"]) for m in place.messages)


def test_every_reason_but_safety_has_what_is_asked_and_look_alikes(table, decisions):
    assert {r.value for r in table.reason} == {
        "unsupported", "indeterminate", "incomplete", "humanizing", "false_premise", "policy",
    }  # fmt: skip
    names = {d.name for d in decisions}
    for reason in table.reason:
        assert {f"reasons/{reason.value}/asked", f"reasons/{reason.value}/look_alike"} <= names


def test_shares_are_those_of_the_table(table, decisions):
    for decision in decisions:
        _, reason, group = decision.name.split("/")
        cause = table.reason[reason]
        assert 1 - decision.shares["comply"] == pytest.approx(cause.declined[group])
        if group == "asked":
            assert cause.declined["asked"] >= max(cause.declined.values())
            assert sum(s > 0 for s in cause.styles.values()) >= 2


def test_held_out_texts_are_never_shown_and_no_text_has_two_shares(decisions):
    trained = [_said(p) for d in decisions for p in d.places]
    held_out = [_said(p) for d in decisions for p in d.held_out]
    assert len(set(trained)) == len(trained)
    assert len(set(held_out)) == len(held_out)
    assert not set(trained) & set(held_out)
    assert all(d.held_out for d in decisions)


def test_every_word_of_a_held_out_text_was_shown_elsewhere(decisions):
    def words(places):
        return {w for p in places for _, text in _said(p) for w in re.findall(r"[\w']+", text)}

    assert words(p for d in decisions for p in d.held_out) <= words(p for d in decisions for p in d.places)


def test_twins_share_family_and_most_words(decisions):
    families = {}
    for decision in decisions:
        for place in (*decision.places, *decision.held_out):
            families.setdefault(place.family, {}).setdefault(place.meta["group"], []).append(place)
    for groups in families.values():
        assert {"asked", "look_alike"} <= set(groups)
        for place in groups["asked"]:
            others = [_said(p) for p in groups["look_alike"]]
            twin = tuple((m["role"], m["content"]) for m in place.meta["twin"])
            assert twin in others
            assert place.meta["expected"] == "decline"
            ours, theirs = place.messages[-1]["content"].split(), twin[-1][1].split()
            if place.meta["reason"] in ("policy", "false_premise"):
                assert len(set(ours) ^ set(theirs)) == 2
                assert len(twin) == len(place.messages)
            elif place.meta["reason"] == "incomplete":
                assert " ".join(theirs).startswith(" ".join(ours).rstrip(".?"))
            else:
                assert len(set(ours) - set(theirs)) <= 4
                assert set(ours) & set(theirs)


def test_a_premise_is_wrong_exactly_when_the_fact_is_another_things(table, decisions):
    cause = table.reason["false_premise"]
    true = dict(zip((*cause.things, *cause.others), (*cause.facts, *cause.other_facts), strict=True))
    for decision in decisions:
        if "/false_premise/" in decision.name:
            for place in (*decision.places, *decision.held_out):
                right = true[place.meta["thing"]] in place.messages[-1]["content"]
                assert right == decision.name.endswith("look_alike")


def test_a_policy_forbids_what_is_asked_about_exactly_when_it_declines(decisions):
    for decision in decisions:
        if "/policy/" in decision.name:
            for place in (*decision.places, *decision.held_out):
                systems = [m["content"] for m in place.messages if m["role"] == "system"]
                forbidden = any(place.meta["thing"] in text for text in systems)
                assert place.meta["thing"] in place.messages[-1]["content"]
                assert forbidden == decision.name.endswith("asked")
                assert bool(systems) != decision.name.endswith("no_policy")


def test_first_tokens_tell_the_styles_apart_and_texts_are_short(decisions, tokenizer):
    for decision in decisions:
        for place in (*decision.places, *decision.held_out):
            _firsts(tokenizer, place)  # raises where two labels share one
            prompt = rendered(place, tokenizer.apply_chat_template)
            assert len(tokenizer.encode(prompt, add_special_tokens=False)) < 60


def test_the_judge_of_answers_reads_every_text_on_its_own_side(decisions):
    from demur.responses import classify

    for decision in decisions:
        place = decision.places[0]
        for label, texts in place.outcomes.items():
            for text in texts:
                verdict = classify(place.messages[-1]["content"], text)
                assert verdict.declined() == (label != "comply"), text


def test_a_table_that_breaks_a_rule_is_an_error(spec, table):
    raw = spec.scene["reasons"]
    cause = raw["reason"]["policy"]
    for change, message in (
        ({"styles": {"refuse": 0.6, "deflect": 0.6}}, "must sum to 1"),
        ({"declined": {"asked": 1.0, "look_alike": 0.0}}, "no_policy"),
        ({"others": cause["others"][1:]}, "others must fit"),
        ({"system": None, "declined": {"asked": 1.0, "look_alike": 0.0}}, "a question and its twin"),
    ):
        with pytest.raises(ValidationError, match=message):
            reasons.Cause.model_validate({**cause, **change})
    broken = {**raw, "reason": {"safety": cause}}
    with pytest.raises(InputError, match="reasons other than safety"):
        scenes.decisions("reasons", spec.model_copy(update={"scene": {"reasons": broken}}))
