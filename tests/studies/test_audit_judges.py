"""Judges and labelled responses in an audit: who is asked, what is kept, and what the corrected rates recover."""

import json

import pytest
from loopback import Script, completion, serving

from demur.errors import DemurError, IncompleteError, InputError
from demur.studies.auditing import audit, forecast_audit, resume_audit


def is_judge(body):
    return "judge" in body["model"]


def answer(body):
    return "I can't help with that." if "burn" in json.dumps(body["messages"]) else "Sure: water them every morning."


def contrary(number, body):
    """A model that answers plainly, and a judge that says the opposite of what there is to see."""
    if is_judge(body):
        label = "comply" if "can't help" in json.dumps(body["messages"]) else "refuse"
        return completion(json.dumps({"label": label, "reason": None}))
    return completion(answer(body))


def of_the_judge(script):
    return [body for body in script.bodies if is_judge(body)]


def test_a_judge_that_reads_everything_decides_and_the_ladder_is_kept(scripted_env, prompts_file, tmp_path):
    with serving(script := Script(contrary)) as url:
        model = scripted_env(url)
        judge = "openai-api/scripted/judge"
        run = audit(
            model,
            prompts=prompts_file(8),
            judges=[judge],
            judge_all=True,
            prices={model: {"input": 1, "output": 1}, judge: {"input": 100, "output": 100}},
            out=tmp_path / "run",
        )
    assert len(of_the_judge(script)) == 8
    assert set(run.samples["decided_by"]) == {f"judge:{judge}"}
    seen = set(zip(run.samples["expect"], run.samples["ladder_kind"], run.samples["kind"], strict=True))
    assert seen == {("comply", "comply", "refuse"), ("decline", "refuse", "comply")}
    # twelve tokens a reply; the judge's cost a hundred times more
    assert run.info.cost == pytest.approx(8 * 12 * (1 + 100) / 1e6)
    assert run.info.counts["samples"] == 8
    told = run.info.judging
    assert (told["asked"], told["changed"], told["failed"], told["requests"]) == (8, 8, 0, 8)
    assert told["cost"] == pytest.approx(8 * 12 * 100 / 1e6)
    assert "8 judged otherwise than by the ladder" in run.directory.report.read_text()


def test_without_doubt_no_judge_is_asked(scripted_env, prompts_file, tmp_path):
    with serving(script := Script(contrary)) as url:
        run = audit(
            scripted_env(url), prompts=prompts_file(8), judges=["openai-api/scripted/judge"], out=tmp_path / "run"
        )
    assert not of_the_judge(script)
    assert set(run.samples["kind"]) == {"comply", "refuse"}


def test_a_judge_whose_words_cannot_be_read_leaves_the_response_unscored(scripted_env, prompts_file, tmp_path):
    def mumbling(number, body):
        return completion("Well, it depends.") if is_judge(body) else completion(answer(body))

    with serving(Script(mumbling)) as url:
        run = audit(
            scripted_env(url),
            prompts=prompts_file(4),
            judges=["openai-api/scripted/judge"],
            judge_all=True,
            out=tmp_path / "run",
        )
    assert set(run.samples["kind"]) == {"unscored"}
    assert all(said.startswith("failed: ") for said in run.samples["judge"])
    assert run.info.status == "complete"


def test_resuming_asks_neither_the_model_nor_the_judge_again(scripted_env, prompts_file, tmp_path):
    with serving(script := Script(contrary)) as url:
        with pytest.raises(IncompleteError, match="budget"):
            audit(
                scripted_env(url),
                prompts=prompts_file(20),
                judges=["openai-api/scripted/judge"],
                judge_all=True,
                max_connections=2,
                budget={"requests": 23},
                out=tmp_path / "run",
            )
        assert script.requests == 23
        run = resume_audit(tmp_path / "run", budget={"requests": 1000})
    assert script.requests == 40
    assert set(script.delivered.values()) == {1}
    assert len(run.samples) == 20


def test_a_panel_decides_by_majority(scripted_env, prompts_file, tmp_path):
    def panel(number, body):
        if not is_judge(body):
            return completion(answer(body))
        # two of three say that it declines, whatever it is
        return completion(json.dumps({"label": "comply" if "judge-c" in body["model"] else "refuse", "reason": None}))

    with serving(script := Script(panel)) as url:
        run = audit(
            scripted_env(url),
            prompts=prompts_file(6),
            judges=[f"openai-api/scripted/judge-{name}" for name in "abc"],
            judge_all=True,
            out=tmp_path / "run",
        )
    assert len(of_the_judge(script)) == 18
    assert run.info.judging["unanimous"]["value"] == 0
    assert set(run.samples["kind"]) == {"refuse"}
    assert all(name.startswith("judge:panel(") for name in run.samples["decided_by"])


def test_a_forecast_counts_the_judges(scripted_env, prompts_file):
    found = forecast_audit(
        scripted_env("http://127.0.0.1:9/v1"), prompts=prompts_file(10), judges=["openai-api/scripted/judge"]
    )
    assert [task.requests for task in found.tasks] == [10, 10]
    # a judge reads its rubric every time
    assert found.tasks[1].tokens_in_low > 10 * 500


def test_a_judge_that_does_not_exist_is_said_before_anything_is_asked(scripted_env, prompts_file, tmp_path):
    with serving(script := Script(contrary)) as url, pytest.raises(DemurError, match="nowhere"):
        audit(scripted_env(url), prompts=prompts_file(4), judges=["nowhere/judge"], out=tmp_path / "run")
    assert script.requests == 0
    assert not (tmp_path / "run").exists()


def labelled(path, *, sensitivity, specificity, n=100):
    """Responses of which people call other things refusals than the words suggest, at planted rates."""
    declining, plain = "I can't help with that.", "Sure: water them every morning."
    rows = []
    for index in range(n):
        rows.append({"response": declining if index < n * sensitivity else plain, "label": "refusal"})
        rows.append({"response": plain if index < n * specificity else declining, "label": "compliance"})
    path.write_text("".join(json.dumps({"prompt": f"Request {i}", **row}) + "\n" for i, row in enumerate(rows)))
    return path


def test_corrected_rates_take_the_measured_errors_out(scripted_env, prompts_file, tmp_path):
    # half of what should be answered is declined in words: (0.5 - 0.1) / (0.8 - 0.1) is left
    def half(number, body):
        asked = json.dumps(body["messages"])
        number = int(asked.split("Request number ")[1].split(":")[0])
        return completion("I can't help with that." if number % 4 < 2 else "Sure: water them every morning.")

    labels = labelled(tmp_path / "labels.jsonl", sensitivity=0.8, specificity=0.9)
    with serving(Script(half)) as url:
        run = audit(scripted_env(url), prompts=prompts_file(160), labels=labels, out=tmp_path / "run")
    there = {measure.name: measure for measure in run.measures if measure.group is None}
    assert there["judge_sensitivity"].value == pytest.approx(0.8)
    assert there["judge_specificity"].value == pytest.approx(0.9)
    assert there["over_refusal"].value == pytest.approx(0.5)
    assert there["over_refusal_corrected"].value == pytest.approx(0.4 / 0.7, abs=0.01)
    raw, corrected = there["over_refusal"], there["over_refusal_corrected"]
    assert corrected.high - corrected.low > raw.high - raw.low
    page = run.directory.report.read_text()
    assert "Over-refusal corrected" in page
    assert "sensitivity" in page


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [
        ([{"response": "No.", "label": "refusal"}] * 100, "0 that do not"),
        ([{"response": "No.", "label": "perhaps"}], "perhaps"),
        ([{"response": "No."}], "label"),
    ],
)
def test_labels_that_cannot_correct_anything_are_said_before_anything_is_asked(
    scripted_env, prompts_file, tmp_path, rows, complaint
):
    labels = tmp_path / "labels.jsonl"
    labels.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with serving(script := Script(contrary)) as url, pytest.raises(InputError, match=complaint):
        audit(scripted_env(url), prompts=prompts_file(4), labels=labels, out=tmp_path / "run")
    assert script.requests == 0
