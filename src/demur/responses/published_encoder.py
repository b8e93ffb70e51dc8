"""Fine-tunes a pretrained encoder on about a thousand labelled replies; needs torch, transformers and its files.

Any encoder that transformers loads will do whose layers are a list `encoder.layer` (BERT, MPNet, RoBERTa, ELECTRA,
DeBERTa). So few rows do not bear that every weight moves: word vectors and the lower half of the layers stay as they
were pretrained, upper layers learn more slowly the lower they are, and the head, which starts from nothing, learns
fastest. A second head names the tone of the reply: why a row is declined, not only that it is.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from demur.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["EPOCHS", "LONGEST", "fine_tuned"]

LONGEST = 320
"""Tokens of a reply that are read: the first 200 and the last 120 of a longer one."""

EPOCHS = 5
"""Times that each reply is seen."""

_ENDING, _PROMPT = 120, 60
_BATCH, _DECAY, _HEAD_RATE = 16, 0.9, 1e-3
_RATE, _WIDTH = 1e-4, 384  # a wider encoder learns more slowly, in proportion
_SMOOTHING, _TONE_SHARE = 0.05, 0.3


class _Tuned(nn.Module):
    """The encoder, its lower half frozen, with a head for declining and one for tones."""

    def __init__(self, base: Path, tones: int) -> None:
        from transformers import AutoModel

        super().__init__()
        try:
            # dropping single attention weights takes longer than all matrix products together on a CPU
            self.body = AutoModel.from_pretrained(base, dtype=torch.float32, attention_probs_dropout_prob=0.0)
        except (OSError, ValueError) as error:
            raise InputError(
                f"{base} holds no pretrained encoder: {error}; --base is the folder of one, with config.json, "
                "model.safetensors and tokenizer.json"
            ) from error
        layers = getattr(getattr(self.body, "encoder", None), "layer", None)
        if layers is None:
            family = type(self.body).__name__
            raise InputError(f"{base} is a {family}, which keeps its layers elsewhere than in encoder.layer")
        width = int(self.body.config.hidden_size)
        self.head = nn.Linear(2 * width, 1 + tones)
        nn.init.normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)
        self.drop = nn.Dropout(0.1)
        self.body.requires_grad_(False)
        self.moving = list(reversed(layers[len(layers) // 2 :]))
        self.rates: list[tuple[list[nn.Parameter], float]] = [(list(self.head.parameters()), _HEAD_RATE)]
        for below, layer in enumerate(self.moving):
            layer.requires_grad_(True)
            self.rates.append((list(layer.parameters()), _RATE * _WIDTH / width * _DECAY**below))

    def train(self, mode: bool = True) -> _Tuned:
        """Drops out where weights move, and nowhere else."""
        super().train(mode)
        self.body.eval()
        for layer in self.moving:
            layer.train(mode)
        return self

    def forward(self, ids: Tensor, live: Tensor) -> Tensor:
        """Log-odds of declining, then logits of the tones: `(rows, 1 + tones)`."""
        x = self.body(input_ids=ids, attention_mask=live.long()).last_hidden_state.float()
        share = live.float()[..., None]
        pooled = torch.cat([x[:, 0], (x * share).sum(1) / share.sum(1)], -1)
        return torch.as_tensor(self.head(self.drop(pooled))).float()


class _Rows:
    """Token numbers of replies, padded batch by batch."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str] | None, texts: Sequence[str]) -> None:
        def ids(some: Sequence[str]) -> list[list[int]]:
            found: list[list[int]] = tokenizer(list(some), add_special_tokens=False, verbose=False)["input_ids"]
            return found

        first, sep = int(tokenizer.cls_token_id), int(tokenizer.sep_token_id)
        self._pad = int(tokenizer.pad_token_id)
        asked = [[]] * len(texts) if prompts is None else [[*one[:_PROMPT], sep] for one in ids(prompts)]
        self._ids = [
            [first, *before, *_both_ends(reply, sep), sep] for before, reply in zip(asked, ids(texts), strict=True)
        ]
        self.lengths = [len(one) for one in self._ids]

    def batch(self, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Token numbers `(rows, tokens)`, and which of them are not padding."""
        pieces = [torch.tensor(self._ids[row]) for row in rows]
        ids = nn.utils.rnn.pad_sequence(pieces, batch_first=True, padding_value=self._pad)
        lengths = torch.tensor([self.lengths[row] for row in rows])
        return ids, torch.arange(ids.shape[1]) < lengths[:, None]


def _both_ends(ids: list[int], sep: int) -> list[int]:
    return ids if len(ids) <= LONGEST else [*ids[: LONGEST - _ENDING], sep, *ids[-_ENDING:]]


def _cut(order: Sequence[int], size: int) -> list[list[int]]:
    return [list(order[begin : begin + size]) for begin in range(0, len(order), size)]


def _shuffled(lengths: Sequence[int], rng: random.Random) -> list[list[int]]:
    """Row numbers in batches of like length, the batches in random order."""
    order = rng.sample(range(len(lengths)), len(lengths))
    batches = [
        batch for near in _cut(order, 8 * _BATCH) for batch in _cut(sorted(near, key=lambda row: lengths[row]), _BATCH)
    ]
    rng.shuffle(batches)
    return batches


def fine_tuned(
    base: Path, taught: Sequence[str], declined: NDArray[np.bool_], tones: NDArray[np.int64], judged: Sequence[str],
    *, prompts: tuple[Sequence[str], Sequence[str]] | None = None, seed: int = 0, epochs: int = EPOCHS,
) -> NDArray[np.float64]:  # fmt: skip
    """Fits on some replies and judges others.

    With one thread, one seed and one type of processor the result repeats.

    Args:
        base: Folder of the pretrained encoder, as transformers saves it.
        taught: The replies to fit on.
        declined: Whether each of them declines, shape `(len(taught),)`.
        tones: The number of the tone of each, from 0, shape `(len(taught),)`.
        judged: The replies to judge.
        prompts: What the taught and the judged replies answer, to be read before them; None means replies alone.
        seed: Of the heads, the order and the dropout.
        epochs: Times that each taught reply is seen.

    Returns:
        Log-odds of declining, shape `(len(judged),)`.

    Raises:
        InputError: The folder holds no encoder that can be loaded.
    """
    from transformers import AutoTokenizer

    torch.manual_seed(seed)
    network = _Tuned(base, int(tones.max()) + 1)
    tokenizer: Any = AutoTokenizer.from_pretrained(base)
    asked, answered = prompts or (None, None)
    _train(network.train(), _Rows(tokenizer, asked, taught), declined, tones, random.Random(seed), epochs)
    network.eval()
    rows = _Rows(tokenizer, answered, judged)
    out = np.empty(len(judged))
    order = sorted(range(len(judged)), key=lambda row: rows.lengths[row])
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        for batch in _cut(order, 2 * _BATCH):
            out[batch] = network(*rows.batch(batch))[:, 0].double().numpy()
    return out


def _train(
    network: _Tuned, rows: _Rows, declined: NDArray[np.bool_], tones: NDArray[np.int64],
    rng: random.Random, epochs: int,
) -> None:  # fmt: skip
    moved = [parameter for part, _ in network.rates for parameter in part]
    groups = [{"params": part, "lr": rate} for part, rate in network.rates]
    optimiser = torch.optim.AdamW(groups, weight_decay=0.01, fused=True)
    steps = epochs * math.ceil(len(declined) / _BATCH)
    warm = 0.1 * steps
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min((step + 1) / warm, max(0.0, (steps - step) / (steps - warm)))
    )
    wanted = torch.tensor(declined, dtype=torch.float32) * (1 - _SMOOTHING) + _SMOOTHING / 2
    named = torch.tensor(tones)
    for _ in range(epochs):
        for batch in _shuffled(rows.lengths, rng):
            with torch.autocast("cpu", torch.bfloat16):
                logits = network(*rows.batch(batch))
            first = nn.functional.binary_cross_entropy_with_logits(logits[:, 0], wanted[batch])
            second = nn.functional.cross_entropy(logits[:, 1:], named[batch], label_smoothing=_SMOOTHING)
            (first + _TONE_SHARE * second).backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(moved, 1.0)
            optimiser.step()
            optimiser.zero_grad()
            schedule.step()
