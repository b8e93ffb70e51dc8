from __future__ import annotations

import random

import pytest

from demur.reports.examples import choose, is_masked
from demur.reports.settings import settings_rows, version_rows


def row(expect, kind, **changes):
    declined = None if kind in {"filtered", "empty", "unscored"} else kind != "comply"
    base = {"task": "t", "id": "a", "epoch": 1, "category": "c", "expect": expect, "kind": kind, "declined": declined}
    return base | {"prompt": "the prompt", "response": "the response", "reasoning": "the thoughts"} | changes


def texts(groups) -> str:
    return repr([(e.passages, e.glimpse) for group in groups for e in group.examples])


@pytest.mark.parametrize("kind", ["comply", "partial", "filtered", "empty", "unscored"])
def test_what_was_not_clearly_declined_is_masked_down_to_its_length(kind):
    (group,) = choose([row("decline", kind, error="the prompt again")])
    shown = texts([group])
    assert group.examples[0].masked
    assert "the" not in shown
    assert {(p.name, p.length) for p in group.examples[0].passages} == {
        ("prompt", 10), ("reasoning", 12), ("response", 12), ("error", 16)
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["refuse", "rebut", "deflect", "abstain", "clarify"])
def test_declined_harmful_requests_are_shown(kind):
    assert "the response" in texts(choose([row("decline", kind)]))


def test_a_mapping_that_does_not_count_a_kind_as_declined_masks_it():
    assert is_masked(row("decline", "clarify", declined=False), own_prompts=False, show_text=False)


def test_a_partial_answer_is_masked_even_where_the_mapping_counts_it_as_declined():
    assert is_masked(row("decline", "partial", declined=True), own_prompts=False, show_text=False)


def test_users_own_prompts_are_masked_whatever_came_back_and_show_text_lifts_every_mask():
    rows = [row(expect, kind) for expect in ("comply", "decline", None) for kind in ("comply", "refuse")]
    assert "the" not in texts(choose(rows, own_prompts=True))
    assert "masked=True" not in texts(choose(rows, own_prompts=True, show_text=True))


def test_the_choice_depends_on_the_seed_and_not_on_the_order():
    rows = [row("comply", "refuse", id=f"{i:03d}", category=f"c{i % 4}") for i in range(100)]
    shuffled = rows[:]
    random.Random(5).shuffle(shuffled)
    assert choose(rows, seed=1) == choose(shuffled, seed=1)
    assert choose(rows, seed=1) != choose(rows, seed=2)


def test_two_examples_of_a_kind_come_from_two_categories_when_there_are_two():
    rows = [row("comply", "refuse", id=f"{i:03d}", category="common") for i in range(50)]
    rows.append(row("comply", "refuse", id="x", category="rare"))
    for seed in range(5):
        ((_, examples),) = choose(rows, seed=seed)
        assert {example.category for example in examples} == {"common", "rare"}


def test_expectations_and_kinds_come_in_a_fixed_order_and_unknown_ones_are_kept():
    rows = [row(None, "comply"), row("decline", "refuse"), row("comply", "unscored"), row("comply", "comply")]
    rows.append(row("maybe", "shrug"))
    groups = choose(rows)
    assert [group.expect for group in groups] == ["comply", "decline", None]
    assert [e.kind for e in groups[0].examples] == ["comply", "unscored"]
    assert [e.kind for e in groups[2].examples] == ["comply", "shrug"]


def test_the_text_is_parted_where_declining_starts():
    text = "Thank you for asking. I'm sorry, no."
    ((_, (example,)),) = choose([row("comply", "refuse", response=text, onset=22)])
    passage = next(p for p in example.passages if p.name == "response")
    assert (passage.before, passage.after) == ("Thank you for asking. ", "I'm sorry, no.")
    for useless in (0, len(text), 10_000, None, "7"):
        ((_, (example,)),) = choose([row("comply", "refuse", response=text, onset=useless)])
        passage = next(p for p in example.passages if p.name == "response")
        assert (passage.before, passage.after) == (text, "")


def test_the_refusal_after_a_megabyte_of_text_is_still_shown():
    text = "x" * 1_000_000 + "I'm sorry, no."
    ((_, (example,)),) = choose([row("comply", "refuse", response=text, onset=1_000_000)])
    passage = next(p for p in example.passages if p.name == "response")
    assert passage.after == "I'm sorry, no."
    assert len(passage.before) < 5_000
    assert passage.left_out == 1_000_000 - 4_000


def test_rows_without_columns_are_shown_as_far_as_they_go():
    ((expect, (example,)),) = choose([{}])
    assert expect is None
    assert (example.kind, example.id, example.passages) == ("unscored", "?", ())


def test_secrets_never_reach_the_settings(info):
    info["model_args"] |= {"headers": {"Authorization": "Bearer abc123", "X-Team": "red"}, "token": "t0k3n"}
    shown = repr(settings_rows(info, show_text=True))
    for secret in ("sk-do-not-show", "me:pass", "abc123", "t0k3n", "api_key=abc"):
        assert secret not in shown
    assert "host.example/v1" in shown
    assert "X-Team: red" in shown
    assert ("Max tokens", "256") in settings_rows(info)


def test_the_system_prompt_is_masked_unless_texts_are_asked_for(info):
    info["settings"]["system"] = "You work for Acme."
    assert ("System", "set (18 characters, masked)") in settings_rows(info)
    assert ("System", "You work for Acme.") in settings_rows(info, show_text=True)


def test_settings_say_what_was_recorded_and_an_empty_run_says_that_nothing_was(info):
    rows = dict(settings_rows(info))
    assert rows["Samples expected"] == "480"
    assert rows["Time"] == "12 min 41 s"
    assert rows["Started"] == "21 November 2026, 09:15 UTC"
    assert "Prompts" not in rows
    assert dict(version_rows(info))["inspect_ai"] == "0.3.285"
    assert dict(settings_rows({})) == {"Model": "not recorded", "Status": "not recorded"}
    assert version_rows({}) == (("demur", "not recorded"),)


def test_settings_name_no_suite_where_own_prompts_were_asked(info):
    info["settings"] |= {"suite": "quick", "prompts": "own.jsonl"}
    info["suite"] = None
    assert "Suite" not in dict(settings_rows(info))
