"""Where to read: which layers and points, and which token of each chat.

Sites are checked against the model and positions against every chat before anything is computed, so that a long run
does not fail at its end.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, cast, get_args

import torch
from jaxtyping import Int
from torch import Tensor

from demur.errors import InputError, ModelError
from demur.models import LocalModel, Positions, Structure
from demur.models.request import ChatLike

__all__ = ["Located", "Point", "Site", "locate", "resolve_sites"]

Point = Literal["resid_pre", "resid_post", "attn_heads"]

# The positions of `Positions.find` that a chat may lack; any other name is a mistake of the caller.
_KNOWN = re.compile(r"last|last_instruction|last_reasoning|first_answer|last_answer|post_instruction:-?\d+")
_EVERY = "post_instruction:*"


class Site(NamedTuple):
    """One place in the model where states are read."""

    layer: int
    """Layer number, from 0."""
    point: Point
    """`resid_pre` (what enters the block), `resid_post` (what leaves it, before any final norm), or `attn_heads` (the
    heads side by side, before the projection that writes them to the residual stream)."""

    def __str__(self) -> str:
        return f"layer {self.layer} {self.point}"


class Located(NamedTuple):
    """The tokens of every chat and the token that each position is."""

    token_ids: list[list[int]]
    """What the model reads, one list a chat."""
    positions: tuple[str | int, ...]
    """The positions, with `post_instruction:*` spelled out."""
    tokens: Int[Tensor, "chat position"]  # noqa: F722
    """Index of the token in its chat, counted from the front; -1 where the chat has no such position."""


def resolve_sites(structure: Structure, sites: Sequence[Site | tuple[int, str]] | None) -> dict[Site, int]:
    """The wanted sites in the order of layers, each with the width of its states.

    Args:
        structure: The model's parts.
        sites: Layers and points; negative layers count from the last. None takes `resid_post` of every layer.

    Raises:
        InputError: A site is unknown, named twice, or none is given.
        ModelError: The model has no such layer, no heads in it, or one module that serves several layers.
    """
    if sites is None:
        sites = [Site(layer, "resid_post") for layer in range(len(structure))]
    if not sites:
        raise InputError("capture needs at least one site; leave sites out for what leaves each layer")
    found: dict[Site, int] = {}
    for layer, name in sites:
        if name not in get_args(Point):
            raise InputError(f"unknown point {name!r} at layer {layer}; there are: {', '.join(get_args(Point))}")
        point = cast(Point, name)
        block = structure.block(layer)
        site = Site(block.index, point)
        if site in found:
            raise InputError(f"{site} is named twice; name it once")
        module: Any = block.module
        if point == "attn_heads":
            attention = structure.attention(layer)
            found[site], module = attention.heads * attention.head_size, attention.projection
        else:
            found[site] = structure.width
        sharing = [other.index for other in structure.blocks if _holds(other, module) and other is not block]
        if sharing:
            raise ModelError(
                f"{site} cannot be told apart: layer {sharing[0]} runs the same module, so one forward pass goes "
                "through it more than once"
            )
    return dict(sorted(found.items(), key=lambda item: (item[0].layer, get_args(Point).index(item[0].point))))


def locate(model: LocalModel, chats: Sequence[ChatLike], positions: Sequence[str | int]) -> Located:
    """Find every position in every chat.

    Args:
        model: Whose template and tokenizer to use.
        chats: The conversations.
        positions: Names as in `Positions.find`, `post_instruction:*` for each of the template's tokens after the
            instruction, or token indices (negative from the end).

    Raises:
        InputError: There are no chats, a chat is longer than the context or cannot be rendered, or a position is
            unknown, named twice or missing from every chat.
    """
    if isinstance(chats, str) or not isinstance(chats, Sequence):
        raise InputError(f"capture takes a list of chats, got {type(chats).__name__}; put one chat into a list")
    if not chats:
        raise InputError("capture needs at least one chat, got none")
    if isinstance(positions, (str, int)) or not positions:
        raise InputError(f"positions must be a list with at least one name or token index, got {positions!r}")
    named = any(isinstance(position, str) and position != "last" for position in positions)
    token_ids, parts = [], []
    for number, chat in enumerate(chats):
        try:
            part = model.positions(chat) if named else None
            ids = list(part.token_ids) if part else model.encode(chat)
        except InputError as error:
            raise InputError(f"chat {number}: {error}") from error
        if not ids:
            raise InputError(f"chat {number} has no tokens")
        if model.context is not None and len(ids) > model.context:
            raise InputError(
                f"chat {number} has {len(ids)} tokens and the context of {model.name} holds {model.context}; shorten "
                "it or leave it out"
            )
        token_ids.append(ids)
        parts.append(part)
    wanted = _spelled_out(model, positions, parts)
    columns = [_column(position, parts, token_ids) for position in wanted]
    return Located(token_ids, wanted, torch.tensor(columns, dtype=torch.long).T.contiguous())


def _spelled_out(
    model: LocalModel, positions: Sequence[str | int], parts: Sequence[Positions | None]
) -> tuple[str | int, ...]:
    """The positions with `post_instruction:*` replaced by what it stands for."""
    after = max((len(part.post_instruction) for part in parts if part), default=0)
    asked = [p for p in positions if isinstance(p, str) and p.startswith("post_instruction")]
    if asked and not after:
        raise InputError(
            f"there is no position {asked[0]!r}: the chat template of {model.name} puts no tokens between the "
            "instruction and the assistant's words. Read 'last_instruction' or 'last' instead"
        )
    every = [f"post_instruction:{index}" for index in range(after)]
    wanted = [name for position in positions for name in (every if position == _EVERY else [position])]
    twice = next((position for index, position in enumerate(wanted) if position in wanted[:index]), None)
    if twice is not None:
        raise InputError(f"the position {twice!r} is named twice; name it once")
    return tuple(wanted)


def _column(position: str | int, parts: Sequence[Positions | None], token_ids: Sequence[Sequence[int]]) -> list[int]:
    """The token of one position in every chat, -1 where a chat lacks it."""
    column, reason = [], ""
    for part, ids in zip(parts, token_ids, strict=True):
        if isinstance(position, int):
            inside = -len(ids) <= position < len(ids)
            column.append(position % len(ids) if inside else -1)
            reason = reason or ("" if inside else f"the longest chat has {max(map(len, token_ids))} tokens")
        elif part is None:
            column.append(len(ids) - 1)
        elif not _KNOWN.fullmatch(position):
            column.append(part.find(position))
        else:
            try:
                column.append(part.find(position))
            except InputError as error:
                column.append(-1)
                reason = reason or str(error)
    if max(column) < 0:
        raise InputError(f"no chat has the position {position!r}: {reason}")
    return column


def _holds(block: Any, module: Any) -> bool:
    return block.module is module or (block.attention is not None and block.attention.projection is module)
