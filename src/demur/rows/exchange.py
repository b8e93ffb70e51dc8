"""Finds the prompt and the response in a row.

Collections call their fields by many names, keep conversations as `messages`, and mark endings in several vocabularies.
What cannot be read is said, row by row; what cannot be found at all is said once, with the fields that there are.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from demur.errors import InputError
from demur.records import Response, content_text
from demur.rows.row import Rejected, Row, UnreadableError, shown

__all__ = ["PROMPT_NAMES", "Exchange", "Fields", "find_fields", "read_exchange", "read_texts"]

PROMPT_NAMES = ("prompt", "instruction", "question", "query", "input", "user", "goal")
_RESPONSE_NAMES = ("response", "completion", "output", "answer", "generation", "assistant", "model_output")
_MESSAGES_NAMES = ("messages", "conversation", "conversations")
_ENDINGS = {
    "end": "end", "stop": "end", "eos": "end", "end_turn": "end", "stop_sequence": "end", "tool_calls": "end",
    "length": "length", "max_tokens": "length", "model_length": "length",
    "filtered": "filtered", "content_filter": "filtered", "safety": "filtered", "refusal": "filtered",
    "prohibited_content": "filtered", "blocklist": "filtered", "recitation": "filtered", "spii": "filtered",
    "error": "error",
}  # fmt: skip
# What else datasets write into a finish-reason column is unknown and read as an ordinary end.
_FLAGS = {"true": True, "false": False}  # CSV has no booleans
_ENDING_NAMES = ("ending", "finish_reason", "stop_reason")
_TELLING = frozenset({*_ENDING_NAMES, "reasoning", "provider_refusal", "error"})


class Fields(NamedTuple):
    """Which fields hold what."""

    prompt: str | None
    response: str | None
    messages: str | None
    """Used where there is no response field."""


class Exchange(NamedTuple):
    """One row, ready to be judged."""

    prompt: str | None
    response: Response


def find_fields(
    rows: Sequence[Iterable[str]],
    *,
    prompt_field: str | None = None,
    response_field: str | None = None,
    label_field: str | None = None,
    source: str = "the input",
) -> Fields:
    """Which fields of the first rows hold the prompt and the response.

    A field that at least half of the rows have goes before one that is in a few of them, so that an odd row does not
    decide for all.

    Args:
        rows: The fields of the first readable rows.
        prompt_field: The user's choice; must exist when given.
        response_field: The user's choice; must exist when given.
        label_field: The user's choice, which is only looked for; must exist when given.
        source: Named in errors.

    Raises:
        InputError: Nothing fits, or a chosen field does not exist; the message lists the fields found.
    """
    fields = Counter(name for row in rows for name in row)
    found = f"{source} has the fields: {', '.join(fields) or 'none'}"
    options = (("--prompt-field", prompt_field), ("--response-field", response_field), ("--label-field", label_field))
    for option, chosen in options:
        if chosen is not None and chosen not in fields:
            raise InputError(f"{option} {chosen!r} is not there; {found}")
    lowered = {name.lower(): name for name in reversed(list(fields))}

    def first(names: tuple[str, ...]) -> str | None:
        there = [lowered[name] for name in names if name in lowered]
        return next((name for name in there if 2 * fields[name] >= len(rows)), there[0] if there else None)

    response, messages = response_field or first(_RESPONSE_NAMES), None
    if response is None or (response_field is None and 2 * fields[response] < len(rows)):
        messages = first(_MESSAGES_NAMES)
        if messages is not None and (response is None or fields[messages] > fields[response]):
            response = None
        else:
            messages = None
    if response is None and messages is None:
        raise InputError(
            f"no field holds the response; {found}. Name it with --response-field "
            f"(looked for: {', '.join(_RESPONSE_NAMES)}, or {', '.join(_MESSAGES_NAMES)})"
        )
    return Fields(prompt_field or first(PROMPT_NAMES), response, messages)


def read_exchange(row: Row, names: Fields) -> Exchange | Rejected:
    """The prompt and the response of a row, or why they cannot be read.

    Of several turns (`messages`) the last one by the assistant is the response. `reasoning`, `ending` (or
    `finish_reason`, `stop_reason`), `provider_refusal` and `error` are honoured where they hold what their names say.
    """
    try:
        if names.response is not None:
            if names.response not in row.fields:
                raise UnreadableError(f"the field {names.response!r} is missing")
            text = _text(row.fields[names.response], names.response)
            prompt = _prompt_text(row.fields.get(names.prompt)) if names.prompt else None
            return Exchange(prompt, _response(text, row.fields, refused=None))
        return _last_turn(row, names)
    except UnreadableError as error:
        return Rejected(row.line, str(error), shown(row.raw or str(row.fields)), row.source)


def read_texts(row: Row, names: Fields) -> tuple[str | None, str] | None:
    """The prompt and the response of a row that says nothing else about them; None for other rows.

    The same as `read_exchange` in a fifth of the time.
    """
    fields = row.fields
    if names.response is None or not _TELLING.isdisjoint(fields):
        return None
    text = fields.get(names.response)
    if not isinstance(text, str):
        return None
    return _prompt_text(fields.get(names.prompt)) if names.prompt else None, text


def _text(value: Any, name: str) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    raise UnreadableError(f"the field {name!r} should be text, got {type(value).__name__}")


def _prompt_text(value: Any) -> str | None:
    # the prompt informs and is never judged, so an odd one does not cost the row
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value and isinstance(value[-1], dict):
        spoken = [turn for turn in value if isinstance(turn, dict) and turn.get("role") == "user"]
        content = (spoken or value)[-1].get("content")
        return content if isinstance(content, str) else None
    return None


def _last_turn(row: Row, names: Fields) -> Exchange:
    value = row.fields.get(names.messages) if names.messages else None
    if isinstance(value, str):  # CSV keeps nested values as JSON
        try:
            value = json.loads(value)
        except ValueError as error:
            raise UnreadableError(f"the field {names.messages!r} is not JSON: {error}") from error
    if not isinstance(value, list) or not all(isinstance(turn, dict) for turn in value):
        raise UnreadableError(f"the field {names.messages!r} should be a list of messages")
    roles = [str(turn.get("role") or turn.get("from")) for turn in value]
    spoken = [i for i, role in enumerate(roles) if role in {"assistant", "gpt", "model"}]
    if not spoken:
        raise UnreadableError(f"no assistant turn among {len(value)} messages")
    turn = value[spoken[-1]]
    asked = [i for i in range(spoken[-1]) if roles[i] in {"user", "human"}]
    try:
        text = content_text(turn.get("content", turn.get("value")))
        prompt = content_text(value[asked[-1]].get("content", value[asked[-1]].get("value"))) if asked else None
    except InputError as error:
        raise UnreadableError(str(error)) from error
    refused = turn.get("refusal")
    if (
        isinstance(refused, str) and refused
    ):  # the OpenAI field: the provider's own refusal, beside or instead of content
        return Exchange(prompt, _response(text or refused, row.fields, refused=True))
    return Exchange(prompt, _response(text, row.fields, refused=None))


def _response(text: str, fields: dict[str, Any], *, refused: bool | None) -> Response:
    reasoning = fields.get("reasoning")
    flag = fields.get("provider_refusal")
    ending = next(
        (_ENDINGS[str(fields[name]).lower()] for name in _ENDING_NAMES if str(fields.get(name)).lower() in _ENDINGS),
        "end",
    )
    error = fields.get("error")
    if error and not text.strip():
        ending = "error"
    return Response(
        text=text,
        reasoning=reasoning if isinstance(reasoning, str) and reasoning else None,
        ending=ending,  # the values of _ENDINGS are endings
        provider_refusal=refused if refused is not None else _FLAGS.get(str(flag).lower()),
    )
