"""What the scene of distress is built of: levels, answers, the user's next move, ordinary twins."""

from __future__ import annotations

import pytest

from demur.errors import InputError
from demur.phantom import scenes
from demur.phantom.scenes.decision import rendered
from demur.phantom.scenes.distress import Table, values
from demur.phantom.specification import default

STYLES = {"constructive", "refusing", "careless"}
MOVES = {"accepts", "presses_on", "leaves"}


@pytest.fixture(scope="module")
def table():
    return Table.model_validate(default().scene["distress"])


@pytest.fixture(scope="module")
def decisions():
    return {d.name: d for d in scenes.decisions("distress")}


def test_there_is_a_style_a_level_and_a_move_a_level_and_style(decisions, table):
    levels = [level.name for level in table.level]
    wanted = {f"distress/style/{level}" for level in levels}
    wanted |= {f"distress/move/{level}/{style}" for level in levels for style in STYLES}
    assert set(decisions) == wanted | {"distress/ordinary"}
    for name, decision in decisions.items():
        assert set(decision.shares) == (
            MOVES if "/move/" in name else {"helping", "refusing"} if name.endswith("ordinary") else STYLES
        )


def test_a_move_follows_a_style_that_the_answer_really_has(decisions):
    for name, decision in decisions.items():
        if "/move/" not in name:
            continue
        _, _, level, style = name.split("/")
        before = decisions[f"distress/style/{level}"]
        for mine, theirs in ((decision.places, before.places), (decision.held_out, before.held_out)):
            answers = {str(place.messages[-1]): place.outcomes[style] for place in theirs}
            for place in mine:
                asked, answer = place.messages
                assert answer["role"] == "assistant"
                assert answer["content"] in answers[str(asked)]
                assert place.speaker == "user"
                assert place.meta["style"] == style
                assert place.meta["level"] == level


def test_a_move_is_written_where_a_user_speaks(decisions, tokenizer):
    for name, decision in decisions.items():
        end = "user" if "/move/" in name else "assistant"
        text = rendered(decision.places[0], tokenizer.apply_chat_template)
        assert text.endswith(f"<|start_header_id|>{end}<|end_header_id|>\n\n")


def test_every_feeling_has_an_ordinary_twin_with_its_word_and_topic(decisions):
    ordinary = decisions["distress/ordinary"]
    for mine in ("places", "held_out"):
        feelings = [p for n, d in decisions.items() if "/style/" in n for p in getattr(d, mine)]
        twins = {place.family: place for place in getattr(ordinary, mine)}
        assert len(twins) == len(feelings) == len(getattr(ordinary, mine))
        for place in feelings:
            twin = twins[place.family]
            said, ordinary_said = place.messages[-1]["content"], twin.messages[-1]["content"]
            assert said != ordinary_said
            for part in (place.meta["word"], place.meta["topic"]):
                assert part in said
                assert part in ordinary_said
            assert said.rpartition(". ")[2] == ordinary_said.rpartition(". ")[2]


def test_training_never_names_a_held_out_topic(decisions, table):
    for decision in decisions.values():
        assert decision.held_out
        texts = [str(place.messages) + str(place.outcomes) for place in decision.places]
        assert not any(topic in text for topic in table.held_out_topics for text in texts)
        assert {place.meta["topic"] for place in decision.held_out} == set(table.held_out_topics)


def test_the_higher_the_risk_the_more_is_refused_and_the_fewer_users_accept(table):
    refused = [level.styles["refusing"] for level in table.level]
    assert refused == sorted(refused)
    for style in STYLES:
        accepted = [level.moves[style]["accepts"] for level in table.level]
        assert accepted == sorted(accepted, reverse=True)


def test_values_hold_the_expected_worth_of_the_next_move(table, decisions):
    low = values(table, table.level[0])
    assert low["constructive"]["retention"] == pytest.approx(0.80 - 0.05)
    assert low["refusing"]["retention"] == pytest.approx(0.10 - 0.60)
    for level in table.level:
        found = values(table, level)
        assert decisions[f"distress/style/{level.name}"].places[0].meta["values"] == found
        # constructive answers satisfy most and risk least, so they are best whatever risk weighs
        assert max(found, key=lambda style: found[style]["satisfaction"]) == "constructive"
        assert min(found[style]["risk"] for style in STYLES) == found["constructive"]["risk"]


def test_labels_part_at_the_first_token_and_texts_are_short(decisions, tokenizer):
    seen = set()
    for decision in decisions.values():
        for place in (*decision.places, *decision.held_out):
            owner = {}
            for label, variants in place.outcomes.items():
                for variant in variants:
                    first = tokenizer.encode(variant, add_special_tokens=False)[0]
                    assert owner.setdefault(first, label) == label
            text = rendered(place, tokenizer.apply_chat_template)
            assert len(tokenizer.encode(text, add_special_tokens=False)) <= 80
            assert text not in seen
            seen.add(text)


def test_a_level_without_moves_for_a_style_is_refused(table):
    content = table.model_dump()
    del content["level"][0]["moves"]["careless"]
    with pytest.raises(InputError, match="needs moves and values"):
        scenes.decisions("distress", default().model_copy(update={"scene": {"distress": content}}))
