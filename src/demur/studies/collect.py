"""From Inspect's log of a task to the rows of `samples.parquet`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from demur.records import Kind, Prompt, Verdict, content_text
from demur.responses.reasoning import conclude
from demur.runs import SAMPLE_COLUMNS

if TYPE_CHECKING:
    from inspect_ai.log import EvalLog, EvalSample

__all__ = ["LENGTH", "has_failed", "sample_rows", "with_facets"]

# What is a column of its own, or belongs to the calibration of the phantom rather than to the prompt.
_NOT_FACETS = {*SAMPLE_COLUMNS, "planted", "condition", "held_out"}

# A facet with more values than this is an identifier, not a way to split a table.
_MOST_VALUES = 12

LENGTH = "prompt_length"
"""The facet that says how long the last user message is."""

# Upper ends in characters: a phrase, a sentence, two or three, a paragraph, a page.
_LENGTHS = (40, 80, 160, 500, 2000)

# A longer value is somebody's text, and texts of users' own prompts do not belong into the labels of a page.
_LONGEST_VALUE = 40


def sample_rows(log: EvalLog, *, mapping: str) -> Iterator[dict[str, Any]]:
    """One row for each sample of `log`, failed ones included.

    An evaluation that was interrupted leaves out what was under way. A sample that failed has
    the kind `unscored`, the ending `error`, and says why in `error`.
    """
    task = log.eval.task.rpartition("/")[2]
    for sample in log.samples or []:
        if log.status != "cancelled" or not has_failed(sample):
            yield _row(task, sample, mapping)


def has_failed(sample: EvalSample) -> bool:
    """Whether asking or scoring failed, so that asking again may help.

    A response that was received and cannot be judged (a prompt too long for the model, say) has not failed.
    """
    return sample.error is not None or not sample.scores


def _row(task: str, sample: EvalSample, mapping: str) -> dict[str, Any]:
    metadata = dict(sample.metadata or {})
    row: dict[str, Any] = {
        "task": task,
        "id": str(sample.id),
        "epoch": sample.epoch,
        "pair_id": metadata.get("pair_id"),
        "category": metadata.get("category"),
        "expect": metadata.get("expect"),
        "prompt": _prompt_text(sample),
        "meta": json.dumps(
            {key: value for key, value in metadata.items() if key not in {"category", "expect", "pair_id"}}
        ),
    }
    if sample.error is not None:
        return row | _unscored(mapping, sample.error.message)
    usage = sample.output.usage
    row |= {
        "tokens_in": usage.input_tokens if usage else None,
        "tokens_out": usage.output_tokens if usage else None,
    }
    scores = sample.scores or {}
    if (right := scores.get("answered")) is not None:
        row["correct"] = bool(right.as_float())
    for score in scores.values():
        found = score.metadata or {}
        if "verdict" in found:
            response: Mapping[str, Any] = found["response"]
            columns = {
                "response": score.answer,
                "reasoning": response.get("reasoning"),
                "ending": response["ending"],
                "error": response.get("meta", {}).get("error"),
                "provider_refusal": response.get("provider_refusal"),
                "stance": conclude(response["reasoning"]).stance if response.get("reasoning") else None,
            }
            if "judge" in found:
                opinion = found["judge"]
                columns["ladder_kind"] = found["ladder"]["kind"]
                columns["judge"] = opinion["label"] or f"failed: {opinion['failure']}"
            return row | _verdict_columns(found["verdict"]) | columns
    return row | _unscored(mapping, "no verdict: scoring did not run")


def _unscored(mapping: str, why: str) -> dict[str, Any]:
    verdict = Verdict(kind=Kind.UNSCORED, decided_by="provider")
    return _verdict_columns(verdict.as_row(mapping)) | {"ending": "error", "error": why}


def _verdict_columns(verdict: Mapping[str, Any]) -> dict[str, Any]:
    return {key: verdict[key] for key in ("kind", "reason", "declined", "onset", "probability", "decided_by")}


def _prompt_text(sample: EvalSample) -> str:
    if isinstance(sample.input, str):
        return sample.input
    messages = tuple({"role": message.role, "content": content_text_of(message.content)} for message in sample.input)
    return Prompt(id="-", messages=messages).text if messages else ""


def content_text_of(content: Any) -> str:
    """The plain text of an Inspect message's content."""
    if isinstance(content, list):
        return content_text([{"text": getattr(part, "text", None)} for part in content])
    return content_text(content)


def with_facets(rows: Sequence[Mapping[str, Any]]) -> tuple[list[dict[str, Any]], list[str]]:
    """Copies of `rows` with the keys of the prompts' metadata by which a table can be split, and those keys in order.

    A key counts when its values are short texts and few, and when it is not the name of a column already. The length of
    the prompt, which no metadata say, is one more: `prompt_length`.
    """
    metas = [{**json.loads(row["meta"]), LENGTH: _length(row["prompt"] or "")} for row in rows]
    values: dict[str, set[str]] = {}
    for meta in metas:
        for key, value in meta.items():
            if key not in _NOT_FACETS and isinstance(value, str) and value:
                values.setdefault(key, set()).add(value)
    facets = sorted(
        key
        for key, seen in values.items()
        if 1 < len(seen) <= min(_MOST_VALUES, len(rows) // 2) and max(map(len, seen)) <= _LONGEST_VALUE
    )
    return [
        {**row, **{key: meta[key] for key in facets if key in meta}} for row, meta in zip(rows, metas, strict=True)
    ], facets


def _length(text: str) -> str:
    """How long a prompt is, as a label: `41 to 80 characters`."""
    low = 0
    for high in _LENGTHS:
        if len(text) <= high:
            return f"{low} to {high} characters"
        low = high + 1
    return f"{low} characters and more"
