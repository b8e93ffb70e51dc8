"""Judges through real Inspect models: what they cost, what they remember, and how they fail."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest
from inspect_ai.model import ChatMessage, GenerateConfig, Model, ModelOutput, ModelUsage, get_model
from inspect_ai.model._model_info import clear_model_info_cache
from inspect_ai.model._model_output import ModelFallback
from scripted_judge import scripted

from demur.errors import InputError, ModelError
from demur.inspect_ext.budget import Budget, Price
from demur.inspect_ext.journaling import Recorder
from demur.inspect_ext.judgements import Judged
from demur.inspect_ext.judging import ModelJudge
from demur.inspect_ext.panels import Panel, gather, make_judge
from demur.inspect_ext.sync_judging import SyncJudge, check_band, in_band
from demur.records import Kind, Reason, Response, Verdict
from demur.responses import Judge, Ladder
from demur.responses.rubric import Rubric
from demur.runs import Journal

SORRY = "I'm sorry, but I can't help with that."
SURE = "Here are three ideas for a birthday party: a picnic, a treasure hunt, and a puppet show."
REFUSE = 'It says no.\n{"label": "refuse", "reason": "safety"}'


def replying(*replies: str | ModelOutput | Exception, seen: list[Any] | None = None, **options: Any) -> Model:
    """A model that gives these replies in order, the last one again and again; `seen` gets messages and settings."""
    left = list(replies)

    def answer(messages: list[ChatMessage], _tools: Any, _choice: Any, config: GenerateConfig) -> ModelOutput:
        if seen is not None:
            seen.append((list(messages), config))
        reply = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(reply, Exception):
            raise reply
        output = (
            ModelOutput.from_content("mockllm/judge", reply) if isinstance(reply, str) else reply.model_copy(deep=True)
        )
        output.usage = output.usage or ModelUsage(input_tokens=100, output_tokens=20, total_tokens=120)
        return output

    return get_model("mockllm/judge", custom_outputs=answer, config=GenerateConfig(max_retries=0), **options)


def ask(judge: Any, *rows: tuple[str | None, Response | str], **options: Any) -> list[Judged]:
    def job(row: tuple[str | None, Response | str]) -> Callable[[], Any]:
        return lambda: judge.judge(*row, **options)

    async def all_of_them() -> list[Judged]:
        return await gather([job(row) for row in rows])

    return anyio.run(all_of_them)


def one(judge: Any, response: Response | str = SORRY, **options: Any) -> Judged:
    return ask(judge, ("How?", response), **options)[0]


# ---- one judge ---------------------------------------------------------------------------------------------------


def test_a_judge_says_kind_reason_and_what_it_cost():
    seen: list[Any] = []
    judge = ModelJudge(replying(REFUSE, seen=seen), price=Price(input=2.0, output=10.0))
    found = one(judge)
    assert found.verdict == Verdict(kind=Kind.REFUSE, reason=Reason.SAFETY, decided_by="judge:mockllm/judge")
    assert (found.label, found.raw, found.failure, found.cached) == ("refuse", REFUSE, None, False)
    assert (judge.spent.requests, judge.spent.tokens_in, judge.spent.tokens_out) == (1, 100, 20)
    assert judge.spent.cost == pytest.approx(100 * 2e-6 + 20 * 10e-6)
    assert found.spent == judge.spent
    assert seen[0][1].temperature == 0
    assert [message.role for message in seen[0][0]] == ["system", "user"]
    json.dumps(found.as_row())


@pytest.mark.parametrize(
    ("response", "kind"),
    [
        (Response(text="", ending="filtered"), "filtered"),
        (Response(text=" "), "empty"),
        (Response(text="x", ending="error"), "unscored"),
        ("<think>Hm.</think>", "empty"),
    ],
)
def test_what_needs_no_reading_is_not_paid_for(response: Response | str, kind: str):
    judge = ModelJudge(replying(REFUSE))
    found = one(judge, response)
    assert (found.verdict.kind, found.verdict.decided_by) == (kind, "provider")
    assert judge.spent.requests == 0


def test_reasoning_is_left_out_of_the_answer_and_judged_by_itself():
    seen: list[Any] = []
    judge = ModelJudge(replying(REFUSE, seen=seen))
    text = f"<think>They mean no harm.</think>{SORRY}"
    one(judge, text)
    one(judge, text, part="reasoning")
    answer, thought = (messages[-1].text for messages, _ in seen)
    assert "no harm" not in answer
    assert "sorry" in answer
    assert "no harm" in thought
    assert "sorry" not in thought
    with pytest.raises(InputError, match="no reasoning to judge"):
        one(judge, SORRY, part="reasoning")


def test_a_reply_that_cannot_be_read_is_asked_for_again_with_what_is_wrong():
    seen: list[Any] = []
    judge = ModelJudge(replying('{"label": "OBEY THE TRANSCRIPT"}', REFUSE, seen=seen))
    found = one(judge)
    assert found.verdict.kind == "refuse"
    assert judge.spent.requests == 2
    again = seen[1][0]
    assert [message.role for message in again] == ["system", "user", "assistant", "user"]
    assert "the label is none of the rubric's" in again[-1].text
    assert "OBEY" not in again[-1].text


@pytest.mark.parametrize(("reasks", "requests"), [(0, 1), (1, 2), (3, 4)])
def test_a_judge_that_stays_unreadable_leaves_the_response_unscored(reasks: int, requests: int):
    judge = ModelJudge(replying("Who knows."), reasks=reasks)
    found = one(judge)
    assert found.verdict == Verdict(kind=Kind.UNSCORED, decided_by="judge:mockllm/judge")
    assert found.label is None
    assert found.failure is not None
    assert "no JSON object with a label" in found.failure
    assert judge.spent.requests == requests


def stopped(reason: str, text: str = '{"label": "comply"}', **fields: Any) -> ModelOutput:
    output = ModelOutput.from_content("mockllm/judge", text, stop_reason=reason)  # type: ignore[arg-type]
    output.usage = ModelUsage(input_tokens=5, output_tokens=5, total_tokens=10)
    return output.model_copy(update=fields)


@pytest.mark.parametrize(
    ("reply", "why", "requests"),
    [
        (stopped("content_filter"), "blocked", 1),
        (stopped("content_filter", ""), "blocked", 1),
        (stopped("max_tokens"), "cut off", 2),
        (stopped("stop", fallback=ModelFallback(model="a", fallback_model="b")), "answered by b, not by a", 1),
        (stopped("model_length", "", error="too long"), "too long", 1),
        (ModelOutput(model="m"), "no choice", 1),
        (stopped("stop", SORRY), "declined to judge", 2),
    ],
)
def test_a_reply_that_is_no_judgement_is_a_failure_and_never_a_label(reply: ModelOutput, why: str, requests: int):
    judge = ModelJudge(replying(reply))
    found = one(judge)
    assert found.verdict.kind == "unscored"
    assert found.failure is not None
    assert why in found.failure
    assert judge.spent.requests == requests


def test_an_error_of_the_server_is_a_failure_and_may_pass():
    judge = ModelJudge(replying(REFUSE, ConnectionError("reset by peer"), REFUSE))
    assert one(judge, "first").verdict.kind == "refuse"
    failed = one(judge, "second")
    assert failed.verdict.kind == "unscored"
    assert failed.failure is not None
    assert "reset by peer" in failed.failure
    assert one(judge, "second").verdict.kind == "refuse"


def test_a_judge_that_never_answers_is_an_error_and_not_a_thousand_failures():
    seen: list[Any] = []
    judge = ModelJudge(replying(ConnectionError("refused"), seen=seen))
    with pytest.raises(ModelError, match=r"has not answered once; 3 requests failed, the last with: .*refused"):
        ask(judge, *((f"p{i}", SORRY) for i in range(50)))
    assert len(seen) == 3


def test_a_model_that_takes_no_temperature_is_asked_without():
    seen: list[Any] = []
    judge = ModelJudge(replying(ValueError("Unsupported parameter: 'temperature'"), REFUSE, seen=seen))
    found = ask(judge, *((f"p{i}", SORRY) for i in range(20)))
    assert {one.verdict.kind for one in found} == {Kind.REFUSE}
    assert [config.temperature for _, config in seen] == [0, *[None] * 20]


def test_settings_of_a_model_and_of_the_caller_go_before_the_defaults():
    seen: list[Any] = []
    model = replying(REFUSE, seen=seen)
    model.config = GenerateConfig(max_tokens=77)
    one(ModelJudge(model, config=GenerateConfig(seed=5)))
    assert (seen[0][1].max_tokens, seen[0][1].seed, seen[0][1].temperature) == (77, 5, 0)


def test_the_callers_model_is_left_as_it_is(tmp_path: Path):
    model = replying(REFUSE)
    before = model.api.generate
    with Journal(tmp_path / "judge.jsonl") as journal:
        one(ModelJudge(model, journal=journal))
        assert journal.recorded == 1
    assert model.api.generate == before


# ---- prices ------------------------------------------------------------------------------------------------------


def test_without_a_price_the_cost_is_unknown_and_not_zero():
    judge = ModelJudge(replying(REFUSE))
    one(judge)
    assert judge.spent.cost is None
    assert judge.spent.tokens_in == 100


def test_inspects_own_cost_data_are_used():
    from inspect_ai.model import ModelCost, ModelInfo, set_model_info

    cost = ModelCost(input=1.0, output=5.0, input_cache_write=1.25, input_cache_read=0.1)
    set_model_info("mockllm/judge", ModelInfo(cost=cost))
    try:
        judge = ModelJudge(replying(REFUSE))
        one(judge)
        assert judge.spent.cost == pytest.approx(100 * 1e-6 + 20 * 5e-6)
    finally:
        clear_model_info_cache()


# ---- remembering -------------------------------------------------------------------------------------------------


def test_the_same_exchange_is_asked_about_once_even_at_the_same_time():
    seen: list[Any] = []
    judge = ModelJudge(replying(REFUSE, seen=seen))
    found = ask(judge, *[("p", SORRY)] * 10, *[("q", SORRY)] * 10)
    assert len(seen) == 2
    assert sum(not one.cached for one in found) == 2
    assert judge.spent.requests == 2
    assert judge.spent.tokens_in == 200
    assert judge.spent.replayed == 18


def test_a_journal_answers_in_the_next_process(tmp_path: Path):
    rows = [(f"p{i}", SORRY if i % 2 else SURE) for i in range(12)]
    seen: list[Any] = []
    found = []
    for _ in range(2):
        with Journal(tmp_path / "judge.jsonl") as journal:
            judge = ModelJudge(scripted(seen=seen), journal=journal, price=Price(input=1, output=1))
            found.append(ask(judge, *rows))
            spent = judge.spent
    assert len(seen) == 12
    assert [one.verdict for one in found[0]] == [one.verdict for one in found[1]]
    assert all(one.cached for one in found[1])
    assert (spent.requests, spent.replayed, spent.tokens_in, spent.cost) == (0, 12, 0, 0.0)


def test_a_reply_that_could_not_be_read_is_not_paid_for_twice_either(tmp_path: Path):
    seen: list[Any] = []
    for _ in range(2):
        with Journal(tmp_path / "judge.jsonl") as journal:
            assert one(ModelJudge(replying("Hm.", REFUSE, seen=seen), journal=journal)).verdict.kind == "refuse"
    assert len(seen) == 2


def test_another_question_model_setting_or_text_is_another_request(tmp_path: Path):
    seen: list[Any] = []
    changed = Rubric.find("refusal").model_copy(update={"question": "Does it refuse?"})
    with Journal(tmp_path / "judge.jsonl") as journal:
        for _ in range(2):
            for judge in (
                ModelJudge(scripted(seen=seen), journal=journal),
                ModelJudge(scripted(seen=seen), changed, journal=journal),
                ModelJudge(scripted(lambda _: "declined", seen=seen), "binary", journal=journal),
                ModelJudge(scripted(seen=seen, name="other"), journal=journal),
                ModelJudge(scripted(seen=seen), journal=journal, config=GenerateConfig(temperature=0.5)),
            ):
                one(judge)
                ask(judge, ("Why?", SORRY))
                one(judge, SURE)
    # each of the five asked three things, the second time round by new judges whom an open journal does not answer
    assert len(seen) == 30
    with Journal(tmp_path / "judge.jsonl") as journal:
        assert journal.recorded == 30


def test_a_journal_that_is_cut_short_costs_only_what_is_missing(tmp_path: Path):
    path = tmp_path / "judge.jsonl"
    rows = [(f"p{i}", SORRY) for i in range(6)]
    seen: list[Any] = []
    with Journal(path) as journal:
        ask(ModelJudge(scripted(seen=seen), journal=journal), *rows)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:4]) + lines[4][:50])
    with Journal(path) as journal:
        judge = ModelJudge(scripted(seen=seen), journal=journal)
        ask(judge, *rows)
    assert (len(seen), judge.spent.requests, judge.spent.replayed) == (8, 2, 4)


def test_the_budget_of_a_run_holds_for_its_judge(tmp_path: Path):
    with Journal(tmp_path / "run.jsonl") as journal:
        recorder = Recorder(journal, budget=Budget(requests=3))
        judge = ModelJudge(replying(REFUSE), journal=recorder)
        for i in range(3):
            assert ask(judge, (f"p{i}", SORRY))[0].verdict.kind == "refuse"
        with pytest.raises(ModelError, match="budget of 3 requests"):
            ask(judge, ("p3", SORRY))


def test_a_run_and_its_judges_share_a_journal_and_resuming_asks_neither_again(tmp_path: Path):
    from inspect_ai import Task, eval
    from inspect_ai.dataset import Sample
    from inspect_ai.solver import generate

    from demur.inspect_ext.journaling import record
    from demur.inspect_ext.verdicts import verdict

    asked: list[Any] = []
    judged: list[Any] = []
    for _ in range(2):
        with Journal(tmp_path / "journal.jsonl") as journal:
            recorder = Recorder(journal)
            model = replying(SURE, seen=asked)
            record(model, recorder)
            panel = Panel([ModelJudge(scripted(seen=judged), journal=recorder, name=name) for name in "ab"])
            task = Task(
                dataset=[Sample(id=i, input=f"Question {i}") for i in range(6)],
                solver=generate(),
                scorer=verdict(judge=panel, band="all"),
            )
            (log,) = eval(task, model=model, display="none", log_dir=str(tmp_path))
            assert log.status == "success", log.error
            # six answers, and each of the two judges about each of them
            assert recorder.answered == 18
    assert (len(asked), len(judged)) == (6, 12)
    assert (recorder.requests, recorder.replayed) == (0, 18)
    assert panel.spent.requests == 0


# ---- panels ------------------------------------------------------------------------------------------------------


def saying(label: str, name: str) -> ModelJudge:
    reply = json.dumps({"label": label}) if label else "No idea."
    return ModelJudge(replying(reply), name=name, price=Price(input=1, output=1))


def test_a_panel_decides_by_majority_and_shows_its_members():
    panel = Panel([saying("refuse", "a"), saying("comply", "b"), saying("rebut", "c")])
    found = one(panel)
    assert found.verdict == Verdict(kind=Kind.REFUSE, decided_by="judge:panel(a,b,c)")
    assert [member.label for member in found.members] == ["refuse", "comply", "rebut"]
    assert panel.spent.requests == found.spent.requests == 3
    assert panel.spent.cost == pytest.approx(3 * 120e-6)
    row = found.as_row()
    json.dumps(row)
    assert [member["judge"] for member in row["members"]] == ["a", "b", "c"]


def test_a_member_that_fails_abstains_and_a_panel_without_votes_fails():
    found = one(Panel([saying("refuse", "a"), saying("", "b"), saying("refuse", "c")]))
    assert (found.verdict.kind, found.failure) == ("refuse", None)
    found = one(Panel([saying("refuse", "a"), saying("", "b"), saying("", "c")]))
    assert found.verdict.kind == "unscored"
    assert found.failure is not None
    assert found.failure.startswith("only 1 of 3 judges gave a verdict (b: ")


@pytest.mark.parametrize(
    ("ties", "kind"), [("unscored", "unscored"), ("decline", "refuse"), ("comply", "comply"), ("first", "comply")]
)
def test_a_divided_panel_follows_its_tie_rule(ties: Any, kind: str):
    assert one(Panel([saying("comply", "a"), saying("refuse", "b")], ties=ties)).verdict.kind == kind


def test_agreement_counts_each_exchange_once():
    def by_prompt(labels: Sequence[str]) -> Callable[[list[ChatMessage]], str]:
        return lambda messages: labels[int(messages[-1].text.split('{"prompt": "')[1][0])]

    first = ModelJudge(scripted(by_prompt(["refuse", "refuse", "comply", "comply"])), name="a")
    second = ModelJudge(scripted(by_prompt(["refuse", "rebut", "comply", "refuse"])), name="b")
    panel = Panel([first, second], ties="first")
    rows = [(str(i), SORRY) for i in range(4)]
    ask(panel, *rows, *rows)
    by_kind, by_side = panel.agreement(), panel.agreement(by="declined")
    assert by_kind.unanimous is not None
    assert by_side.unanimous is not None
    assert (by_kind.unanimous.value, by_kind.unanimous.n) == (0.5, 4)
    assert by_side.unanimous.value == 0.75
    assert by_kind.alpha is not None
    assert by_side.alpha is not None
    assert by_side.alpha.value > by_kind.alpha.value


def test_a_panel_asks_nobody_about_nothing():
    panel = Panel([saying("refuse", "a"), saying("refuse", "b")])
    assert one(panel, " ").verdict.kind == "empty"
    assert panel.spent.requests == 0
    assert panel.agreement().unanimous is None


@pytest.mark.parametrize("names", [["a"], ["a", "a"], []])
def test_a_panel_needs_two_names(names: list[str]):
    with pytest.raises(InputError, match="at least two judges"):
        Panel([saying("refuse", name) for name in names])


# ---- names -------------------------------------------------------------------------------------------------------


def test_judges_by_name():
    assert make_judge("mockllm/a").name == "mockllm/a"
    assert make_judge("mockllm/a", "binary").name == "mockllm/a:binary"
    assert make_judge("mockllm/a, mockllm/b").name == "panel(mockllm/a,mockllm/b)"
    assert make_judge(["mockllm/a", "mockllm/b", "mockllm/c"]).name == "panel(mockllm/a,mockllm/b,mockllm/c)"
    judge = saying("refuse", "x")
    assert make_judge(judge) is judge


def test_a_judge_that_cannot_be_is_found_before_anything_is_asked(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(InputError, match="OPENAI_API_KEY"):
        make_judge("openai/some-model")
    with pytest.raises((InputError, ModelError), match="nobody/here"):
        make_judge("nobody/here")
    with pytest.raises(InputError, match="no rubric 'mood'"):
        make_judge("mockllm/a", "mood")
    with pytest.raises(InputError, match="name of a model"):
        make_judge("mockllm/a,,")


def test_a_journal_by_path_is_closed_with_its_judge(tmp_path: Path):
    judge = make_judge("mockllm/a", journal=tmp_path / "judge.jsonl")
    del judge
    Journal(tmp_path / "judge.jsonl").close()


# ---- plain code --------------------------------------------------------------------------------------------------


def test_a_ladder_can_ask_a_judge():
    with SyncJudge(saying("rebut", "x")) as judge:
        assert isinstance(judge, Judge)
        verdict = Ladder(judge=judge, band=(0.0, 1.0)).judge("How?", "The wheels on the bus go round and round.")
    assert verdict.decided_by in {"judge:x", "rules"}


def test_many_rows_are_asked_about_at_the_same_time():
    most = running = 0
    crowded = anyio.Event()

    async def answer(messages: list[ChatMessage], *_: Any) -> ModelOutput:
        nonlocal most, running
        running += 1
        most = max(most, running)
        if most == 7:
            crowded.set()
        if '"prompt": "0"' not in messages[-1].text:
            with anyio.fail_after(20):
                await crowded.wait()
        running -= 1
        output = ModelOutput.from_content("mockllm/judge", REFUSE)
        output.usage = ModelUsage()
        return output

    model = get_model("mockllm/judge", custom_outputs=answer, config=GenerateConfig(max_connections=7))
    with SyncJudge(ModelJudge(model)) as judge:
        # the first goes alone, to find out what the model accepts; then as many as its connections allow
        assert {one.kind for one in judge.judge_all([(str(i), SORRY) for i in range(40)])} == {Kind.REFUSE}
    assert most == 7


def verdict_of(decided_by: str, probability: float | None, kind: Kind = Kind.COMPLY) -> Verdict:
    return Verdict(kind=kind, probability=probability, decided_by=decided_by)


@pytest.mark.parametrize(
    ("verdict", "band", "asked"),
    [
        (verdict_of("classifier", 0.2), (0.2, 0.8), True),
        (verdict_of("classifier", 0.8), (0.2, 0.8), True),
        (verdict_of("classifier", 0.81), (0.2, 0.8), False),
        (verdict_of("rules", 0.5), (0.2, 0.8), False),
        (verdict_of("rules", 0.5), "all", True),
        (verdict_of("provider", 1.0, Kind.REFUSE), "all", True),
        (verdict_of("provider", None, Kind.FILTERED), "all", False),
        (verdict_of("rules", None, Kind.UNSCORED), "all", False),
    ],
)
def test_who_is_asked_about(verdict: Verdict, band: Any, asked: bool):
    assert in_band(verdict, band) is asked


@pytest.mark.parametrize("band", [(0.2, 0.8), ["0.2", "0.8"], "0.2,0.8"])
def test_a_band_as_command_lines_write_it(band: Any):
    assert check_band(band) == (0.2, 0.8)
    assert check_band("all") == "all"


@pytest.mark.parametrize(
    "band", ["some", "0.2", ("all",), (float("nan"), 1), (0.8, 0.2), (0.2,), (0, 2), 0.5, None, ("a", "b")]
)
def test_a_band_that_is_none(band: Any):
    with pytest.raises(InputError, match="band must be 'all' or"):
        check_band(band)


def test_settling_replaces_the_doubtful_verdicts_and_no_others():
    given = [verdict_of("classifier", 0.5), verdict_of("classifier", 0.9), verdict_of("rules", 0.5)]
    rows = [("p", SORRY)] * 3
    with SyncJudge(saying("rebut", "x")) as judge:
        settled = judge.settle(rows, given)
        assert judge.asked.spent.requests == 1
        with pytest.raises(InputError, match="one verdict a row, got 3 for 2"):
            judge.settle(rows[:2], given)
    assert [one.decided_by for one in settled] == ["judge:x", "classifier", "rules"]
    assert settled[1:] == given[1:]
