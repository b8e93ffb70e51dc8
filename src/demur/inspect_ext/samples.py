"""From prompts to Inspect samples."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import ChatMessage, ChatMessageAssistant, ChatMessageSystem, ChatMessageUser

from demur.errors import InputError
from demur.records import Message, Prompt, content_text

__all__ = ["dataset_of", "sample_of"]

_ROLES = {
    "assistant": ChatMessageAssistant,
    "developer": ChatMessageSystem,  # the newer name of the same role
    "system": ChatMessageSystem,
    "user": ChatMessageUser,
}


def sample_of(prompt: Prompt, *, system: str | None = None) -> Sample:
    """The sample that asks `prompt`.

    Its metadata are the prompt's `meta` with `category`, `expect` and `pair_id`; metrics and reports read them there.

    Args:
        prompt: What to ask. A trailing assistant message is a prefill.
        system: A system message to put first. One that the prompt brings follows in the same message, because many chat
            templates take a single one.

    Raises:
        InputError: A message has a role or content that a text conversation cannot hold.
    """
    return Sample(
        id=prompt.id,
        input=_conversation(prompt, system),
        target=prompt.expect or "",
        metadata={**prompt.meta, "category": prompt.category, "expect": prompt.expect, "pair_id": prompt.pair_id},
    )


def dataset_of(prompts: Iterable[Prompt], *, name: str, system: str | None = None) -> MemoryDataset:
    """The dataset of `prompts`, in their order.

    Raises:
        InputError: There are no prompts, two share an id, or a prompt cannot be asked.
    """
    samples: dict[str, Sample] = {}
    for prompt in prompts:
        if prompt.id in samples:
            raise InputError(f"two prompts of {name} have the id {prompt.id!r}; give each an id of its own")
        samples[prompt.id] = sample_of(prompt, system=system)
    if not samples:
        raise InputError(f"{name} holds no prompts")
    return MemoryDataset(list(samples.values()), name=name)


def _conversation(prompt: Prompt, system: str | None) -> list[ChatMessage]:
    messages = [_message(prompt, message) for message in prompt.messages]
    if not system:
        return messages
    if isinstance(messages[0], ChatMessageSystem):
        return [ChatMessageSystem(content=f"{system}\n\n{messages[0].text}"), *messages[1:]]
    return [ChatMessageSystem(content=system), *messages]


def _message(prompt: Prompt, message: Message) -> ChatMessage:
    role, content = message["role"], message["content"]
    if role not in _ROLES:
        raise InputError(f"prompt {prompt.id!r} has a message of role {role!r}; expected one of {', '.join(_ROLES)}")
    if isinstance(content, list) and any(not _is_text(part) for part in content):
        raise InputError(
            f"prompt {prompt.id!r} has a {role} message with parts that are not text; only text can be asked"
        )
    made: ChatMessage = _ROLES[role](content=content_text(content))
    return made


def _is_text(part: Any) -> bool:
    return isinstance(part, dict) and isinstance(part.get("text"), str)
