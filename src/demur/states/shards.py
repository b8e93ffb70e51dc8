"""Captured states, in memory or as safetensors shards on disk.

A folder holds one shard a site, `tokens.safetensors` with the token that was read for each chat and position, and
`index.json`, which is written last: a folder without it was not finished.
"""

from __future__ import annotations

import html
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from demur.atomic import write_text
from demur.errors import ArtefactError, InputError
from demur.models import LocalModel
from demur.states.identity import check_identity
from demur.states.sites import Site

__all__ = ["Captured", "ShardWriter"]

_FORMAT = 1
_INDEX, _TOKENS = "index.json", "tokens.safetensors"


class Captured:
    """States of many chats at named sites and positions, in the order of the chats.

    Attributes:
        sites: Where they were read, in the order of layers.
        positions: Names or token indices, in the order of the second axis.
        tokens: Index of the token that was read, (chat, position); -1 where a chat lacks the position.
        card: Model, revision, template hash, number format, and a hash of the chats' tokens.
    """

    def __init__(
        self,
        states: Mapping[Site, Tensor] | Mapping[Site, Path],
        *,
        positions: Sequence[str | int],
        tokens: Int[Tensor, "prompt position"],  # noqa: F722
        card: Mapping[str, Any],
    ) -> None:
        self._states: dict[Site, Tensor | Path] = dict(states)
        self.sites = tuple(self._states)
        self.positions = tuple(positions)
        self.tokens = tokens
        self.card = dict(card)

    @property
    def n(self) -> int:
        """Number of chats."""
        return len(self.tokens)

    def states(self, site: Site | tuple[int, str]) -> Float[Tensor, "prompt position width"]:  # noqa: F722
        """The states at one site, float32 on the CPU; NaN where a chat lacks a position.

        From a folder they are memory-mapped: what is not touched is not read. Negative layers count from the last.

        Raises:
            InputError: The site was not captured.
            ArtefactError: Its shard is missing or damaged.
        """
        layer, point = site
        known = Site(layer + self.card["layers"] if layer < 0 else layer, point)  # type: ignore[arg-type]
        if known not in self._states:
            raise InputError(f"{known} was not captured; there are: {', '.join(map(str, self.sites))}")
        found = self._states[known]
        return found if isinstance(found, Tensor) else _read_shard(found, (self.n, len(self.positions)))

    def heads(self, layer: int) -> Float[Tensor, "prompt position head head_size"]:  # noqa: F722
        """The heads' outputs before the output projection, one by one.

        Raises:
            InputError: `attn_heads` of this layer was not captured.
        """
        flat = self.states(Site(layer, "attn_heads"))
        layer = layer + self.card["layers"] if layer < 0 else layer
        return flat.reshape(*flat.shape[:-1], self.card["heads"][str(layer)], -1)

    def at(self, site: Site | tuple[int, str], position: str | int) -> Float[Tensor, "prompt width"]:  # noqa: F722
        """The states at one site and position; NaN where a chat lacks it.

        Raises:
            InputError: The site or the position was not captured.
        """
        return self.states(site)[:, self._column(position)]

    def mask(self, position: str | int) -> Bool[Tensor, " prompt"]:  # noqa: F722
        """Which chats have the position.

        Raises:
            InputError: The position was not captured.
        """
        return self.tokens[:, self._column(position)] >= 0

    def save(self, folder: Path | str) -> None:
        """Write the shards and the index.

        Raises:
            InputError: The folder holds a capture already, or its disk has no room.
        """
        widths = {site: self.states(site).shape[-1] for site in self.sites}
        with ShardWriter(Path(folder), widths, chats=self.n, positions=len(self.positions)) as writer:
            for site in self.sites:
                writer.write(site, range(self.n), self.states(site))
            writer.finish(positions=self.positions, tokens=self.tokens, card=self.card)

    @classmethod
    def load(cls, folder: Path | str, *, model: LocalModel | None = None) -> Captured:
        """Open what `save` or `capture(..., out=folder)` wrote.

        Args:
            folder: Where it is.
            model: When given, the model that the states must have come from.

        Raises:
            ArtefactError: There is no finished capture, its format is newer, or it came from another model or template.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        folder = Path(folder)
        path = folder / _INDEX
        try:
            index = json.loads(path.read_text(encoding="utf-8"))
            found = index["format"]
            if found != _FORMAT:
                raise ArtefactError(
                    f"{path} has the format {found}; this version of demur reads {_FORMAT}: update demur"
                )
            shards = {Site(shard["layer"], shard["point"]): folder / shard["file"] for shard in index["shards"]}
            card, positions = index["card"], index["positions"]
            tokens = load_file(folder / _TOKENS)["tokens"]
        except FileNotFoundError as error:
            raise ArtefactError(
                f"{folder} holds no finished capture: {error.filename or _TOKENS} is missing. Run the capture again"
            ) from error
        except (ValueError, KeyError, TypeError, SafetensorError) as error:
            raise ArtefactError(f"{path} cannot be read as the index of a capture: {error!r}") from error
        if model is not None:
            check_identity(card, model, "these states")
        return cls(shards, positions=positions, tokens=tokens, card=card)

    def __repr__(self) -> str:
        return (
            f"Captured({self.n} chats, {len(self.sites)} sites, positions {list(self.positions)}, "
            f"{self.card.get('model')!r})"
        )

    def _repr_html_(self) -> str:
        rows = {
            "model": self.card.get("model"),
            "number format": self.card.get("dtype"),
            "sites": ", ".join(map(str, self.sites)),
            **{f"chats with {position}": int(self.mask(position).sum()) for position in self.positions},
        }
        cells = "".join(f"<tr><th>{html.escape(k)}</th><td>{html.escape(str(v))}</td></tr>" for k, v in rows.items())
        return f"<table><caption>States of {self.n} chats</caption>{cells}</table>"

    def _column(self, position: str | int) -> int:
        if position not in self.positions:
            raise InputError(f"the position {position!r} was not captured; there are: {list(self.positions)}")
        return self.positions.index(position)


class ShardWriter:
    """Writes states into shards row by row, in any order, with nothing but the rows at hand in memory.

    A context manager; when the block fails, the unfinished shards are removed.

    Args:
        folder: Where to write; made when missing.
        widths: The sites and the width of their states.
        chats: Number of chats.
        positions: Number of positions.

    Raises:
        InputError: The folder holds a capture already, or its disk has no room.
    """

    def __init__(self, folder: Path, widths: Mapping[Site, int], *, chats: int, positions: int) -> None:
        self._folder, self._widths, self._chats, self._positions = folder, dict(widths), chats, positions
        if (folder / _INDEX).exists():
            raise InputError(f"{folder} holds a capture already; choose another folder or delete it")
        folder.mkdir(parents=True, exist_ok=True)
        needed, free = sum(widths.values()) * chats * positions * 4, shutil.disk_usage(folder).free
        if needed > free:
            raise InputError(
                f"the states take {needed / 2**30:.1f} GiB and the disk of {folder} has {free / 2**30:.1f} GiB free; "
                "take fewer layers or positions, or another disk"
            )
        self._stack = ExitStack()
        self._open: dict[Site, tuple[int, int]] = {}
        self._finished = False

    @property
    def paths(self) -> dict[Site, Path]:
        """The shard of each site."""
        return {site: self._folder / f"layer_{site.layer:03d}.{site.point}.safetensors" for site in self._widths}

    def __enter__(self) -> ShardWriter:
        for site, path in self.paths.items():
            shape = [self._chats, self._positions, self._widths[site]]
            size = shape[0] * shape[1] * shape[2] * 4
            # safetensors writes whole tensors only. Its header is a length and JSON, so that the rows can follow as
            # they come; the spaces align the numbers, as the format allows
            header = json.dumps({"states": {"dtype": "F32", "shape": shape, "data_offsets": [0, size]}}).encode()
            header += b" " * (-len(header) % 8)
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o666)
            self._stack.callback(os.close, file)
            os.write(file, len(header).to_bytes(8, "little") + header)
            os.ftruncate(file, 8 + len(header) + size)
            self._open[site] = file, 8 + len(header)
        return self

    def write(self, site: Site, rows: Sequence[int], states: Float[Tensor, "row position width"]) -> None:  # noqa: F722
        """Put the states of some chats in their places."""
        file, start = self._open[site]
        block = states.contiguous().numpy()
        for row, values in zip(rows, block, strict=True):
            os.pwrite(file, memoryview(values).cast("B"), start + row * values.nbytes)

    def finish(
        self,
        *,
        positions: Sequence[str | int],
        tokens: Int[Tensor, "prompt position"],  # noqa: F722
        card: Mapping[str, Any],
    ) -> None:
        """Write the index; from now on the folder can be loaded."""
        from safetensors.torch import save_file

        save_file({"tokens": tokens.contiguous()}, self._folder / _TOKENS)
        index = {
            "format": _FORMAT,
            "card": dict(card),
            "prompts": self._chats,
            "positions": list(positions),
            "shards": [
                {"layer": site.layer, "point": site.point, "width": self._widths[site], "file": path.name}
                for site, path in self.paths.items()
            ],
        }
        write_text(self._folder / _INDEX, json.dumps(index, indent=2) + "\n")
        self._finished = True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()
        if not self._finished:
            for path in self.paths.values():
                path.unlink(missing_ok=True)


def _read_shard(path: Path, expected: tuple[int, int]) -> Tensor:
    """The states in a shard, memory-mapped."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as shard:
            states: Tensor = shard.get_tensor("states")
    except (OSError, SafetensorError) as error:
        raise ArtefactError(f"the shard {path} cannot be read ({error}); run the capture again") from error
    if states.dtype != torch.float32 or states.ndim != 3 or tuple(states.shape[:2]) != expected:
        raise ArtefactError(
            f"the shard {path} holds {states.dtype} of shape {tuple(states.shape)}; the index says float32 of shape "
            f"{expected} x width. Run the capture again"
        )
    return states
