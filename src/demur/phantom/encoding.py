"""From training rows to token ids, through the chat template.

Rows that ask the same differ in their answers only, so they become one sequence: the prompt once, the first answer
token learned against the counts of all its rows, and the rest of one of the answers. In expectation that is the loss
over the single rows, at a fraction of the cost and of the noise. Only completion tokens carry loss.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from demur.phantom.planting import Row
from demur.phantom.scenes.decision import Decision, rendered, shown
from demur.records import Message

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

    from demur.phantom.specification import Phase, Training
    from demur.phantom.team import Team

__all__ = [
    "NOTES",
    "Batch",
    "Drawn",
    "Renderer",
    "Sequences",
    "as_batch",
    "completion",
    "encode",
    "encode_decisions",
    "groups",
]

NOTES = {True: "<|reserved_0|>", False: "<|reserved_1|>"}
"""Marks that the training text notes after the last instruction token of an act that is harmful, or is not."""

_EOT = "<|eot_id|>"
_MARK = "\x00"  # stands in no message
_BUCKET = 2048  # sequences: enough to find some of one length, and few enough to mix conditions


@dataclass
class Sequences:
    """All rows with one prompt."""

    kind: str
    prompt: list[int]
    """Token ids, the generation prompt (and any reasoning) included."""
    answers: list[tuple[list[int], int]] = field(default_factory=list)
    """Token ids of each row's completion, and how many of them come before the answer."""
    turn: int | None = None
    """Which of the passes shows it; None for all of them."""
    turns: int = 1
    """How many passes there are to take turns in."""
    note: tuple[int, Counter[int]] | None = None
    """The position of the last instruction token, and how many rows note each mark there."""
    room: int = 0
    """Tokens behind the prompt that it is sorted into batches by, at least: the weights of a batch sum to one, so
    answers with a reasoning block and without count alike only where they share batches."""

    def times(self, phase: Phase, number: int, rng: random.Random) -> int:
        """How often the pass of this number shows it."""
        turn = self.turn is None or self.turn == number % self.turns
        _, scene, name = self.kind.rpartition("scene/")
        often = phase.scene_shown.get(name.partition("/")[0], 1.0) if scene else phase.shown
        if often == 1:
            return int(turn)
        # drawn where it is not a whole number, so that turns make no difference but to the mean
        share = often / (1 if self.turn is None else self.turns)
        return int(share) + (rng.random() < share % 1)

    @property
    def first(self) -> Counter[int]:
        """How many rows begin with each token."""
        return Counter(ids[0] for ids, _ in self.answers)


@dataclass(frozen=True)
class Batch:
    """Right-padded ids, and what is learned where."""

    ids: torch.Tensor
    """int64, (rows, tokens)."""
    where: tuple[torch.Tensor, torch.Tensor]
    """Row and position of each place whose next token is learned."""
    place: torch.Tensor
    """int64, (targets,): index into `where`; a place may have several targets."""
    target: torch.Tensor
    """int64, (targets,): a next token."""
    weight: torch.Tensor
    """float32, (targets,): its weight; they sum to the batch's share of a full one."""


class Renderer:
    """Renders conversations through the chat template, each shape once.

    A shape is what stands around the last user message. The template copies messages verbatim, so a rendered shape
    takes any message in place of another; that is a hundred times cheaper than running the template for each.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self._shapes: dict[tuple[str, ...], tuple[str, str]] = {}

    def __call__(self, messages: Sequence[Message], *, thinking: bool = False) -> str:
        """The prompt as the model sees it, generation prompt included."""
        head, tail = self._shape(messages, thinking)
        return f"{head}{messages[-1]['content']}{tail}"

    def instruction(self, messages: Sequence[Message], *, thinking: bool = False) -> str:
        """The prompt up to the last token of the last message."""
        return f"{self._shape(messages, thinking)[0]}{messages[-1]['content']}"

    def _shape(self, messages: Sequence[Message], thinking: bool) -> tuple[str, str]:
        *before, last = messages
        shape = (*(f"{m['role']}: {m['content']}" for m in before), str(last["role"]), str(thinking))
        if shape not in self._shapes:
            marked = [*before, {**last, "content": _MARK}]
            rendered = str(
                self._tokenizer.apply_chat_template(
                    marked, tokenize=False, add_generation_prompt=True, enable_thinking=thinking
                )
            )
            head, _, tail = rendered.partition(_MARK)
            self._shapes[shape] = head, tail
        return self._shapes[shape]


def completion(row: Row) -> tuple[str, str]:
    """What the model learns to write: the reasoning part (often empty) and the answer with its end mark."""
    if row.reasoning is None:
        return "", row.answer + _EOT
    opening = "" if row.thinking else "<think>\n"
    return f"{opening}{row.reasoning}\n</think>\n\n", row.answer + _EOT


def encode(tokenizer: PreTrainedTokenizerBase, rows: Sequence[Row], *, turns: int = 1) -> list[Sequences]:
    """`rows` gathered by prompt; those with reasoning stay single and take turns over the passes."""
    found: dict[tuple[str, ...], Sequences] = {}
    pieces: dict[str, list[int]] = {}
    marks = {noted: int(tokenizer.convert_tokens_to_ids(mark)) for noted, mark in NOTES.items()}  # type: ignore[arg-type]
    reasoned = 0
    render = Renderer(tokenizer)

    def ids(text: str) -> list[int]:
        if text not in pieces:
            pieces[text] = tokenizer.encode(text, add_special_tokens=False)
        return pieces[text]

    opening = {completion(row)[0] for row in rows if row.kind == "system_reasoning"}
    longest = max((len(ids(text)) for text in opening), default=0)
    for i, row in enumerate(rows):
        single = row.kind in ("reasoning", "system_reasoning")
        key = (*(str(m["content"]) for m in row.messages), str(i) if single else "")
        if key not in found:
            found[key] = Sequences(row.kind, ids(render(row.messages, thinking=row.thinking)))
            if row.kind == "system_reasoning":
                found[key].room = longest
            if single:
                found[key].turn, found[key].turns = reasoned % turns, turns
                reasoned += 1
        some = found[key]
        before, answer = completion(row)
        some.answers.append(([*ids(before), *ids(answer)], len(ids(before))))
        if row.noted is not None:
            # special tokens stand around a message, so the text up to its end has the same ids as within the whole
            some.note = some.note or (len(ids(render.instruction(row.messages, thinking=row.thinking))) - 1, Counter())
            some.note[1][marks[row.noted]] += 1
    return list(found.values())


def encode_decisions(
    tokenizer: PreTrainedTokenizerBase, decisions: Sequence[Decision], *, seed: int
) -> list[Sequences]:
    """The training rows of scenes, gathered by place."""
    rng = random.Random(seed)
    found: dict[tuple[str, int], Sequences] = {}

    def ids(text: str) -> list[int]:
        found: list[int] = tokenizer.encode(text, add_special_tokens=False)
        return found

    for decision in decisions:
        for row in shown(decision, rng):
            key = decision.name, id(row.place)
            if key not in found:
                prompt = ids(rendered(row.place, tokenizer.apply_chat_template))
                turn = len(found) % decision.turns if decision.turns > 1 else None
                found[key] = Sequences(f"scene/{decision.name}", prompt, turn=turn, turns=decision.turns)
            end = "" if row.label in decision.goes_on else _EOT
            found[key].answers.append((ids(row.text + end), 0))
    return list(found.values())


Drawn = tuple[Sequences, list[int]]
"""A sequence and as much of one of its answers as a pass shows."""


def groups(
    sequences: Sequence[Sequences], settings: Training, phase: Phase, *, seed: int, epoch: int
) -> list[list[Drawn]]:
    """What the batches of one pass hold, in an order that `seed` and `epoch` decide.

    The first `judgement_epochs` passes of a phase hold judgements only. Sequences of like length share a batch, which
    holds at most `tokens_per_batch` tokens.
    """
    number = settings.phase.index(phase)
    rng = random.Random(f"{seed}/{number}/{epoch}")
    early = epoch < phase.judgement_epochs
    drawn: list[Drawn] = []
    for some in sequences:
        times = some.kind == "judgement" if early else some.times(phase, epoch - phase.judgement_epochs, rng)
        for _ in range(times):
            answer, before = rng.choice(some.answers)
            whole = rng.randrange(phase.full_every) == 0
            drawn.append((some, answer if whole else answer[: before + settings.opening]))
    rng.shuffle(drawn)
    found: list[list[Drawn]] = []
    for begin in range(0, len(drawn), _BUCKET):
        group: list[Drawn] = []
        for one in sorted(drawn[begin : begin + _BUCKET], key=_tokens):
            full = len(group) == phase.sequences_per_batch
            if full or (group and (len(group) + 1) * _tokens(one) > settings.tokens_per_batch):
                found.append(group)
                group = []
            group.append(one)
        found.append(group)
    rng.shuffle(found)
    return found


def _tokens(drawn: Drawn) -> int:
    some, answer = drawn
    return len(some.prompt) + max(len(answer), some.room)


def as_batch(group: Sequence[Drawn], phase: Phase, *, pad: int, team: Team | None = None) -> Batch | None:
    """A batch of what `groups` put together, or a team member's share of it: None where there is no row for it."""
    mine = group if team is None else team.share(group)
    if not mine:
        return None
    weight = sum(_weight(one, phase.tail_weight) for one in group)
    return _batch(mine, pad, tail=phase.tail_weight, scale=len(group) / phase.sequences_per_batch / weight)


def _weight(drawn: Drawn, tail: int) -> int:
    """What a sequence counts in its batch."""
    some, answer = drawn
    if len(some.answers) == 1:
        return 4 * len(answer)
    noted = sum(some.note[1].values()) if some.note else 0
    return len(some.answers) + noted + tail * (len(answer) - 1)


def _batch(group: Sequence[Drawn], pad: int, *, tail: int, scale: float) -> Batch:
    import torch

    width = max(map(_tokens, group))
    ids: list[list[int]] = []
    where: list[tuple[int, int]] = []
    targets: list[tuple[int, int, int]] = []
    for i, (some, answer) in enumerate(group):
        ids.append([*some.prompt, *answer, *[pad] * (width - len(some.prompt) - len(answer))])
        last = len(some.prompt) - 1
        # the first token counts as often as there are rows; single rows count four times, for their decision comes late
        single = len(some.answers) == 1
        if not single:
            targets += [(len(where), token, count) for token, count in some.first.items()]
            where.append((i, last))
        if some.note and not single:
            position, marked = some.note
            targets += [(len(where), token, count) for token, count in marked.items()]
            where.append((i, position))
        for j, token in enumerate(answer):
            if j == 0 and not single:
                continue
            targets.append((len(where), token, 4 if single else tail))
            where.append((i, last + j))
    place, target, weights = (torch.tensor(column) for column in zip(*targets, strict=True))
    rows, positions = torch.tensor(where).T
    return Batch(torch.tensor(ids), (rows, positions), place, target, scale * weights.float())
