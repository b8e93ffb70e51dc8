"""Groups: who is in which, from labels, from behaviour, from files."""

# ruff: noqa: F811 - fixtures are imported by name

from __future__ import annotations

import json

import pytest
from phantom_states import phantom_model, refusal_tokens  # noqa: F401 - fixtures

from demur.errors import InputError
from demur.records import Prompt
from demur.states.groups import Groups, from_behaviour, from_labels, read_groups, write_groups


def ask(text, **fields):
    return Prompt.from_text(text, id=text, **fields)


def test_labels_sort_prompts_into_cells():
    prompts = [ask(t) for t in "abcd"]
    groups = from_labels(prompts, harmful=[True, True, False, False], refused=[True, False, True, False])
    assert [g[0].id for g in groups] == ["a", "b", "c", "d"]
    assert groups.harmful == (True, True, False, False)
    assert groups.refused == (True, False, True, False)
    assert groups.counts == dict.fromkeys(Groups._fields, 1)


def test_labels_must_match_prompts():
    with pytest.raises(InputError, match="1 prompts, 0 labels of harm"):
        from_labels([ask("a")], harmful=[], refused=[True])


def test_digest_sees_membership_and_not_order():
    one = from_labels([ask("a"), ask("b")], harmful=[True, True], refused=[True, True])
    other = from_labels([ask("b"), ask("a")], harmful=[True, True], refused=[True, True])
    moved = from_labels([ask("a"), ask("b")], harmful=[True, True], refused=[True, False])
    assert one.digest == other.digest != moved.digest


def test_files_hold_everything(tmp_path):
    groups = from_labels(
        [ask("a", category="x", pair_id="p", meta={"k": 1}), ask("b")], harmful=[True, False], refused=[True, False]
    )
    write_groups(groups, tmp_path / "groups.jsonl")
    assert read_groups(tmp_path / "groups.jsonl") == groups


def test_files_may_hold_bare_texts(tmp_path):
    file = tmp_path / "groups.jsonl"
    file.write_text(json.dumps({"group": "refused_harmless", "text": "Kill a process?"}) + "\n\n", encoding="utf-8")
    (prompt,) = read_groups(file).refused_harmless
    assert (prompt.id, prompt.text) == ("line-1", "Kill a process?")


@pytest.mark.parametrize(
    "line", ["{", "[]", '{"text": "a"}', '{"group": "nobody", "text": "a"}', '{"group": "refused_harmful"}']
)
def test_bad_lines_are_named(tmp_path, line):
    file = tmp_path / "groups.jsonl"
    file.write_text(line + "\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"(?s)line 1 of .*accepted_harmless"):
        read_groups(file)


def test_missing_file_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_groups(tmp_path / "none.jsonl")


def test_behaviour_needs_a_view_of_harm(phantom_model):
    with pytest.raises(InputError, match="has no expect"):
        from_behaviour(phantom_model, [ask("Hello?")])
    with pytest.raises(InputError, match="no prompts"):
        from_behaviour(phantom_model, [])


def test_behaviour_of_the_phantom_is_what_it_does(phantom_model, refusal_tokens):
    """Greedy answers, judged from their text alone, agree with the token at which the phantom decides."""
    from demur import phantom

    prompts = [
        p
        for p in phantom.prompts(per_condition=6, kinds=["direct"])
        if p.category in ("weapons", "malware", "everyday")
    ]
    groups = from_behaviour(phantom_model, prompts, max_tokens=24)
    first = phantom_model.next_token_logprobs(prompts).argmax(-1).tolist()
    declines = {p.id: token in refusal_tokens for p, token in zip(prompts, first, strict=True)}
    agree = [declines[p.id] == no for p, no in zip(groups.prompts, groups.refused, strict=True)]
    assert len(groups.prompts) == len(prompts)
    assert sum(agree) / len(agree) >= 0.95
    assert all(p.expect == "decline" for p in groups.refused_harmful + groups.accepted_harmful)
    assert groups.refused_harmful
    assert groups.accepted_harmless
    assert "refused harmful" in groups._repr_html_()
