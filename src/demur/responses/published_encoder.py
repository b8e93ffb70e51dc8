"""Fine-tunes the small encoder on about a thousand labelled replies; needs torch and the pretrained files.

So few rows do not bear that every weight moves: word vectors and the lower layers stay as they were pretrained (what
they make of a reply is computed once), upper layers learn more slowly the lower they are, and the head, which starts
from nothing, learns fastest. A second head names the tone of the reply: why a row is declined, not only that it is.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from demur.responses.encoder_graph import WIDTH
from demur.responses.encoder_network import Network

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["EPOCHS", "LONGEST", "fine_tuned"]

LONGEST = 320
"""Tokens of a reply that are read: the first 200 and the last 120 of a longer one."""

EPOCHS = 5
"""Times that each reply is seen."""

_ENDING = 120
_LAYERS, _FROZEN = 6, 3
_BATCH, _RATE, _DECAY, _HEAD_RATE = 16, 1e-4, 0.9, 1e-3
_SMOOTHING, _TONE_SHARE = 0.05, 0.3


class _Tuned(Network):
    """The encoder with room for long replies, cut in two where the frozen layers end."""

    def __init__(self, base: Path, tones: int) -> None:
        super().__init__(base, _LAYERS)
        from safetensors.torch import load_file

        given = load_file(base / "model.safetensors")
        places = given["embeddings.position_embeddings.weight"] + given["embeddings.token_type_embeddings.weight"][:1]
        self.place = nn.Embedding(places.shape[0], WIDTH, _weight=places, _freeze=True)
        self.head = nn.Linear(2 * WIDTH, 1 + tones)
        nn.init.normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)

    def lower(self, ids: Tensor) -> Tensor:
        """States `(rows, tokens, width)` above the frozen layers."""
        x = self.norm(self.word(ids) + self.place.weight[: ids.shape[1]])
        for layer in self.layers[:_FROZEN]:
            x = layer(x, _mask(ids != 0))
        return torch.as_tensor(x)

    def upper(self, states: Tensor, live: Tensor) -> Tensor:
        """Log-odds of declining, then logits of the tones: `(rows, 1 + tones)`."""
        x = self.drop(states)
        for layer in self.layers[_FROZEN:]:
            x = layer(x, _mask(live))
        share = live.float()[..., None]
        pooled = torch.cat([x[:, 0].float(), (x.float() * share).sum(1) / share.sum(1)], -1)
        return torch.as_tensor(self.head(self.drop(pooled))).float()


def _mask(live: Tensor) -> Tensor:
    mask = (~live)[:, None, None, :] * -1e4
    return mask.to(torch.bfloat16) if torch.is_autocast_enabled("cpu") else mask


def _laid(tokenizer: Tokenizer, texts: Sequence[str]) -> list[list[int]]:
    """Token numbers of each reply: `[CLS] reply [SEP]`, or opening and ending with `[SEP]` between."""
    vocabulary = tokenizer.get_vocab()
    cls, sep = vocabulary["[CLS]"], vocabulary["[SEP]"]
    out = []
    for coded in tokenizer.encode_batch(list(texts), add_special_tokens=False):
        ids = coded.ids
        body = ids if len(ids) <= LONGEST else [*ids[: LONGEST - _ENDING], sep, *ids[-_ENDING:]]
        out.append([cls, *body, sep])
    return out


class _Rows:
    """Replies as the upper layers meet them: states kept in 16 bits, padded batch by batch."""

    def __init__(self, network: _Tuned, laid: Sequence[list[int]]) -> None:
        self.lengths = [len(ids) for ids in laid]
        self._states: list[Tensor] = [torch.empty(0)] * len(laid)
        order = sorted(range(len(laid)), key=lambda row: self.lengths[row])
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            for batch in _cut(order, 2 * _BATCH):
                ids = nn.utils.rnn.pad_sequence([torch.tensor(laid[row]) for row in batch], batch_first=True)
                for row, states in zip(batch, network.lower(ids).to(torch.bfloat16), strict=True):
                    self._states[row] = states[: self.lengths[row]].clone()

    def batch(self, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
        """States `(rows, tokens, width)` and which of them are tokens."""
        states = nn.utils.rnn.pad_sequence([self._states[row] for row in rows], batch_first=True)
        lengths = torch.tensor([self.lengths[row] for row in rows])
        return states.float(), torch.arange(states.shape[1]) < lengths[:, None]


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
    *, seed: int = 0, epochs: int = EPOCHS,
) -> NDArray[np.float64]:  # fmt: skip
    """Fits on some replies and judges others.

    With one thread, one seed and one type of processor the result repeats.

    Args:
        base: Folder of the pretrained encoder.
        taught: The replies to fit on.
        declined: Whether each of them declines, shape `(len(taught),)`.
        tones: The number of the tone of each, from 0, shape `(len(taught),)`.
        judged: The replies to judge.
        seed: Of the heads, the order and the dropout.
        epochs: Times that each taught reply is seen.

    Returns:
        Log-odds of declining, shape `(len(judged),)`.

    Raises:
        InputError: A pretrained file is missing.
        ArtefactError: A pretrained file is not the one whose licence was checked.
    """
    from tokenizers import Tokenizer

    torch.manual_seed(seed)
    network = _Tuned(base, int(tones.max()) + 1).eval()
    tokenizer = Tokenizer.from_file(str(base / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    rows = _Rows(network, _laid(tokenizer, [*taught, *judged]))
    _train(network.train(), rows, declined, tones, random.Random(seed), epochs)
    network.eval()
    out = np.empty(len(judged))
    order = sorted(range(len(judged)), key=lambda row: rows.lengths[len(taught) + row])
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        for batch in _cut(order, 2 * _BATCH):
            states, live = rows.batch([len(taught) + row for row in batch])
            out[batch] = network.upper(states, live)[:, 0].double().numpy()
    return out


def _train(
    network: _Tuned, rows: _Rows, declined: NDArray[np.bool_], tones: NDArray[np.int64],
    rng: random.Random, epochs: int,
) -> None:  # fmt: skip
    """Moves the upper layers and the head; the taught replies are the first of `rows`."""
    parted = [(list(network.head.parameters()), _HEAD_RATE)]
    for index, layer in enumerate(network.layers[_FROZEN:], start=_FROZEN + 1):
        parted.append((list(layer.parameters()), _RATE * _DECAY ** (_LAYERS - index)))
    moved = [parameter for part, _ in parted for parameter in part]
    optimiser = torch.optim.AdamW([{"params": part, "lr": rate} for part, rate in parted], weight_decay=0.01)
    steps = epochs * math.ceil(len(declined) / _BATCH)
    warm = 0.1 * steps
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min((step + 1) / warm, max(0.0, (steps - step) / (steps - warm)))
    )
    wanted = torch.tensor(declined, dtype=torch.float32) * (1 - _SMOOTHING) + _SMOOTHING / 2
    named = torch.tensor(tones)
    for _ in range(epochs):
        for batch in _shuffled(rows.lengths[: len(declined)], rng):
            with torch.autocast("cpu", torch.bfloat16):
                logits = network.upper(*rows.batch(batch))
            first = nn.functional.binary_cross_entropy_with_logits(logits[:, 0], wanted[batch])
            second = nn.functional.cross_entropy(logits[:, 1:], named[batch], label_smoothing=_SMOOTHING)
            (first + _TONE_SHARE * second).backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(moved, 1.0)
            optimiser.step()
            optimiser.zero_grad()
            schedule.step()
