# ruff: noqa: F722 - shapes are words here
"""The encoder as a torch network, for training only: the lower layers of MiniLM and two heads.

What runs in the package is the same arithmetic written out by `encoder_graph`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from demur.errors import ArtefactError, InputError
from demur.responses.encoder import KINDS, Pieces
from demur.responses.encoder_graph import HEADS, WIDTH, quantise_rows

__all__ = ["BASE", "Network", "pad"]

BASE = {
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
}
"""Files of the pretrained encoder (sentence-transformers/all-MiniLM-L6-v2) with their SHA-256."""

_PLACES = 192  # positions kept of 512: the layout needs 179
_NAMES = {
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "output": "attention.output.dense",
    "norm1": "attention.output.LayerNorm",
    "wide": "intermediate.dense",
    "narrow": "output.dense",
    "norm2": "output.LayerNorm",
}


class _Layer(nn.Module):
    """One transformer layer of BERT, normalised after each half."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value, self.output = (nn.Linear(WIDTH, WIDTH) for _ in range(4))
        self.wide, self.narrow = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH, 1e-12), nn.LayerNorm(WIDTH, 1e-12)

    def forward(
        self, x: Float[Tensor, "row token width"], mask: Float[Tensor, "row 1 1 token"]
    ) -> Float[Tensor, "row token width"]:
        rows, tokens, _ = x.shape

        def split(part: Tensor) -> Tensor:
            return part.view(rows, tokens, HEADS, WIDTH // HEADS).transpose(1, 2)

        # written out, because the fused operator's backward pass took most of a step on a CPU
        weights = split(self.query(x)) @ split(self.key(x)).transpose(-1, -2)
        weights = torch.softmax(weights * (WIDTH // HEADS) ** -0.5 + mask, -1, dtype=weights.dtype)
        mixed = (weights @ split(self.value(x))).transpose(1, 2).reshape(rows, tokens, WIDTH)
        x = self.norm1(x + self.output(mixed))
        return self.norm2(x + self.narrow(nn.functional.gelu(self.wide(x))))  # type: ignore[no-any-return]


class Network(nn.Module):
    """Embeddings, some layers, and one linear head whose first output is the log-odds of declining, the others kinds.

    Args:
        base: Folder of the pretrained encoder.
        layers: How many of its layers are kept, from the bottom.

    Raises:
        InputError: A file is missing.
        ArtefactError: A file is not the one whose licence was checked.
    """

    def __init__(self, base: Path, layers: int) -> None:
        super().__init__()
        from safetensors.torch import load_file

        check_base(base)
        given = load_file(base / "model.safetensors")
        self.word = _embedding(self._rounded(given["embeddings.word_embeddings.weight"]), freeze=True)
        # there is one segment: its vector joins the places
        segment = given["embeddings.token_type_embeddings.weight"][:1]
        self.place = _embedding(given["embeddings.position_embeddings.weight"][:_PLACES] + segment)
        self.norm = nn.LayerNorm(WIDTH, 1e-12)
        self._take(self.norm, given, "embeddings.LayerNorm")
        self.layers = nn.ModuleList(_Layer() for _ in range(layers))
        for index, layer in enumerate(self.layers):
            for mine, theirs in _NAMES.items():
                self._take(getattr(layer, mine), given, f"encoder.layer.{index}.{theirs}")
        self.drop = nn.Dropout(0.1)
        self.head = nn.Linear(2 * WIDTH, 1 + len(KINDS))
        nn.init.normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)

    @staticmethod
    def _rounded(table: Tensor) -> Tensor:
        """The words as they will be stored: frozen, so that training sees what the graph will see."""
        codes, scale = quantise_rows(table.numpy())
        return torch.from_numpy(codes * scale)

    @staticmethod
    def _take(part: nn.Linear | nn.LayerNorm, given: dict[str, Tensor], name: str) -> None:
        part.weight = nn.Parameter(given[f"{name}.weight"].clone())
        part.bias = nn.Parameter(given[f"{name}.bias"].clone())

    def forward(self, ids: Int[Tensor, "row token"]) -> Float[Tensor, "row output"]:
        """Outputs of rows that are padded with 0."""
        live = ids != 0
        mask = (~live)[:, None, None, :] * -1e4  # as good as minus infinity, and safe in 16 bits
        x = self.drop(self.norm(self.word(ids) + self.place.weight[: ids.shape[1]]))
        for layer in self.layers:
            x = layer(x, mask.to(torch.bfloat16) if torch.is_autocast_enabled("cpu") else mask)
        x = x.float()
        share = live.float()[..., None]
        pooled = torch.cat([x[:, 0], (x * share).sum(1) / share.sum(1)], -1)
        return self.head(self.drop(pooled)).float()  # type: ignore[no-any-return]


def _embedding(table: Tensor, *, freeze: bool = False) -> nn.Embedding:
    return nn.Embedding(table.shape[0], table.shape[1], _weight=table.clone(), _freeze=freeze)


def check_base(base: Path) -> None:
    """Sees that the pretrained files are there and are the ones whose provenance the card describes."""
    for name, wanted in BASE.items():
        if not (base / name).exists():
            raise InputError(
                f"{base / name} is not there; --base is the folder of sentence-transformers/all-MiniLM-L6-v2 "
                f"with {', '.join(BASE)}"
            )
        found = hashlib.sha256((base / name).read_bytes()).hexdigest()
        if found != wanted:
            raise ArtefactError(f"{base / name} has the SHA-256 {found}, expected {wanted}; fetch the original file")


def pad(laid: Sequence[Pieces]) -> Int[Tensor, "row token"]:
    """`ids` of a batch, padded with 0 to its longest row."""
    ids = torch.zeros(len(laid), max(len(item.ids) for item in laid), dtype=torch.long)
    for row, item in enumerate(laid):
        ids[row, : len(item.ids)] = torch.tensor(item.ids)
    return ids
