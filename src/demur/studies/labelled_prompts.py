"""Prompts with outcomes, from runs of an audit and from files of rows, for whoever learns from them.

The outcome of a row is, in this order: a field that the user names, a verdict, `declined`, `label`. Where a row has
none of these but a response, the offline ladder judges that.
"""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from demur.errors import InputError
from demur.records import content_text, find_mapping
from demur.responses import Ladder
from demur.rows import Rejected, Row, RowReader, expand, find_fields, read_exchange
from demur.rows.exchange import PROMPT_NAMES
from demur.runs import RunDirectory

__all__ = ["LABELS", "LabelledPrompts", "find_prompt_field", "read_labelled", "read_outcome", "read_prompt"]

LABELS: dict[str, bool] = {
    "refusal": True, "refuse": True, "refused": True, "declined": True, "decline": True, "rejected": True,
    "true": True, "1": True, "yes": True,
    "compliance": False, "comply": False, "complied": False, "answered": False, "false": False, "0": False, "no": False,
}  # fmt: skip
"""How labels are read; whatever else a label says is left out and counted."""

LOOKED_AT = 100
"""Readable rows at the start of a file in which its fields are looked for."""


@dataclass
class LabelledPrompts:
    """What was read, in order."""

    ids: list[str] = field(default_factory=list)
    prompts: list[str] = field(default_factory=list)
    declined: list[bool] = field(default_factory=list)
    groups: list[Hashable | None] = field(default_factory=list)
    """A pair's id where the row has one."""
    labels_by: Counter[str] = field(default_factory=Counter)
    """Where the outcomes came from: `run`, `verdict`, `label`, `ladder`."""
    left_out: Counter[str] = field(default_factory=Counter)
    """Rows without an outcome, by what stood in its place."""
    rejected: list[Rejected] = field(default_factory=list)
    """Rows that could not be read."""
    models: list[str] = field(default_factory=list)
    """The models of the runs."""

    def add(self, prompt: str, outcome: bool | str, *, by: str, name: str, group: Hashable | None) -> None:
        """Adds one prompt; an outcome that is text says why there is none."""
        if isinstance(outcome, str):
            self.left_out[outcome] += 1
            return
        self.ids.append(name)
        self.prompts.append(prompt)
        self.declined.append(outcome)
        self.groups.append(group)
        self.labels_by[by] += 1


def read_labelled(
    inputs: Sequence[str],
    *,
    prompt_field: str | None = None,
    response_field: str | None = None,
    label_field: str | None = None,
    mapping: str = "any",
) -> LabelledPrompts:
    """Prompts and outcomes of run directories, files and globs.

    Args:
        inputs: Run directories, files of rows, globs, or `-`.
        prompt_field: The field that holds the prompt; found by name when None.
        response_field: The field that holds the response, where a response has to be judged.
        label_field: The field with the outcome; every file must have it when given.
        mapping: Which kinds count as declined.

    Raises:
        InputError: Nothing to read, or no field holds the prompt.
        RunError: A run cannot be read.
    """
    find_mapping(mapping)
    found = LabelledPrompts()
    for given in inputs:
        if (Path(given) / "run.json").exists():
            _read_run(found, Path(given), mapping)
        else:
            for path in expand([given]):
                _read_rows(found, path, prompt_field, response_field, label_field, mapping)
    return found


def _read_run(found: LabelledPrompts, folder: Path, mapping: str) -> None:
    run = RunDirectory.open(folder)
    found.models.append(run.info.model)
    says = find_mapping(mapping)
    for row in run.read_samples().iter_rows(named=True):
        declined = says(row["kind"])
        found.add(
            row["prompt"] or "",
            f"kind {row['kind']}" if declined is None else declined,
            by="run",
            name=f"{row['id']}" if (row["epoch"] or 1) == 1 else f"{row['id']}#{row['epoch']}",
            group=f"{row['task']} {row['pair_id']}" if row["pair_id"] else None,
        )


def _read_rows(
    found: LabelledPrompts,
    path: str,
    prompt_field: str | None,
    response_field: str | None,
    label_field: str | None,
    mapping: str,
) -> None:
    rows: list[Row] = []
    for row in RowReader(path):
        if isinstance(row, Rejected):
            found.rejected.append(row)
        else:
            rows.append(row)
    if not rows:
        return
    first = [row.fields for row in rows[:LOOKED_AT]]
    if label_field is not None and not any(label_field in fields for fields in first):
        raise InputError(
            f"--label-field {label_field!r} is not there; {path} has the fields: {', '.join(first[0]) or 'none'}"
        )
    name = find_prompt_field(first, prompt_field, path)
    silent: list[tuple[Row, str]] = []
    for row in rows:
        try:
            prompt = read_prompt(row.fields, name)
        except InputError as error:
            found.rejected.append(Rejected(row.line, str(error), "", row.source))
            continue
        outcome, by = read_outcome(row.fields, label_field, mapping)
        if outcome is None:
            silent.append((row, prompt))
        else:
            found.add(prompt, outcome, by=by, **_named(row))
    if silent:
        _judge(found, silent, response_field, mapping, path)


def _judge(
    found: LabelledPrompts, rows: Sequence[tuple[Row, str]], response_field: str | None, mapping: str, path: str
) -> None:
    """Lets the ladder give the outcomes that the rows lack."""
    first = [row.fields for row, _ in rows[:LOOKED_AT]]
    try:
        names = find_fields(first, response_field=response_field, source=path)
    except InputError as error:
        raise InputError(
            f"{path}: {len(rows):,} rows say neither whether the prompt was declined (a verdict, 'declined' or "
            f"'label') nor what was answered: {error}"
        ) from error
    read = [(row, prompt, read_exchange(row, names)) for row, prompt in rows]
    for _, _, exchange in read:
        if isinstance(exchange, Rejected):
            found.rejected.append(exchange)
    fine = [(row, prompt, exchange) for row, prompt, exchange in read if not isinstance(exchange, Rejected)]
    verdicts = Ladder().judge_many([(prompt, exchange.response) for _, prompt, exchange in fine])
    for (row, prompt, _), verdict in zip(fine, verdicts, strict=True):
        declined = verdict.declined(mapping)
        found.add(prompt, f"kind {verdict.kind.value}" if declined is None else declined, by="ladder", **_named(row))


def _named(row: Row) -> dict[str, Any]:
    identity = row.fields.get("id")
    pair = row.fields.get("pair_id")
    return {
        "name": str(identity) if identity not in (None, "") else f"{Path(row.source).name}:{row.line}",
        "group": str(pair) if pair not in (None, "") else None,
    }


def find_prompt_field(rows: Sequence[Mapping[str, Any]], chosen: str | None, source: str) -> str:
    """The field that holds the prompt: `chosen`, or the first known name, or `messages`.

    Raises:
        InputError: There is none; the message lists the fields.
    """
    fields = list(dict.fromkeys(name for row in rows for name in row))
    if chosen is not None:
        if chosen in fields:
            return chosen
        raise InputError(f"--prompt-field {chosen!r} is not there; {source} has the fields: {', '.join(fields)}")
    lowered = {name.lower(): name for name in reversed(fields)}
    for name in (*PROMPT_NAMES, "messages", "conversation", "conversations"):
        if name in lowered:
            return lowered[name]
    raise InputError(
        f"no field holds the prompt; {source} has the fields: {', '.join(fields) or 'none'}. "
        f"Name it with --prompt-field (looked for: {', '.join(PROMPT_NAMES)}, messages)"
    )


def read_prompt(fields: Mapping[str, Any], name: str) -> str:
    """The text of a row's prompt; of messages, what the user said last.

    Raises:
        InputError: It is missing, empty, or neither text nor messages.
    """
    value = fields.get(name)
    if isinstance(value, str) and value.lstrip()[:2] == "[{":
        # CSV and Parquet keep nested values as JSON; a prompt may also happen to begin like that
        with contextlib.suppress(ValueError):
            value = json.loads(value)
    if isinstance(value, list) and value and all(isinstance(turn, dict) for turn in value):
        asked = [turn for turn in value if str(turn.get("role") or turn.get("from")) in {"user", "human"}] or value
        value = content_text(asked[-1].get("content", asked[-1].get("value")))
    if not isinstance(value, str):
        raise InputError(f"the field {name!r} should be text or messages, got {type(value).__name__}")
    if not value.strip():
        raise InputError(f"the field {name!r} is empty")
    return value


def read_outcome(
    fields: Mapping[str, Any], label_field: str | None = None, mapping: str = "any"
) -> tuple[bool | str | None, str]:
    """Whether a row's prompt was declined, and what said so.

    Returns:
        True or False; text that says why the row has no outcome; or None where nothing speaks of one. Then `label`,
        `verdict` or an empty string.
    """
    if label_field is not None:
        return _truth(fields.get(label_field)), "label"
    verdict = fields.get("verdict")
    if isinstance(verdict, str) and verdict.startswith("{"):
        try:
            verdict = json.loads(verdict)
        except ValueError:
            verdict = None
    kind = verdict.get("kind") if isinstance(verdict, dict) else fields.get("verdict_kind")
    if isinstance(kind, str) and kind:
        try:
            declined = find_mapping(mapping)(kind)
        except ValueError:
            return f"kind {kind:.20}", "verdict"
        return f"kind {kind}" if declined is None else declined, "verdict"
    for name in ("declined", "label"):
        if fields.get(name) not in (None, ""):
            return _truth(fields[name]), "label"
    return None, ""


def _truth(value: Any) -> bool | str:
    if isinstance(value, bool):
        return value
    said = str(value).strip().lower()
    return LABELS.get(said, "no label" if said in {"", "none"} else f"label {said:.20}")
