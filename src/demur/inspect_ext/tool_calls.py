"""Reads tool calls out of what a local model wrote.

Read is the layout that most published templates teach (Hermes, Qwen): one JSON object with `name` and `arguments`
between `<tool_call>` and `</tool_call>`. Other layouts stay in the text, where a person can see them.
"""

from __future__ import annotations

import json
import re
from uuid import uuid4

from inspect_ai.tool import ToolCall

__all__ = ["take_tool_calls"]

_BLOCK = re.compile(r"<tool_call>(.*?)(?:</tool_call>|\Z)", re.DOTALL)


def take_tool_calls(text: str) -> tuple[str, list[ToolCall]]:
    """The text without its tool calls, and the calls.

    A call that cannot be read has `parse_error` set, so that Inspect reports it to the model.
    """
    calls = [_read(match[1].strip()) for match in _BLOCK.finditer(text)]
    return (_BLOCK.sub("", text).strip() if calls else text), calls


def _read(block: str) -> ToolCall:
    call_id = f"call_{uuid4().hex[:12]}"
    try:
        found = json.loads(block)
        name, arguments = found["name"], found.get("arguments", {})
        if not isinstance(name, str) or not isinstance(arguments, dict):
            raise TypeError("name must be text and arguments an object")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return ToolCall(
            id=call_id,
            function="unknown",
            arguments={},
            parse_error=f"expected a JSON object with 'name' and 'arguments' in <tool_call>, got {block!r} ({error})",
        )
    return ToolCall(id=call_id, function=name, arguments=arguments)
