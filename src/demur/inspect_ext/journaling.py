"""Writes every response of a model into a run's journal, and answers from it what was received before.

The recording sits directly on the provider's `generate`, below Inspect's retries, solvers and scorers. So it covers
every call of every task, a response is on disk before anything else can happen to it, and resuming a run is simply
running it again: what the journal holds is not asked for a second time.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from typing import TYPE_CHECKING, Any

from demur.errors import DemurError, MissingExtraError, ModelError, RunError
from demur.runs import Journal
from demur.runs.journal import content_key

if TYPE_CHECKING:
    from inspect_ai.model import ChatMessage, GenerateConfig, Model, ModelAPI, ModelOutput
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


class Recorder:
    """Counts and records what a model answers during one run.

    Args:
        journal: Where responses are written and looked up.
        patience: So many failed attempts in a row, with no response between them, end the run: by then something is
            wrong that more requests will not mend.
        on_response: Called after every response with True when it came from the journal.
    """

    def __init__(
        self, journal: Journal, *, patience: int = 100, on_response: Callable[[bool], None] | None = None
    ) -> None:
        self.journal = journal
        self.patience = patience
        self.on_response = on_response
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

    def got(self, replayed: bool) -> None:
        """Notes a response."""
        if replayed:
            self.replayed += 1
        else:
            self.received += 1
            self._in_a_row = 0
        if self.on_response:
            self.on_response(replayed)

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
    name = str(model)

    async def generate(
        input: list[ChatMessage],
        tools: list[ToolInfo],
        tool_choice: ToolChoice,
        config: GenerateConfig,
    ) -> Any:
        from inspect_ai.model import ModelOutput

        await recorder.close_with_loop(api)
        key = request_key(name, input, tools, tool_choice, config)
        known = recorder.journal.take(key)
        if known is not None:
            recorder.got(replayed=True)
            return ModelOutput.model_validate(known)
        if recorder.fatal is not None:
            # a new error each time: one that is raised again and again grows its traceback, and Inspect renders it
            raise ModelError(str(recorder.fatal))
        recorder.requests += 1
        try:
            result = await ask(input, tools, tool_choice, config)
        except Exception as error:
            recorder.failed(name, error)
            raise
        output: ModelOutput | Exception = result[0] if isinstance(result, tuple) else result
        if isinstance(output, Exception):
            recorder.failed(name, output)
            return result
        try:
            recorder.journal.append(key, output.model_dump(mode="json", exclude_none=True))
        except RunError as error:
            recorder.fatal = error
            raise
        recorder.got(replayed=False)
        return result

    # on the instance, not the class: another model of the same provider stays as it is
    vars(api)["generate"] = generate


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


def _chain(error: BaseException) -> list[BaseException]:
    """The error and its causes, outermost first."""
    found: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in found:
        found.append(current)
        current = current.__cause__ or current.__context__
    return found


def status_of(error: BaseException) -> int | None:
    """The HTTP status behind an error of any provider's client, or None."""
    for cause in _chain(error):
        for owner in (cause, getattr(cause, "response", None)):
            status = getattr(owner, "status_code", None)
            if isinstance(status, int):
                return status
    return None


def is_connection_failure(error: BaseException) -> bool:
    """Whether no connection could be made at all (a wrong address, nothing listening, no such host)."""
    # by name, because each provider's client has its own class and none of them need be installed here
    return any(
        isinstance(cause, ConnectionRefusedError)
        or type(cause).__name__ in {"ConnectError", "ConnectionRefusedError", "gaierror"}
        for cause in _chain(error)
    )


def describe_failure(error: BaseException) -> str:
    """One line about an error: its status or class, and the innermost message."""
    status = status_of(error)
    head = f"HTTP {status}" if status is not None else type(error).__name__
    message = str(error).strip().splitlines()
    inner = str(_chain(error)[-1]).strip().splitlines()
    detail = (message or inner or [""])[0][:200]
    if status is None and inner and inner[0] != detail:
        detail = f"{detail}: {inner[0][:200]}" if detail else inner[0][:200]
    return f"{head}: {detail}" if detail else head
