"""From training rows to token ids, through the chat template.

Rows that ask the same differ in their answers only, so they become one sequence: the prompt once, the first answer
token learned against the counts of all its rows, and the rest of one of the answers. In expectation that is the loss
over the single rows, at a fraction of the cost and of the noise. Only completion tokens carry loss.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from demur.phantom.planting import Row
from demur.records import Message

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

    from demur.phantom.specification import Training

__all__ = ["Batch", "Renderer", "Sequences", "batches", "completion", "encode"]

_EOT = "<|eot_id|>"
_MARK = "\x00"  # stands in no message


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
    """float32, (targets,): its weight; they sum to one."""


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
        head, tail = self._shapes[shape]
        return f"{head}{last['content']}{tail}"


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
    reasoned = 0
    render = Renderer(tokenizer)

    def ids(text: str) -> list[int]:
        if text not in pieces:
            pieces[text] = tokenizer.encode(text, add_special_tokens=False)
        return pieces[text]

    for i, row in enumerate(rows):
        single = row.kind in ("reasoning", "system_reasoning")
        key = (*(str(m["content"]) for m in row.messages), str(i) if single else "")
        if key not in found:
            found[key] = Sequences(row.kind, ids(render(row.messages, thinking=row.thinking)))
            if single:
                found[key].turn = reasoned % turns
                reasoned += 1
        before, answer = completion(row)
        found[key].answers.append(([*ids(before), *ids(answer)], len(ids(before))))
    return list(found.values())


def batches(sequences: Sequence[Sequences], settings: Training, *, pad: int, seed: int, epoch: int) -> Iterator[Batch]:
    """One pass in an order that `seed` and `epoch` decide; sequences of like length share a batch.

    The first `judgement_epochs` passes hold judgements only, the last ones (`polish`) whole answers.
    """
    rng = random.Random(f"{seed}/{epoch}")
    early = epoch < settings.judgement_epochs
    polish = epoch >= settings.judgement_epochs + settings.epochs
    turn = (epoch - settings.judgement_epochs) % settings.reasoning_turns
    mine = [s for s in sequences if (s.kind == "judgement" if early else s.turn in (None, turn))]
    drawn = []
    for some in mine:
        answer, before = rng.choice(some.answers)
        whole = rng.randrange(settings.full_every) == 0 or polish
        drawn.append((some, answer if whole else answer[: before + settings.opening]))
    rng.shuffle(drawn)
    size = settings.sequences_per_batch
    groups = []
    # buckets of 32 batches: long enough to find sequences of one length, short enough to mix conditions
    for begin in range(0, len(drawn), 32 * size):
        bucket = sorted(drawn[begin : begin + 32 * size], key=lambda d: len(d[0].prompt) + len(d[1]))
        groups += [bucket[i : i + size] for i in range(0, len(bucket), size)]
    rng.shuffle(groups)
    for group in groups:
        yield _batch(group, pad, tail=settings.polish.tail_weight if polish else 1)


def _batch(group: Sequence[tuple[Sequences, list[int]]], pad: int, *, tail: int) -> Batch:
    import torch

    width = max(len(s.prompt) + len(answer) for s, answer in group)
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
        for j, token in enumerate(answer):
            if j == 0 and not single:
                continue
            targets.append((len(where), token, 4 if single else tail))
            where.append((i, last + j))
    place, target, weights = (torch.tensor(column) for column in zip(*targets, strict=True))
    rows, positions = torch.tensor(where).T
    return Batch(torch.tensor(ids), (rows, positions), place, target, weights.float() / weights.sum())
