"""From Inspect's messages and tools to the chat that a local model reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from inspect_ai.model import (
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageTool,
    ContentReasoning,
    ContentText,
    GenerateConfig,
)
from inspect_ai.tool import ToolChoice, ToolFunction, ToolInfo

from demur.errors import InputError, ModelError
from demur.models import Chat
from demur.records import Message

__all__ = ["chat_of"]


def chat_of(
    messages: Sequence[ChatMessage],
    *,
    tools: Sequence[ToolInfo] = (),
    tool_choice: ToolChoice = "auto",
    config: GenerateConfig | None = None,
    thinking: bool | None = None,
) -> Chat:
    """The chat for one request to a local model.

    A trailing assistant message stays last, so that the model continues it. Reasoning in earlier assistant messages is
    passed as `reasoning_content`, the name that published chat templates read.

    Args:
        messages: The conversation as Inspect holds it.
        tools: Tools that the model may call.
        tool_choice: Only `auto` and `none` can be asked of a local model.
        config: Its `reasoning_effort`, when set, decides about reasoning: `none` turns it off, anything else on.
        thinking: What the model was loaded with; used when `config` says nothing.

    Raises:
        InputError: A message holds something other than text, or one tool is forced.
    """
    if isinstance(tool_choice, ToolFunction) or tool_choice == "any":
        raise ModelError(f"a local model cannot be forced to call a tool, got tool_choice={tool_choice!r}; use 'auto'")
    effort = config.reasoning_effort if config is not None else None
    return Chat(
        messages=tuple(_message(message) for message in messages),
        thinking=thinking if effort is None else effort != "none",
        tools=() if tool_choice == "none" else tuple(_tool(tool) for tool in tools),
    )


def _message(message: ChatMessage) -> Message:
    plain: Message = {"role": message.role, "content": _text(message)}
    if isinstance(message, ChatMessageAssistant):
        reasoning = [part.reasoning for part in message.content_list if isinstance(part, ContentReasoning)]
        if reasoning:
            plain["reasoning_content"] = "\n\n".join(reasoning)
        if message.tool_calls:
            plain["tool_calls"] = [
                {"id": call.id, "type": "function", "function": {"name": call.function, "arguments": call.arguments}}
                for call in message.tool_calls
            ]
    if isinstance(message, ChatMessageTool):
        plain["name"] = message.function or ""
        if message.tool_call_id:
            plain["tool_call_id"] = message.tool_call_id
        if message.error is not None:
            plain["content"] = f"Error: {message.error.message}"
    return plain


def _text(message: ChatMessage) -> str:
    if isinstance(message.content, str):
        return message.content
    texts: list[str] = []
    for part in message.content:
        if isinstance(part, ContentText):
            texts.append(part.text)
        elif not isinstance(part, ContentReasoning):
            raise InputError(
                f"a local model reads text only, got a {message.role} message with {part.type!r} content. "
                "Send it to a model that reads it, or leave the sample out"
            )
    return "\n".join(texts)


def _tool(tool: ToolInfo) -> dict[str, Any]:
    return {
        "type": "function",
        "function": {
            "name": tool.name,
            "description": tool.description,
            "parameters": tool.parameters.model_dump(mode="json", exclude_none=True),
        },
    }
