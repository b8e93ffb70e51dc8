"""Inspect's door to local models: `demur/phantom`, `demur/PATH`, `demur/ORG/NAME`.

Concurrent requests are answered in true batches (see `batching`), each under its own settings. Weights are loaded once,
by the first request: Inspect builds a second instance of every provider just to look up its name.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from inspect_ai.model import (
    ChatCompletionChoice,
    ChatMessage,
    ChatMessageAssistant,
    Content,
    ContentReasoning,
    ContentText,
    GenerateConfig,
    Logprob,
    Logprobs,
    ModelAPI,
    ModelOutput,
    ModelUsage,
    StopReason,
    TopLogprob,
    modelapi,
)
from inspect_ai.tool import ToolCall, ToolChoice, ToolInfo

from demur.errors import InputError, ModelError
from demur.inspect_ext.active import active_sample
from demur.inspect_ext.batching import Batcher
from demur.inspect_ext.conversation import chat_of
from demur.inspect_ext.settings import MAX_TOKENS, Defaults, check_supported, draw_seed, sampling_of
from demur.inspect_ext.tool_calls import take_tool_calls
from demur.models import Chat, Sampling

if TYPE_CHECKING:
    from demur.models import Batch, Generation, LocalModel, Step
    from demur.models.control import StepFunction

__all__ = ["LocalModelAPI"]

BATCH_SIZE = 32
"""Most requests in one batch unless the model argument `batch_size` says otherwise."""


@dataclass(eq=False)
class _Request:
    chat: Chat
    config: GenerateConfig
    seed: int
    abandoned: bool = False
    """Set when nobody waits for the answer any more."""


@dataclass(frozen=True)
class _Answer:
    generation: Generation
    sampling: Sampling
    logprobs: Logprobs | None
    too_long: bool
    """The prompt leaves no room for a response in the model's context."""


class _DropAbandoned:
    """The control that ends a row as soon as nobody waits for it: a time limit, Ctrl-C."""

    logits_only = True

    def __init__(self, requests: Sequence[_Request]) -> None:
        self._requests = requests

    @contextmanager
    def scope(self, batch: Batch) -> Iterator[StepFunction]:
        def drop(step: Step) -> None:
            for number, row in enumerate(batch.rows):
                if self._requests[row.index].abandoned:
                    step.finish(number)

        yield drop


class LocalModelAPI(ModelAPI):
    """Answers Inspect's requests with a `demur.models.LocalModel`.

    Args:
        model_name: `phantom`, `phantom:EDITION`, the path of a transformers checkpoint, or a hub id.
        base_url: Not used; part of Inspect's protocol.
        api_key: Not used; part of Inspect's protocol.
        config: Settings that the model was created with.
        device: Where to run, e.g. `cpu`, `cuda:0`, `mps`; None chooses.
        dtype: Number format of the weights, e.g. `float32`; None takes the checkpoint's.
        batch_size: Most requests in one batch, at least 1.
        revision: Revision on the hub.
        thinking: True or False switches reasoning where the chat template can; None leaves the template's default.
        trust_remote_code: Runs code from the checkpoint. Off unless you trust its authors.
        **from_pretrained: Passed on to transformers.

    Raises:
        InputError: `batch_size` is no whole number from 1.
    """

    def __init__(
        self,
        model_name: str,
        base_url: str | None = None,
        api_key: str | None = None,
        config: GenerateConfig = GenerateConfig(),  # noqa: B008 - the signature of Inspect's protocol; never changed
        *,
        device: str | None = None,
        dtype: str | None = None,
        batch_size: int = BATCH_SIZE,
        revision: str | None = None,
        thinking: bool | None = None,
        trust_remote_code: bool = False,
        **from_pretrained: Any,
    ) -> None:
        super().__init__(model_name, base_url, api_key, [], config)
        if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
            raise InputError(f"batch_size must be a whole number from 1, got {batch_size!r}")
        self.batch_size = batch_size
        self.thinking = thinking
        self._load_arguments = {
            "device": device,
            "dtype": dtype,
            "revision": revision,
            "trust_remote_code": trust_remote_code,
            **from_pretrained,
        }
        self._local: LocalModel | None = None
        self._defaults = Defaults()
        self._batcher: Batcher[_Request, _Answer] = Batcher(self._answer, prepare=self._load, limit=batch_size)

    async def generate(
        self,
        input: list[ChatMessage],
        tools: list[ToolInfo],
        tool_choice: ToolChoice,
        config: GenerateConfig,
    ) -> ModelOutput:
        """One answer, or `config.num_choices` of them.

        A prompt that does not fit the model's context is an output with `stop_reason="model_length"`, no text, and the
        reason in `error`; it does not disturb other requests.

        Raises:
            ModelError: The model cannot be loaded, or the request asks for something that it cannot do.
            InputError: The conversation holds something other than text.
            RuntimeError: This one request failed: the chat template refuses the conversation, it alone does not fit
                into memory, or no token can follow.
        """
        check_supported(config)
        chat = chat_of(input, tools=tools, tool_choice=tool_choice, config=config, thinking=self.thinking)
        active = active_sample()
        requests = [
            _Request(chat, config, draw_seed(config.seed, chat=chat, active=active, choice=number))
            for number in range(config.num_choices or 1)
        ]
        try:
            answers = await asyncio.gather(*(self._batcher.submit(request) for request in requests))
        finally:
            for request in requests:
                request.abandoned = True
        return self._output(answers, with_tools=bool(chat.tools))

    def max_connections(self) -> int:
        """Requests that Inspect keeps open: enough to fill the next batch while one runs."""
        return 2 * self.batch_size

    def max_tokens(self) -> int:
        """Most tokens of an answer when the request does not say."""
        return MAX_TOKENS

    def connection_key(self) -> str:
        """Every checkpoint has a pool of connections of its own."""
        return self.model_name

    async def count_text_tokens(self, text: str) -> int:
        """Tokens of a text: exact once the model is loaded, before that an estimate on the high side."""
        local = self._local
        # Inspect's own count would download another model's vocabulary
        return len(local.tokenize(text)) if local is not None else len(text) // 2 + 1

    def close(self) -> None:
        """Lets go of the weights and of the worker thread."""
        self._batcher.close()
        self._local = None

    # ---- on the worker thread ------------------------------------------------------------------------------------

    def _load(self) -> None:
        if self._local is not None:
            return
        given = {name: value for name, value in self._load_arguments.items() if value is not None}
        from demur.models.quiet import quietly
        from demur.phantom import load

        with quietly():
            local = load(self.model_name, **given)
        self._defaults = Defaults.of(getattr(local.model, "generation_config", None))
        self._local = local

    def _answer(self, requests: Sequence[_Request]) -> list[_Answer]:
        local = self._local
        if local is None:  # closed between the load and the batch
            raise ModelError(f"the model {self.model_name!r} was closed while requests were waiting for it")
        if any(request.chat.tools for request in requests) and "tools" not in str(local.tokenizer.chat_template):
            raise ModelError(
                f"the chat template of {self.model_name!r} does not print tools, so the model would never see them. "
                "Use a checkpoint whose template does, or a task without tools"
            )
        samplings = [sampling_of(request.config, self._defaults, request.seed) for request in requests]
        generations = local.generate(
            [request.chat for request in requests],
            sampling=samplings,
            controls=[_DropAbandoned(requests)],
            batch_size=len(requests),
        )
        return [
            _Answer(
                generation=generation,
                sampling=sampling,
                logprobs=_logprobs(local, generation) if request.config.logprobs else None,
                too_long=local.context is not None and generation.tokens_in >= local.context,
            )
            for request, sampling, generation in zip(requests, samplings, generations, strict=True)
        ]

    # ---- back on the event loop ----------------------------------------------------------------------------------

    def _output(self, answers: Sequence[_Answer], *, with_tools: bool) -> ModelOutput:
        for answer in answers:
            if answer.generation.ending == "error" and not answer.too_long:
                # of this one sample, so not an error of ours that would hold for every sample alike
                raise RuntimeError(answer.generation.response.meta["error"])
        first = answers[0]
        written = sum(answer.generation.tokens_out for answer in answers)
        return ModelOutput(
            model=self.model_name,
            choices=[self._choice(answer, with_tools=with_tools) for answer in answers],
            usage=ModelUsage(
                input_tokens=first.generation.tokens_in,
                output_tokens=written,
                total_tokens=first.generation.tokens_in + written,
            ),
            error=first.generation.response.meta.get("error"),
            metadata={
                # what was really used, where the request left it open
                "temperature": first.sampling.temperature,
                "top_p": first.sampling.top_p,
                "top_k": first.sampling.top_k,
                "seeds": [answer.sampling.seed for answer in answers],
            },
        )

    def _choice(self, answer: _Answer, *, with_tools: bool) -> ChatCompletionChoice:
        response = answer.generation.response
        text, calls = take_tool_calls(response.text) if with_tools else (response.text, [])
        content: list[Content] = []
        if response.reasoning is not None:
            content.append(ContentReasoning(reasoning=response.reasoning))
        content.append(ContentText(text=text))
        return ChatCompletionChoice(
            message=ChatMessageAssistant(
                # one text alone is a plain string, which is what most solvers and scorers expect
                content=text if len(content) == 1 else content,
                tool_calls=calls or None,
                model=self.model_name,
                source="generate",
            ),
            stop_reason=_stop_reason(answer, calls),
            logprobs=answer.logprobs,
        )


@modelapi(name="demur")
def local_model_api() -> type[ModelAPI]:
    """The provider's class, under the name that Inspect finds it by."""
    # a function, because the decorator would put a plain function in the place of the class itself
    return LocalModelAPI


def _stop_reason(answer: _Answer, calls: Sequence[ToolCall]) -> StopReason:
    match answer.generation.ending:
        case "end":
            return "tool_calls" if calls else "stop"
        case "length":
            return "max_tokens"
        case _:
            return "model_length"


def _logprobs(local: LocalModel, generation: Generation) -> Logprobs:
    """Log-probabilities of the tokens that were drawn, with the alternatives that were asked for."""
    top = generation.top_logprobs or ((),) * len(generation.token_ids)
    ids = sorted({*generation.token_ids, *(token for step in top for token, _ in step)})
    text = dict(zip(ids, local.token_texts(ids), strict=True))
    return Logprobs(
        content=[
            Logprob(
                token=text[token],
                logprob=logprob,
                top_logprobs=[TopLogprob(token=text[other], logprob=value) for other, value in step] or None,
            )
            for token, logprob, step in zip(generation.token_ids, generation.logprobs, top, strict=True)
        ]
    )
