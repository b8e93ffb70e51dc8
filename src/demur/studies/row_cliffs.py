"""The cliff of each row of training data, and whether its answer declines; rows that have none say why.

Source: "Refusal Falls off a Cliff", arXiv 2510.06036.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from demur.errors import InputError
from demur.records import content_text
from demur.rows import Rejected
from demur.states.cliff import Cliff, Measure, Over, Plateau, measure_cliff
from demur.states.probe import Probe
from demur.states.refusal_path import score_paths
from demur.states.rollouts import closed_reasoning, roll_out
from demur.studies.candidates import Candidate

if TYPE_CHECKING:
    from demur.inspect_ext.sync_judging import SyncJudge
    from demur.models import Chat, LocalModel
    from demur.records import Response

__all__ = ["SelectSettings", "score_rows"]


@dataclass(frozen=True, kw_only=True)
class SelectSettings:
    """How rows are read, scored and kept."""

    fraction: float
    """Share of the scored rows that is kept, in (0, 1]; the paper keeps 0.017."""
    prompt_field: str | None = None
    response_field: str | None = None
    reasoning_field: str | None = None
    split: str | None = None
    """Which split of a folder of `datasets`."""
    over: Over = "reasoning"
    """Where the plateau is read; `prompt` is for models that do not reason."""
    think: bool = False
    """Whether the model thinks anew about every prompt, as in the paper, in place of reasoning in the rows."""
    max_tokens: int = 2048
    """Of reasoning and answer, where the model thinks."""
    temperature: float = 0.0
    measure: Measure = "drop"
    """What rows are ranked by; `released` is the final score alone."""
    plateau: Plateau = "top"
    margin: int = 8
    judges: tuple[str, ...] = ()
    """Models that say whether the stored answers decline; several are a panel."""
    mapping: str = "any"
    """Which kinds count as declined."""
    seed: int = 0
    batch_size: int = 8

    def __post_init__(self) -> None:
        if not 0 < self.fraction <= 1:
            raise InputError(f"--fraction must be above 0 and at most 1, got {self.fraction}")
        if self.over == "prompt" and self.think:
            raise InputError("--think lets the model reason, but the plateau is read over the prompt; leave one away")
        if self.batch_size < 1 or self.max_tokens < 1:
            raise InputError(f"batch size and most tokens must be at least 1, got {self.batch_size}, {self.max_tokens}")


def score_rows(
    batch: Sequence[Candidate | Rejected],
    model: LocalModel,
    probe: Probe,
    settings: SelectSettings,
    judge: SyncJudge | None,
    *,
    first: int,
) -> list[dict[str, Any]]:
    """One line a row: where it stands, and its scores or why it has none.

    A line holds `source` and `line`, then either `why`, or `cliff` and, where there is an answer, whether it declines
    by the `rules` and by the `judge`.

    Args:
        batch: Some rows.
        model: The model to read.
        probe: Of refusal.
        settings: How.
        judge: Asked about every answer.
        first: Number of the first row in the data, so that draws do not depend on where a batch begins.
    """
    whys: dict[int, str] = {n: row.why for n, row in enumerate(batch) if isinstance(row, Rejected)}
    given = {n: row for n, row in enumerate(batch) if isinstance(row, Candidate)}
    responses: dict[int, Response | None] = {n: row.response for n, row in given.items()}
    chats: dict[int, Chat] = {}
    thoughts = _thoughts(given, model, settings, responses, whys, first)
    for number, row in given.items():
        if number in whys:
            continue
        with _told(whys, number):
            chat = row.chat if settings.over == "prompt" else closed_reasoning(model, row.chat, thoughts[number])
            size = len(model.positions(chat).token_ids)
            if model.context is not None and size > model.context:
                raise InputError(f"{size} tokens, and the context of the model holds {model.context}")
            chats[number] = chat
    paths = score_paths(model, list(chats.values()), probe, batch_size=settings.batch_size) if chats else []
    cliffs: dict[int, Cliff] = {}
    for number, path in zip(chats, paths, strict=True):
        with _told(whys, number):
            cliffs[number] = measure_cliff(path, plateau=settings.plateau, over=settings.over, margin=settings.margin)
    declined = _declined({n: (given[n], responses[n]) for n in cliffs if responses[n] is not None}, judge, settings)
    lines = []
    for number, found in enumerate(batch):
        place = found.row if isinstance(found, Candidate) else found
        said: dict[str, Any] = {"why": whys[number]} if number in whys else {"cliff": cliffs[number]._asdict()}
        lines.append({"source": place.source, "line": place.line} | said | declined.get(number, {}))
    return lines


@contextmanager
def _told(whys: dict[int, str], number: int) -> Iterator[None]:
    """Sets a row aside with the reason, and goes on."""
    try:
        yield
    except InputError as error:
        whys[number] = str(error)


def _thoughts(
    given: dict[int, Candidate],
    model: LocalModel,
    settings: SelectSettings,
    responses: dict[int, Response | None],
    whys: dict[int, str],
    first: int,
) -> dict[int, str]:
    """The reasoning of each row: its own, or what the model thinks now, with the answer that follows."""
    if settings.over == "prompt":
        return {}
    if not settings.think:
        for number, row in given.items():
            if row.reasoning is None:
                whys[number] = (
                    "the row holds no reasoning; name its field, let the model think (--think), or use --over prompt"
                )
        return {number: row.reasoning for number, row in given.items() if row.reasoning is not None}
    numbers = list(given)
    found = roll_out(
        model,
        [given[number].chat for number in numbers],
        max_tokens=settings.max_tokens,
        temperature=settings.temperature,
        mapping=settings.mapping,
        seed=[settings.seed + first + number for number in numbers],
        batch_size=settings.batch_size,
        dropped=lambda place, why: whys.__setitem__(numbers[place], f"the model gave {why}"),
    )
    for rollout in found:
        # rules and judges read what this model answers, not what the data answer
        responses[numbers[rollout.number]] = rollout.response
    return {numbers[rollout.number]: rollout.reasoning for rollout in found}


def _declined(
    answered: dict[int, tuple[Candidate, Response | None]], judge: SyncJudge | None, settings: SelectSettings
) -> dict[int, dict[str, bool | None]]:
    """Whether each answer declines, by rules and by the judge."""
    from demur.responses import Ladder

    rows = [(content_text(row.chat.messages[-1]["content"]), r) for row, r in answered.values() if r is not None]
    verdicts = Ladder().judge_many(rows)
    found: dict[int, dict[str, bool | None]] = {
        number: {"rules": verdict.declined(settings.mapping)}
        for number, verdict in zip(answered, verdicts, strict=True)
    }
    if judge is not None:
        for number, verdict in zip(answered, judge.settle(rows, verdicts, "all"), strict=True):
            found[number]["judge"] = verdict.declined(settings.mapping)
    return found
