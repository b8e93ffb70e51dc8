"""Which model and template something was learned from, and whether this is the same one.

Names move with folders and revisions are missing from local files, so the weights themselves are sampled too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from demur.errors import ArtefactError
from demur.models import LocalModel

__all__ = ["check_identity", "identity"]

# What must agree, in the user's words. Number format and name may differ: the same weights in bf16, or in another
# folder, are the same model.
_COMPARED = {
    "class": "architecture",
    "layers": "number of layers",
    "width": "residual width",
    "revision": "revision",
    "embedding": "embedding and norm weights",
    "projections": "attention weights",
    "template_hash": "chat template",
}


def identity(model: LocalModel) -> dict[str, Any]:
    """What a card says about a model.

    `embedding` and `projections` are SHA-256 sums over a sample of the weights, rounded to bf16 so that the number
    format does not matter; None where those weights are quantised or not in memory.
    """
    network = model.model
    structure = model.structure
    sampled: list[Tensor] = [network.get_input_embeddings().weight]
    sampled += [weight for weight in network.parameters() if weight.ndim == 1]
    attention = [block.attention.projection for block in structure.blocks if block.attention is not None]
    # a quantised projection may keep its weights under other names
    projections = [getattr(projection, "weight", None) for projection in attention]
    return {
        "model": model.name,
        "revision": model.revision,
        "class": type(network).__name__,
        "layers": len(structure),
        "width": structure.width,
        "dtype": str(network.dtype).removeprefix("torch."),
        "template_hash": model.template_hash,
        "embedding": _digest(sampled),
        "projections": _digest(projections),
    }


def check_identity(card: Mapping[str, Any], model: LocalModel, what: str) -> None:
    """Refuse to use on `model` what was learned from another model or template.

    Args:
        card: What `identity` gave when it was learned; more keys do not matter, absent ones are not compared.
        model: The model at hand.
        what: What it is, for the message, e.g. `these states`.

    Raises:
        ArtefactError: The models or their templates differ.
    """
    here = identity(model)
    for key, words in _COMPARED.items():
        before, now = card.get(key), here[key]
        if before is not None and now is not None and before != now:
            raise ArtefactError(
                f"{what} came from {card.get('model')!r} and do not fit {model.name!r}: the {words} differs "
                f"({_short(before)} there, {_short(now)} here). Make them again on this model"
            )


def _digest(weights: Iterable[Any]) -> str | None:
    sums = hashlib.sha256()
    for weight in weights:
        if not isinstance(weight, Tensor) or weight.device.type == "meta" or not weight.is_floating_point():
            return None
        flat = weight.detach().reshape(-1)
        # 64 values of each tensor: training that moves a tensor moves some of them
        sample = flat[:: max(1, flat.numel() // 64)].to(torch.bfloat16).float().cpu()
        sums.update(sample.numpy().tobytes())
    return sums.hexdigest()


def _short(value: Any) -> str:
    return value[:12] if isinstance(value, str) and len(value) == 64 else str(value)
