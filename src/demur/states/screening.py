"""What removing each of many directions would do, to first order, from one forward and backward pass."""

# ruff: noqa: F722 - shapes stand in annotations as text

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from demur.states.interventions import attention_writers
from demur.states.scoring import log_odds

if TYPE_CHECKING:
    from demur.models import LocalModel
    from demur.states.direction import Direction

__all__ = ["first_order"]


def first_order(
    model: LocalModel,
    prompts: Sequence[Sequence[int]],
    directions: Sequence[Direction],
    tokens: Sequence[int],
    *,
    batch_size: int = 32,
) -> Float[Tensor, " direction"]:
    """The change of the mean log-odds of refusal that removing each direction makes, to first order.

    Its component is taken from every write to the residual stream, each seen by everything after it. Where the
    probability of refusal is at one of its bounds the gradient is zero and this says nothing.

    Args:
        model: A local model.
        prompts: Tokens of each prompt.
        directions: Of any length above 0.
        tokens: First tokens of a refusal.
        batch_size: Prompts at once.
    """
    from demur.models.generation import left_padded

    units = torch.nn.functional.normalize(torch.stack([d.vector.float() for d in directions]), dim=-1)
    removed = torch.zeros(len(units))
    writers = attention_writers(model)
    order = sorted(range(len(prompts)), key=lambda n: len(prompts[n]))
    size = batch_size if model.pads_cleanly else 1
    for start in range(0, len(order), size):
        batch = [prompts[n] for n in order[start : start + size]]
        ids, attention = left_padded(batch, model.pad_id, model.device)
        # padding takes part in nothing, so its gradient is zero
        for write, gradient in _writes(model, writers, ids, attention, tokens):
            # the sum over tokens of (write . unit) (gradient . unit), as a form that serves any number of directions
            form = (write.float().flatten(0, 1).T @ gradient.float().flatten(0, 1)).cpu()
            removed -= ((units @ form) * units).sum(-1)
    return removed / len(prompts)


def _writes(
    model: LocalModel, writers: Sequence[nn.Module], ids: Tensor, attention: Tensor, tokens: Sequence[int]
) -> list[tuple[Tensor, Tensor]]:
    """What the embedding, each attention and the rest of each block write, with the log-odds' gradient at each."""
    from demur.models import reading

    count = len(model.structure)
    attending = [block.index for block in model.structure.blocks if block.attention is not None]
    streams: dict[int, Tensor] = {}
    attended: dict[int, Tensor] = {}

    def keep(site: tuple[int, str], activation: Tensor) -> None:
        streams[site[0] + (site[1] == "resid_post")] = activation

    def note(number: int, output: Any) -> None:
        attended[number] = output[0] if isinstance(output, tuple) else output

    sites: list[Any] = [(0, "resid_pre"), *((layer, "resid_post") for layer in range(count))]
    options: dict[str, Any] = {"logits_to_keep": 1} if model.supports_logits_to_keep else {}
    weights = [weight for weight in model.model.parameters() if weight.requires_grad]
    embedding = model.model.get_input_embeddings()
    handles = [embedding.register_forward_hook(lambda _m, _a, out: out.detach().requires_grad_())]
    handles += [
        writer.register_forward_hook(lambda _m, _a, out, number=number: note(number, out))
        for number, writer in zip(attending, writers, strict=True)
    ]
    with model._lock:
        for weight in weights:
            # only the stream's gradient is wanted, and the graph of the weights would hold every activation
            weight.requires_grad_(False)
        try:
            with torch.enable_grad(), reading(model.structure, sites, keep):
                output = model.model(
                    input_ids=ids,
                    attention_mask=attention,
                    position_ids=(attention.cumsum(-1) - 1).clamp(min=0),
                    use_cache=False,
                    **options,
                )
                total = log_odds(output.logits[:, -1].float().log_softmax(-1), tokens).sum()
                places = [streams[0], *(attended[n] for n in attending), *(streams[n + 1] for n in range(count))]
                gradients = [g.detach() for g in torch.autograd.grad(total, places)]
        finally:
            for handle in handles:
                handle.remove()
            for weight in weights:
                weight.requires_grad_(True)
    held = [streams[n].detach() for n in range(count + 1)]
    own = {n: attended[n].detach() for n in attending}
    rest = [after - before for before, after in pairwise(held)]
    for n, write in own.items():
        rest[n] = rest[n] - write
    return list(zip([held[0], *own.values(), *rest], gradients, strict=True))
