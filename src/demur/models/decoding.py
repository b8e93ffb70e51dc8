"""Decides the next token of every row of a batch, each under its own settings.

Plugged into the decoding loop of transformers as its only logits processor and stopping criterion: the processor
decides the tokens (a draw is the largest of logits plus Gumbel noise, the noise from a generator of the row's own), and
hands back scores whose maximum they are. So each row is sampled as if it were alone, and the log-probability recorded
is the model's own, of the token that was really taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from demur.models.control import Batch, Fork, Row, Step, StepFunction
from demur.models.text import TextDecoder

__all__ = ["Decoder", "Stopper"]

_COLDEST = torch.finfo(torch.float32).tiny
"""Temperatures below it would be 0 in the arithmetic of the logits."""


class Decoder:
    """The decisions of one batch, called like a logits processor of transformers.

    Args:
        batch: The rows.
        acts: What the controls do at each step, in order.
        mask: (rows, width) attention mask of the padded prompts.
        text: Decodes tokens, for stop strings.
        end_ids: Tokens that end a turn.
        pad_id: What rows that have ended are filled with.
    """

    def __init__(
        self,
        *,
        batch: Batch,
        acts: Sequence[StepFunction],
        mask: Tensor,
        text: TextDecoder,
        end_ids: frozenset[int],
        pad_id: int,
    ) -> None:
        self._batch, self._acts, self._mask, self._text = batch, acts, mask, text
        self._end_ids, self._pad_id = end_ids, pad_id
        self._generators: list[torch.Generator | None] = [_generator(row, mask.device) for row in batch.rows]
        self._cache: Any = None

    def watch(self, _model: Any, _args: Any, output: Any) -> None:
        """Forward hook of the model: keeps a hold of the cache, so that a control can look ahead."""
        if not self._batch.deciding:
            self._cache = getattr(output, "past_key_values", None)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Decide one token a row; the result's maximum is at it."""
        rows = self._batch.rows
        step = Step(
            batch=self._batch,
            model_logits=scores,
            logits=scores,
            active=torch.tensor([row.ending is None for row in rows], device=scores.device),
            fork_source=self._fork,
        )
        self._batch.deciding = True
        try:
            for act in self._acts:
                act(step)
        finally:
            self._batch.deciding = False
        chosen = self._choose(step.logits)
        self._record(chosen, scores, step.logits)
        self._batch.step += 1
        done = torch.tensor([row.ending is not None for row in rows], device=chosen.device)
        tokens = torch.where(done & ~step.active, torch.full_like(chosen, self._pad_id), chosen)
        return torch.full_like(scores, float("-inf")).scatter_(1, tokens[:, None], 0.0)

    def _choose(self, logits: Tensor) -> Tensor:
        """(rows,) token ids under each row's settings."""
        rows = self._batch.rows
        drawn = [i for i, row in enumerate(rows) if row.ending is None and self._generators[i] is not None]
        if not drawn:
            return logits.argmax(-1)
        settings = [rows[i].sampling for i in drawn]
        chosen = logits.argmax(-1)
        # a very small temperature must not divide the largest logit into infinity: it stays 0
        scores = logits[drawn]
        largest = scores.amax(-1, keepdim=True)
        scores = scores - torch.where(largest.isfinite(), largest, torch.zeros_like(largest))
        scores = scores / torch.tensor([max(s.temperature, _COLDEST) for s in settings], device=scores.device)[:, None]
        if any(s.top_k or s.top_p < 1.0 for s in settings):
            size = scores.shape[-1]
            scores = _truncated(
                scores,
                torch.tensor([min(s.top_k or size, size) for s in settings], device=scores.device),
                torch.tensor([s.top_p for s in settings], device=scores.device),
            )
        noise = torch.stack([_gumbel(scores.shape[-1], self._generators[i]) for i in drawn])
        chosen[drawn] = (scores + noise).argmax(-1)
        return chosen

    def _record(self, chosen: Tensor, model_logits: Tensor, logits: Tensor) -> None:
        rows = self._batch.rows
        total = model_logits.logsumexp(-1)
        logprobs = (model_logits.gather(1, chosen[:, None]).squeeze(1) - total).tolist()
        # A maximum is NaN when any logit is, and minus infinity when a control has forbidden every token.
        usable = torch.isfinite(logits.amax(-1)).tolist()
        wanted = max(row.sampling.top_logprobs for row in rows)
        best = model_logits.topk(min(wanted, model_logits.shape[-1]), dim=-1) if wanted else None
        best_ids = best.indices.tolist() if best else None
        best_logprobs = (best.values - total[:, None]).tolist() if best else None
        for i, (row, token) in enumerate(zip(rows, chosen.tolist(), strict=True)):
            if row.ending is not None:
                continue
            if not usable[i]:
                row.ending, row.error = "error", "no token can follow: every next-token logit is NaN or minus infinity"
                continue
            row.token_ids.append(token)
            row.logprobs.append(logprobs[i])
            if row.sampling.top_logprobs and best_ids is not None and best_logprobs is not None:
                count = row.sampling.top_logprobs
                row.top_logprobs.append(tuple(zip(best_ids[i][:count], best_logprobs[i][:count], strict=True)))
            self._end(row, token)

    def _end(self, row: Row, token: int) -> None:
        """Set the row's ending when this token is its last."""
        if token in self._end_ids:
            row.ending = "end"
            return
        if row.sampling.stop:
            row.stop_string = self._text.find_stop(row.token_ids, row.sampling.stop)
        if row.stop_string is not None:
            row.ending = "end"
        elif len(row.token_ids) >= row.limit:
            row.ending = "length"

    def _fork(self) -> Fork | None:
        if self._cache is None:
            return None
        grown = self._mask.new_ones((self._mask.shape[0], self._batch.step))
        return Fork(self._batch.model.model, self._cache, torch.cat([self._mask, grown], dim=1))


class Stopper:
    """Tells the loop which rows have ended, called like a stopping criterion of transformers."""

    def __init__(self, batch: Batch) -> None:
        self._batch = batch

    def __call__(self, input_ids: Tensor, scores: Any, **_kwargs: Any) -> Tensor:
        """(rows,) bool, True for rows that have ended."""
        return torch.tensor([row.ending is not None for row in self._batch.rows], device=input_ids.device)


def _generator(row: Row, device: torch.device) -> torch.Generator | None:
    """The row's own source of noise, or None when it is greedy."""
    if row.seed is None:
        return None
    return torch.Generator(device=device).manual_seed(row.seed)


def _gumbel(size: int, generator: torch.Generator | None) -> Tensor:
    """(size,) draws from the standard Gumbel distribution: minus the logarithm of an exponential draw."""
    assert generator is not None  # noqa: S101 - callers keep rows that are drawn
    noise = torch.empty(size, device=generator.device, dtype=torch.float32).exponential_(generator=generator)
    return -noise.log()


def _truncated(scores: Tensor, top_k: Tensor, top_p: Tensor) -> Tensor:
    """Minus infinity for tokens outside a row's `top_k` or `top_p`, in that order; ties go to the lower token id.

    Args:
        scores: (rows, vocabulary).
        top_k: (rows,) number of tokens to keep.
        top_p: (rows,) probability to reach among those kept by `top_k`.
    """
    ordered, order = scores.sort(dim=-1, descending=True, stable=True)
    rank = torch.arange(scores.shape[-1], device=scores.device)
    ordered = ordered.masked_fill(rank >= top_k[:, None], float("-inf"))
    probability = ordered.softmax(-1)
    before = probability.cumsum(-1) - probability
    # the most probable token always stays; top_p = 1 keeps all, whatever the rounding of the sum
    outside = (before >= top_p[:, None]) & (top_p[:, None] < 1.0) & (rank > 0)
    ordered = ordered.masked_fill(outside, float("-inf"))
    return torch.empty_like(scores).scatter_(1, order, ordered)
