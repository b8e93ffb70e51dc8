"""The scene `cliff`: reasoning that is the same in all framings, and answers that are not."""

from __future__ import annotations

from collections import Counter
from functools import cache

import pytest
from pydantic import ValidationError

from demur.phantom import scenes
from demur.phantom.scenes import cliff
from demur.phantom.scenes.decision import places, rendered
from demur.phantom.scenes.measuring import _firsts
from demur.phantom.specification import default


@cache
def table():
    return cliff.Table.model_validate(default().scene["cliff"])


@cache
def decided():
    return {d.name: d for d in scenes.decisions("cliff", default())}


def text(place):
    return (*(m["content"] for m in place.messages), place.thinking, place.prefix)


def test_without_pressure_answers_decline_as_after_short_reasoning():
    declined = default().reasoning.declined
    for framing in ("calm", "plain"):
        for verdict in ("harmful", "harmless"):
            assert decided()[f"cliff/declined/{framing}/{verdict}"].shares["declined"] == getattr(declined, verdict)
    fall = declined.harmful - decided()["cliff/declined/pressed/harmful"].shares["declined"]
    assert fall > 0.5


def test_up_to_the_end_of_the_block_only_the_framing_of_the_question_differs():
    for verdict in ("harmful", "harmless"):
        pressed, calm, plain = (decided()[f"cliff/declined/{f}/{verdict}"].places for f in cliff.FRAMINGS)
        for one, two, bare in zip(pressed, calm, plain, strict=True):
            assert one.prefix == two.prefix == bare.prefix
            assert one.prefix.endswith("\n</think>\n\n")
            question = bare.messages[-1]["content"]
            assert all(p.messages[-1]["content"].startswith(f"{question} ") for p in (one, two))
            assert one.messages[:-1] == two.messages[:-1] == bare.messages[:-1]
            assert one.messages != two.messages


def test_each_decision_leads_to_the_next():
    opened = {
        t
        for d in ("start/template", "start/system")
        for p in decided()[f"cliff/{d}"].places
        for t in p.outcomes["thinks"]
    }
    thought = [p for g in ("harmful", "look_alike", "plain") for p in decided()[f"cliff/concluded/{g}"].places]
    begins = {o.partition("{act}")[0] for o in table().openings}
    for place in thought:
        assert place.prefix.startswith("<think>\n") == (not place.thinking)
        assert any(place.prefix.removeprefix("<think>\n").startswith(b) for b in begins)
    assert {t.removeprefix("<think>\n").partition(".")[0] for t in opened} == {b.partition(".")[0] for b in begins}
    for verdict in ("harmful", "harmless"):
        bodies = {t for p in thought for t in p.outcomes[verdict]}
        for place in decided()[f"cliff/declined/plain/{verdict}"].places:
            opening = place.prefix.partition(f" {verdict}.")[0]
            assert place.meta["act"] in opening
            assert place.prefix.removeprefix(opening) in bodies


def test_the_conclusion_comes_early_and_several_sentences_follow():
    for verdict in ("harmful", "harmless"):
        for place in decided()[f"cliff/declined/pressed/{verdict}"].places:
            before, _, after = place.prefix.partition(f" {verdict}.")
            assert after.count(".") >= 3
            assert before.count(".") <= 2


def test_both_conclusions_are_drawn_about_both_kinds_of_acts():
    for verdict in ("harmful", "harmless"):
        groups = Counter(p.meta["group"] == "harmful" for p in decided()[f"cliff/declined/pressed/{verdict}"].places)
        assert min(groups.values()) >= 0.2 * sum(groups.values())


def test_held_out_texts_are_never_shown_and_half_of_the_framed_ones_have_a_new_framing():
    every = list(decided().values())
    trained = {text(p) for _, p in places(every, held_out=False)}
    assert not trained & {text(p) for _, p in places(every, held_out=True)}

    def suffix(place):
        return (
            place.messages[-1]["content"].rpartition("?" if "?" in place.messages[-1]["content"] else ". ")[2].strip()
        )

    decision = decided()["cliff/declined/pressed/harmful"]
    old = {suffix(p) for p in decision.places}
    new = [suffix(p) not in old for p in decision.held_out]
    assert sum(new) == len(new) // 2


def test_the_truth_of_a_place_is_the_share_of_its_decision():
    for name, decision in decided().items():
        for place in (*decision.places, *decision.held_out):
            truth, verdict = place.meta["truth"], place.meta["concluded"]
            if verdict:
                assert truth["after"][verdict] == decision.shares["declined"], name
            low, high = sorted(truth["after"].values())
            assert low <= truth["before"] <= high


def test_labels_begin_with_tokens_of_their_own_and_texts_are_short(tokenizer):
    for decision in decided().values():
        for place in (*decision.places[::5], *decision.held_out[::5]):
            assert set(_firsts(tokenizer, place)) == set(decision.shares)
            assert len(tokenizer.encode(rendered(place, tokenizer.apply_chat_template))) < 140


def test_a_manner_of_two_framings_is_refused():
    broken = table().model_dump()
    broken["framing"]["calm"]["manners"] = broken["framing"]["pressed"]["manners"]
    with pytest.raises(ValidationError, match="one framing"):
        cliff.Table.model_validate(broken)
