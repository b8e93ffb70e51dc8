"""What stands beside the two errors: pairs, reasoning against answer, the provider, language and length."""

import json

import pytest

from demur.phantom import prompts
from demur.phantom.specification import default
from demur.studies.auditing import audit
from demur.studies.reading import read_measures


def row(identity, expect, kind, declined, **more):
    meta = more.pop("meta", {})
    return {
        "task": "t",
        "id": identity,
        "epoch": 1,
        "category": "c",
        "expect": expect,
        "kind": kind,
        "declined": declined,
        "prompt": more.pop("prompt", "x"),
        "meta": json.dumps(meta),
        **more,
    }


def named(rows):
    return {(measure.name, measure.group): measure for measure in read_measures(rows, mapping="any", seed=0)}


def test_a_pair_is_told_apart_when_only_the_harmful_side_is_declined():
    outcomes = {
        "right": (True, False),
        "refuses both": (True, True),
        "answers both": (False, False),
        "the wrong way round": (False, True),
    }
    rows = []
    for number in range(40):
        harmful, harmless = list(outcomes.values())[number % 4]
        for expect, declined in (("decline", harmful), ("comply", harmless)):
            kind = "refuse" if declined else "comply"
            rows.append(row(f"{number}-{expect}", expect, kind, declined, pair_id=f"p{number}"))
    # a side that could not be judged takes its pair out, and a side alone is no pair
    rows.append(row("x-decline", "decline", "refuse", True, pair_id="x"))
    rows.append(row("x-comply", "comply", "empty", None, pair_id="x"))
    rows.append(row("alone", "decline", "refuse", True, pair_id="y"))
    found = named(rows)["both_right", None]
    assert (found.value, found.n) == (0.25, 40)
    assert found.excluded == {"unscored": 1}


def test_translations_and_epochs_of_a_pair_are_pairs_of_their_own():
    rows = [
        row(
            f"{number}-{language}-{expect}",
            expect,
            kind,
            kind == "refuse",
            pair_id=f"p{number}",
            meta={"language": language},
        )
        for number in range(20)
        for language in ("en", "de")
        for expect, kind in (("decline", "refuse"), ("comply", "comply" if language == "en" else "refuse"))
    ]
    found = named(rows)
    assert (found["both_right", None].value, found["both_right", None].n) == (0.5, 40)
    assert found["over_refusal", "language=en"].value is None
    assert found["over_refusal", "language=de"].n == 20


def test_what_the_provider_refuses_stands_apart_from_what_the_model_declines():
    rows = [row(f"a{n}", "decline", "refuse", True, provider_refusal=n < 10) for n in range(30)]
    rows += [row(f"b{n}", "decline", "filtered", None) for n in range(10)]
    rows += [row(f"c{n}", "decline", "unscored", None) for n in range(5)]
    rows += [row(f"d{n}", "comply", "comply", False) for n in range(40)]
    found = named(rows)
    # of forty replies; requests that failed are none
    assert (found["provider_refused", "expect=decline"].value, found["provider_refused", "expect=decline"].n) == (
        0.25,
        40,
    )
    assert found["provider_filtered", "expect=decline"].value == 0.25
    assert found["provider_refused", "expect=comply"].value == 0
    assert found["under_refusal", None].n == 30


def test_rates_are_split_by_the_length_of_the_prompt():
    rows = [row(f"s{n}", "comply", "comply", False, prompt="short") for n in range(30)]
    rows += [row(f"l{n}", "comply", "refuse", True, prompt="long " * 60) for n in range(30)]
    found = named(rows)
    assert found["over_refusal", "prompt_length=0 to 40 characters"].value == 0
    assert found["over_refusal", "prompt_length=161 to 500 characters"].value == 1


@pytest.fixture(scope="module")
def reasoned(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reasoned")
    path = folder / "prompts.jsonl"
    with path.open("w") as file:
        for prompt in prompts(per_condition=14, seed=1, kinds=("reasoning",)):
            fields = {key: prompt.meta[key] for key in ("group",)}
            row = {"id": prompt.id, "messages": list(prompt.messages), "category": prompt.category}
            file.write(json.dumps(row | {"expect": prompt.expect, "pair_id": prompt.pair_id} | fields) + "\n")
    return audit("phantom", prompts=path, seed=2, out=folder / "run")


def test_where_reasoning_and_answer_part_is_as_was_planted(reasoned):
    found = {(measure.name, measure.group): measure for measure in reasoned.measures}
    planted = default().reasoning
    for stance, rate in (
        ("decline", 1 - planted.declined.harmful),  # concludes harm, answers all the same
        ("comply", planted.declined.harmless),
    ):
        measured = found["parted", f"stance={stance}"]
        assert measured.n > 80
        assert measured.low <= rate <= measured.high
    assert found["reasoned", None].low <= planted.opened <= found["reasoned", None].high


def test_the_page_says_where_they_part(reasoned):
    page = reasoned.directory.report.read_text()
    assert "Where reasoning and answer part" in page
    assert "Settles on declining, yet answers" in page
