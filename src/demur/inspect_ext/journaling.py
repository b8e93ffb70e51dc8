"""Writes every response of a model into a run's journal, and answers from it what was received before.

The recording sits directly on the provider's `generate`, below Inspect's retries, solvers and scorers. So it covers
every call of every task, a response is on disk before anything else can happen to it, and resuming a run is simply
running it again: what the journal holds is not asked for a second time.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from demur.errors import DemurError, MissingExtraError, ModelError, RunError
from demur.inspect_ext.budget import Budget, Spending
from demur.inspect_ext.failures import describe_failure, is_connection_failure, is_cut_short, is_garbled, status_of
from demur.runs import Journal
from demur.runs.journal import content_key

if TYPE_CHECKING:
    from inspect_ai.model import ChatMessage, GenerateConfig, Model, ModelAPI, ModelOutput, RetryDecision
    from inspect_ai.tool import ToolChoice, ToolInfo

__all__ = ["Recorder", "record"]

# How the request is sent says nothing about what is asked: these settings may change between a run and its resumption.
_TRANSPORT = {
    "adaptive_connections",
    "attempt_timeout",
    "batch",
    "cache",
    "max_connections",
    "max_retries",
    "stream_idle_timeout",
    "timeout",
}

# Attempts that fail before anything ever succeeded. Three refused connections are no coincidence, and a model that
# turns down ten different requests in a row for a reason that retrying cannot mend will turn down the next thousand.
_UNREACHABLE_AFTER = 3
_HOPELESS_AFTER = 10

# Which request this sample is making, by its key, and the how-manieth attempt at it. Inspect makes all attempts at a
# request in one task, and samples run in tasks of their own.
_attempts: ContextVar[tuple[str, int]] = ContextVar("attempts", default=("", 0))


class DamagedReplyError(Exception):
    """A reply arrived in pieces; another attempt may bring it whole."""


class Recorder:
    """Counts and records what a model answers during one run.

    Args:
        journal: Where responses are written and looked up.
        patience: So many failed attempts in a row, with no response between them, end the run: by then something is
            wrong that more requests will not mend.
        on_response: Called after every response with the model that gave it, and True when it came from the journal.
        budget: The most that may be spent; once it is, no further request is sent. Requests under way are waited for,
            so tokens and money may end above it by what those bring.
        spent: Where spending is counted; it holds the prices.
    """

    def __init__(
        self,
        journal: Journal,
        *,
        patience: int = 100,
        on_response: Callable[[str, bool], None] | None = None,
        budget: Budget | None = None,
        spent: Spending | None = None,
    ) -> None:
        self.journal = journal
        self.patience = patience
        self.on_response = on_response
        self.budget = budget or Budget()
        self.spent = spent or Spending()
        self.requests = 0
        """Attempts that reached the provider's code in this process."""
        self.received = 0
        """Responses received in this process."""
        self.replayed = 0
        """Responses taken from the journal."""
        self.failures: dict[str, int] = {}
        """Failed attempts by what went wrong."""
        self.fatal: DemurError | None = None
        """Why the run cannot go on, once it cannot; every later request fails with it, unsent."""
        self._closer: AsyncGenerator[None] | None = None
        self._refused_connections = 0
        self._rejected = 0
        self._in_a_row = 0

    @property
    def commonest_failure(self) -> str | None:
        """What went wrong most often, or None when nothing did."""
        return max(self.failures, key=self.failures.__getitem__, default=None)

    def sending(self) -> None:
        """Notes that a request is about to be sent.

        Raises:
            ModelError: The run cannot go on, or its budget is used up.
        """
        if self.fatal is None and (why := self.budget.exceeded(self.spent)) is not None:
            self.fatal = ModelError(why)
        if self.fatal is not None:
            # a new error each time: one that is raised again and again grows its traceback, and Inspect renders it
            raise ModelError(str(self.fatal))
        self.requests += 1
        self.spent.requests += 1

    def got(self, replayed: bool, model: str = "", usage: object = None) -> None:
        """Notes a response of `model` and what it used."""
        self.spent.add_reply(model, usage)
        if replayed:
            self.replayed += 1
            self.spent.requests += 1
        else:
            self.received += 1
            self._in_a_row = 0
        if self.on_response:
            self.on_response(model, replayed)

    @property
    def answered(self) -> int:
        """Responses there are now, received or replayed."""
        return self.received + self.replayed

    async def close_with_loop(self, api: ModelAPI) -> None:
        """Sees to it that the provider's connections are closed when the event loop ends.

        Inspect leaves them to the garbage collector, which finds the loop gone. An event loop closes the asynchronous
        generators that were begun in it before it ends: the one moment at which closing is sure to work.
        """
        if self._closer is None:
            self._closer = _close_at_end(api)
            await anext(self._closer)

    def failed(self, model: str, error: Exception) -> None:
        """Notes a failed attempt, and gives up when nothing has ever succeeded and nothing will."""
        if isinstance(error, ModelError | MissingExtraError):
            # our own provider's errors say what to do and hold for every request alike
            self.fatal = self.fatal or error
        label = describe_failure(error)
        self.failures[label] = self.failures.get(label, 0) + 1
        self._in_a_row += 1
        if self.fatal is None and self._in_a_row >= self.patience:
            self.fatal = ModelError(f"{self._in_a_row} requests to {model} in a row failed, the last with: {label}")
        if self.answered or self.fatal:
            return
        status = status_of(error)
        if status is None and is_connection_failure(error):
            self._refused_connections += 1
            if self._refused_connections >= _UNREACHABLE_AFTER:
                self.fatal = ModelError(
                    f"the server behind {model} cannot be reached ({label}). Check the address and that it is running"
                )
        elif status == 401:
            self.fatal = ModelError(f"the server behind {model} does not accept the key ({label}). Check the API key")
        elif status is not None and 400 <= status < 500 and status not in {408, 409, 429}:
            self._rejected += 1
            if self._rejected >= (1 if status == 404 else _HOPELESS_AFTER):
                self.fatal = ModelError(
                    f"the server behind {model} rejects the requests ({label}). Check the model's name and settings"
                )


async def _close_at_end(api: ModelAPI) -> AsyncGenerator[None]:
    try:
        yield
    finally:
        await api.aclose()


def record(model: Model, recorder: Recorder) -> None:
    """Makes `model` write what it receives into the recorder's journal, and answer from it first.

    Only this model object changes. Do not use it for two runs.
    """
    api = model.api
    ask = api.generate
    may_pass = api.should_retry
    name = str(model)

    async def generate(
        input: list[ChatMessage],
        tools: list[ToolInfo],
        tool_choice: ToolChoice,
        config: GenerateConfig,
    ) -> Any:
        from anyio import get_cancelled_exc_class
        from inspect_ai.model import ModelOutput

        await recorder.close_with_loop(api)
        key = request_key(name, input, tools, tool_choice, config)
        known = recorder.journal.take(key)
        if known is not None:
            replay = _with_a_choice(ModelOutput.model_validate(known))
            recorder.got(replayed=True, model=name, usage=replay.usage)
            return replay
        recorder.sending()
        attempt = _next_attempt(key)
        started = time.monotonic()
        try:
            result = await ask(input, tools, tool_choice, config)
            if isinstance(result, tuple) and is_cut_short(result[1]):
                raise DamagedReplyError(
                    "the stream ended before the reply did (for a server that does so: -M stream=false)"
                )
        except Exception as error:
            recorder.failed(name, error)
            damaged = is_garbled(error)
            if config.max_retries is not None and attempt > config.max_retries and (damaged or should_retry(error)):
                _attempts.set(("", 0))
                # Inspect would say that retries ran out but not on what, and render a long traceback for each sample
                raise ModelError(describe_failure(error)) from None
            if damaged:
                raise DamagedReplyError(describe_failure(error)) from error
            raise
        except get_cancelled_exc_class():
            # the deadline of an attempt lies around this call, which sees nothing but its own end
            if config.attempt_timeout is not None and time.monotonic() - started >= config.attempt_timeout:
                recorder.failed(name, TimeoutError(f"no reply within {config.attempt_timeout} s"))
            raise
        output: ModelOutput | Exception = result[0] if isinstance(result, tuple) else result
        if isinstance(output, Exception):
            recorder.failed(name, output)
            # Inspect would put the whole request before what is wrong with it
            raise ModelError(describe_failure(output)) from None
        _attempts.set(("", 0))
        _with_a_choice(output)
        try:
            recorder.journal.append(key, output.model_dump(mode="json", exclude_none=True))
        except RunError as error:
            recorder.fatal = error
            raise
        recorder.got(replayed=False, model=name, usage=output.usage)
        return result

    def should_retry(error: Exception) -> bool | RetryDecision:
        return True if isinstance(error, DamagedReplyError) else may_pass(error)

    # on the instance, not the class: another model of the same provider stays as it is
    vars(api).update(generate=generate, should_retry=should_retry)


def _next_attempt(key: str) -> int:
    """Counts the attempts that the running sample makes at one request, from 1."""
    current, count = _attempts.get()
    count = count + 1 if current == key else 1
    _attempts.set((key, count))
    return count


def _with_a_choice(output: ModelOutput) -> ModelOutput:
    """Gives a reply without any choice an empty one: Inspect takes the first without looking, and fails the sample.

    The reply was received, cannot be judged, and asking again on every resumption would not change it.
    """
    from inspect_ai.model import ChatCompletionChoice, ChatMessageAssistant

    if not output.choices:
        nothing = ChatMessageAssistant(content="", model=output.model, source="generate")
        output.choices = [ChatCompletionChoice(message=nothing, stop_reason="unknown")]
        output.error = output.error or "the provider returned no choice"
    return output


def request_key(
    model: str, messages: list[ChatMessage], tools: list[ToolInfo], tool_choice: ToolChoice, config: GenerateConfig
) -> str:
    """The journal key of a request: what is asked of whom, with which settings."""
    return content_key(
        {
            "model": model,
            "messages": [
                message.model_dump(mode="json", exclude_none=True, exclude={"id", "metadata", "source", "model"})
                for message in messages
            ],
            "tools": [tool.model_dump(mode="json", exclude_none=True) for tool in tools],
            "tool_choice": tool_choice if isinstance(tool_choice, str) else tool_choice.name,
            "config": config.model_dump(mode="json", exclude_none=True, exclude=_TRANSPORT),
        }
    )
