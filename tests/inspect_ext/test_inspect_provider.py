"""The provider on a tiny random checkpoint: whatever Inspect asks at once comes back as if asked alone."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from inspect_ai import Task, eval
from inspect_ai.dataset import Sample
from inspect_ai.log import EvalLog
from inspect_ai.model import (
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageTool,
    ChatMessageUser,
    ContentImage,
    ContentReasoning,
    ContentText,
    GenerateConfig,
    Model,
    ModelOutput,
    get_model,
)
from inspect_ai.solver import generate
from inspect_ai.tool import ToolInfo

from demur.errors import InputError, ModelError
from demur.inspect_ext.provider import LocalModelAPI
from demur.models import Chat, LocalModel, Sampling

SHORT = GenerateConfig(max_tokens=6, seed=0)


@pytest.fixture(scope="module")
def model(checkpoint: Path) -> Model:
    return get_model(f"demur/{checkpoint}", device="cpu")


@pytest.fixture(scope="module")
def local(checkpoint: Path) -> LocalModel:
    return LocalModel.load(checkpoint, device="cpu")


def ask(model: Model, text: str = "Name a fruit.", **config: Any) -> ModelOutput:
    return asyncio.run(model.generate(text, config=GenerateConfig(**{"max_tokens": 6, **config})))


def run_eval(model: Model, tmp_path: Path, *, epochs: int = 1, samples: int = 4, **config: Any) -> EvalLog:
    task = Task(
        dataset=[Sample(id=f"s{i}", input=f"Tell me a story {i % 2}.") for i in range(samples)],
        solver=generate(),
        config=GenerateConfig(**{"max_tokens": 6, **config}),
    )
    log = eval(task, model=model, epochs=epochs, display="none", log_dir=str(tmp_path / "logs"))[0]
    assert log.status == "success", log.error
    return log


def answers(log: EvalLog) -> dict[tuple[str | int, int], str]:
    return {(sample.id, sample.epoch): sample.output.completion for sample in log.samples or []}


requests = st.fixed_dictionaries(
    {
        "text": st.text(alphabet="abc ", min_size=1, max_size=12),
        "max_tokens": st.integers(1, 10),
        "temperature": st.sampled_from([0.0, 0.3, 1.0, 2.0]),
        "top_p": st.sampled_from([None, 0.5]),
        "top_k": st.sampled_from([None, 1, 5]),
        "stop_seqs": st.sampled_from([None, ["a"], ["e", " t"]]),
        "seed": st.integers(0, 5),
    }
)


@given(st.lists(requests, min_size=2, max_size=6))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_request_is_answered_with_anothers_settings(model: Model, local: LocalModel, asked: list[dict[str, Any]]):
    async def at_once() -> list[ModelOutput]:
        return await asyncio.gather(
            *(
                model.generate(one["text"], config=GenerateConfig(**{k: v for k, v in one.items() if k != "text"}))
                for one in asked
            )
        )

    for one, output in zip(asked, asyncio.run(at_once()), strict=True):
        assert output.metadata is not None
        alone = local.generate(
            [Chat(messages=({"role": "user", "content": one["text"]},))],
            sampling=Sampling(
                max_tokens=one["max_tokens"],
                temperature=one["temperature"],
                top_p=one["top_p"] or 1.0,
                top_k=one["top_k"],
                stop=tuple(one["stop_seqs"] or ()),
                seed=output.metadata["seeds"][0],
            ),
        )[0]
        assert output.completion == alone.response.text
        assert output.usage is not None
        assert (output.usage.input_tokens, output.usage.output_tokens) == (alone.tokens_in, alone.tokens_out)
        assert output.stop_reason == {"end": "stop", "length": "max_tokens"}[alone.ending]


def test_weights_are_loaded_by_the_first_request_and_only_once(checkpoint: Path, monkeypatch: pytest.MonkeyPatch):
    loads: list[str] = []
    load = LocalModel.load.__func__  # type: ignore[attr-defined]

    def counting(cls: type[LocalModel], name: str, **options: Any) -> LocalModel:
        loads.append(name)
        return load(cls, name, **options)

    monkeypatch.setattr(LocalModel, "load", classmethod(counting))
    api = LocalModelAPI(str(checkpoint), device="cpu", batch_size=2)
    assert loads == []

    async def at_once() -> list[ModelOutput]:
        message = ChatMessageUser(content="Name a fruit.")
        return await asyncio.gather(*(api.generate([message], [], "auto", SHORT) for _ in range(7)))

    outputs = asyncio.run(at_once())
    assert len({output.completion for output in outputs}) == 1
    assert loads == [str(checkpoint)]
    api.close()


def test_requests_at_once_are_one_batch(checkpoint: Path, monkeypatch: pytest.MonkeyPatch):
    sizes: list[int] = []
    whole = LocalModel.generate

    def counting(self: LocalModel, chats: list[Chat], **options: Any) -> Any:
        sizes.append(len(chats))
        return whole(self, chats, **options)

    monkeypatch.setattr(LocalModel, "generate", counting)
    model = get_model(f"demur/{checkpoint}", device="cpu", memoize=False)

    async def at_once() -> None:
        await asyncio.gather(*(model.generate(f"Tell me {i}", config=SHORT) for i in range(9)))

    asyncio.run(at_once())
    assert sizes == [9]


def test_a_prompt_beyond_the_context_is_an_output_of_its_own(model: Model):
    async def at_once() -> list[ModelOutput]:
        texts = ["Name a fruit.", "story " * 200, "Tell me a story."]
        return await asyncio.gather(*(model.generate(text, config=SHORT) for text in texts))

    fits, too_long, also_fits = asyncio.run(at_once())
    assert too_long.stop_reason == "model_length"
    assert too_long.completion == ""
    assert too_long.error is not None
    assert "context" in too_long.error
    assert fits.completion
    assert also_fits.completion
    assert fits.error is None


def test_a_trailing_assistant_message_is_continued(model: Model, local: LocalModel):
    asked = [ChatMessageUser(content="Name a fruit."), ChatMessageAssistant(content="A cat")]
    output = asyncio.run(model.generate(asked, config=GenerateConfig(max_tokens=5, temperature=0)))
    prompt = local.template.render(
        Chat(messages=({"role": "user", "content": "Name a fruit."}, {"role": "assistant", "content": "A cat"}))
    ).text
    assert prompt.endswith("assistant\nA cat")
    assert output.usage is not None
    assert output.usage.input_tokens == len(local.tokenize(prompt))


def test_log_probabilities_are_those_of_the_sampled_tokens(model: Model, local: LocalModel):
    output = ask(model, temperature=2.0, logprobs=True, top_logprobs=3, seed=4)
    assert output.metadata is not None
    alone = local.generate(
        ["Name a fruit."],
        sampling=Sampling(max_tokens=6, temperature=2.0, top_logprobs=3, seed=output.metadata["seeds"][0]),
    )[0]
    logprobs = output.choices[0].logprobs
    assert logprobs is not None
    assert [entry.logprob for entry in logprobs.content] == pytest.approx(list(alone.logprobs))
    assert [entry.token for entry in logprobs.content] == local.token_texts(alone.token_ids)
    assert all(len(entry.top_logprobs or []) == 3 for entry in logprobs.content)
    # at temperature 2 some draw is not the most probable token, which is what must be told apart
    assert any(entry.logprob < entry.top_logprobs[0].logprob for entry in logprobs.content if entry.top_logprobs)


def test_reasoning_comes_back_as_a_block_of_its_own(checkpoint: Path):
    thinker = get_model(f"demur/{checkpoint}", device="cpu", thinking=True, memoize=False)
    message = ask(thinker).message
    # the template opened the block and the random model never closes it: all reasoning, no answer
    assert isinstance(message.content, list)
    assert [part.type for part in message.content] == ["reasoning", "text"]
    assert message.text == ""
    assert isinstance(ask(thinker, reasoning_effort="none").message.content, str)


def test_what_the_request_leaves_open_comes_from_the_checkpoint(model: Model):
    settings_used = ask(model).metadata
    assert settings_used is not None
    assert settings_used["temperature"] == 0.9
    greedy = ask(model, temperature=0).metadata
    assert greedy is not None
    assert greedy["temperature"] == 0


def test_a_seed_repeats_the_draw_and_no_seed_does_not(model: Model):
    assert len({ask(model, max_tokens=12, seed=3).completion for _ in range(3)}) == 1
    assert len({ask(model, max_tokens=12).completion for _ in range(3)}) == 3


def test_several_choices_are_several_draws(model: Model):
    output = ask(model, max_tokens=12, num_choices=3, seed=0)
    assert len({choice.message.text for choice in output.choices}) == 3
    assert output.usage is not None
    assert output.usage.total_tokens == output.usage.input_tokens + output.usage.output_tokens


def test_epochs_and_samples_draw_apart_and_a_run_repeats_in_other_batches(model: Model, tmp_path: Path):
    first = answers(run_eval(model, tmp_path, epochs=3, max_tokens=12, seed=7, max_connections=12))
    # samples s0 and s2 ask the same question
    assert len(first) == 12
    assert len(set(first.values())) == 12
    assert answers(run_eval(model, tmp_path, epochs=3, max_tokens=12, seed=7, max_connections=5)) == first
    assert answers(run_eval(model, tmp_path, epochs=3, max_tokens=12, seed=8)) != first


def test_a_model_given_by_name_is_built_and_answers(checkpoint: Path, tmp_path: Path):
    task = Task(dataset=[Sample(input="Name a fruit.")], solver=generate(), config=GenerateConfig(max_tokens=4))
    log = eval(
        task,
        model=f"demur/{checkpoint}",
        model_args={"device": "cpu"},
        display="none",
        log_dir=str(tmp_path),
    )[0]
    assert log.status == "success"
    assert log.eval.model == f"demur/{checkpoint}"


def test_a_sample_that_runs_out_of_time_leaves_the_others_alone(model: Model, tmp_path: Path):
    def task() -> Task:
        return Task(
            dataset=[Sample(id=i, input=f"Tell me {i}") for i in range(6)],
            solver=generate(),
            config=GenerateConfig(max_tokens=80, temperature=0),
        )

    whole = eval(task(), model=model, display="none", log_dir=str(tmp_path))[0]
    # no time at all: every request is given up while it waits or runs, and the next evaluation is none the worse
    hurried = eval(task(), model=model, display="none", log_dir=str(tmp_path), time_limit=0)[0]
    assert all(sample.limit is not None for sample in hurried.samples or [])
    again = eval(task(), model=model, display="none", log_dir=str(tmp_path))[0]
    assert answers(again) == answers(whole)


def test_a_row_that_nobody_waits_for_stops_being_decoded(checkpoint: Path, monkeypatch: pytest.MonkeyPatch):
    lengths: list[list[int]] = []
    ended = threading.Event()
    whole = LocalModel.generate

    def watching(self: LocalModel, chats: list[Chat], *, controls: list[Any], **options: Any) -> Any:
        generations = whole(self, chats, controls=[*controls, started], **options)
        lengths.append([generation.tokens_out for generation in generations])
        ended.set()
        return generations

    class Started:
        """Tells the test that decoding has begun, and holds it until the cancellation is in."""

        logits_only = True

        def __init__(self) -> None:
            self.begun, self.go_on = threading.Event(), threading.Event()

        @contextmanager
        def scope(self, batch: Any) -> Iterator[Any]:
            def wait(step: Any) -> None:
                if step.index == 2:
                    self.begun.set()
                    assert self.go_on.wait(timeout=60)

            yield wait

    started = Started()
    monkeypatch.setattr(LocalModel, "generate", watching)
    api = LocalModelAPI(str(checkpoint), device="cpu")

    async def run() -> None:
        config = GenerateConfig(max_tokens=40, temperature=1.0, seed=0)
        tasks = [
            asyncio.create_task(api.generate([ChatMessageUser(content=text)], [], "auto", config))
            for text in ("a", "b")
        ]
        assert await asyncio.to_thread(started.begun.wait, 60)
        tasks[1].cancel()
        with pytest.raises(asyncio.CancelledError):
            await tasks[1]
        started.go_on.set()
        await tasks[0]

    asyncio.run(run())
    assert ended.wait(timeout=60)
    (kept, dropped) = lengths[0]
    assert dropped <= 4
    assert kept > 4
    api.close()


def test_a_checkpoint_that_is_not_there_is_one_clear_error(tmp_path: Path):
    model = get_model(f"demur/{tmp_path / 'nothing'}", memoize=False)

    async def at_once() -> list[ModelOutput | BaseException]:
        return await asyncio.gather(*(model.generate("hello") for _ in range(3)), return_exceptions=True)

    for outcome in asyncio.run(at_once()):
        assert isinstance(outcome, ModelError)
        assert str(tmp_path / "nothing") in str(outcome)


@pytest.mark.parametrize(
    ("setting", "value"),
    [("frequency_penalty", 0.5), ("logit_bias", {5: 10.0}), ("best_of", 4), ("reasoning_tokens", 100)],
)
def test_a_setting_that_would_be_ignored_is_refused(model: Model, setting: str, value: object):
    with pytest.raises(ModelError, match=setting):
        ask(model, **{setting: value})


def test_images_are_refused(model: Model):
    picture = ChatMessageUser(
        content=[ContentText(text="What is this?"), ContentImage(image="data:image/png;base64,AA")]
    )
    with pytest.raises(InputError, match="text only"):
        asyncio.run(model.generate([picture]))


def test_a_conversation_that_the_template_refuses_fails_alone(checkpoint: Path):
    model = get_model(f"demur/{checkpoint}", device="cpu", memoize=False, chat_template=(
        "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
        "{{ m.content }}{% endfor %}{% if add_generation_prompt %}:{% endif %}"
    ))  # fmt: skip
    with_system = [ChatMessageSystem(content="Be kind."), ChatMessageUser(content="Name a fruit.")]

    async def at_once() -> list[ModelOutput | BaseException]:
        return await asyncio.gather(
            model.generate(with_system, config=SHORT),
            model.generate("Name a fruit.", config=SHORT),
            return_exceptions=True,
        )

    refused, answered = asyncio.run(at_once())
    assert isinstance(refused, RuntimeError)
    assert "no system role" in str(refused)
    assert isinstance(answered, ModelOutput)


def test_tools_reach_the_template_or_are_refused(checkpoint: Path, model: Model):
    tool = ToolInfo(name="look_up", description="Looks a word up.")

    def tokens_in(model: Model, tools: list[ToolInfo]) -> int:
        output = asyncio.run(model.generate("Name a fruit.", tools=tools, config=SHORT))
        assert output.usage is not None
        return output.usage.input_tokens

    tools_deaf = get_model(
        f"demur/{checkpoint}",
        device="cpu",
        memoize=False,
        chat_template="{% for m in messages %}{{ m.content }}{% endfor %}",
    )
    with pytest.raises(ModelError, match="does not print tools"):
        tokens_in(tools_deaf, [tool])
    wide = get_model(f"demur/{checkpoint}", device="cpu", memoize=False)
    long = asyncio.run(wide.generate("Name a fruit.", tools=[tool], config=SHORT))
    # the description alone is longer than this model's context, which shows that it was there
    assert long.stop_reason == "model_length"
    assert tokens_in(model, []) < 30


def test_earlier_reasoning_and_tool_results_reach_the_chat():
    from inspect_ai.tool import ToolCall, ToolCallError

    from demur.inspect_ext.conversation import chat_of

    call = ToolCall(id="c1", function="look_up", arguments={"word": "fig"})
    chat = chat_of(
        [
            ChatMessageUser(content="What is a fig?"),
            ChatMessageAssistant(
                content=[ContentReasoning(reasoning="Look it up."), ContentText(text="One moment.")], tool_calls=[call]
            ),
            ChatMessageTool(
                content="", tool_call_id="c1", function="look_up", error=ToolCallError("timeout", "too slow")
            ),
        ]
    )
    assert chat.messages[1]["reasoning_content"] == "Look it up."
    assert chat.messages[1]["content"] == "One moment."
    assert chat.messages[1]["tool_calls"][0]["function"] == {"name": "look_up", "arguments": {"word": "fig"}}
    assert chat.messages[2]["content"] == "Error: too slow"


@pytest.mark.parametrize("size", [0, -1, 2.5, "many", True])
def test_a_batch_size_must_be_a_whole_number(size: object):
    with pytest.raises(InputError, match="batch_size must be a whole number from 1"):
        LocalModelAPI("somewhere", batch_size=size)  # type: ignore[arg-type]
