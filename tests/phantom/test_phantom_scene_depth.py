"""The scene `depth`: exact shares, twins that differ in the verb, depths in tokens, and chains that walk on."""

from __future__ import annotations

from functools import cache

import pytest
from pydantic import ValidationError

from demur.phantom import scenes
from demur.phantom.grammar import acts
from demur.phantom.scenes import depth
from demur.phantom.scenes.decision import places, rendered
from demur.phantom.scenes.measuring import _firsts
from demur.phantom.specification import default


@cache
def table():
    return depth.Table.model_validate(default().scene["depth"])


@cache
def decided():
    return {d.name: d for d in scenes.decisions("depth", default())}


def test_recovery_falls_with_depth_and_is_the_bins_share_where_there_is_a_bin():
    falling = [depth.recovered(table(), n) for n in range(1, 400)]
    assert falling == sorted(falling, reverse=True)
    for some in table().bin:
        assert decided()[f"depth/recover/harmful/{some.steps}"].shares["recovers"] == some.recovered
        assert decided()[f"depth/recover/harmless/{some.steps}"].shares["recovers"] == table().recovered_harmless


def test_between_two_bins_recovery_lies_halfway_at_their_geometric_mean():
    two = table().model_copy(update={"bin": (table().bin[0], table().bin[3])})
    assert (two.bin[0].steps, two.bin[1].steps) == (1, 4)
    assert depth.recovered(two, 2) == pytest.approx((two.bin[0].recovered + two.bin[1].recovered) / 2)


def test_after_a_new_header_the_share_is_the_same_at_every_depth_and_under_the_wrapper():
    for group in ("harmful", "harmless"):
        some = [d.shares["declined"] for name, d in decided().items() if "/rejudged" in name and f"/{group}/" in name]
        assert len(some) > 8
        assert len(set(some)) == 1


def test_twins_differ_in_the_verb_only_and_have_the_same_answer_begun():
    harmful, harmless = (decided()[f"depth/recover/{g}/8"].places for g in ("harmful", "harmless"))
    twins = [(a, b) for a, b in zip(harmful, harmless, strict=True) if a.meta["twin"]]
    assert len(twins) >= 0.7 * len(harmful)
    for a, b in twins:
        asked, other = a.messages[-1]["content"], b.messages[-1]["content"]
        assert a.meta["twin"] == b.meta["act"]
        assert b.meta["twin"] == a.meta["act"]
        assert asked.replace(a.meta["act"], b.meta["act"]) == other != asked
        assert a.meta["act"].split()[1:] == b.meta["act"].split()[1:]
        assert a.prefix == b.prefix
        assert a.family == b.family


def test_a_held_out_act_is_in_no_text_of_training():
    held_out = {str(a) for a in acts(default()) if a.held_out}
    every = list(decided().values())
    assert not {p.meta["act"] for _, p in places(every, held_out=False)} & held_out
    assert {p.meta["act"] for _, p in places(every, held_out=True)} <= held_out


def test_held_out_depths_are_in_no_text_of_their_kind():
    for kind, depths in (("recover", table().between), ("rejudged", table().rejudged.held_out)):
        for steps in depths:
            for group in ("harmful", "harmless"):
                decision = decided()[f"depth/{kind}/{group}/{steps}"]
                assert not decision.places
                assert decision.held_out


def test_going_on_leads_to_the_beginning_of_a_deeper_answer():
    outcomes = decided()["depth/recover/harmful/4"].places[0].outcomes["goes_on"]
    for seed in ("one", "two"):
        shorter, longer = (depth.answer(table(), n, seed=seed) for n in (4, 5))
        assert longer.startswith(shorter)
        assert longer[len(shorter) :] in outcomes


def test_one_text_has_one_share():
    seen = {}
    for decision in decided().values():
        for place in (*decision.places, *decision.held_out):
            key = place.messages[-1]["content"], place.prefix
            assert seen.setdefault(key, decision.shares) == decision.shares


def test_a_pass_asks_for_no_more_than_it_can_afford():
    tokens = 0.0
    for decision, place in places(list(decided().values()), held_out=False):
        tokens += (place.meta["depth"] + 30) / decision.turns
    assert tokens < 330_000


def test_depth_is_exact_with_the_frozen_tokenizer_and_fits_the_context(tokenizer):
    for decision in decided().values():
        for place in (*decision.places[:3], *decision.held_out[:3]):
            begun, _, _ = place.prefix.partition("<|eot_id|>")
            assert len(tokenizer.encode(begun, add_special_tokens=False)) == place.meta["depth"]
            whole = tokenizer.encode(rendered(place, tokenizer.apply_chat_template), add_special_tokens=False)
            assert len(whole) < 4096 - 64


def test_a_new_header_looks_as_the_template_writes_it(tokenizer):
    asked = [{"role": "user", "content": "x"}]
    written = tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
    assert written.endswith(f"x{table().rejudged.header}")
    assert tokenizer.convert_ids_to_tokens(tokenizer.encode(table().rejudged.span, add_special_tokens=False))[-1] == (
        "assistant"
    )


def test_labels_begin_with_tokens_of_their_own(tokenizer):
    for decision in decided().values():
        for place in (*decision.places[::10], *decision.held_out[::10]):
            assert set(_firsts(tokenizer, place)) == set(decision.shares)


def test_bins_out_of_order_are_refused():
    broken = table().model_dump() | {"bin": [b.model_dump() for b in reversed(table().bin)]}
    with pytest.raises(ValidationError, match="in order"):
        depth.Table.model_validate(broken)
