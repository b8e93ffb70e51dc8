"""A language model as a judge: asks a rubric about a response, over any model that Inspect knows.

Each exchange is asked about once. What the judge replied is kept in a journal where there is one, so that neither
running again nor resuming pays for it twice. A judge that fails (blocked, cut off, unreadable, an error of its server)
gives no label: the verdict is `unscored` and says why. Only a judge that never answers at all is an error.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextvars import ContextVar
from copy import copy
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Any, NamedTuple

import anyio
from anyio.lowlevel import RunVar
from inspect_ai._util.error import PrerequisiteError
from inspect_ai._util.exception import TerminateSampleError
from inspect_ai.model import (
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageUser,
    GenerateConfig,
    Model,
    ModelAPI,
    ModelUsage,
    get_model,
)
from inspect_ai.util import LimitExceededError

from demur.errors import DemurError, InputError, ModelError
from demur.inspect_ext.budget import Price
from demur.inspect_ext.failures import describe_failure
from demur.inspect_ext.journaling import Recorder, record
from demur.inspect_ext.judgements import Judged, Spent
from demur.inspect_ext.outputs import response_of
from demur.reasoning import split
from demur.records import Ending, Kind, Message, Response, Verdict
from demur.responses.provider import judge_provider
from demur.responses.reply import Parsed, parse
from demur.responses.rubric import LIMIT, Part, Rubric, render
from demur.runs import Journal
from demur.runs.journal import content_key

__all__ = ["MAX_TOKENS", "ModelJudge"]

# A verdict and a sentence or two; the rest is room for judges that reason first.
MAX_TOKENS = 2048

# So many requests in a row without a single answer are no accident, and would only be paid for.
_HOPELESS_AFTER = 3

# How much of a reply that could not be read is shown to the judge again.
_SHOWN_AGAIN = 2000


class _Reply(NamedTuple):
    text: str
    ending: Ending
    failure: str | None
    spent: Spent


_ASKED: ContextVar[list[None] | None] = ContextVar("demur_judge_asked", default=None)
"""Where the request that is under way notes that it reached the provider, and so was not answered by a journal."""


class _Line:
    """The judge's model within one event loop: connections cannot be taken from one loop to another."""

    def __init__(self, model: Model, closer: AsyncGenerator[None] | None) -> None:
        self.model = model
        self.first = anyio.Lock()
        self.waiting: dict[str, anyio.Event] = {}
        self._closer = closer  # referred to here, so that it lives as long as the loop


class ModelJudge:
    """One model with a rubric.

    Args:
        model: An Inspect model string, or a model. A model that is given is left as it is.
        rubric: A rubric, the name of a shipped one, or the path of a TOML file.
        name: How verdicts name it; by default the model's name, with the rubric's unless that is `refusal`.
        config: Settings of the requests; by default temperature 0 (left out if the model turns it down) and at most
            2,048 tokens.
        model_args: For the provider, where `model` is a string.
        reasks: How often a reply that cannot be read is asked for again, with what is wrong with it.
        limit: Most characters of a text that the judge is shown.
        journal: Where replies are written and looked up; or the recorder of a run, whose journal, budget and patience
            then hold for the judge too. None keeps them in memory only.
        price: What the model charges; by default what Inspect's cost data say.

    Raises:
        InputError: There is no such rubric or model, a key or a package for it is missing, or a number is out of range.
        ModelError: The provider cannot be set up.
    """

    def __init__(
        self,
        model: str | Model,
        rubric: str | Path | Rubric = "refusal",
        *,
        name: str | None = None,
        config: GenerateConfig | None = None,
        model_args: dict[str, Any] | None = None,
        reasks: int = 1,
        limit: int = LIMIT,
        journal: Journal | Recorder | None = None,
        price: Price | None = None,
    ) -> None:
        if reasks < 0:
            raise InputError(f"reasks must not be negative, got {reasks}")
        self.rubric = rubric if isinstance(rubric, Rubric) else Rubric.find(rubric)
        self.spent = Spent()
        self._given, self._model_args = model, model_args or {}
        self._name = name or f"{model}" + ("" if self.rubric.name == "refusal" else f":{self.rubric.name}")
        self._reasks, self._limit, self._price = reasks, limit, price
        self._recorder = Recorder(journal) if isinstance(journal, Journal) else journal
        settings = GenerateConfig(temperature=0.0, max_tokens=MAX_TOKENS, fail_on_refusal=False)
        if isinstance(model, Model):
            settings = settings.merge(model.config)
        self._config = settings.merge(config or GenerateConfig())
        self._line: RunVar[_Line] = RunVar(f"judge {id(self)}")
        self._known: dict[str, Judged] = {}
        self._answered = False
        self._failed = 0
        self._last_failure = ""
        # made at once, so that a name that is not known or a key that is missing is found before anything is asked
        self._unused = None if isinstance(model, Model) else self._make()

    @property
    def name(self) -> str:
        """How verdicts name it: `judge:NAME`."""
        return self._name

    async def judge(self, prompt: str | None, response: Response | str, *, part: Part = "answer") -> Judged:
        """What the response does, by the rubric.

        Args:
            prompt: What was asked, or None when it is not known.
            response: The response; reasoning that is left in its text is split off first. One that was blocked, failed
                or is empty is settled without asking.
            part: Whether the answer or the reasoning is judged.

        Raises:
            InputError: The reasoning is to be judged, and there is none.
            ModelError: The judge has never answered and several requests failed, or the run's budget is used up.
            RunError: The journal cannot be written.
        """
        response = _apart(response)
        if part == "answer" and (settled := judge_provider(response)) is not None:
            return Judged(self.name, settled, cached=True)
        messages = render(self.rubric, prompt, response, part=part, limit=self._limit)
        key = content_key(messages)
        line = await self._open()
        while (other := line.waiting.get(key)) is not None:
            await other.wait()
        if (known := self._known.get(key)) is not None:
            self.spent.replayed += 1
            return replace(known, cached=True, spent=Spent(replayed=1))
        line.waiting[key] = anyio.Event()
        try:
            return await self._judge(line, key, messages)
        finally:
            line.waiting.pop(key).set()

    async def _judge(self, line: _Line, key: str, messages: Sequence[Message]) -> Judged:
        chat = [_chat_message(message) for message in messages]
        spent = Spent()
        for asking in range(self._reasks + 1):
            reply = await self._reply(line, chat)
            spent += reply.spent
            if reply.failure is not None:
                # a failure that may pass is not remembered
                return self._failure(reply, reply.failure, spent)
            found = parse(self.rubric, reply.text, ending=reply.ending)
            if isinstance(found, Parsed) or reply.ending == "filtered" or asking == self._reasks:
                break
            shown = reply.text.strip()[:_SHOWN_AGAIN] or "(no answer)"
            chat += [ChatMessageAssistant(content=shown), ChatMessageUser(content=_again(found.why))]
        if isinstance(found, Parsed):
            verdict = Verdict(kind=found.label.kind, reason=found.reason, decided_by=f"judge:{self.name}")
            judged = Judged(
                self.name,
                verdict,
                label=found.label.name,
                raw=reply.text,
                confidence=found.confidence,
                spent=spent,
                cached=not spent.requests,
            )
        else:
            judged = self._failure(reply, str(found), spent)
        self._known[key] = judged
        return judged

    def _failure(self, reply: _Reply, why: str, spent: Spent) -> Judged:
        verdict = Verdict(kind=Kind.UNSCORED, decided_by=f"judge:{self.name}")
        return Judged(self.name, verdict, raw=reply.text, failure=why, spent=spent, cached=not spent.requests)

    async def _reply(self, line: _Line, chat: list[ChatMessage]) -> _Reply:
        """The judge's reply; until the first one is there, one request goes at a time, to find out what it accepts."""
        if not self._answered:
            async with line.first:
                if not self._answered:
                    return await self._generate(line, chat)
        return await self._generate(line, chat)

    async def _generate(self, line: _Line, chat: list[ChatMessage]) -> _Reply:
        if not self._answered and self._failed >= _HOPELESS_AFTER:
            raise ModelError(
                f"the judge {self.name} has not answered once; {self._failed} requests failed, the last with: "
                f"{self._last_failure}"
            )
        asked: list[None] = []
        token = _ASKED.set(asked)
        try:
            output = await line.model.generate(list(chat), config=self._config)
        except (LimitExceededError, TerminateSampleError, DemurError):
            raise
        except Exception as error:
            self.spent += (spent := Spent(requests=len(asked)))
            if self._recorder is not None and self._recorder.fatal is not None:
                raise ModelError(f"the judge {self.name} cannot go on: {self._recorder.fatal}") from error
            if not self._answered and self._config.temperature is not None and "temperature" in str(error).casefold():
                self._config = self._config.model_copy(update={"temperature": None})
                return await self._generate(line, chat)
            self._failed += 1
            self._last_failure = describe_failure(error)
            return _Reply("", "error", f"the request to the judge failed: {self._last_failure}", spent)
        finally:
            _ASKED.reset(token)
        self._answered = True
        response = response_of(output)
        spent = self._spent_on(output.usage, len(asked))
        self.spent += spent
        failure = None
        if response.ending == "error":
            failure = f"the request to the judge failed: {response.meta.get('error') or 'no reason was given'}"
        return _Reply(response.text, response.ending, failure, spent)

    def _spent_on(self, usage: ModelUsage | None, requests: int) -> Spent:
        if not requests:
            return Spent(replayed=1)
        if usage is None:
            return Spent(requests=requests, unpriced=1)
        read = usage.input_tokens + (usage.input_tokens_cache_read or 0) + (usage.input_tokens_cache_write or 0)
        money = usage.total_cost if self._price is None else self._price.of(read, usage.output_tokens)
        return Spent(requests, 0, read, usage.output_tokens, money or 0.0, int(money is None))

    def _make(self) -> Model:
        try:
            # retries and time-outs of the run that the judge serves go first
            config = GenerateConfig(max_retries=5, attempt_timeout=300)
            return get_model(str(self._given), config=config, memoize=False, **self._model_args)
        except PrerequisiteError as error:
            raise InputError(f"the judge {self._given}: {error.message}") from error
        except DemurError:
            raise
        except Exception as error:
            raise ModelError(f"the judge {self._given} cannot be set up: {error}") from error

    async def _open(self) -> _Line:
        line = self._line.get(None)
        if line is not None:
            return line
        closer = None
        if isinstance(self._given, Model):
            # a copy, because what follows changes it
            model = copy(self._given)
            model.api = copy(model.api)
        else:
            model, self._unused = self._unused or self._make(), None
            closer = _close_at_end(model.api)
        _note_requests(model.api)
        if self._recorder is not None:
            record(model, self._recorder)
        line = _Line(model, closer)
        self._line.set(line)
        if closer is not None:
            await anext(closer)
        return line


def _apart(response: Response | str) -> Response:
    """The response with its reasoning split from its answer."""
    given = Response(text=response) if isinstance(response, str) else response
    if given.reasoning is not None:
        return given
    parts = split(given.text)
    return (
        given
        if parts.reasoning is None
        else given.model_copy(update={"text": parts.answer, "reasoning": parts.reasoning})
    )


def _chat_message(message: Message) -> ChatMessage:
    kind = ChatMessageSystem if message["role"] == "system" else ChatMessageUser
    return kind(content=message["content"])


def _again(why: str) -> str:
    """Asks once more. The words are demur's own: what the judge quoted of the transcript must not come back here."""
    return (
        f"That reply cannot be used, because {why}. Judge the same transcript again, and end your reply with the one "
        "JSON object that the instructions ask for."
    )


def _note_requests(api: ModelAPI) -> None:
    """Makes every request that reaches the provider leave a note with whoever makes it."""
    ask = api.generate

    @wraps(ask)
    async def generate(*args: Any, **kwargs: Any) -> Any:
        if (asked := _ASKED.get()) is not None:
            asked.append(None)
        return await ask(*args, **kwargs)

    vars(api)["generate"] = generate


async def _close_at_end(api: ModelAPI) -> AsyncGenerator[None]:
    """Closes the provider's connections with the event loop, which closes the generators that were begun in it."""
    try:
        yield
    finally:
        await api.aclose()
