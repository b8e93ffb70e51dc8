"""Scores of many candidate directions on the same prompts, each row of a batch under a direction of its own.

Prompts are put into tokens once, rows of like length share a batch whichever candidate they belong to, what passes have
in common is computed once, and only the last token goes through the unembedding. A score is a number for one candidate
and one prompt, so a caller can stop asking about a candidate as soon as it knows enough.
"""

# ruff: noqa: F722 - shapes stand in annotations as text

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from demur.errors import InputError
from demur.states.interventions import attention_writers, editing_writes
from demur.states.passes import Acting, Passes, leaving_alone

if TYPE_CHECKING:
    from demur.models import LocalModel
    from demur.models.request import ChatLike
    from demur.states.direction import Direction

__all__ = ["HIGHEST", "Scorer", "log_odds"]

_LEAST = 1e-8
HIGHEST = -math.log(_LEAST)
"""No log-odds lie outside -HIGHEST and HIGHEST: a share is held between 1e-8 and 1 - 1e-8, as published."""

Pair = tuple["Direction", int]
"""A candidate and the number of a prompt."""


def log_odds(logprobs: Float[Tensor, "prompt vocab"], tokens: Sequence[int]) -> Float[Tensor, " prompt"]:
    """Log-odds that the next token is one of `tokens`, within -HIGHEST and HIGHEST."""
    share = logprobs[:, sorted(set(tokens))].exp().sum(-1).double().clamp(_LEAST, 1 - _LEAST)
    return share.log() - (1 - share).log()


class Scorer:
    """Scores candidates on fixed prompts.

    Args:
        model: A local model.
        harmful: Prompts whose refusal should fall when a direction is removed.
        harmless: Prompts whose refusal should rise when it is added.
        tokens: First tokens of a refusal.
        batch_size: Most rows at once.

    Attributes:
        model: As given.
        batch_size: As given.
        harmful: The tokens of each harmful prompt.
        harmless: The tokens of each harmless prompt.
        baseline: Mean log-odds of refusal of harmful and of harmless prompts, untouched.
        depth: Blocks of the model.
        read: Prompts that were run so far, the baseline's included.

    Raises:
        InputError: A prompt cannot be rendered or is longer than the context, or a token is not in the vocabulary.
    """

    def __init__(
        self,
        model: LocalModel,
        *,
        harmful: Sequence[ChatLike],
        harmless: Sequence[ChatLike],
        tokens: Sequence[int],
        batch_size: int,
    ) -> None:
        if batch_size < 1:
            raise InputError(f"batch_size must be at least 1, got {batch_size}")
        size = model.model.config.get_text_config(decoder=True).vocab_size
        if not tokens or not all(0 <= token < size for token in tokens):
            raise InputError(f"refusal tokens must be some of the {size} tokens of the vocabulary")
        self.model, self._tokens, self.batch_size = model, tokens, batch_size
        self.harmful = [_encoded(model, prompt) for prompt in harmful]
        self.harmless = [_encoded(model, prompt) for prompt in harmless]
        self._writers = attention_writers(model)
        self._passes = Passes(model, [*self.harmful, *self.harmless])
        batches = list(self._batches([len(prompt) for prompt in self.harmless]))
        self._plain = self._passes.untouched(self.harmless, batches).float().log_softmax(-1)
        self.depth = len(model.structure)
        self.read = len(harmless)
        untouched = self._score([(None, n) for n in range(len(harmful))], self.harmful, leaving_alone, self._refusing)
        self.baseline = float(untouched.mean()), float(log_odds(self._plain, tokens).mean())

    def ablation(self, pairs: Sequence[Pair]) -> Float[Tensor, " pair"]:
        """Log-odds of refusal of harmful prompts, each with the direction removed from the stream."""
        return self._score(pairs, self.harmful, self._removing, self._refusing)

    def divergence(self, pairs: Sequence[Pair]) -> Float[Tensor, " pair"]:
        """KL divergence of the next token of harmless prompts, from the untouched model to the ablated one."""
        return self._score(pairs, self.harmless, self._removing, self._diverging)

    def addition(self, pairs: Sequence[Pair]) -> Float[Tensor, " pair"]:
        """Log-odds of refusal of harmless prompts, each with the direction added after its block at every token."""
        return self._score(pairs, self.harmless, self._adding, self._refusing, after=[d.layer for d, _ in pairs])

    def _score(
        self,
        pairs: Sequence[tuple[Any, int]],
        prompts: Sequence[Sequence[int]],
        acting: Acting,
        reduce: Callable[[Tensor, Sequence[int]], Tensor],
        after: Sequence[int] | None = None,
    ) -> Tensor:
        found = torch.empty(len(pairs), dtype=torch.float64)
        for rows in self._batches([len(prompts[number]) for _, number in pairs], after):
            numbers = [pairs[row][1] for row in rows]
            logits = self._passes.logits(
                [prompts[number] for number in numbers],
                acting,
                [pairs[row][0] for row in rows],
                unchanged=None if after is None else (min(after[row] for row in rows), numbers),
            )
            found[rows] = reduce(logits.float().log_softmax(-1), numbers).double().cpu()
        self.read += len(pairs)
        return found

    def _batches(self, lengths: Sequence[int], after: Sequence[int] | None = None) -> Iterator[list[int]]:
        """Rows that share a batch, the longest first; of one length where padding would be seen.

        Where what happens begins after a block, rows of like blocks go together: the blocks before are not run.
        """
        order = sorted(range(len(lengths)), key=lambda row: lengths[row], reverse=True)
        if after is not None and self.model.pads_cleanly:
            order.sort(key=after.__getitem__)
        mixed = len(set(lengths)) < 2 or self.model.pads_cleanly
        batch: list[int] = []
        for row in order:
            if batch and (len(batch) == self.batch_size or not (mixed or lengths[batch[0]] == lengths[row])):
                yield batch
                batch = []
            batch.append(row)
        if batch:
            yield batch

    def _refusing(self, logprobs: Tensor, _numbers: Sequence[int]) -> Tensor:
        return log_odds(logprobs, self._tokens)

    def _diverging(self, logprobs: Tensor, numbers: Sequence[int]) -> Tensor:
        plain = self._plain[list(numbers)]
        return (plain.exp() * (plain - logprobs)).sum(-1)

    def _removing(self, directions: Sequence[Direction]) -> AbstractContextManager[None]:
        # normalised in float32 before rounding, so that half precision leaves no remainder
        units = torch.nn.functional.normalize(torch.stack([d.vector.float() for d in directions]), dim=-1)

        def remove(activation: Tensor) -> Tensor:
            unit = units.to(activation.device, activation.dtype)
            return torch.baddbmm(activation, activation @ unit.unsqueeze(-1), unit.unsqueeze(1), alpha=-1)

        return editing_writes(self.model, self._writers, remove)

    @contextmanager
    def _adding(self, directions: Sequence[Direction]) -> Iterator[None]:
        from demur.models import writing

        vectors = torch.stack([d.vector.float() for d in directions])
        layers = torch.tensor([d.layer for d in directions])

        def pushing(layer: int) -> Callable[[Tensor], Tensor]:
            # a row whose direction belongs after another block is left alone here
            pushes = (vectors * (layers == layer).unsqueeze(-1)).unsqueeze(1)
            return lambda activation: activation + pushes.to(activation.device, activation.dtype)

        with writing(self.model.structure, {(n, "resid_post"): pushing(n) for n in sorted(set(layers.tolist()))}):
            yield


def _encoded(model: LocalModel, chat: ChatLike) -> list[int]:
    ids = model.encode(chat)
    if model.context is not None and len(ids) > model.context:
        raise InputError(f"a prompt has {len(ids)} tokens and the context of {model.name} holds {model.context}")
    return ids
