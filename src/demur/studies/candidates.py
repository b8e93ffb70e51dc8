"""Rows of training data as chats that a probe can read: what was asked, what was thought, what was answered."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

from demur.errors import InputError, MissingExtraError
from demur.models.request import Chat
from demur.reasoning import split
from demur.records import Response
from demur.rows import Fields, Rejected, Row, RowReader, find_fields, find_inputs, read_exchange
from demur.studies.labelled_prompts import LOOKED_AT, find_prompt_field, read_prompt

__all__ = ["Candidate", "candidates", "fingerprint"]

_CONVERSATIONS = ("messages", "conversation", "conversations")
_REASONING_NAMES = ("reasoning", "thinking", "reasoning_content", "thought")
_ROLES = {"human": "user", "gpt": "assistant", "model": "assistant"}


class Candidate(NamedTuple):
    """One row."""

    row: Row
    chat: Chat
    """What was asked: everything before the answer."""
    reasoning: str | None
    """What the row holds of the reasoning before the answer."""
    response: Response | None
    """The stored answer, without its reasoning."""


def candidates(
    data: Sequence[str],
    *,
    prompt_field: str | None = None,
    response_field: str | None = None,
    reasoning_field: str | None = None,
    split_name: str | None = None,
) -> Iterator[Candidate | Rejected]:
    """Read rows one by one, in order.

    Args:
        data: Files of rows, globs, folders of part files, or folders that `datasets` wrote (`save_to_disk`).
        prompt_field: Field with the prompt or with messages; found by name when None.
        response_field: Field with the answer; found by name when None, and not needed.
        reasoning_field: Field with the reasoning; found by name when None. Reasoning inside the answer, in tags, is
            split off.
        split_name: Which split of a folder of several splits.

    Raises:
        InputError: Nothing to read, standard input (rows are read twice), or a chosen field does not exist.
        MissingExtraError: A folder of `datasets` is given and the package is not installed.
    """
    for path, rows in _sources(data, split_name):
        ahead = list(islice(rows, LOOKED_AT))
        readable = [row.fields for row in ahead if isinstance(row, Row)]
        if not readable:
            yield from (row for row in ahead if isinstance(row, Rejected))
            continue
        for option, chosen in (("--response-field", response_field), ("--reasoning-field", reasoning_field)):
            if chosen is not None and not any(chosen in fields for fields in readable):
                known = ", ".join(dict.fromkeys(name for fields in readable for name in fields))
                raise InputError(f"{option} {chosen!r} is not there; {path} has the fields: {known}")
        prompt = find_prompt_field(readable, prompt_field, path)
        names = _answers(readable, prompt, response_field, path)
        thoughts = (reasoning_field,) if reasoning_field else _REASONING_NAMES
        for row in chain(ahead, rows):
            yield row if isinstance(row, Rejected) else _candidate(row, prompt, names, thoughts)


def fingerprint(data: Sequence[str]) -> list[list[Any]]:
    """Names, sizes and times of the files, to tell whether a run goes on with what it began with.

    Raises:
        InputError: Nothing to read, or standard input.
    """
    found = []
    for given in data:
        inside = sorted(Path(given).rglob("*.arrow")) if _is_dataset(given) else None
        for file in inside if inside is not None else [Path(one.path) for one in _files([given])]:
            told = file.stat()
            found.append([str(file), told.st_size, told.st_mtime_ns])
    return found


def _sources(data: Sequence[str], split_name: str | None) -> Iterator[tuple[str, Iterator[Row | Rejected]]]:
    for given in data:
        if _is_dataset(given):
            yield given, _dataset_rows(given, split_name)
            continue
        for file in _files([given]):
            yield file.path, iter(RowReader(file))


def _files(given: Sequence[str]) -> list[Any]:
    found = find_inputs(given)
    if any(file.path == "-" for file in found):
        raise InputError("rows are read twice, to score and to select, so standard input cannot be used; name a file")
    return found


def _is_dataset(given: str) -> bool:
    folder = Path(given)
    return (folder / "dataset_info.json").is_file() or (folder / "dataset_dict.json").is_file()


def _dataset_rows(given: str, split_name: str | None) -> Iterator[Row | Rejected]:
    try:
        from datasets import DatasetDict, load_from_disk  # type: ignore[import-not-found, unused-ignore]
    except ImportError as error:
        raise MissingExtraError(
            "reading a folder of Hugging Face datasets", "train", error.name or "datasets"
        ) from error
    try:
        held = load_from_disk(given)
    except (OSError, ValueError) as error:
        raise InputError(f"{given} is no folder that `datasets` wrote: {error}") from error
    if isinstance(held, DatasetDict):
        if split_name not in held:
            raise InputError(f"{given} has the splits {', '.join(held)}; choose one with --split, got {split_name!r}")
        held = held[split_name]
    for number, fields in enumerate(held, 1):
        yield Row(number, given, dict(fields))


def _answers(rows: Sequence[Mapping[str, Any]], prompt: str, response_field: str | None, path: str) -> Fields | None:
    """Where the stored answers are, or None where there are none."""
    if prompt.lower() in _CONVERSATIONS and response_field is None:
        return Fields(None, None, prompt)
    try:
        return find_fields(rows, prompt_field=prompt, response_field=response_field, source=path)
    except InputError:
        return None


def _candidate(row: Row, prompt: str, names: Fields | None, thoughts: Sequence[str]) -> Candidate | Rejected:
    turns = _turns(row.fields.get(prompt))
    try:
        chat = _chat(row.fields, prompt, turns)
    except InputError as error:
        return Rejected(row.line, str(error), json.dumps(row.fields, default=str)[:2000], row.source)
    said = {**(turns[-1] if turns else {}), **row.fields}
    reasoning = next((v for name in thoughts if isinstance(v := said.get(name), str) and v.strip()), None)
    found = read_exchange(row, names) if names else None
    if found is None or isinstance(found, Rejected):  # the answer informs; without it the row can still be scored
        return Candidate(row, chat, reasoning, None)
    response = found.response
    apart = split(response.text)
    if apart.reasoning:
        reasoning = reasoning or apart.reasoning
        response = response.model_copy(update={"text": apart.answer, "reasoning": apart.reasoning})
    return Candidate(row, chat, reasoning, response if response.text.strip() else None)


def _turns(value: Any) -> list[dict[str, Any]] | None:
    """The messages in a field that holds some, also as JSON, as CSV and Parquet keep them."""
    if isinstance(value, str) and value.lstrip().startswith("[{"):
        try:
            value = json.loads(value)
        except ValueError:  # a prompt may happen to begin like that
            return None
    if isinstance(value, list) and value and all(isinstance(turn, dict) for turn in value):
        return value
    return None


def _chat(fields: Mapping[str, Any], name: str, turns: list[dict[str, Any]] | None) -> Chat:
    if turns is None:
        text, system = read_prompt(fields, name), fields.get("system")
        first = [{"role": "system", "content": system}] if isinstance(system, str) and system.strip() else []
        return Chat(messages=(*first, {"role": "user", "content": text}))
    messages = []
    for turn in turns:
        role = str(turn.get("role") or turn.get("from"))
        messages.append({"role": _ROLES.get(role, role), "content": turn.get("content", turn.get("value"))})
    if messages[-1]["role"] == "assistant":
        messages.pop()
    if not any(message["role"] == "user" for message in messages):
        raise InputError(f"the field {name!r} holds no message of a user before the answer")
    return Chat(messages=tuple(messages))
