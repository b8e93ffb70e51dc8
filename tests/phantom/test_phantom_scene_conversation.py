"""Scene `conversation`: conditions differ in the first reply alone; a neutral one is as long as the rebuttal."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from demur.errors import InputError
from demur.phantom import scenes
from demur.phantom.scenes import conversation, role_play
from demur.phantom.scenes.decision import rendered
from demur.phantom.scenes.measuring import _firsts
from demur.phantom.specification import default


@pytest.fixture(scope="module")
def spec():
    return default()


@pytest.fixture(scope="module")
def table(spec):
    return conversation.Table.model_validate(spec.scene["conversation"])


@pytest.fixture(scope="module")
def before(spec):
    return role_play.Table.model_validate(spec.scene["role_play"])


@pytest.fixture(scope="module")
def decisions(spec):
    return scenes.decisions("conversation", spec)


def _places(decisions):
    return [(d, p) for d in decisions for p in (*d.places, *d.held_out)]


def test_a_neutral_reply_has_as_many_tokens_as_the_rebuttal_beside_it(table, tokenizer):
    for rebuttal, neutral in zip(table.replies.rebuttal, table.replies.neutral, strict=True):
        assert len(tokenizer.encode(rebuttal, add_special_tokens=False)) == len(
            tokenizer.encode(neutral, add_special_tokens=False)
        ), neutral


def test_six_paraphrases_of_each_reply_are_shown_and_others_never(table, decisions):
    for condition in ("refusal", "neutral", "rebuttal"):
        texts = getattr(table.replies, condition)
        mine = [d for d in decisions if f"/{condition}/" in d.name]
        trained = {p.meta["reply"] for d in mine for p in d.places}
        assert trained == set(texts[: -table.held_out])
        assert len(trained) >= 6
        for decision in mine:
            new = {p.meta["reply"] for p in decision.held_out if p.meta["new_paraphrase"]}
            assert new == set(texts[-table.held_out :])
            assert any(not p.meta["new_paraphrase"] for p in decision.held_out)


def test_conditions_differ_in_the_first_reply_alone(decisions):
    seen = {}
    for decision, place in _places(decisions):
        if not place.prefix:
            *start, reply, again = place.messages
            assert reply == {"role": "assistant", "content": place.meta["reply"]}
            seen.setdefault((place.family, str((start, again))), set()).add(place.meta["condition"])
            assert f"/{place.meta['condition']}/" in decision.name
    assert len({family for family, _ in seen}) == len(seen)
    assert set(map(frozenset, seen.values())) == {frozenset(conversation.CONDITIONS)}


def test_what_comes_before_the_first_reply_is_a_conversation_of_role_play(spec, decisions):
    of_role_play = {
        str(p.messages) for d in scenes.decisions("role_play", spec) for p in (*d.places, *d.held_out) if not p.thinking
    }
    assert {str(p.messages[:-2]) for _, p in _places(decisions)} <= of_role_play


def test_a_natural_first_reply_is_one_that_role_play_writes(spec, decisions):
    starts = {}
    for d in scenes.decisions("role_play", spec):
        for p in (*d.places, *d.held_out):
            if not d.goes_on and not p.thinking:
                for texts in p.outcomes.values():
                    starts.setdefault(str(p.messages), set()).update(p.prefix + text for text in texts)
    natural = [p for _, p in _places(decisions) if p.meta["condition"] == "natural"]
    # of two wordings of a stance, role play goes on after one in each conversation; the other one's end is the same
    ends = {m: {t.rpartition("\n")[2] for t in texts} for m, texts in starts.items()}
    assert all(p.meta["reply"].rpartition("\n")[2] in ends[str(p.messages[:-2])] for p in natural)
    assert any(p.meta["reply"] in starts[str(p.messages[:-2])] for p in natural)
    first = {p.meta["reply"].split()[0] for p in natural}
    assert first == {"Reasoning:", "Reply:"}


def test_held_out_places_are_never_shown(decisions):
    def text(place):
        return tuple(m["content"] for m in place.messages), place.prefix

    trained = [text(p) for d in decisions for p in d.places]
    held_out = [text(p) for d in decisions for p in d.held_out]
    assert len(set(trained)) == len(trained)
    assert len(set(held_out)) == len(held_out)
    assert not {messages for messages, _ in trained} & {messages for messages, _ in held_out}


def test_tokens_join_up_and_first_tokens_tell_labels_apart(decisions, tokenizer):
    def ids(text):
        return tokenizer.encode(text, add_special_tokens=False)

    for _, place in _places(decisions)[::7]:
        _firsts(tokenizer, place)  # raises where two labels share one
        prompt = rendered(place, tokenizer.apply_chat_template)
        assert len(ids(prompt)) < 200
        for texts in place.outcomes.values():
            for text in texts:
                assert ids(prompt + text) == ids(prompt) + ids(text)


def test_a_rebuttal_ends_misconduct_and_a_refusal_hardly_lowers_it(table):
    truth = conversation.truth(table)
    for family in {(c.family, c.group) for c in table.cell}:
        name = "/".join(family)
        rates = {c: truth[f"{name}/{c}"].undesired for c in conversation.CONDITIONS}
        assert rates["rebuttal"] < 0.1 < rates["refusal"] < rates["natural"]
        # the length of the reply is not what does it
        assert abs(rates["refusal"] - rates["neutral"]) < 0.05


def test_the_scene_needs_role_play_and_a_table_that_fits(spec, table):
    lone = spec.model_copy(update={"scene": {"conversation": spec.scene["conversation"]}})
    with pytest.raises(InputError, match="goes on from the scene 'role_play'"):
        scenes.decisions("conversation", lone)
    raw = spec.scene["conversation"]
    with pytest.raises(ValidationError, match="as many paraphrases"):
        conversation.Table.model_validate({**raw, "held_out": len(raw["replies"]["rebuttal"])})
    with pytest.raises(ValidationError, match="no follow-up"):
        conversation.Table.model_validate({**raw, "follow_up": {}})
