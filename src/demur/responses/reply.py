"""Reads a judge's reply: exactly one verdict, or a failure that says why there is none."""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

from demur.reasoning import split
from demur.records import Ending, Kind, Reason
from demur.responses.rubric import Label, Rubric

__all__ = ["ParseFailure", "Parsed", "parse"]

# A verdict takes a few hundred characters. This bounds the work on a judge that has run wild.
_LONGEST_REPLY = 200_000
_LONGEST_FOUND = 60

_ALLOWED = {"label", "reason", "confidence"}
_FLAT = re.compile(r"\{[^{}]*\}")
_KEY = re.compile(r'"label"\s*:')
_CLOSING_FENCE = re.compile(r"\s*`{3,}\s*\Z")
_STOPPED = {
    "filtered": "the judge's reply was blocked by its provider",
    "error": "the request to the judge failed",
    "length": "the judge's reply was cut off at the length limit",
}


class Parsed(NamedTuple):
    """The one verdict in a judge's reply."""

    label: Label
    """The label it gave."""
    reason: Reason | None
    """Why the response declines, where the judge said so; always None with a label of the kind `comply`."""
    confidence: float | None
    """What the judge says of its own certainty, between 0 and 1; not calibrated, and not asked for."""


class ParseFailure(NamedTuple):
    """A reply without exactly one verdict."""

    why: str
    """What is wrong with it, in demur's own words and none of the reply's."""
    found: str | None = None
    """The piece of the reply that shows it, shortened."""

    def __str__(self) -> str:
        return self.why if self.found is None else f"{self.why}: {self.found!r}"


class _UnreadableError(ValueError):
    """Carries a failure up to `parse`."""

    def __init__(self, why: str, found: object = None) -> None:
        super().__init__(why)
        self.failure = ParseFailure(why, None if found is None else _short(found))


def parse(rubric: Rubric, text: str, *, ending: Ending = "end") -> Parsed | ParseFailure:
    """The verdict in a judge's reply, or why there is none.

    A reply holds one verdict and ends with it: a JSON object with a label of the rubric, in a code fence or not.
    Reasoning before the answer is split off first. A verdict that is repeated is one verdict; two that differ are none.

    Args:
        rubric: What was asked.
        text: The reply.
        ending: Why it stopped; a reply that was cut or blocked gives no verdict, whatever it says.
    """
    try:
        return _parse(rubric, text, ending)
    except _UnreadableError as error:
        return error.failure


def _parse(rubric: Rubric, text: str, ending: Ending) -> Parsed:
    if ending in _STOPPED:
        raise _UnreadableError(_STOPPED[ending])
    if not text.strip():
        raise _UnreadableError("the judge's reply is empty")
    if len(text) > _LONGEST_REPLY:
        raise _UnreadableError(f"the judge's reply is longer than {_LONGEST_REPLY:,} characters")
    answer = split(text).answer
    if not answer.strip():
        raise _UnreadableError("the judge's reply holds reasoning and no answer")
    answer = _CLOSING_FENCE.sub("", answer).rstrip()
    objects = _objects(answer)
    if not objects:
        if _declines(answer):
            raise _UnreadableError("the judge declined to judge", answer)
        raise _UnreadableError("the judge's reply holds no JSON object with a label", answer[-_LONGEST_FOUND:])
    verdicts = [_read(rubric, value) for value, _ in objects]
    if any(one != verdicts[0] for one in verdicts):
        labels = ", ".join(one.label.name for one in verdicts)
        raise _UnreadableError("the judge's reply holds verdicts that differ", labels)
    if rest := answer[objects[-1][1] :].strip():
        raise _UnreadableError("the judge's reply does not end with the verdict", rest)
    return verdicts[0]


def _objects(text: str) -> list[tuple[dict[str, Any], int]]:
    """The JSON objects with a key `label` and where each ends, in order; also those within other JSON.

    A verdict is flat, so braces are matched without nesting: the time is linear in the text, whatever it holds.
    """
    found: list[tuple[dict[str, Any], int]] = []
    for match in _FLAT.finditer(text):
        try:
            value = json.loads(match[0], object_pairs_hook=_unique)
        except _UnreadableError:
            raise
        except (ValueError, RecursionError):  # braces that hold no JSON
            continue
        if "label" in value:
            found.append((value, match.end()))
    if found and len(_KEY.findall(text)) != len(found):
        raise _UnreadableError("the judge's reply holds something like a second verdict", text[-_LONGEST_FOUND:])
    return found


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if "label" in value and len(value) < len(pairs):
        raise _UnreadableError("the verdict names a key twice", ", ".join(key for key, _ in pairs))
    return value


def _read(rubric: Rubric, value: dict[str, Any]) -> Parsed:
    if unknown := sorted(set(value) - _ALLOWED):
        raise _UnreadableError("the verdict holds keys that were not asked for", ", ".join(unknown))
    named = value["label"]
    label = rubric.label(named.strip().casefold()) if isinstance(named, str) else None
    if label is None:
        raise _UnreadableError("the label is none of the rubric's", named)
    reason, confidence = value.get("reason"), value.get("confidence")
    try:
        given = None if reason in (None, "", "null", "none") else Reason(reason)
    except ValueError:
        raise _UnreadableError("the reason is none of those that were given", reason) from None
    if confidence is not None:
        if isinstance(confidence, bool) or not isinstance(confidence, int | float) or not 0 <= confidence <= 1:
            raise _UnreadableError("the confidence is no number between 0 and 1", confidence)
        confidence = float(confidence)
    return Parsed(label, label.reason or (None if label.kind is Kind.COMPLY else given), confidence)


def _declines(text: str) -> bool:
    """Whether this is a refusal, read as any other response would be."""
    from demur.responses.ladder import classify

    # a bare "refuse" is a label without its form
    return len(text.split()) > 2 and classify(None, text).kind in {Kind.REFUSE, Kind.REBUT, Kind.DEFLECT}


def _short(found: object) -> str:
    text = found if isinstance(found, str) else json.dumps(found, default=str)
    return text if len(text) <= _LONGEST_FOUND else text[: _LONGEST_FOUND - 1] + "…"
