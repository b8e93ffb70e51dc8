"""Reads states of many chats at named sites and positions, at about the cost of the forward pass.

Chats of like length share a batch, the pass stops once the last wanted site has been read, and of each activation only
the wanted tokens are kept. Padding stands on the right, where a causal model cannot see it.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import groupby
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from demur.errors import InputError, ModelError
from demur.models import LocalModel, reading
from demur.models.request import ChatLike
from demur.states.identity import identity
from demur.states.shards import Captured, ShardWriter
from demur.states.sites import Located, Site, locate, resolve_sites

__all__ = ["Captured", "Site", "capture"]

_Write = Callable[[Site, Sequence[int], Tensor], None]


def capture(
    model: LocalModel,
    chats: Sequence[ChatLike],
    *,
    sites: Sequence[Site | tuple[int, str]] | None = None,
    positions: Sequence[str | int],
    batch_size: int = 32,
    out: Path | str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Captured:
    """Read the states of `chats`.

    What other scopes write (`demur.models.writing`) is seen: capture inside such a scope reads the edited model.

    Args:
        model: A local model in evaluation mode.
        chats: Conversations; a text is one user message.
        sites: Layers and points; None takes `resid_post` of every layer.
        positions: Names as in `demur.models.Positions.find` (`last_instruction`, `post_instruction:-1`, `last`, ...),
            `post_instruction:*` for each of the template's tokens after the instruction, or token indices (negative
            from the end).
        batch_size: Most chats at once; a batch that does not fit into memory is halved.
        out: A new folder that takes the states as they come, for sets larger than memory; the result is memory-mapped.
        progress: Called with the number of chats done and their total, after every batch.

    Returns:
        The states in the order of `chats`.

    Raises:
        InputError: Chats, sites or positions cannot be used as they are (see `locate` and `resolve_sites`), the model
            is in training mode, or `out` holds a capture already. Nothing is computed then.
        ModelError: The model has no single residual stream, or its states are not finite.
    """
    if batch_size < 1:
        raise InputError(f"batch_size must be at least 1, got {batch_size}")
    if model.model.training:
        raise InputError(f"{model.name} is in training mode, where dropout changes states; call model.model.eval()")
    widths = resolve_sites(model.structure, sites)
    located = locate(model, chats, positions)
    shape = (len(located.token_ids), len(located.positions))
    card = _card(model, located, widths)
    held: dict[Site, Tensor] = {}
    writer: ShardWriter | None = None
    if out is None:
        held = {site: torch.empty((*shape, width)) for site, width in widths.items()}
    else:
        writer = ShardWriter(Path(out), widths, chats=shape[0], positions=shape[1])

    def hold(site: Site, rows: Sequence[int], states: Tensor) -> None:
        held[site][list(rows)] = states

    scope: AbstractContextManager[Any] = nullcontext() if writer is None else writer
    # hooks belong to the model, so one thread at a time
    with scope, model._lock, torch.no_grad():
        _run(model, located, list(widths), batch_size, hold if writer is None else writer.write, progress)
        if writer is not None:
            writer.finish(positions=located.positions, tokens=located.tokens, card=card)
    return Captured(
        held if writer is None else writer.paths, positions=located.positions, tokens=located.tokens, card=card
    )


def _run(
    model: LocalModel,
    located: Located,
    sites: Sequence[Site],
    batch_size: int,
    write: _Write,
    progress: Callable[[int, int], None] | None,
) -> None:
    """Read batch after batch, the longest first, so that memory fails early."""
    batches = deque(_batches(model, located.token_ids, sites, batch_size))
    done = 0
    while batches:
        rows = batches.popleft()
        try:
            found = _read(model, [located.token_ids[row] for row in rows], located.tokens[rows], sites)
        except torch.OutOfMemoryError as error:
            if len(rows) == 1:
                raise ModelError(
                    f"chat {rows[0]} with {len(located.token_ids[rows[0]])} tokens does not fit into memory alone"
                ) from error
            batches.extendleft((rows[len(rows) // 2 :], rows[: len(rows) // 2]))
            continue
        lacking = located.tokens[rows] < 0
        for site, activation in found.items():
            states = activation.float().cpu()
            _check_finite(states, lacking, site, rows, located.positions)
            states[lacking] = torch.nan
            write(site, rows, states)
        done += len(rows)
        if progress is not None:
            progress(done, len(located.token_ids))


def _batches(
    model: LocalModel, token_ids: Sequence[Sequence[int]], sites: Sequence[Site], size: int
) -> Iterator[list[int]]:
    """Rows that share a batch: neighbours in length, or of one length where padding would be seen."""
    order = sorted(range(len(token_ids)), key=lambda row: len(token_ids[row]), reverse=True)
    mixed = size > 1 and len(set(map(len, token_ids))) > 1
    groups = [order]
    if mixed and not _padding_is_unseen(model, sites[-1]):
        groups = [list(rows) for _, rows in groupby(order, key=lambda row: len(token_ids[row]))]
    for group in groups:
        for start in range(0, len(group), size):
            yield group[start : start + size]


class _EnoughError(Exception):
    """Ends a forward pass once every wanted site has been read; never leaves this module."""


def _read(
    model: LocalModel, token_ids: Sequence[Sequence[int]], tokens: Tensor, sites: Sequence[Site]
) -> dict[Site, Tensor]:
    """The states of one batch, (chat, position, width) a site, where and as the model computed them.

    Where a chat lacks a position the state is some other token's.
    """
    longest = max(map(len, token_ids))
    ids = torch.full((len(token_ids), longest), model.pad_id, dtype=torch.long)
    for row, chat in enumerate(token_ids):
        ids[row, : len(chat)] = torch.tensor(chat)
    ids = ids.to(model.device)
    columns = tokens.clamp(min=0)
    rows = torch.arange(len(token_ids))[:, None]
    kept: dict[Site, Tensor] = {}

    def keep(site: Any, activation: Tensor) -> None:
        if activation.shape[:2] != ids.shape:
            raise ModelError(
                f"{site} of {model.name} passes on the shape {tuple(activation.shape)}, expected "
                f"{tuple(ids.shape)} and a width: its tokens cannot be told apart"
            )
        # advanced indexing copies, so nothing of the model's tensor is held
        kept[site] = activation[rows.to(activation.device), columns.to(activation.device)].flatten(2)
        if len(kept) == len(sites):
            raise _EnoughError

    try:
        with reading(model.structure, sites, keep):
            # all ones: padding on the right is unseen as it is, and without a mask the fast attention kernels run
            model.model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False)
    except _EnoughError:
        return {site: kept[site] for site in sites}
    missing = ", ".join(str(site) for site in sites if site not in kept)
    raise ModelError(f"{model.name} did not run {missing} in a forward pass, so its states cannot be read")


# Whether padding on the right is unseen, by model: found once by trying.
_unseen: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()


def _padding_is_unseen(model: LocalModel, site: Site) -> bool:
    """Whether a chat's states stay as they are when a longer one shares its batch."""
    if model.model not in _unseen:
        size = model.model.config.get_text_config(decoder=True).vocab_size
        short, long = [size // 2, size // 3, size // 4], [size // 5] * 6
        at = torch.tensor([[0, 1, 2]])
        alone = _read(model, [short], at, [site])[site].float()
        padded = _read(model, [short, long], at.repeat(2, 1), [site])[site][:1].float()
        # Rounding in half precision is a few hundredths of the spread of the states; padding that is seen is of its
        # order.
        _unseen[model.model] = bool((alone - padded).abs().max() <= 0.1 * alone.std())
    return _unseen[model.model]


def _check_finite(
    states: Tensor, lacking: Tensor, site: Site, rows: Sequence[int], positions: Sequence[str | int]
) -> None:
    if torch.isfinite(states).all():
        return
    bad = (~torch.isfinite(states).all(-1) & ~lacking).nonzero().tolist()
    if bad:
        row, column = bad[0]
        raise ModelError(
            f"{site} is not finite (NaN or infinity) for chat {rows[row]} at {positions[column]!r}. float16 overflows "
            "in many models: load with dtype='bfloat16' or 'float32'; otherwise the weights are damaged"
        )


def _card(model: LocalModel, located: Located, widths: dict[Site, int]) -> dict[str, Any]:
    from importlib.metadata import version

    digest = hashlib.sha256()
    for ids in located.token_ids:
        digest.update(torch.tensor([len(ids), *ids]).numpy().tobytes())
    heads = [site.layer for site in widths if site.point == "attn_heads"]
    return identity(model) | {
        "prompts": len(located.token_ids),
        "prompts_sha256": digest.hexdigest(),
        "heads": {str(layer): model.structure.attention(layer).heads for layer in heads},
        "transformers": version("transformers"),
    }
