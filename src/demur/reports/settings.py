"""Settings and versions of a run as rows of text; secrets are blanked, users' own text is masked."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from demur.reports.numbers import count, duration, moment
from demur.reports.text import visible

__all__ = ["is_secret", "settings_rows", "version_rows"]

Rows = tuple[tuple[str, str], ...]

# `max_tokens` is a setting, `auth_token` is a secret: the singular makes the difference
_SECRET = re.compile(
    r"(^|[_\-.])(api[_\-]?key|key|secret|password|passwd|token|authorization|cookie|credentials?)$", re.IGNORECASE
)
_USERINFO = re.compile(r"(?<=://)[^/@\s]+@")
_QUERY_SECRET = re.compile(r"([?&][^=&\s]*(?:key|token|secret|sig)[^=&\s]*=)[^&\s]+", re.IGNORECASE)
_OWN_TEXT = ("system",)
_LONGEST = 400  # characters of one value; settings are for reading, run.json has them whole


def is_secret(name: str) -> bool:
    """Whether a setting of this name holds a secret, which belongs on no page and in no file of a run."""
    return _SECRET.search(name) is not None


def settings_rows(info: Mapping[str, Any], *, show_text: bool = False) -> Rows:
    """What was asked of which model, in the order in which a reader asks for it."""
    settings = dict(info.get("settings") or {})
    counts = dict(info.get("counts") or {})
    timings = dict(info.get("timings") or {})
    rows: list[tuple[str, str]] = [("Model", _text(info.get("model") or "not recorded"))]
    rows += [
        (f"Model argument {_text(name)}", _safe(name, value)) for name, value in (info.get("model_args") or {}).items()
    ]
    if info.get("suite"):
        rows.append(("Suite", _text(info["suite"])))
    if info.get("tasks"):
        rows.append(("Tasks", _text(", ".join(_strings(info["tasks"])))))
    for name, value in settings.items():
        # what the run resolved (a model's full name) says more than what was typed, and once is enough
        if _is_unset(value) or name == "model_args" or info.get(name):
            continue
        # the user's own prompts stood in place of the built-in ones
        if name == "suite" and not info.get("suite"):
            continue
        if name in _OWN_TEXT and not show_text:
            rows.append((_label(name), f"set ({count(len(str(value)))} characters, masked)"))
        else:
            rows.append((_label(name), _safe(name, value)))
    rows.append(("Status", _text(info.get("status") or "not recorded")))
    names = {
        "expected": "Samples expected",
        "samples": "Samples",
        "errors": "Samples that failed",
        "requests": "Requests made last",
        "received": "Replies received last",
        "replayed": "Replies from the journal",
        "tokens_in": "Tokens read",
        "tokens_out": "Tokens written",
    }
    rows += [(names.get(name, _label(name)), _number(counts[name])) for name in _first(counts, names)]
    if info.get("cost") is not None:
        rows.append(("Cost by the prices given", f"{info['cost']:,.4f}"))
    rows += _judging(info.get("judging") or {})
    for label, key in (("Started", "created"), ("Finished", "finished")):
        if info.get(key):
            rows.append((label, _text(moment(info[key]))))
    rows += [
        (f"Time, {_label(name).lower()}" if name != "seconds" else "Time", _seconds(value))
        for name, value in timings.items()
    ]
    return tuple(rows)


def version_rows(info: Mapping[str, Any]) -> Rows:
    """Versions of everything that a result depends on."""
    rows = [("demur", _text(info.get("demur_version") or "not recorded"))]
    if info.get("schema_version") is not None:
        rows.append(("Run layout", _text(info["schema_version"])))
    rows += [(_text(name), _text(version)) for name, version in (info.get("versions") or {}).items()]
    return tuple(rows)


def _judging(judging: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What judges did, and what they cost."""
    if not judging:
        return []
    rows = [
        ("Judge", _text(judging.get("judge") or "not recorded")),
        (
            "Replies read by the judge",
            f"{_number(judging.get('asked', 0))}: {_number(judging.get('changed', 0))} judged otherwise than by the "
            f"ladder, {_number(judging.get('failed', 0))} without a verdict",
        ),
        (
            "Tokens of the judge",
            f"{_number(judging.get('tokens_in', 0))} in, {_number(judging.get('tokens_out', 0))} out",
        ),
    ]
    if judging.get("cost") is not None:
        rows.append(("Cost of the judge", f"{judging['cost']:,.4f}"))
    for name, words in (("alpha", "Krippendorff's alpha of the panel"), ("unanimous", "Share judged alike by all")):
        if found := judging.get(name):
            rows.append((words, f"{found['value']:.3f}, 95% interval {found['low']:.3f} to {found['high']:.3f}"))
    return rows


def _is_unset(value: Any) -> bool:
    """Whether a setting says nothing: switched off, empty, or a table of nothing but such."""
    if isinstance(value, Mapping):
        return all(_is_unset(own) for own in value.values())
    return value is None or value is False or (isinstance(value, (str, list, tuple)) and not value)


def _first(counts: Mapping[str, Any], names: Iterable[str]) -> list[str]:
    known = [name for name in names if name in counts]
    return known + [name for name in counts if name not in known]


def _label(name: str) -> str:
    text = _text(name).replace("_", " ")
    return text[:1].upper() + text[1:]


def _strings(value: Any) -> Sequence[str]:
    return [value] if isinstance(value, str) else [str(one) for one in value]


def _number(value: Any) -> str:
    return count(value) if isinstance(value, (int, float)) else _text(value)


def _seconds(value: Any) -> str:
    return duration(value) if isinstance(value, (int, float)) else _text(value)


def _safe(name: Any, value: Any) -> str:
    return _text(_without_secrets(name, value))


def _without_secrets(name: Any, value: Any) -> Any:
    if value is not None and is_secret(str(name)):
        return "set (not shown)"
    if isinstance(value, Mapping):
        kept = {inner: own for inner, own in value.items() if not _is_unset(own)}
        return ", ".join(f"{inner}: {_without_secrets(inner, own)}" for inner, own in kept.items()) or "none"
    if isinstance(value, (list, tuple)):
        return ", ".join(str(_without_secrets("", own)) for own in value) or "none"
    if isinstance(value, str):
        return _QUERY_SECRET.sub(r"\1…", _USERINFO.sub("…@", value))
    return value


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = visible(str(value))
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}… ({count(len(text))} characters)"
