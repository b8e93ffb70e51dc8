"""One request to a local model: what is said and how it is sampled.

Plain records without torch, so that a provider or a command can build them before the engines are loaded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

from demur.errors import InputError
from demur.records import Message, Prompt, content_text

__all__ = ["Chat", "ChatLike", "Sampling", "as_chat"]


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How one request is sampled. Requests with different settings may share a batch.

    Attributes:
        max_tokens: Most tokens to generate, at least 1; the model's context may end the response earlier.
        temperature: 0 takes the most probable token; otherwise the logits are divided by it.
        top_p: Keep the smallest set of most probable tokens whose probability reaches this, in (0, 1].
        top_k: Keep only this many most probable tokens; None keeps all.
        seed: Fixes the draw of this request whatever else is in its batch, on one kind of device. None draws a seed
            from torch's global generator; the one that was used is in `Generation.seed`.
        stop: Strings that end the response. The text is cut before the earliest of them.
        top_logprobs: How many of the most probable tokens to report at each step.

    Raises:
        InputError: A value is out of its range.
    """

    max_tokens: int = 512
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    top_logprobs: int = 0

    def __post_init__(self) -> None:
        stop: object = self.stop
        if isinstance(stop, str):
            raise InputError(f"stop must be a tuple of strings, got the string {stop!r}; write stop=({stop!r},)")
        checks = {
            "max_tokens must be at least 1": self.max_tokens >= 1,
            "temperature must be 0 (greedy) or a positive number": 0.0 <= self.temperature < float("inf"),
            "top_p must be above 0 and at most 1": 0.0 < self.top_p <= 1.0,
            "top_k must be None or at least 1": self.top_k is None or self.top_k >= 1,
            "top_logprobs must be 0 or more": self.top_logprobs >= 0,
            "stop strings must not be empty": all(self.stop),
            # torch's generators take 64 bits
            "seed must be None or within 0 and 2**63 - 1": self.seed is None or 0 <= self.seed < 2**63,
        }
        failed = [rule for rule, holds in checks.items() if not holds]
        if failed:
            raise InputError(f"{'; '.join(failed)}; got {self}")
        object.__setattr__(self, "stop", tuple(self.stop))


@dataclass(frozen=True, kw_only=True)
class Chat:
    """One request: a conversation and what the chat template should make of it.

    A trailing assistant message is a prefill: it is continued, never closed. It may hold `reasoning_content` beside
    `content`; without content, the reasoning is left open and continued.

    Attributes:
        messages: The conversation, oldest first.
        thinking: Asks a template that can for reasoning (True) or for none (False); None leaves the template's default.
        tools: Tool descriptions (JSON schema dictionaries) for the template.

    Raises:
        InputError: There is no message, or a message is not a dictionary with a role.
    """

    messages: tuple[Message, ...]
    thinking: bool | None = None
    tools: tuple[dict[str, Any], ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "messages", tuple(self.messages))
        object.__setattr__(self, "tools", tuple(self.tools))
        if not self.messages:
            raise InputError("a chat needs at least one message, got none")
        for number, message in enumerate(self.messages):
            if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
                raise InputError(
                    f"message {number} of a chat needs a 'role' and a 'content', got {type(message).__name__}"
                )
            content = message.get("content")
            # a dictionary is what some templates take for the result of a tool
            if content is not None and not isinstance(content, (str, list, tuple, Mapping)):
                raise InputError(
                    f"the content of message {number} of a chat must be text or a list of parts, "
                    f"got {type(content).__name__}"
                )

    @property
    def prefill(self) -> Message | None:
        """The trailing assistant message, or None."""
        last = self.messages[-1]
        if last["role"] != "assistant" or last.get("tool_calls"):
            return None
        has_text = bool(content_text(last.get("content")) or last.get("reasoning_content"))
        return last if has_text else None

    @property
    def opening(self) -> tuple[Message, ...]:
        """The messages before the prefill."""
        last = self.messages[-1]
        if last["role"] == "assistant" and not last.get("tool_calls"):
            return self.messages[:-1]
        return self.messages


ChatLike: TypeAlias = Chat | Prompt | str | Sequence[Message]
"""What generation takes for a chat: a Chat, a Prompt, one user message as text, or a list of messages."""


def as_chat(item: ChatLike) -> Chat:
    """Whatever stands for a chat, as a `Chat`.

    Raises:
        InputError: `item` is none of a Chat, a Prompt, a text or a list of messages.
    """
    if isinstance(item, Chat):
        return item
    if isinstance(item, Prompt):
        return Chat(messages=item.messages)
    if isinstance(item, str):
        return Chat(messages=({"role": "user", "content": item},))
    if isinstance(item, Sequence):
        return Chat(messages=tuple(cast(Sequence[Message], item)))
    raise InputError(f"a chat is a Chat, a Prompt, a text or a list of messages, got {type(item).__name__}")
