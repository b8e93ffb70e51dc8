"""What the sections of `demur explain` share: the model, its groups in two halves, directions, refusal tokens."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from demur.atomic import write_text
from demur.errors import InputError

if TYPE_CHECKING:
    from demur.models import Chat, LocalModel
    from demur.records import Prompt
    from demur.reports.sections import Dotted, Heatmap
    from demur.states.directions import Directions
    from demur.states.groups import Groups
    from demur.states.inversion import Question
    from demur.states.probes import Probes
    from demur.states.rollouts import Rollout
    from demur.stats import Interval

__all__ = ["Inside", "column", "place", "read_heatmap", "refusal_tokens", "short", "split"]

P = TypeVar("P")


@dataclass(frozen=True, eq=False)
class Inside:
    """What the sections share.

    Attributes:
        model: The model.
        fit: Groups that directions, probes and guards are fitted on.
        held: Groups of other pairs, on which they are read.
        by: Which part of a prompt names its set: `wrapper`, or `category`.
        directions_file: Where directions are kept once they are fitted.
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
        guard_model: A guard model to ask about the same prompts as the latent guard, or None.
    """

    model: LocalModel
    fit: Groups
    held: Groups
    by: str
    directions_file: Path
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
    guard_model: LocalModel | None = None

    @cached_property
    def directions(self) -> Directions:
        """Directions of harm and refusal at every layer and position, fitted on `fit` or read where they were kept."""
        from demur.states import Directions, find_directions

        # the card is written last
        if self.directions_file.with_suffix(".json").exists():
            return Directions.load(self.directions_file, self.model)
        found = find_directions(
            self.model, self.fit, permutations=self.permutations, seed=self.seed, batch_size=self.batch_size
        )
        found.save(self.directions_file)
        return found

    @cached_property
    def tokens(self) -> tuple[int, ...]:
        """First tokens of this model's refusals, looked for by the first section that needs them."""
        if self.tokens_file.exists():
            return tuple(json.loads(self.tokens_file.read_text(encoding="utf-8")))
        found = refusal_tokens(self.model, self.fit, batch_size=self.batch_size, seed=self.seed)
        write_text(self.tokens_file, json.dumps(found) + "\n")
        return found

    @cached_property
    def reasoned(self) -> tuple[list[Rollout], list[Rollout]]:
        """Answers to `thinking` after the model's own reasoning that could be judged, in two halves of families.

        Raises:
            InputError: There are no such prompts.
            ModelError: The model knows no reasoning markup.
        """
        from demur.states import roll_out

        done = roll_out(
            self.model,
            self.thinking,
            max_tokens=self.reasoning_tokens,
            temperature=self.temperature,
            seed=self.seed if self.temperature else None,
            batch_size=self.batch_size,
        )
        judged = [one for one in done if one.declined is not None]
        first = set(sorted({one.family for one in judged})[::2])
        fit, read = ([one for one in judged if (one.family in first) == side] for side in (True, False))
        return fit, read

    def fallen(self) -> tuple[list[Chat], list[Chat]]:
        """Prompts that should be declined and were answered after reasoning, up to the answer, in the same halves."""
        return tuple(  # type: ignore[return-value]
            [one.chat for one in half if not one.declined and self.thinking[one.number].expect == "decline"]
            for half in self.reasoned
        )

    def some(self, prompts: Sequence[P]) -> list[P]:
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


def read_heatmap(
    name: str, title: str, panels: Sequence[tuple[str, Sequence[Sequence[Any]]]], found: Directions | Probes
) -> Heatmap:
    """Areas under the ROC curve by layer and position, framed where they are above both nulls.

    Args:
        name: Of the figure.
        title: What is told apart.
        panels: The title of each, and its qualities: one row a layer, one entry a position.
        found: Whose layers and positions they are.
    """
    from demur.reports.sections import Grid, Heatmap

    def area(quality: Any) -> float:
        return float(getattr(quality.auroc, "value", quality.auroc))

    return Heatmap(
        name=name,
        title=f"{title}: AUROC by layer and position. A frame marks places above shuffled labels and above random "
        "directions.",
        panels=tuple(
            Grid(
                title=panel,
                rows=tuple(map(str, found.layers)),
                columns=tuple(map(short, found.positions)),
                values=tuple(tuple(area(q) for q in row) for row in rows),
                marked=tuple(tuple(area(q) > max(q.null, q.random) for q in row) for row in rows),
            )
            for panel, rows in panels
        ),
        low=0.5,
        high=1.0,
        label="AUROC",
        rows_label="layer",
        columns_label="position",
    )


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


def column(title: str, found: Sequence[Interval | None]) -> Dotted:
    """A panel of intervals; None where there is none."""
    from demur.reports.sections import Dotted

    return Dotted(
        title=title,
        values=tuple(i.value if i else None for i in found),
        low=tuple(i.low if i else None for i in found),
        high=tuple(i.high if i else None for i in found),
    )
