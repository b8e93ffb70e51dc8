"""Attention heads: their names, what they write on the mean, and the model with some of them scaled or switched off.

A head is found by its slice of the output projection's input, so fused or grouped queries do not matter.

Source: "Refusal Falls off a Cliff", arXiv 2510.06036, for the ablation and the rescaling.
"""

# ruff: noqa: F722 - shapes stand in annotations as text

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from demur.errors import InputError

if TYPE_CHECKING:
    from demur.models import LocalModel
    from demur.models.request import ChatLike

__all__ = ["Head", "Rescale", "heads_of", "mean_outputs", "outputs_of", "scaling_heads"]

Rescale = Literal["position", "released", "none"]
"""What is done to the other heads of a layer when some are scaled.

`position`: at each token, all heads together keep the length they had. `released`: the whole batch keeps its length
together, as the released code does, so that a result depends on what else is in the batch. `none`: nothing.
"""


class Head(NamedTuple):
    """One query head; with grouped queries several share keys and values, and each has its own output."""

    layer: int
    head: int

    def __str__(self) -> str:
        return f"{self.layer}.{self.head}"


def heads_of(model: LocalModel) -> tuple[Head, ...]:
    """Every attention head of the model, in the order of layers.

    Raises:
        ModelError: The model has no residual stream or no attention.
    """
    return tuple(
        Head(block.index, head)
        for block in model.structure.blocks
        if block.attention is not None
        for head in range(block.attention.heads)
    )


@contextmanager
def scaling_heads(
    model: LocalModel,
    heads: Sequence[tuple[int, int]],
    factor: float = 0.0,
    *,
    means: Mapping[tuple[int, int], Tensor] | None = None,
    rescale: Rescale = "position",
) -> Iterator[None]:
    """Scale the outputs of some heads while the scope lasts, at every token, in forward passes and in generation.

    Args:
        model: A local model.
        heads: (layer, head) pairs; no pair at all changes nothing.
        factor: What to multiply with; 0 switches a head off.
        means: By head, what takes the place of the part that the factor removes: with factor 0, mean ablation. None
            puts nothing there.
        rescale: What is done to the length of a layer's heads taken together. Where no head is left, it stays 0.

    Raises:
        InputError: There is no such head, one is named twice, a mean is missing or of another size, or `rescale` is
            unknown.
    """
    from demur.models import writing

    if rescale not in get_args(Rescale):
        raise InputError(f"rescale must be {', '.join(get_args(Rescale))}, got {rescale!r}")
    layers: dict[int, list[int]] = {}
    known = set(heads_of(model))
    for layer, head in heads:
        if (layer, head) not in known or head in layers.get(layer, ()):
            raise InputError(
                f"the head {layer}.{head} is named twice or does not exist; {model.name} has {len(known)} heads, from "
                f"{min(known)} to {max(known)}"
            )
        layers.setdefault(layer, []).append(head)
    edits: dict[Any, Any] = {}
    for layer, members in layers.items():
        size = model.structure.attention(layer).head_size
        fill = None
        if means is not None:
            lacking = [h for h in members if (layer, h) not in means or means[layer, h].shape != (size,)]
            if lacking:
                raise InputError(f"the head {layer}.{lacking[0]} has no mean of {size} numbers")
            fill = torch.stack([means[layer, h] for h in members]) * (1 - factor)
        edits[layer, "attn_heads"] = _Scaling(members, factor, fill, rescale)
    with writing(model.structure, edits):
        yield


class _Scaling:
    """Scales heads of one layer; (batch, tokens, heads, head size) in and out."""

    def __init__(self, heads: Sequence[int], factor: float, fill: Tensor | None, rescale: Rescale) -> None:
        self._heads, self._factor, self._fill, self._rescale = list(heads), factor, fill, rescale

    def __call__(self, activation: Tensor) -> Tensor:
        scaled = activation.clone()
        scaled[..., self._heads, :] *= self._factor
        if self._fill is not None:
            scaled[..., self._heads, :] += self._fill.to(activation.device, activation.dtype)
        if self._rescale == "none":
            return scaled
        # over heads and their numbers, and over batch and tokens too as released
        over = (-2, -1) if self._rescale == "position" else tuple(range(activation.ndim))
        before = torch.linalg.vector_norm(activation.float(), dim=over, keepdim=True)
        after = torch.linalg.vector_norm(scaled.float(), dim=over, keepdim=True)
        ratio = torch.where(
            after > 0, before / after.clamp(min=torch.finfo(torch.float32).tiny), torch.zeros_like(after)
        )
        return (scaled.float() * ratio).to(activation.dtype)


def mean_outputs(
    model: LocalModel, chats: Sequence[ChatLike], *, position: str = "last", batch_size: int = 32
) -> dict[Head, Float[Tensor, " head_size"]]:
    """What each head puts out on the mean over chats at one position, before the output projection: for mean ablation.

    Raises:
        InputError: There are no chats, or one has no such position.
    """
    return {
        Head(layer, head): output
        for layer, outputs in outputs_of(model, chats, position=position, batch_size=batch_size).items()
        for head, output in enumerate(outputs.mean(0))
    }


def outputs_of(
    model: LocalModel, chats: Sequence[ChatLike], *, position: str, batch_size: int = 32
) -> dict[int, Float[Tensor, "chat head head_size"]]:
    """Each layer's head outputs at one position, before the output projection, in float32 on the CPU.

    Raises:
        InputError: There are no chats, or one has no such position.
    """
    from demur.states.capturing import capture
    from demur.states.sites import Site

    layers = sorted({head.layer for head in heads_of(model)})
    sites = [Site(layer, "attn_heads") for layer in layers]
    found = capture(model, list(chats), sites=sites, positions=[position], batch_size=batch_size)
    if not bool(found.mask(position).all()):
        raise InputError(f"{int((~found.mask(position)).sum())} of {len(chats)} chats have no position {position!r}")
    outputs = {}
    for site in sites:
        states = found.at(site, position)
        outputs[site.layer] = states.view(len(states), model.structure.attention(site.layer).heads, -1)
    return outputs
