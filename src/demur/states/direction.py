"""One direction in the residual stream: how well it reads, how to act along it, how it shows itself."""

# ruff: noqa: F722 - shapes stand in annotations as text

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from demur.errors import ArtefactError
from demur.states.cards import Card, read_artefact, require_fit, write_artefact

if TYPE_CHECKING:
    from demur.models import LocalModel, Steering

__all__ = ["Direction", "Quality", "direction_table", "load_direction"]


@dataclass(frozen=True)
class Quality:
    """How well a direction separates prompts that it was not fitted on.

    Attributes:
        auroc: Of the projection, over folds that keep pairs together.
        within: The lower of the two areas with the other label held fixed (harm among refused and among accepted
            prompts, refusal among harmful and among harmless ones); None where no such group has both classes.
        null: 95th percentile of the area under permuted labels.
        p: Share of permutations that do as well anywhere: corrected for the number of layers and positions.
        random: 95th percentile of the area of random directions, whichever way they point.
        n: Prompts.
    """

    auroc: float
    within: float | None
    null: float
    p: float
    random: float
    n: int


@dataclass(frozen=True, eq=False)
class Direction:
    """A direction in the residual stream after one block.

    Attributes:
        vector: (width,), the difference of the two centroids, not normalised.
        layer: Number of the block, from 0.
        position: Name of the token position.
        kind: `harmfulness`, `refusal`, or what a foreign file calls it.
        quality: How well it reads, or None for a direction from elsewhere.
        card: Where it comes from, or None for a direction from elsewhere.
    """

    vector: Float[Tensor, " width"]
    layer: int
    position: str
    kind: str
    quality: Quality | None = None
    card: Card | None = None

    def __neg__(self) -> Direction:
        return Direction(-self.vector, self.layer, self.position, self.kind, self.quality, self.card)

    @property
    def norm(self) -> float:
        """The vector's length, in units of the residual stream."""
        return float(self.vector.norm())

    def steering(self, strength: float = 1.0) -> Steering:
        """A control that adds `strength` times the vector after its block while the prompt is read."""
        from demur.models import Steering

        return Steering(self.vector, (self.layer, "resid_post"), strength, where="prompt")

    def random(self, seed: int = 0) -> Direction:
        """A random direction of equal norm: what any push of that size does."""
        noise = torch.randn(self.vector.shape, generator=torch.Generator().manual_seed(seed))
        return Direction(noise * (self.norm / noise.norm()), self.layer, self.position, "random")

    def save(self, path: Path | str) -> None:
        """Write it with its card.

        Raises:
            ArtefactError: It has no card.
        """
        if self.card is None:
            raise ArtefactError("this direction comes from elsewhere and has no card, so it cannot be saved as ours")
        write_artefact(Path(path), {"vector": self.vector}, self.card)

    def _repr_html_(self) -> str:
        return direction_table(f"Direction of {escape(self.kind)}", [self])

    def __repr__(self) -> str:
        read = f", AUROC {self.quality.auroc:.3f}" if self.quality else ""
        return f"Direction({self.kind}, layer {self.layer}, {self.position}, norm {self.norm:.3g}{read})"


def load_direction(path: Path | str, model: LocalModel, *, fine_tuned: bool = False) -> Direction:
    """Read one direction that `Direction.save` wrote.

    Args:
        path: The safetensors file; its card lies beside it.
        model: The model to use it on.
        fine_tuned: Allow other weights of the same shape.

    Raises:
        ArtefactError: It cannot be read, or was found in another model or under another template.
    """
    tensors, card = read_artefact(Path(path), kind="direction")
    require_fit(card, model, what=f"{path} (a direction)", fine_tuned=fine_tuned)
    try:
        place = card.data["direction"]
        vector, quality = tensors["vector"], Quality(**card.quality)
        return Direction(vector, place["layer"], place["position"], place["kind"], quality, card)
    except (KeyError, TypeError) as error:
        raise ArtefactError(f"{path} lacks {error} and cannot be read") from error


def direction_table(caption: str, found: Sequence[Direction]) -> str:
    """Directions and how well they read, as a table in HTML."""
    head = ("kind", "layer", "position", "norm", "AUROC", "within", "null 95%", "random 95%", "p", "n")
    rows = []
    for item in found:
        cells: list[Any] = [item.kind, item.layer, item.position, f"{item.norm:.3g}"]
        if q := item.quality:
            within = "" if q.within is None else f"{q.within:.3f}"
            cells += [f"{q.auroc:.3f}", within, f"{q.null:.3f}", f"{q.random:.3f}", f"{q.p:.3f}", q.n]
        else:
            cells += [""] * 6
        rows.append("<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in cells) + "</tr>")
    top = "".join(f"<th>{name}</th>" for name in head)
    return f"<table><caption>{caption}</caption><tr>{top}</tr>{''.join(rows)}</table>"
