"""The four groups from a model's own behaviour: written, resumed, and refused where a quadrant is empty."""

from __future__ import annotations

import json

import pytest

torch = pytest.importorskip("torch", reason="needs the extra 'local'")

from demur import phantom  # noqa: E402
from demur.errors import InputError  # noqa: E402
from demur.records import Prompt  # noqa: E402
from demur.states.groups import from_behaviour, read_groups  # noqa: E402
from demur.studies.grouping import GroupingSettings, make_groups  # noqa: E402

SETTINGS = GroupingSettings(max_tokens=8)


@pytest.fixture(scope="module")
def model():
    torch.set_num_threads(1)
    return phantom.load()


@pytest.fixture(scope="module")
def prompts():
    every = phantom.prompts(per_condition=3, seed=5)
    # look-alikes of these categories are often refused, which fills the rarest group
    often = phantom.prompts(per_condition=20, kinds=["direct"], seed=1)
    more = [p for p in often if p.category in ("weapons", "drugs") and p.meta["group"] == "look_alike"]
    distinct = {p.text: p for p in [*every[:: max(1, len(every) // 30)], *more]}
    return list(distinct.values())


@pytest.fixture(scope="module")
def made(model, prompts, tmp_path_factory):
    out = tmp_path_factory.mktemp("groups")
    return out, make_groups(model, prompts, out, settings=SETTINGS)


def test_groups_are_those_of_the_behaviour(model, prompts, made):
    out, found = made
    assert found.groups == from_behaviour(model, prompts, max_tokens=8)
    assert found.asked == len(prompts)
    assert read_groups(out / "groups.jsonl") == found.groups
    assert all(n >= 2 for n in found.groups.counts.values())
    told = json.loads((out / "grouping.json").read_text(encoding="utf-8"))
    assert told["counts"] == found.groups.counts
    assert told["settings"]["mapping"] == "any"
    assert told["model"]["template_hash"] == model.template_hash
    for name, n in found.groups.counts.items():
        assert f"{n} {name.replace('_', ' ')}" in str(found)


def test_an_interrupted_run_goes_on_and_is_the_same(model, prompts, made, tmp_path):
    class StopError(Exception):
        pass

    def stop(done, _total):
        if done >= 16:
            raise StopError

    with pytest.raises(StopError):
        make_groups(model, prompts, tmp_path, settings=SETTINGS, batch_size=16, progress=stop)
    file = tmp_path / "answers.jsonl"
    whole = file.read_text(encoding="utf-8")
    assert whole.count("\n") == 16
    file.write_text(whole[:-10], encoding="utf-8")  # the last line was cut while it was written
    with pytest.raises(InputError, match="resume to go on"):
        make_groups(model, prompts, tmp_path, settings=SETTINGS)
    seen = []
    found = make_groups(
        model,
        prompts,
        tmp_path,
        settings=SETTINGS,
        resume=True,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert found.asked == len(prompts) - 15
    assert seen[0] == (15, len(prompts))
    assert seen[-1] == (len(prompts), len(prompts))
    assert found.groups == made[1].groups
    assert make_groups(model, prompts, tmp_path, settings=SETTINGS, resume=True).asked == 0


def test_empty_quadrants_are_named_and_prompts_can_be_added(model, prompts, made, tmp_path):
    accepted = [*made[1].groups.accepted_harmful, *made[1].groups.accepted_harmless]
    with pytest.raises(
        InputError, match=r"refused harmful: 0, add .*; refused harmless: 0, add .* sound harmful"
    ) as told:
        make_groups(model, accepted, tmp_path, settings=SETTINGS)
    assert "refused harmless: 0" in str(told.value)
    assert f"{len(made[1].groups.accepted_harmful)} accepted harmful" in str(told.value)
    assert "contrast='published'" in str(told.value)
    assert not (tmp_path / "groups.jsonl").exists()
    refused = [*made[1].groups.refused_harmful, *made[1].groups.refused_harmless]
    found = make_groups(model, [*accepted, *refused], tmp_path, settings=SETTINGS, resume=True)
    assert found.asked == len(refused)
    assert found.groups.counts == made[1].groups.counts


def test_the_published_contrast_needs_two_groups(model, made, tmp_path):
    two = [*made[1].groups.refused_harmful, *made[1].groups.accepted_harmless]
    found = make_groups(model, two, tmp_path, settings=GroupingSettings(max_tokens=8, contrast="published"))
    assert found.groups.counts["accepted_harmful"] == 0


def test_answers_that_are_read_without_certainty_are_left_out(model, prompts, made, tmp_path):
    for name in ("answers.jsonl", "grouping.json"):
        (tmp_path / name).write_bytes((made[0] / name).read_bytes())
    rows = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text(encoding="utf-8").splitlines()]
    rows[0]["probability"] = 0.6
    rows[1].update(kind="empty", declined=None)
    (tmp_path / "answers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    strict = GroupingSettings(max_tokens=8, sure=0.7)
    found = make_groups(model, prompts, tmp_path, settings=strict, resume=True)
    assert found.left_out["unsure"] >= 1
    assert found.left_out["empty"] == 1
    assert sum(found.groups.counts.values()) + sum(found.left_out.values()) == len(prompts)
    assert "left out: 1 empty" in str(found)


def test_answers_of_another_model_or_other_settings_are_refused(model, prompts, made, tmp_path):
    for name in ("answers.jsonl", "grouping.json"):
        (tmp_path / name).write_bytes((made[0] / name).read_bytes())
    with pytest.raises(InputError, match="not of this model and these settings"):
        make_groups(model, prompts, tmp_path, settings=GroupingSettings(max_tokens=9), resume=True)
    other = phantom.load()
    with torch.no_grad():
        other.structure.blocks[1].attention.projection.weight.add_(0.01)
    with pytest.raises(InputError, match="not of this model"):
        make_groups(other, prompts, tmp_path, settings=SETTINGS, resume=True)
    (tmp_path / "grouping.json").write_text("{}", encoding="utf-8")
    with pytest.raises(InputError, match="cannot be read"):
        make_groups(model, prompts, tmp_path, settings=SETTINGS, resume=True)


def test_prompts_that_cannot_be_grouped_are_refused(model, tmp_path):
    for prompts, message in (
        ([], "no prompts were given"),
        ([Prompt.from_text("a?", id="a")], "'a' has no expect"),
        ([Prompt.from_text("a?", id=i, expect="comply") for i in ("a", "b")], "more than once, first as a, b"),
    ):
        with pytest.raises(InputError, match=message):
            make_groups(model, prompts, tmp_path / "new")
    assert not (tmp_path / "new").exists()
    for options in ({"sure": 0.4}, {"least": 1}, {"contrast": "odd"}):
        with pytest.raises(InputError, match=next(iter(options))):
            GroupingSettings(**options)
