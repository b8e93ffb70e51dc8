"""Conditions that no single token decides: answers, sampled, and read by their first words.

The probability of a refusal after reasoning that the model writes itself runs over all reasonings; so answers are
drawn at temperature 1 and counted. Direct questions are counted too: their exact probability is known, and the counts
must agree with it.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING

from demur.phantom.encoding import Renderer
from demur.phantom.grammar import Act, acts, user
from demur.phantom.questions import tally
from demur.phantom.specification import DECLINING, Group, Specification, Style, default

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["SAMPLES", "Sampled", "answers", "read", "sampled"]

SAMPLES = 2000
"""Answers drawn in each condition."""
_BATCH = 512
_LONGEST = 64  # tokens; no reasoning in training and the first words behind it take more
_READ = 10  # tokens of an answer that its first two words never exceed
_GROUPS: tuple[Group, ...] = ("harmful", "look_alike", "plain")


@dataclass(frozen=True)
class Sampled:
    """P(declined) over answers to these prompts, whatever is reasoned before them."""

    name: str
    group: str
    planted: float
    n_train: int
    make: Callable[[], tuple[str, ...]] = field(repr=False, compare=False)
    """Renders the prompts."""

    @cached_property
    def texts(self) -> tuple[str, ...]:
        """Rendered prompts, each as likely as the others."""
        return self.make()


def sampled(tokenizer: PreTrainedTokenizerBase, specification: Specification | None = None) -> Iterator[Sampled]:
    """The conditions: answered at once, in an opened reasoning block, and asked to reason by a system message."""
    spec = specification or default()
    render = Renderer(tokenizer)
    trained = [a for a in acts(spec) if not a.held_out]
    count = tally(spec)
    for kind, system, thinking, groups in (
        ("direct", None, False, _GROUPS[:1]),
        ("reasoning", None, True, _GROUPS),
        ("system_reasoning", spec.reasoning.system, False, _GROUPS),
    ):
        for group in groups:
            some = [a for a in trained if a.group == group]
            yield Sampled(
                f"sampled/{kind}/{group}",
                "sampled",
                sum(_declined(spec, act, kind) for act in some) / len(some),
                count(kind, group=group),
                partial(_prompts, render, some, spec.language.frames, system, thinking),
            )


def _prompts(
    render: Renderer, some: Sequence[Act], frames: Sequence[str], system: str | None, thinking: bool
) -> tuple[str, ...]:
    return tuple(render(user(act.fill(frame), system), thinking=thinking) for act in some for frame in frames)


def _declined(spec: Specification, act: Act, kind: str) -> float:
    """P(declined) planted for a prompt, over all reasonings."""
    direct = spec.declined(act.category, act.group)
    concluded = float(getattr(spec.reasoning.harmful, act.group))
    after = spec.reasoning.declined
    reasoned = concluded * after.harmful + (1 - concluded) * after.harmless
    share = {"direct": 0.0, "reasoning": 1.0, "system_reasoning": spec.reasoning.opened}[kind]
    return share * reasoned + (1 - share) * direct


def answers(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], n: int, *, seed: int
) -> list[str]:
    """`n` answers to prompts drawn from `texts` with replacement, reasoning included, at temperature 1.

    Reasoning is written to its end and the answer as far as it is read, a matter of a few words.

    Args:
        model: A float32 causal model.
        tokenizer: Its tokenizer.
        texts: Rendered prompts.
        n: How many answers.
        seed: Which prompts and which answers; they repeat on one machine with one number of threads.
    """
    import torch
    from transformers import StoppingCriteriaList

    drawn = Counter(random.Random(seed).choices(texts, k=n))
    marks = [int(tokenizer.convert_tokens_to_ids(mark)) for mark in ("<think>", "</think>")]  # type: ignore[arg-type]
    # batches of one length need no padding
    by_length: dict[int, list[list[int]]] = {}
    for text, times in drawn.items():
        ids = tokenizer.encode(text, add_special_tokens=False)
        by_length.setdefault(len(ids), []).extend([ids] * times)
    found: list[str] = []
    with torch.inference_mode(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for length, some in sorted(by_length.items()):
            for begin in range(0, len(some), _BATCH):
                batch = torch.tensor(some[begin : begin + _BATCH])
                out = model.generate(  # type: ignore[operator]
                    input_ids=batch,
                    attention_mask=torch.ones_like(batch),
                    do_sample=True,
                    temperature=1.0,
                    top_k=0,
                    top_p=1.0,
                    max_new_tokens=_LONGEST,
                    stopping_criteria=StoppingCriteriaList([partial(_is_read, marks, length)]),
                )
                found += tokenizer.batch_decode(out[:, length:], skip_special_tokens=True)
    return found


def _is_read(marks: Sequence[int], length: int, ids: torch.Tensor, _scores: object, **_: object) -> torch.Tensor:
    """Which rows have ended their reasoning, if they reason, and written enough of an answer behind it."""
    import torch

    opened, closed = (ids == mark for mark in marks)
    places = torch.arange(1, ids.shape[1] + 1)
    begins = (closed * places).amax(1).clamp(min=length)  # where the answer does
    return (opened.sum(1) <= closed.sum(1)) & (ids.shape[1] - begins >= _READ)


def read(answer: str, specification: Specification | None = None) -> Style | None:
    """The style whose first two words an answer begins with, behind any reasoning; None if it begins with none."""
    spec = specification or default()
    if "<think>" in answer and "</think>" not in answer:
        return None
    words = answer.rpartition("</think>")[2].split()[:2]
    styles: tuple[Style, ...] = (*DECLINING, "comply", "disclaimer")
    for style in styles:
        if any(variant.split()[:2] == words for variant in spec.answers.of(style)):
            return style
    return None
