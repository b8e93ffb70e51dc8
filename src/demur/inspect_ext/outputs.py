"""From what Inspect's providers give back to responses: text, reasoning, and why it ended."""

from __future__ import annotations

from typing import Any

from inspect_ai.model import ContentReasoning, ContentText, ModelOutput

from demur.reasoning import split
from demur.records import Ending, Response

__all__ = ["response_of"]


def response_of(output: ModelOutput) -> Response:
    """What a model gave back, from Inspect's record of it.

    Reasoning comes from the provider's reasoning blocks; without any, from markup left in the text. `meta` may hold
    `reasoning_state` (how it was split), `error`, `stop_details` (the provider's category of a block), `fallback` (the
    model that answered instead) and `tool_calls` (how many).

    The ending is `error`, so that nothing is judged, when there is no choice at all, when the prompt did not fit, and
    when another model answered in place of the one that was asked.
    """
    meta: dict[str, Any] = {}
    if output.error:
        meta["error"] = output.error
    if output.empty:
        return Response(text="", ending="error", meta={"error": "the provider returned no choice", **meta})
    message, choice = output.message, output.choices[0]
    text = message.text
    blocks = [part for part in message.content_list if isinstance(part, ContentReasoning)]
    if blocks:
        reasoning: str | None = "\n\n".join(
            (part.summary or "") if part.redacted else part.reasoning for part in blocks
        )
        state = "provider"
    else:
        reasoning, text, state, _ = split(text)
    if state != "none":
        meta["reasoning_state"] = state
    if choice.stop_details is not None:
        meta["stop_details"] = choice.stop_details.model_dump(exclude_none=True)
    if message.tool_calls:
        meta["tool_calls"] = len(message.tool_calls)
    ending = _ending(output, text)
    if text and _is_rejection(output, text):
        # a request that the server turned down comes back as an output whose text is the server's error message
        meta.setdefault("error", text)
        text, ending = "", "filtered" if output.stop_reason == "content_filter" else "error"
    if output.fallback is not None:
        meta["fallback"] = output.fallback.fallback_model
        meta.setdefault("error", f"answered by {output.fallback.fallback_model}, not by {output.fallback.model}")
        ending = "error"
    flags = [
        part.refusal for part in message.content_list if isinstance(part, ContentText) and part.refusal is not None
    ]
    return Response(
        text=text, reasoning=reasoning, ending=ending, provider_refusal=any(flags) if flags else None, meta=meta
    )


def _is_rejection(output: ModelOutput, text: str) -> bool:
    """Whether the text is a server's message about a request that never reached the model.

    Inspect's providers make an output of such errors (HTTP 400 for a filtered or an overlong prompt), with nothing
    counted. What a model wrote before it was cut has its tokens counted.
    """
    if output.stop_reason not in {"content_filter", "model_length"}:
        return output.error is not None and output.usage is None
    details = output.choices[0].stop_details
    explained = details is not None and (details.explanation or "").strip() == text.strip()
    return output.usage is None or output.error is not None or explained


def _ending(output: ModelOutput, text: str) -> Ending:
    match output.stop_reason:
        case "content_filter":
            return "filtered"
        case "max_tokens":
            return "length"
        case "model_length":
            # either the context filled up while the model wrote, or the prompt alone was too long for it
            return "length" if text else "error"
        case _:
            return "error" if output.error and not text else "end"
