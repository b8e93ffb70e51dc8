"""A prompt prefix that all requests share, read once.

A system prompt or a template's head is often most of a short request. Where the model keeps a plain cache of keys and
values in every layer, the shared tokens run through it once and each batch starts from a copy. Sliding windows, linear
attention and other caches are left alone: padding would stand inside their window.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from demur.models.local import LocalModel

__all__ = ["Prefix", "find_prefix", "shareable", "shared_length"]

# Under this many tokens a prefix saves less than copying its cache costs.
_SHORTEST = 8


class Prefix:
    """The cache of a shared prefix.

    Attributes:
        length: Number of shared tokens.
    """

    def __init__(self, cache: Any, length: int) -> None:
        self._cache, self.length = cache, length

    def cache(self, rows: int) -> Any:
        """A copy of the cache for a batch of `rows` rows."""
        cache = copy.deepcopy(self._cache)
        cache.batch_repeat_interleave(rows)
        return cache


def find_prefix(model: LocalModel, prompts: Sequence[Sequence[int]]) -> Prefix | None:
    """The prefix that all `prompts` share, read by the model, or None where sharing does not pay or does not fit."""
    if len(prompts) < 2:
        return None
    first = prompts[0]
    # at least one token of each prompt must be left, for its last state predicts the response
    length = min(min(shared_length(first, prompt), len(prompt) - 1) for prompt in prompts)
    if length < _SHORTEST or not shareable(model):
        return None
    with torch.no_grad():
        ids = torch.tensor([list(first[:length])], device=model.device)
        output = model.model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=True, logits_to_keep=1)
    cache = output.past_key_values
    # a model that adds positions of its own (CPM-Ant's learned prompt) holds more than it was given
    return Prefix(cache, length) if _plain(cache) and cache.get_seq_length() == length else None


def shared_length(first: Sequence[Any], second: Sequence[Any]) -> int:
    """How many items two sequences have in common from their beginning."""
    for index, (one, other) in enumerate(zip(first, second, strict=False)):
        if one != other:
            return index
    return min(len(first), len(second))


def shareable(model: LocalModel) -> bool:
    """Whether the model would make a plain cache, told without running it."""
    from transformers import DynamicCache

    if not model.supports_logits_to_keep or not model.model._supports_default_dynamic_cache():
        return False
    return _plain(DynamicCache(config=model.model.config.get_text_config(decoder=True)))


def _plain(cache: Any) -> bool:
    from transformers import DynamicCache
    from transformers.cache_utils import DynamicLayer

    return type(cache) is DynamicCache and all(type(layer) is DynamicLayer for layer in cache.layers)
