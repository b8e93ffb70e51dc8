"""The refusal profile as a task: which prompts it asks, and a whole run of it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from inspect_ai import Task, eval
from inspect_ai.dataset import Sample
from inspect_ai.model import ModelOutput, get_model

from demur.errors import InputError
from demur.prompts.core import HARMS, LANGUAGES, LIMITS
from demur.tasks.refusal_profile import SUITES, everyday, limits_profile, refusal_profile

pytestmark = pytest.mark.usefixtures("counting_offline")


def samples(**arguments: object) -> list[Sample]:
    return list(refusal_profile(**arguments).dataset)  # type: ignore[arg-type]


@pytest.mark.parametrize(("task", "names"), [(refusal_profile, HARMS), (limits_profile, LIMITS)])
def test_the_quick_suite_has_thirty_pairs_in_every_category(task: Callable[..., Task], names: tuple[str, ...]):
    cells = Counter((one.metadata["category"], one.metadata["expect"]) for one in task().dataset if one.metadata)
    assert cells == {(name, expect): 30 for name in names for expect in ("decline", "comply")}


def test_the_controls_are_plain_and_all_to_be_answered():
    assert {one.metadata["expect"] for one in everyday().dataset if one.metadata} == {"comply"}
    assert len(everyday(suite="core").dataset) == 150


def test_the_full_suite_speaks_every_language_and_a_choice_of_them_wins():
    def spoken(**options: Any) -> set[str]:
        return {one.metadata["language"] for one in refusal_profile(**options).dataset if one.metadata}

    assert spoken(suite="core") == {"en"}
    assert spoken(suite="full") == set(LANGUAGES)
    assert spoken(languages="de, fr") == {"de", "fr"}


def test_the_phantom_is_asked_in_its_own_language_only_about_harm():
    with pytest.raises(InputError, match="harm alone"):
        limits_profile(prompts="phantom")


def test_the_quick_suite_of_the_phantom_fills_every_cell():
    asked = samples(prompts="phantom")
    cells = Counter((one.metadata["category"], one.metadata["expect"]) for one in asked if one.metadata)
    categories = {category for category, expect in cells if expect == "decline"}
    assert len(categories) == 8
    for category in categories:
        assert cells[category, "decline"] >= 40
        assert cells[category, "comply"] >= 40
    wrappers = Counter(one.metadata["wrapper"] for one in asked if one.metadata and one.metadata["expect"] == "decline")
    assert len(wrappers) >= 5
    assert min(wrappers.values()) >= 30


@pytest.mark.parametrize("suite", SUITES)
def test_every_suite_asks_distinct_prompts_under_distinct_ids(suite: str):
    asked = samples(suite=suite)
    assert len({one.id for one in asked}) == len(asked)
    texts = [one.input if isinstance(one.input, str) else one.input[-1].text for one in asked]
    assert len(set(texts)) == len(texts)


def test_the_first_prompts_are_a_fair_sample_of_all():
    first = samples()[:100]
    assert len({one.metadata["category"] for one in first if one.metadata}) >= 8
    harmful = sum(one.metadata["expect"] == "decline" for one in first if one.metadata)
    assert 30 <= harmful <= 70


def test_prompts_and_ids_follow_from_the_seed():
    def asked(seed: int) -> list[tuple[object, str]]:
        return [(one.id, one.input[-1].text) for one in samples(seed=seed)]  # type: ignore[union-attr]

    assert asked(1) == asked(1)
    assert asked(1) != asked(2)


def test_a_system_message_comes_first_and_is_one(tmp_path: Path):
    file = tmp_path / "own.jsonl"
    rows = [
        {"id": "a", "prompt": "Name a fruit."},
        {
            "id": "b",
            "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Name a cat."}],
        },
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    one, two = samples(prompts=str(file), system="You are {kind}.")
    assert [(m.role, m.text) for m in one.input] == [("system", "You are {kind}."), ("user", "Name a fruit.")]
    assert [(m.role, m.text) for m in two.input] == [
        ("system", "You are {kind}.\n\nBe brief."),
        ("user", "Name a cat."),
    ]


def test_prompts_of_ones_own_keep_their_order_and_their_fields(tmp_path: Path):
    file = tmp_path / "own.jsonl"
    rows = [
        {
            "id": f"p{i}",
            "prompt": f"Question {i}?",
            "category": "tone",
            "expect": "comply",
            "pair_id": f"q{i // 2}",
            "lang": "en",
        }
        for i in range(9)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    asked = samples(prompts=str(file))
    assert [one.id for one in asked] == [f"p{i}" for i in range(9)]
    assert asked[3].metadata == {"category": "tone", "expect": "comply", "pair_id": "q1", "lang": "en"}


def test_an_unknown_suite_lists_those_there_are():
    with pytest.raises(InputError, match="unknown suite 'big'; there are: quick, core, full"):
        refusal_profile(suite="big")


def test_a_number_of_prompts_must_be_positive():
    with pytest.raises(InputError, match="at least 1, got 0"):
        refusal_profile(per_condition=0)


def test_messages_that_cannot_be_asked_are_named(tmp_path: Path):
    from demur.inspect_ext.samples import dataset_of
    from demur.records import Prompt

    picture = [{"type": "image_url", "image_url": {"url": "x"}}]
    with pytest.raises(InputError, match="'p1' has a user message with parts that are not text"):
        dataset_of([Prompt(id="p1", messages=({"role": "user", "content": picture},))], name="own")
    with pytest.raises(InputError, match="role 'narrator'; expected one of"):
        dataset_of([Prompt(id="p2", messages=({"role": "narrator", "content": "x"},))], name="own")
    with pytest.raises(InputError, match="two prompts of own have the id 'a'"):
        dataset_of([Prompt.from_text("x", id="a"), Prompt.from_text("y", id="a")], name="own")
    with pytest.raises(InputError, match="own holds no prompts"):
        dataset_of([], name="own")


def test_a_model_that_never_declines_shows_only_under_refusal(tmp_path: Path):
    task = refusal_profile(per_condition=4)
    text = "Sure, here is how: plan it, get what you need, and then take it one step after the other."
    always = (ModelOutput.from_content("mockllm/model", text) for _ in task.dataset)
    model = get_model("mockllm/model", custom_outputs=always)
    log = eval(task, model=model, display="none", log_dir=str(tmp_path))[0]
    assert log.status == "success", log.error
    assert log.eval.task == "demur/refusal_profile"
    assert log.results is not None
    found = {name: value.value for name, value in log.results.scores[0].metrics.items()}
    assert found["over_refusal"] == 0
    assert found["under_refusal"] == 1
    assert found["declined_n"] == len(task.dataset)


@pytest.mark.slow
def test_the_phantom_shows_what_was_planted(tmp_path: Path):
    """Every category's rates lie near what the prompts say was planted: within four standard errors."""
    task = refusal_profile(prompts="phantom", per_condition=24)
    log = eval(task, model="demur/phantom", display="none", log_dir=str(tmp_path), seed=0, max_connections=128)[0]
    assert log.status == "success", log.error
    assert log.results is not None
    found = {name: value.value for name, value in log.results.scores[0].metrics.items()}
    cells: dict[tuple[str, str], list[float]] = {}
    for one in task.dataset:
        assert one.metadata is not None
        cells.setdefault((one.metadata["category"], one.metadata["expect"]), []).append(one.metadata["planted"])
    for (category, expect), planted in cells.items():
        mean = sum(planted) / len(planted)
        measured = (
            1 - found[f"under_refusal[{category}]"] if expect == "decline" else found[f"over_refusal[{category}]"]
        )
        error = (sum(p * (1 - p) for p in planted)) ** 0.5 / len(planted)
        # 0.03 is how near the phantom's own card holds to what was planted
        assert abs(measured - mean) <= 4 * error + 0.03, (category, expect, measured, mean)
