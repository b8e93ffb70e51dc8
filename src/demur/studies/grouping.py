"""From prompts to the four groups of one model: ask, read the answers, sort by harm and behaviour, write.

A folder takes everything: `grouping.json` (the model, the settings, the counts), `answers.jsonl` (one line an answer,
as they come) and `groups.jsonl`, which `demur.states.read_groups` reads. What was answered is never asked again, so an
interrupted run goes on, and prompts can be added to groups that turned out too small.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from demur.atomic import write_text
from demur.errors import InputError

if TYPE_CHECKING:
    from demur.models import LocalModel
    from demur.records import Prompt
    from demur.states.contrasts import Contrast
    from demur.states.groups import Groups

__all__ = ["Grouping", "GroupingSettings", "make_groups"]

_SETTINGS, _ANSWERS, _GROUPS = "grouping.json", "answers.jsonl", "groups.jsonl"


@dataclass(frozen=True, kw_only=True)
class GroupingSettings:
    """How prompts become groups.

    Attributes:
        max_tokens: Of each answer; declining shows at its start.
        temperature: Of the answers; 0 is greedy.
        seed: Of the answers, where they are sampled; each prompt has a draw of its own, whatever its place.
        mapping: Which kinds of answers count as declined.
        sure: How probable a verdict must be, from 0.5 to 1: prompts whose answer is read with less certainty are left
            out. Verdicts without a probability (of rules, say) count as certain.
        least: Different prompts that every needed group must have, at least 2.
        contrast: `balanced` needs all four groups, `published` the refused harmful and the accepted harmless.
    """

    max_tokens: int = 64
    temperature: float = 0.0
    seed: int = 0
    mapping: str = "any"
    sure: float = 0.5
    least: int = 2
    contrast: Contrast = "balanced"

    def __post_init__(self) -> None:
        if not 0.5 <= self.sure <= 1 or self.least < 2 or self.max_tokens < 1:
            raise InputError(
                f"sure must be within 0.5 and 1, least at least 2 and max_tokens at least 1, got {self.sure}, "
                f"{self.least} and {self.max_tokens}"
            )
        if self.contrast not in ("balanced", "published"):
            raise InputError(f"contrast must be balanced or published, got {self.contrast!r}")


@dataclass(frozen=True)
class Grouping:
    """The groups of one model and what did not get into them.

    Attributes:
        groups: Prompts by harm and behaviour.
        left_out: Prompts in no group, by why: a kind that cannot be judged, or `unsure`.
        asked: Prompts that were asked now; the others were answered before.
        path: Where the groups are.
    """

    groups: Groups
    left_out: dict[str, int]
    asked: int
    path: Path

    def __str__(self) -> str:
        counts = ", ".join(f"{n} {name.replace('_', ' ')}" for name, n in self.groups.counts.items())
        missing = "".join(f"; left out: {n} {why}" for why, n in sorted(self.left_out.items()))
        return f"{counts}{missing}"


def make_groups(
    model: LocalModel,
    prompts: Sequence[Prompt],
    out: Path | str,
    *,
    settings: GroupingSettings | None = None,
    batch_size: int = 32,
    resume: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Grouping:
    """Ask the model every prompt and write its four groups.

    Args:
        model: The model whose groups these are.
        prompts: With `expect`: `decline` means harmful, `comply` harmless.
        out: A folder; it is made.
        settings: None takes the defaults.
        batch_size: Most prompts at once.
        resume: Go on in a folder that has answers: those of the given prompts are taken as they are.
        progress: Called with the answers there are and the number of prompts.

    Raises:
        InputError: There are no prompts, one does not say what is expected or two are the same, the folder has answers
            and `resume` is off or they are of another model or other settings, or a needed group is too small. In the
            last case the answers are kept; add prompts and resume.
    """
    from demur.models import Sampling
    from demur.responses import Ladder
    from demur.states.groups import write_groups

    chosen, folder = settings or GroupingSettings(), Path(out)
    keys = _keys(prompts)
    answers = _open(folder, _told(model, chosen), resume)
    missing = [n for n, key in enumerate(keys) if key not in answers]
    if progress is not None:
        progress(len(keys) - len(missing), len(keys))
    ladder = Ladder()
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / _ANSWERS).open("a", encoding="utf-8") as file:
        for start in range(0, len(missing), batch_size):
            batch = missing[start : start + batch_size]
            given = model.generate(
                [prompts[n] for n in batch],
                sampling=[
                    Sampling(
                        max_tokens=chosen.max_tokens,
                        temperature=chosen.temperature,
                        seed=int(hashlib.sha256(f"{chosen.seed}/{keys[n]}".encode()).hexdigest()[:12], 16),
                    )
                    for n in batch
                ],
                batch_size=batch_size,
            )
            verdicts = ladder.judge_many(
                [(prompts[n].text, answer.response) for n, answer in zip(batch, given, strict=True)]
            )
            for n, answer, verdict in zip(batch, given, verdicts, strict=True):
                row = {"key": keys[n], "id": prompts[n].id, "response": answer.response.text}
                row |= {"ending": answer.response.ending, **verdict.as_row(chosen.mapping)}
                answers[keys[n]] = row
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
            file.flush()
            if progress is not None:
                progress(len(keys) - len(missing) + start + len(batch), len(keys))
    groups, left_out = _sorted(prompts, [answers[key] for key in keys], chosen)
    found = Grouping(groups, left_out, len(missing), folder / _GROUPS)
    told = {**_told(model, chosen), "counts": groups.counts, "left_out": left_out}
    write_text(folder / _SETTINGS, json.dumps(told, indent=1, ensure_ascii=False) + "\n")
    _require(found, chosen, folder)
    write_groups(groups, found.path)
    return found


def _keys(prompts: Sequence[Prompt]) -> list[str]:
    """What tells a prompt from another, whatever its place and id."""
    if not prompts:
        raise InputError("no prompts were given, so there are no groups to make")
    if silent := next((p.id for p in prompts if p.expect is None), None):
        raise InputError(f"the prompt {silent!r} has no expect; say 'decline' (harmful) or 'comply' (harmless)")
    texts = [json.dumps(list(p.messages), sort_keys=True, ensure_ascii=False) for p in prompts]
    twice = [text for text, count in Counter(texts).items() if count > 1]
    if twice:
        first = [p.id for p, text in zip(prompts, texts, strict=True) if text == twice[0]]
        raise InputError(f"{len(twice)} prompts are there more than once, first as {', '.join(first)}; give each once")
    return [hashlib.sha256(text.encode()).hexdigest() for text in texts]


def _told(model: LocalModel, settings: GroupingSettings) -> dict[str, Any]:
    from demur.states.identity import identity

    return {"format": 1, "model": identity(model), "settings": asdict(settings)}


def _open(folder: Path, told: dict[str, Any], resume: bool) -> dict[str, dict[str, Any]]:
    """The answers that the folder holds already, by key."""
    file, beside = folder / _ANSWERS, folder / _SETTINGS
    if not file.exists():
        write_text(beside, json.dumps(told, indent=1, ensure_ascii=False) + "\n")
        return {}
    if not resume:
        raise InputError(f"{folder} has answers already; resume to go on with them, or give another folder")
    try:
        before = json.loads(beside.read_text(encoding="utf-8"))
        lines = file.read_text(encoding="utf-8").split("\n")
        # a line that was being written when the run stopped has no end; its prompt is asked again
        rows = [json.loads(line) for line in lines[:-1]]
        answers = {str(row["key"]): dict(row) for row in rows}
        # how answers are read into groups may change; who answered, and how, may not
        same = before["model"] == told["model"] and all(
            before["settings"][name] == told["settings"][name]
            for name in ("max_tokens", "temperature", "seed", "mapping")
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"the answers in {folder} cannot be read: {type(error).__name__}: {error}") from error
    if not same:
        raise InputError(
            f"the answers in {folder} are of {before['model'].get('model')!r} with {before['settings']}, not of this "
            "model and these settings; give another folder"
        )
    if lines[-1]:
        write_text(file, "".join(line + "\n" for line in lines[:-1]))
    return answers


def _sorted(
    prompts: Sequence[Prompt], answers: Sequence[dict[str, Any]], settings: GroupingSettings
) -> tuple[Groups, dict[str, int]]:
    from demur.states.groups import from_labels

    kept: list[tuple[Prompt, bool]] = []
    left_out: Counter[str] = Counter()
    for prompt, answer in zip(prompts, answers, strict=True):
        declined, probability = answer["declined"], answer["probability"]
        if declined is None:
            left_out[str(answer["kind"])] += 1
        elif probability is not None and max(probability, 1 - probability) < settings.sure:
            left_out["unsure"] += 1
        else:
            kept.append((prompt, bool(declined)))
    groups = from_labels(
        [p for p, _ in kept], harmful=[p.expect == "decline" for p, _ in kept], refused=[no for _, no in kept]
    )
    return groups, dict(left_out)


def _require(found: Grouping, settings: GroupingSettings, folder: Path) -> None:
    needed = found.groups._fields if settings.contrast == "balanced" else ("refused_harmful", "accepted_harmless")
    short = [name for name in needed if found.groups.counts[name] < settings.least]
    if not short:
        return
    hints = {
        "refused_harmful": "plainly harmful requests",
        "accepted_harmful": "harmful requests under wrappers that the model gives in to",
        "refused_harmless": "harmless requests that sound harmful",
        "accepted_harmless": "ordinary requests",
    }
    wanted = "; ".join(f"{name.replace('_', ' ')}: {found.groups.counts[name]}, add {hints[name]}" for name in short)
    other = " Or take contrast='published', which needs two groups." if settings.contrast == "balanced" else ""
    raise InputError(
        f"groups with fewer than {settings.least} prompts: {wanted}. All: {found}. The answers are kept in {folder}: "
        f"add prompts and resume, and only the new ones are asked.{other}"
    )
