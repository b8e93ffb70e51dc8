"""The residual stream of chats at named positions, refused where a chat has no such position."""

# ruff: noqa: F722 - shapes stand in annotations as text

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from demur.errors import InputError

if TYPE_CHECKING:
    from demur.models import LocalModel
    from demur.models.request import ChatLike
    from demur.states.shards import Captured

__all__ = ["captured", "positions_of", "states_of"]


def positions_of(model: LocalModel, chat: ChatLike) -> tuple[str, ...]:
    """The last instruction token and every post-instruction token, by name.

    Raises:
        InputError: The template puts nothing between the instruction and the answer.
    """
    after = len(model.positions(chat).post_instruction)
    if not after:
        raise InputError(
            f"the chat template of {model.name!r} has no tokens after the instruction, so there is no place that is "
            "read after it and before the answer; give positions, such as ['last_instruction']"
        )
    return ("last_instruction", *(f"post_instruction:{index}" for index in range(after)))


def states_of(
    model: LocalModel,
    chats: Sequence[ChatLike],
    *,
    layers: Sequence[int],
    positions: Sequence[str],
    batch_size: int = 32,
) -> Float[Tensor, "layer prompt position width"]:
    """The residual stream after some blocks at some positions, in float32 on the CPU.

    Raises:
        InputError: A chat has no such position, or there is no chat.
        ModelError: A state is not finite.
    """
    found = captured(model, chats, layers, positions, batch_size)
    return torch.stack([found.states((layer, "resid_post")) for layer in layers])


def captured(
    model: LocalModel,
    chats: Sequence[ChatLike],
    layers: Sequence[int],
    positions: Sequence[str | int],
    batch_size: int,
    out: Path | str | None = None,
) -> Captured:
    """What `states_of` reads, held or streamed to the new folder `out`."""
    from demur.states.capturing import capture
    from demur.states.sites import Site

    if not chats:
        raise InputError("there are no prompts to read")
    sites = [Site(layer, "resid_post") for layer in layers]
    found = capture(model, list(chats), sites=sites, positions=list(positions), batch_size=batch_size, out=out)
    for position in positions:
        if not bool(found.mask(position).all()):
            lacking = int((~found.mask(position)).sum())
            raise InputError(f"{lacking} of {len(chats)} prompts have no position {position!r} under this template")
    return found
