"""What each attention head adds to refusal: by projection on a direction, by switching it off, and whether both agree.

Both attributions are signed alike: a head of negative value writes against refusal. The projection is what the stream
receives, so in models that normalise after attention it is taken after that norm.

Source: "Refusal Falls off a Cliff", arXiv 2510.06036.
"""

# ruff: noqa: F722 - shapes stand in annotations as text

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from demur.errors import InputError, ModelError
from demur.states.heads import Head, Rescale, heads_of, outputs_of, scaling_heads
from demur.states.notebook import html_table

if TYPE_CHECKING:
    from demur.models import LocalModel
    from demur.models.request import ChatLike
    from demur.stats import Interval

__all__ = ["HeadScores", "Measure", "ablate_each", "agreement", "along", "odds_of_refusal", "project_heads"]

Measure = Callable[["LocalModel", Sequence["ChatLike"]], Tensor]
"""One number a chat, (chat,), that is higher the more the model leans to refuse; reads the model as it finds it."""


@dataclass(frozen=True, eq=False)
class HeadScores:
    """What each head adds to refusal, chat by chat.

    Attributes:
        heads: In the order of layers.
        values: (chat, head); in units of the residual stream for a projection, of the measure for an ablation.
        how: `projection` or `ablation`.
    """

    heads: tuple[Head, ...]
    values: Float[Tensor, "chat head"]
    how: str

    @property
    def means(self) -> Float[Tensor, " head"]:
        """The mean over chats."""
        return self.values.mean(0)

    def top(self, fraction: float, *, side: Literal["against", "for"] = "against") -> tuple[Head, ...]:
        """The share of all heads that writes most against refusal, or for it; at least one head.

        Raises:
            InputError: `fraction` is not above 0 and at most 1, or the side is unknown.
        """
        if not 0 < fraction <= 1 or side not in ("against", "for"):
            raise InputError(f"top takes a fraction above 0 and at most 1 and a side, got {fraction} and {side!r}")
        order = self.means.argsort(stable=True, descending=side == "for").tolist()
        return tuple(self.heads[n] for n in order[: max(1, round(fraction * len(self.heads)))])

    def _repr_html_(self) -> str:
        order = self.means.argsort(stable=True).tolist()
        spread = self.values.std(0, correction=0)
        rows = [(str(self.heads[n]), float(self.means[n]), float(spread[n])) for n in order]
        shown = rows if len(rows) <= 20 else [*rows[:10], *rows[-10:]]
        caption = f"Heads by what they add to refusal ({self.how}, n = {len(self.values)} chats)"
        return html_table(caption, ("layer.head", "mean", "spread over chats"), shown)


def project_heads(
    model: LocalModel,
    chats: Sequence[ChatLike],
    direction: Float[Tensor, " width"],
    *,
    position: str = "last",
    batch_size: int = 32,
) -> HeadScores:
    """The part of each head's write to the residual stream that lies along a direction, at one token.

    The output projection's bias belongs to no head and is left out.

    Args:
        model: A local model.
        chats: What it reads.
        direction: Of refusal or a probe's weights, of any length above 0.
        position: Name of the token.
        batch_size: Chats at once.

    Raises:
        InputError: The direction is zero or of another width, or a chat has no such position.
        ModelError: Something other than an RMS norm stands between the projection and the stream.
    """
    width = model.structure.width
    if direction.shape != (width,) or not direction.norm() > 0:
        raise InputError(
            f"heads are projected on a vector of width {width} and a length above 0, got {tuple(direction.shape)}"
        )
    unit = direction.float() / direction.float().norm()
    outputs = outputs_of(model, chats, position=position, batch_size=batch_size)
    norms = _norms_after(model)
    columns = []
    for layer, found in outputs.items():
        columns.append(_along(model, layer, found, unit, norms[layer]))
    return HeadScores(heads_of(model), torch.cat(columns, dim=-1), "projection")


def ablate_each(
    model: LocalModel,
    chats: Sequence[ChatLike],
    measure: Measure,
    *,
    heads: Sequence[tuple[int, int]] | None = None,
    rescale: Rescale = "position",
    progress: Callable[[int, int], None] | None = None,
) -> HeadScores:
    """How much the measure falls when each head is switched off alone; one pass over the chats a head.

    Args:
        model: A local model.
        chats: What it is asked.
        measure: See `odds_of_refusal` and `along`.
        heads: Which; None means all.
        rescale: See `scaling_heads`.
        progress: Called with the heads done and their number.

    Raises:
        InputError: There is no such head, or the measure gives something else than one finite number a chat.
    """
    asked = tuple(heads_of(model) if heads is None else (Head(*head) for head in heads))
    before = measured(model, chats, measure)
    columns = []
    for done, head in enumerate(asked, 1):
        with scaling_heads(model, [head], rescale=rescale):
            columns.append(before - measured(model, chats, measure))
        if progress is not None:
            progress(done, len(asked))
    return HeadScores(asked, torch.stack(columns, dim=-1), "ablation")


def odds_of_refusal(tokens: Sequence[int], *, batch_size: int = 32) -> Measure:
    """A measure: the log-odds that the answer begins with one of `tokens`."""
    from demur.states.scoring import log_odds

    def measure(model: LocalModel, chats: Sequence[ChatLike]) -> Tensor:
        return log_odds(model.next_token_logprobs(chats, batch_size=batch_size), tokens)

    return measure


def along(direction: Float[Tensor, " width"], *, layer: int, position: str = "last", batch_size: int = 32) -> Measure:
    """A measure: the state after block `layer` at one token, along a direction or a probe's weights."""
    from demur.states.residuals import states_of

    unit = torch.nn.functional.normalize(direction.float(), dim=0)

    def measure(model: LocalModel, chats: Sequence[ChatLike]) -> Tensor:
        states = states_of(model, chats, layers=[layer], positions=[position], batch_size=batch_size)
        return states[0, :, 0] @ unit

    return measure


def measured(model: LocalModel, chats: Sequence[ChatLike], measure: Measure) -> Float[Tensor, " chat"]:
    """What a measure gives, refused unless it is one finite number a chat."""
    found = measure(model, chats).double().cpu()
    if not chats or found.shape != (len(chats),) or not bool(torch.isfinite(found).all()):
        raise InputError(
            f"a measure gives one finite number a chat, got the shape {tuple(found.shape)} for {len(chats)} chats"
        )
    return found


def agreement(one: HeadScores, other: HeadScores, *, resamples: int = 2000, seed: int = 0) -> Interval:
    """Spearman's rank correlation of two attributions of the same heads, with a bootstrap interval over the chats.

    Raises:
        InputError: They are of other heads or chats, of fewer than 3 heads, or one ranks all heads the same.
    """
    import numpy as np
    from scipy.stats import rankdata

    from demur.stats import Interval

    if one.heads != other.heads or one.values.shape != other.values.shape or len(one.heads) < 3:
        raise InputError(
            f"rank agreement needs two attributions of the same 3 heads or more over the same chats, got "
            f"{tuple(one.values.shape)} and {tuple(other.values.shape)}"
        )

    n = len(one.values)
    drawn = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=resamples) / n
    # the first row is the chats as they are
    weights = np.concatenate([np.full((1, n), 1 / n), drawn])
    ranks = [rankdata(weights @ scores.values.double().numpy(), axis=1) for scores in (one, other)]
    centred = [rank - rank.mean(1, keepdims=True) for rank in ranks]
    spread = np.sqrt((centred[0] ** 2).sum(1) * (centred[1] ** 2).sum(1))
    if spread[0] == 0:
        raise InputError("an attribution gives every head the same value, so there are no ranks to compare")
    found = (centred[0] * centred[1]).sum(1)[spread > 0] / spread[spread > 0]
    low, high = np.quantile(found[1:], [0.025, 0.975])
    value = float(found[0])
    return Interval(value, min(float(low), value), max(float(high), value), n)


def _along(
    model: LocalModel, layer: int, outputs: Tensor, unit: Tensor, norm: nn.Module | None
) -> Float[Tensor, "chat head"]:
    """Each head's write along `unit`, through the projection and the norm after it."""
    projection = model.structure.attention(layer).projection
    where = next(model.structure.block(layer).module.parameters())
    if norm is None:
        reader = _read_through(projection, unit, outputs.shape[-2] * outputs.shape[-1], where)
        return (outputs * reader.view(outputs.shape[1:])).sum(-1)
    written = _written(projection, outputs.flatten(1), where)
    gain = _written(norm, torch.ones(1, len(unit)), where)[0]
    shape, after = written * gain, _written(norm, written, where)
    # an RMS norm multiplies each number by its gain and all by one scale, which is taken from what it did
    scale = (after * shape).sum(-1, keepdim=True) / shape.pow(2).sum(-1, keepdim=True)
    if not torch.allclose(shape * scale, after, rtol=1e-2, atol=1e-3 * float(after.abs().max())):
        raise ModelError(
            f"in layer {layer} of {model.name} a {type(norm).__name__} stands between the attention projection and the "
            "residual stream, which is no RMS norm; what one head adds to the stream cannot be told from the others. "
            "Use ablation"
        )
    reader = _read_through(projection, unit * gain, outputs.shape[-2] * outputs.shape[-1], where)
    return (outputs * reader.view(outputs.shape[1:])).sum(-1) * scale


def _read_through(projection: nn.Module, unit: Tensor, inputs: int, where: Tensor) -> Float[Tensor, " inputs"]:
    """The input direction that the projection turns into `unit`: the gradient of a linear map, whatever its layout."""
    given = torch.zeros(1, 1, inputs, device=where.device, dtype=where.dtype, requires_grad=True)
    with torch.enable_grad():
        along_unit = (projection(given).float() * unit.to(where.device)).sum()
        (reader,) = torch.autograd.grad(along_unit, given)
    return reader.flatten().float().cpu()


def _written(module: nn.Module, given: Tensor, where: Tensor) -> Tensor:
    with torch.no_grad():
        result: Tensor = module(given.to(where.device, where.dtype).unsqueeze(0))[0]
    return result.float().cpu()


def _norms_after(model: LocalModel) -> dict[int, nn.Module | None]:
    """By layer, the norm between the attention projection and the residual stream, where there is one."""
    from demur.states.interventions import attention_writers

    blocks = [block for block in model.structure.blocks if block.attention is not None]
    found: dict[int, nn.Module | None] = {}
    for block, writer in zip(blocks, attention_writers(model), strict=True):
        owner = block.attention.projection if block.attention is not None else None
        # an attention module that returns its projection's output, or a dropout that is off, changes nothing
        changes = owner is not None and writer is not owner and owner not in set(writer.modules())
        found[block.index] = writer if changes and not isinstance(writer, nn.Dropout) else None
    return found
