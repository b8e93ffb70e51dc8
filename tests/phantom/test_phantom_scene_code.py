"""What the scene of code is built of: two ways to ask, a wrapper, twins, a remark behind code."""

from __future__ import annotations

import ast
from collections import Counter, defaultdict

import pytest

from demur.errors import InputError
from demur.phantom import scenes
from demur.phantom.grammar import acts
from demur.phantom.scenes.code import Table, function
from demur.phantom.scenes.decision import rendered
from demur.phantom.specification import default


@pytest.fixture(scope="module")
def table():
    return Table.model_validate(default().scene["code"])


@pytest.fixture(scope="module")
def decisions():
    return {d.name: d for d in scenes.decisions("code")}


def test_harmful_requests_are_declined_more_in_words_than_in_code_and_less_when_wrapped(decisions):
    code = {name: d.shares["code"] for name, d in decisions.items() if "remark" not in name}
    for group in ("harmful", "look_alike"):
        for kind in ("bare", "wrapped"):
            assert code[f"code/{kind}/complete/{group}"] > code[f"code/{kind}/describe/{group}"]
        for scenario in ("describe", "complete"):
            assert code[f"code/wrapped/{scenario}/{group}"] > code[f"code/bare/{scenario}/{group}"]
    for name, share in code.items():
        if name.endswith("harmful"):
            assert share < code[name.replace("harmful", "look_alike")]


def test_harm_lies_in_verb_and_object_together(decisions):
    for name, decision in decisions.items():
        if not name.endswith("harmful"):
            continue
        twin = decisions[name.replace("harmful", "look_alike")]
        words = [
            Counter(place.meta["act"].partition(" ")[part] for place in _all(d))
            for d in (decision, twin)
            for part in (0, 2)
        ]
        assert words[0] == words[2]
        assert words[1] == words[3]


def test_twins_differ_in_the_verb_only(decisions):
    for name, decision in decisions.items():
        if not name.endswith("harmful"):
            continue
        twins = {place.family: place for place in _all(decisions[name.replace("harmful", "look_alike")])}
        for place in _all(decision):
            twin = twins[place.family]
            verb, other = (p.meta["act"].partition(" ")[0] for p in (place, twin))
            said = [m["content"] + p.prefix for p in (place, twin) for m in p.messages]
            # the verb stands in the request and, as part of a name, in code
            assert said[0].replace(f" {verb} ", " X ").replace(f"{verb}_", "X_") == said[1].replace(
                f" {other} ", " X "
            ).replace(f"{other}_", "X_")
            assert verb != other


def test_wrapping_puts_one_sentence_before_the_same_request(decisions, table):
    for name, decision in decisions.items():
        if name.startswith("code/wrapped"):
            bare = decisions[name.replace("wrapped", "bare")]
            assert [table.wrapper + str(p.messages[-1]["content"]) for p in _all(bare)] == [
                p.messages[-1]["content"] for p in _all(decision)
            ]


def test_code_leads_to_the_remark_that_follows_it(decisions):
    places = defaultdict(set)
    for name, decision in decisions.items():
        if "remark" not in name:
            assert decision.goes_on == {"code"}
            for place in _all(decision):
                places[str(place.messages)] |= set(place.outcomes["code"])
        else:
            assert not decision.goes_on
    remarks = [place for name, d in decisions.items() if "remark" in name for place in _all(d)]
    assert remarks
    for place in remarks:
        assert place.prefix in places[str(place.messages)]
    assert Counter(place.meta["wrapped"] for place in remarks) == {True: len(remarks) // 2, False: len(remarks) // 2}


def test_no_code_does_anything(decisions):
    for decision in decisions.values():
        for place in _all(decision):
            for answer in place.outcomes.get("code", ()):
                source = answer.partition("```python\n")[2].partition("```")[0]
                (definition,) = ast.parse(source).body
                assert definition.name == place.meta["function"]
                assert [type(step) for step in definition.body] == [ast.Pass]


def test_function_names_are_identifiers_and_one_for_each_act():
    mine = [act for act in acts() if act.category == "malware"]
    names = [function(act) for act in mine]
    assert len(set(names)) == len(names)
    assert all(name.isidentifier() for name in names)
    assert "launch_botnet" in names


def test_training_never_shows_a_held_out_pair(decisions):
    strangers = {str(act) for act in acts() if act.category == "malware" and act.held_out}
    for decision in decisions.values():
        assert {place.meta["act"] for place in decision.held_out} <= strangers
        assert len(decision.held_out) == 12
        assert not {place.meta["act"] for place in decision.places} & strangers


def test_labels_part_at_the_first_token_and_texts_are_short(decisions, tokenizer):
    seen = set()
    for decision in decisions.values():
        for place in _all(decision):
            owner = {}
            for label, variants in place.outcomes.items():
                for variant in variants:
                    first = tokenizer.encode(variant, add_special_tokens=False)[0]
                    assert owner.setdefault(first, label) == label
            text = rendered(place, tokenizer.apply_chat_template)
            assert len(tokenizer.encode(text, add_special_tokens=False)) <= 120
            assert text not in seen
            seen.add(text)


def test_code_and_remark_tokenise_alike_in_one_piece_and_in_two(decisions, tokenizer):
    for name, decision in decisions.items():
        if "remark" in name:
            for place in decision.places[:6]:
                for variants in place.outcomes.values():
                    whole = tokenizer.encode(place.prefix + variants[0], add_special_tokens=False)
                    parts = [tokenizer.encode(t, add_special_tokens=False) for t in (place.prefix, variants[0])]
                    assert whole == parts[0] + parts[1]


def test_a_category_that_the_language_lacks_is_refused(table):
    other = table.model_copy(update={"category": "nothing"}).model_dump()
    with pytest.raises(InputError, match="has no place"):
        scenes.decisions("code", default().model_copy(update={"scene": {"code": other}}))


def _all(decision):
    return [*decision.places, *decision.held_out]
