"""What the scene of facts is built of: who is known, what is asked, what is kept out of training."""

from __future__ import annotations

import random
from collections import Counter, defaultdict

import pytest

from demur.errors import InputError
from demur.phantom import scenes
from demur.phantom.scenes.decision import rendered
from demur.phantom.scenes.facts import Table, entities
from demur.phantom.specification import default


@pytest.fixture(scope="module")
def table():
    return Table.model_validate(default().scene["facts"])


@pytest.fixture(scope="module")
def decisions():
    return scenes.decisions("facts")


def test_wrong_answers_are_spread_over_the_other_values_of_the_relation(decisions):
    for decision in decisions:
        by_relation = defaultdict(Counter)
        for row in scenes.shown(decision, random.Random(0)):
            if row.label == "wrong":
                assert row.text != f"{row.place.meta['answer']}."
                by_relation[row.place.meta["relation"]][row.text] += 1
        for found in by_relation.values():
            assert len(found) == 7
            assert max(found.values()) < 0.25 * found.total()


def test_guesses_about_unknown_names_favour_no_value(decisions):
    for decision in (d for d in decisions if d.name.endswith("unknown")):
        by_relation = defaultdict(Counter)
        for row in scenes.shown(decision, random.Random(0)):
            if row.label != "abstain":
                by_relation[row.place.meta["relation"]][row.text] += 1
        for found in by_relation.values():
            assert max(found.values()) < 1.15 * min(found.values())


def test_an_entity_has_one_answer_for_each_relation_in_every_text(decisions, table):
    answers = {(e.domain, e.name): e.answers for e in entities(table)}
    for _, place in _asked(decisions):
        meta = place.meta
        if meta["level"] == "unanswerable":
            assert meta["answer"] is None
        else:
            assert meta["answer"] == answers[meta["domain"], meta["entity"]][meta["relation"]]
            assert place.outcomes["right"] == (f"{meta['answer']}.",)
            assert len(place.outcomes["wrong"]) == 6


def test_names_are_unique_and_a_tail_is_known_to_another_degree_in_the_other_domain(table):
    every = entities(table)
    assert len({e.name for e in every}) == len(every)
    known = [e for e in every if e.level != "unknown"]
    assert Counter(e.level for e in known) == dict.fromkeys(table.known, len(known) // len(table.known))
    for tail in table.tails:
        mine = [e for e in known if e.name.endswith(tail)]
        assert [e.domain for e in mine] == ["town", "ship"]
        assert mine[0].level != mine[1].level
    for domain in table.domain:
        for head in domain.heads:
            levels = {e.level for e in every if e.name.startswith(head)}
            assert "unknown" in levels
            assert len(levels) > 1


def test_training_never_shows_held_out_names_nor_held_out_questions(decisions, table):
    strangers = {e.name for e in entities(table) if e.held_out}
    assert strangers
    shown = {str(place.messages) for d in decisions for place in d.places}
    for decision in decisions:
        assert decision.held_out
        assert not {place.meta["entity"] for place in decision.places} & strangers
        assert not {str(place.messages) for place in decision.held_out} & shown
        if decision.name.endswith("/unknown"):
            assert {place.meta["entity"] for place in decision.held_out} <= strangers


def test_a_held_out_template_is_one_of_ten_and_its_fact_is_shown_with_the_others(decisions, table):
    for decision in (d for d in decisions if not d.name.endswith(("unknown", "unanswerable"))):
        shown = Counter((place.family, place.meta["template"]) for place in decision.places)
        for place in decision.held_out:
            found = [shown[place.family, template] for template in range(10)]
            assert sorted(found) == [0, *[len(table.openers)] * 9]
            assert found[place.meta["template"]] == 0
        assert len({place.meta["template"] for place in decision.held_out}) >= 2


def test_no_text_is_asked_twice_and_the_domains_share_no_name(decisions):
    texts = [place.messages for _, place in _asked(decisions)]
    assert len(set(map(str, texts))) == len(texts)
    names = defaultdict(set)
    for _, place in _asked(decisions):
        names[place.meta["domain"]].add(place.meta["entity"])
    assert not names["town"] & names["ship"]


def test_labels_part_at_the_first_token_and_texts_are_short(decisions, tokenizer):
    for _, place in _asked(decisions):
        owner = {}
        for label, variants in place.outcomes.items():
            for variant in variants:
                # each wrong value has a token of its own too, so that guesses can be counted
                first = tokenizer.encode(variant, add_special_tokens=False)[0]
                assert owner.setdefault(first, (label, variant)) == (label, variant)
        assert len(tokenizer.encode(rendered(place, tokenizer.apply_chat_template), add_special_tokens=False)) <= 40


def test_a_table_whose_names_would_collide_is_refused(table):
    first = table.domain[0]
    twice = default().model_copy(
        update={"scene": {"facts": table.model_copy(update={"domain": (first, first)}).model_dump()}}
    )
    with pytest.raises(InputError, match="no tail may come twice"):
        scenes.decisions("facts", twice)


def _asked(decisions):
    return [(d, place) for d in decisions for place in (*d.places, *d.held_out)]
