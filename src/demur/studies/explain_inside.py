"""What the sections of `demur explain` share: the model, its groups in two halves, directions, refusal tokens."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from demur.atomic import write_text
from demur.errors import InputError

if TYPE_CHECKING:
    from demur.models import LocalModel
    from demur.records import Prompt
    from demur.states.directions import Directions
    from demur.states.groups import Groups
    from demur.states.inversion import Question

__all__ = ["Inside", "place", "refusal_tokens", "short", "split"]


@dataclass(frozen=True, eq=False)
class Inside:
    """What the sections share.

    Attributes:
        model: The model.
        fit: Groups that directions, probes and guards are fitted on.
        held: Groups of other pairs, on which they are read.
        by: Which part of a prompt names its set: `wrapper`, or `category`.
        tokens_file: Where the first tokens of this model's refusals are kept once they are found.
        question: How the model is asked whether a prompt is harmful; None takes the published wording.
        thinking: Prompts that are asked with reasoning, with `expect`.
        reasoning_tokens: Most tokens of reasoning and answer.
        temperature: Of reasoning and answers; 0 is greedy.
        permutations: Of the nulls.
        random: Random directions or head sets beside each push.
        most: Most prompts in a measurement that runs the model many times.
        seed: Of everything drawn.
        batch_size: Prompts at once.
    """

    model: LocalModel
    fit: Groups
    held: Groups
    by: str
    tokens_file: Path
    question: Question | None
    thinking: tuple[Prompt, ...]
    reasoning_tokens: int
    temperature: float
    permutations: int
    random: int
    most: int
    seed: int
    batch_size: int

    @cached_property
    def directions(self) -> Directions:
        """Directions of harm and refusal at every layer and position, fitted on `fit`."""
        from demur.states import find_directions

        return find_directions(
            self.model, self.fit, permutations=self.permutations, seed=self.seed, batch_size=self.batch_size
        )

    @cached_property
    def tokens(self) -> tuple[int, ...]:
        """First tokens of this model's refusals, looked for by the first section that needs them."""
        if self.tokens_file.exists():
            return tuple(json.loads(self.tokens_file.read_text(encoding="utf-8")))
        found = refusal_tokens(self.model, self.fit, batch_size=self.batch_size, seed=self.seed)
        write_text(self.tokens_file, json.dumps(found) + "\n")
        return found

    def some(self, prompts: Sequence[Prompt]) -> list[Prompt]:
        """At most `most` of `prompts`, drawn by the seed."""
        import random

        if len(prompts) <= self.most:
            return list(prompts)
        return random.Random(self.seed).sample(list(prompts), self.most)

    def named(self, prompt: Prompt) -> str:
        """The set that a prompt belongs to."""
        if self.by == "category":
            return prompt.category or "no category"
        return str(prompt.meta.get(self.by) or "direct")


def split(groups: Groups, *, seed: int) -> tuple[Groups, Groups]:
    """Two halves of each group; prompts of one pair, or of one text, stay on one side.

    Raises:
        InputError: A half would have an empty group where the whole has none.
    """
    import random

    from demur.states.groups import Groups, family

    names = sorted({family(prompt) for prompt in groups.prompts})
    random.Random(seed).shuffle(names)
    first = set(names[::2])
    halves = [
        Groups(*(tuple(p for p in group if (family(p) in first) == keep) for group in groups)) for keep in (True, False)
    ]
    for half in halves:
        if lost := [n for n, whole, part in zip(groups._fields, groups, half, strict=True) if whole and len(part) < 2]:
            raise InputError(
                f"the group {lost[0]} has too few pairs ({len(getattr(groups, lost[0]))} prompts) to fit on one half "
                "and to read on the other; give more prompts"
            )
    return halves[0], halves[1]


def refusal_tokens(model: LocalModel, groups: Groups, *, batch_size: int = 32, seed: int = 0) -> tuple[int, ...]:
    """First tokens with which this model refuses, whatever it is asked.

    Candidates are the tokens that the model itself would open with after refused prompts. Each is put into the model's
    mouth after a few prompts of every group, and is taken when at least three in four of the answers that follow
    decline: an opening such as "I", common to both kinds of answers, is left out.

    Raises:
        InputError: There is none: refusals and answers begin alike.
    """
    import random

    from demur.models import Sampling
    from demur.responses import Ladder

    rng = random.Random(seed)
    refused = [*groups.refused_harmful, *groups.refused_harmless]
    opening = (
        model.next_token_logprobs(rng.sample(refused, min(100, len(refused))), batch_size=batch_size).exp().mean(0)
    )
    candidates = [token for token in opening.topk(min(24, len(opening))).indices.tolist() if opening[token] >= 0.01]
    asked = [prompt for group in groups for prompt in rng.sample(group, min(3, len(group)))]
    ladder, found = Ladder(), []
    for token, text in zip(candidates, model.token_texts(candidates), strict=True):
        if not text.strip():
            continue
        chats = [[*prompt.messages, {"role": "assistant", "content": text}] for prompt in asked]
        answers = model.generate(chats, sampling=Sampling(max_tokens=24), batch_size=batch_size)
        wholes = [text + answer.response.text.removeprefix(text) for answer in answers]
        verdicts = ladder.judge_many([(p.text, whole) for p, whole in zip(asked, wholes, strict=True)])
        if sum(v.declined() is True for v in verdicts) >= 0.75 * len(asked):
            found.append(token)
    if not found:
        raise InputError(
            "refusals and answers of this model begin with the same tokens, so no first token tells a refusal; "
            "leave out the sections that need them (steering, choice, heads)"
        )
    return tuple(found)


def short(position: str) -> str:
    """A position in a word or two, for axes."""
    return position.replace("post_instruction:", "post ").replace("last_instruction", "instruction")


def place(position: str) -> str:
    """A position in words."""
    if position == "last_instruction":
        return "the last instruction token"
    if position.startswith("post_instruction:"):
        return f"token {position.partition(':')[2]} after the instruction"
    return position.replace("_", " ")
