"""Reads the prompts of an audit from a file of rows."""

from __future__ import annotations

import json
import os

from pydantic import ValidationError

from demur.errors import InputError
from demur.records import Prompt
from demur.rows.exchange import PROMPT_NAMES
from demur.rows.reader import RowReader
from demur.rows.row import Rejected, Row

__all__ = ["read_prompts"]


def read_prompts(path: str | os.PathLike[str]) -> list[Prompt]:
    """Prompts for an audit from a file of rows.

    Fields: `id` (the row number when absent), `prompt` or `messages`, `category`, `expect` (`comply` or `decline`),
    `pair_id`; everything else goes into `meta`.

    Raises:
        InputError: A row is unreadable, an `id` occurs twice, or there is no prompt; the message names the line.
    """
    prompts: list[Prompt] = []
    seen: dict[str, int] = {}
    for row in RowReader(os.fspath(path)):
        where = f"{row.source}, line {row.line}"
        if isinstance(row, Rejected):
            raise InputError(f"{where}: {row.why}")
        prompt = _as_prompt(row, len(prompts) + 1, where)
        if prompt.id in seen:
            raise InputError(
                f"{where}: the id {prompt.id!r} was used in line {seen[prompt.id]} already; ids must be unique"
            )
        seen[prompt.id] = row.line
        prompts.append(prompt)
    if not prompts:
        raise InputError(f"{path} holds no prompts")
    return prompts


def _as_prompt(row: Row, position: int, where: str) -> Prompt:
    rest = dict(row.fields)
    lowered = {name.lower(): name for name in reversed(list(rest))}
    messages = rest.pop(lowered["messages"], None) if "messages" in lowered else None
    if isinstance(messages, str) and messages.strip():
        try:
            messages = json.loads(messages)
        except ValueError as error:
            raise InputError(f"{where}: 'messages' is not JSON: {error}") from error
    if not messages:
        name = next((lowered[n] for n in PROMPT_NAMES if n in lowered), None)
        if name is None:
            raise InputError(
                f"{where}: no field holds the prompt; found the fields: {', '.join(row.fields) or 'none'}; "
                "expected 'prompt' or 'messages'"
            )
        text = rest.pop(name)
        if not isinstance(text, str) or not text.strip():
            raise InputError(f"{where}: the field {name!r} should be text, got {text!r:.60}")
        messages = [{"role": "user", "content": text}]
    identity = rest.pop("id", None)
    # CSV has no null: an empty cell says nothing
    known = {key: rest.pop(key, None) or None for key in ("category", "expect", "pair_id")}
    known = {key: value if value is None or key == "expect" else str(value) for key, value in known.items()}
    try:
        return Prompt(id=str(position if identity in (None, "") else identity), messages=messages, meta=rest, **known)
    except ValidationError as error:
        fault = error.errors()[0]
        raise InputError(f"{where}: {'.'.join(str(p) for p in fault['loc'])}: {fault['msg']}") from error
