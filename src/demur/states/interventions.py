"""Acting on a direction: removing it from the residual stream, and pushing along it layer by layer.

Removal happens at every write as the stream sees it. In models that normalise after attention (Gemma 2 and 3, OLMo 2,
GLM 4, EXAONE 4) the norm turns what the projection wrote, so removing the direction from the projection's output would
leave some of it; the place is found by following the tensor through one forward pass, not by names.
"""

# ruff: noqa: F722 - shapes stand in annotations as text

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from html import escape
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from demur.errors import InputError, ModelError
from demur.stats import Interval, wilson

if TYPE_CHECKING:
    from demur.models import LocalModel, Steering
    from demur.records import Prompt
    from demur.states.direction import Direction

__all__ = ["Sweep", "SweepRow", "ablating", "refusal_probabilities", "refusal_rate", "sweep"]


@contextmanager
def ablating(model: LocalModel, direction: Tensor) -> Iterator[None]:
    """Keep the residual stream free of a direction while the scope lasts, in forward passes and in generation.

    In a layer without attention (a convolution or state-space mixer) the mixer's write is cleaned at the block's end.

    Args:
        model: A local model.
        direction: (width,), of any length above 0.

    Raises:
        InputError: The direction is zero or has another width.
    """
    from demur.models.operators import ablate

    width = model.structure.width
    if direction.shape != (width,) or not direction.norm() > 0:
        raise InputError(f"ablation needs a vector of width {width} and a length above 0, got {tuple(direction.shape)}")
    with editing_writes(model, attention_writers(model), partial(ablate, direction=direction)):
        yield


@contextmanager
def editing_writes(model: LocalModel, writers: Sequence[nn.Module], edit: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Put every write to the residual stream through `edit`: the embedding's, each attention's, each block's rest.

    Args:
        model: A local model.
        writers: As `attention_writers` gives them, which costs a pass.
        edit: (batch, token, width) to the same; linear, so that editing the whole edits every part.
    """
    from demur.models import writing

    def clean(_module: nn.Module, _args: Any, output: Any) -> Any:
        return (edit(output[0]), *output[1:]) if isinstance(output, tuple) else edit(output)

    sites: dict[Any, Any] = {(0, "resid_pre"): edit}
    sites |= {(block.index, "resid_post"): edit for block in model.structure.blocks}
    handles = [writer.register_forward_hook(clean) for writer in writers]
    try:
        with writing(model.structure, sites):
            yield
    finally:
        for handle in handles:
            handle.remove()


def attention_writers(model: LocalModel) -> list[nn.Module]:
    """The module of each layer with attention whose output is what attention adds to the residual stream."""
    seen: list[tuple[nn.Module, Any, Tensor]] = []  # keeps the tensors alive, so that no address is used twice

    def note(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        given = args[0] if args else kwargs.get("hidden_states")
        result = output[0] if isinstance(output, tuple) and output else output
        if isinstance(result, Tensor):
            seen.append((module, given, result))

    blocks = [block for block in model.structure.blocks if block.attention is not None]
    handles = [
        module.register_forward_hook(note, with_kwargs=True)
        for block in blocks
        for module in block.module.modules()
        if module is not block.module
    ]
    try:
        ids = torch.tensor([[1, 2]], device=model.device)
        with model._lock, torch.no_grad():
            model.model(input_ids=ids, use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    writers = []
    for block in blocks:
        inside = set(block.module.modules())
        writer: nn.Module | None = None
        current: Tensor | None = None
        for module, given, result in (entry for entry in seen if entry[0] in inside):
            if writer is None:
                if block.attention is not None and module is block.attention.projection:
                    writer, current = module, result
            elif current is not None and (_same(given, current) or _same(result, current)):
                writer, current = module, result
        if writer is None:
            raise ModelError(f"layer {block.index} does not run its attention projection, so it cannot be ablated")
        writers.append(writer)
    return writers


def refusal_probabilities(
    model: LocalModel, prompts: Sequence[Prompt], tokens: Sequence[int], *, batch_size: int = 32
) -> Float[Tensor, " prompt"]:
    """The summed probability of `tokens` as the first token of the answer.

    Raises:
        InputError: No tokens, or one that is not in the vocabulary.
    """
    found = model.next_token_logprobs(prompts, batch_size=batch_size)
    if not tokens or not all(0 <= token < found.shape[-1] for token in tokens):
        raise InputError(f"refusal tokens must be some of the {found.shape[-1]} tokens of the vocabulary")
    return found[:, sorted(set(tokens))].exp().sum(-1)


def refusal_rate(
    model: LocalModel,
    prompts: Sequence[Prompt],
    *,
    steering: Steering | None = None,
    max_tokens: int = 64,
    batch_size: int = 32,
) -> Interval:
    """The share of greedy answers that decline, judged by demur's classifier, with its 95% interval.

    Raises:
        InputError: No answer could be judged.
    """
    from demur.models import Sampling
    from demur.responses import Ladder

    answers = model.generate(
        list(prompts),
        sampling=Sampling(max_tokens=max_tokens),
        controls=[steering] if steering else [],
        batch_size=batch_size,
    )
    verdicts = Ladder().judge_many([(p.text, a.response) for p, a in zip(prompts, answers, strict=True)])
    judged = [declined for v in verdicts if (declined := v.declined()) is not None]
    if not judged:
        raise InputError(f"none of {len(answers)} answers could be judged: they are empty or failed")
    return wilson(sum(judged), len(judged))


@dataclass(frozen=True)
class SweepRow:
    """What one push does."""

    layer: int
    strength: float
    rate: float
    """Refusal: a rate over answers, or the mean of exact first-token probabilities."""
    random: tuple[float, ...]
    """The same under random directions of equal norm."""


@dataclass(frozen=True)
class Sweep:
    """Refusal under steering, layer by layer and strength by strength."""

    kind: str
    baseline: float
    n: int
    exact: bool
    rows: tuple[SweepRow, ...]

    def strongest(self) -> SweepRow:
        """The push that moves refusal furthest from the baseline."""
        return max(self.rows, key=lambda row: abs(row.rate - self.baseline))

    def _repr_html_(self) -> str:
        head = ("layer", "strength", "refusal", "random directions of equal norm")
        lines = "".join(
            f"<tr><td>{row.layer}</td><td>{row.strength:g}</td><td>{row.rate:.3f}</td>"
            f"<td>{min(row.random):.3f} to {max(row.random):.3f} ({len(row.random)})</td></tr>"
            for row in self.rows
        )
        how = "exact first-token probability" if self.exact else "greedy answers"
        top = "".join(f"<th>{name}</th>" for name in head)
        caption = f"Steering by {escape(self.kind)}: refusal without it {self.baseline:.3f} ({how}, n = {self.n})"
        return f"<table><caption>{caption}</caption><tr>{top}</tr>{lines}</table>"


def sweep(
    model: LocalModel,
    prompts: Sequence[Prompt],
    directions: Sequence[Direction],
    *,
    strengths: Sequence[float] = (-1.0, 1.0),
    refusal_tokens: Sequence[int] | None = None,
    random: int = 5,
    seed: int = 0,
    max_tokens: int = 64,
    batch_size: int = 32,
) -> Sweep:
    """Push along each direction at its own layer while the prompt is read, and measure refusal.

    Args:
        model: A local model.
        prompts: What to ask; the paper uses 50.
        directions: One a layer, of one kind.
        strengths: Multiples of the direction's own length.
        refusal_tokens: First tokens of a refusal: refusal is then their exact probability. None generates and judges.
        random: Random directions of equal norm for each row, at least 1.
        seed: Of the random directions.
        max_tokens: Of each answer, when answers are generated.
        batch_size: Prompts at once.

    Raises:
        InputError: There is nothing to ask, to push along, or to compare with.
    """
    if not prompts or not directions or not strengths or random < 1:
        raise InputError("a sweep needs prompts, directions, strengths and at least one random direction")

    def measure(push: Direction | None, strength: float = 0.0) -> float:
        if refusal_tokens is None:
            steering = push.steering(strength) if push else None
            return refusal_rate(model, prompts, steering=steering, max_tokens=max_tokens, batch_size=batch_size).value
        with pushed(model, push, strength):
            return float(refusal_probabilities(model, prompts, refusal_tokens, batch_size=batch_size).mean())

    rows = tuple(
        SweepRow(
            direction.layer,
            strength,
            measure(direction, strength),
            tuple(measure(direction.random(seed + number), strength) for number in range(random)),
        )
        for direction in directions
        for strength in strengths
    )
    return Sweep(directions[0].kind, measure(None), len(prompts), refusal_tokens is not None, rows)


@contextmanager
def pushed(model: LocalModel, direction: Direction | None, strength: float = 1.0) -> Iterator[None]:
    """Add `strength` times a direction after its block at every token of every forward pass in the scope."""
    from demur.models import writing
    from demur.models.operators import add

    if direction is None:
        yield
        return
    edit = partial(add, vector=direction.vector, strength=strength)
    with writing(model.structure, {(direction.layer, "resid_post"): edit}):
        yield


def _same(one: Any, other: Tensor) -> bool:
    return isinstance(one, Tensor) and one.data_ptr() == other.data_ptr() and one.numel() == other.numel()
