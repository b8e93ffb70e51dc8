"""Where harm and refusal are written: two directions per layer and position, with their nulls.

Harmfulness is read at the last instruction token and refusal after the instruction, as published; a direction is fitted
at every position all the same, because a model need not do as the paper's did. Every direction carries how well it
separates prompts that it was not fitted on, beside label permutations and random directions.

Source: Zhao et al. 2025, arXiv 2507.11878.
"""

# ruff: noqa: F722 - shapes stand in annotations as text

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from demur.errors import ArtefactError, InputError
from demur.states.cards import Card, groups_card, read_artefact, require_fit, write_artefact
from demur.states.contrasts import Contrast, Kind, aurocs, centroid_weights, folds, permuted
from demur.states.direction import Direction, Quality, direction_table
from demur.states.groups import Groups, family, require_groups
from demur.states.residuals import captured, positions_of

if TYPE_CHECKING:
    from demur.models import LocalModel
    from demur.states.shards import Captured

__all__ = ["Directions", "find_directions"]

_KINDS: tuple[Kind, ...] = ("harmfulness", "refusal")


@dataclass(frozen=True, eq=False)
class Directions:
    """What `find_directions` found.

    Attributes:
        layers: Block numbers.
        positions: Names of token positions.
        contrast: How the directions were taken from the groups.
        first: The centroids of what is harmful or refused, by kind: (layer, position, width).
        second: The centroids of what is harmless or accepted.
        quality: By kind: one row a layer, one entry a position.
        cosine: cos(harmfulness, refusal), both at the same place: (layer, position).
        cosine_null: Its central 95% under permuted harm labels: (low and high, layer, position).
        counts: Prompts in each group.
        card: Where they come from.
    """

    layers: tuple[int, ...]
    positions: tuple[str, ...]
    contrast: Contrast
    first: dict[Kind, Float[Tensor, "layer position width"]]
    second: dict[Kind, Float[Tensor, "layer position width"]]
    quality: dict[Kind, list[list[Quality]]]
    cosine: Float[Tensor, "layer position"]
    cosine_null: Float[Tensor, "ends layer position"]
    counts: dict[str, int]
    card: Card

    def at(self, kind: Kind, layer: int, position: str | None = None) -> Direction:
        """The direction at one place.

        Args:
            kind: `harmfulness` or `refusal`.
            layer: Block number.
            position: None takes the published one: `last_instruction` for harmfulness, the last post-instruction token
                for refusal.

        Raises:
            InputError: Nothing was fitted there.
        """
        where = position or self.published(kind)
        if kind not in _KINDS or layer not in self.layers or where not in self.positions:
            raise InputError(
                f"there is no direction of {kind!r} at layer {layer}, {where!r}; there are {' and '.join(_KINDS)} at "
                f"the layers {', '.join(map(str, self.layers))} and the positions {', '.join(self.positions)}"
            )
        i, j = self.layers.index(layer), self.positions.index(where)
        quality = self.quality[kind][i][j]
        told = self.card.model_copy(
            update={
                "kind": "direction",
                "data": {**self.card.data, "direction": {"kind": kind, "layer": layer, "position": where}},
                "quality": vars(quality),
            }
        )
        return Direction(self.first[kind][i, j] - self.second[kind][i, j], layer, where, kind, quality, told)

    def best(self, kind: Kind, position: str | None = None) -> Direction:
        """The direction that separates best, at one position or anywhere; its `quality.p` counts the choice."""
        places = [
            (quality.auroc, layer, where)
            for layer, row in zip(self.layers, self.quality[kind], strict=True)
            for where, quality in zip(self.positions, row, strict=True)
            if position in (None, where)
        ]
        if not places:
            raise InputError(f"no direction was fitted at {position!r}; there are: {', '.join(self.positions)}")
        _, layer, where = max(places)
        return self.at(kind, layer, where)

    def published(self, kind: Kind) -> str:
        """The position at which the paper reads `kind`, or the only one there is."""
        if kind == "harmfulness" and "last_instruction" in self.positions:
            return "last_instruction"
        return self.positions[-1]

    def save(self, path: Path | str) -> None:
        """Write all directions with their card."""
        tensors = {f"{kind}.{end}": table[kind] for kind in _KINDS for end, table in _ends(self)}
        write_artefact(Path(path), {**tensors, "cosine": self.cosine, "cosine_null": self.cosine_null}, self.card)

    @classmethod
    def load(cls, path: Path | str, model: LocalModel, *, fine_tuned: bool = False) -> Directions:
        """Read directions that `save` wrote.

        Raises:
            ArtefactError: They cannot be read, or were found in another model or under another template.
        """
        tensors, card = read_artefact(Path(path), kind="directions")
        require_fit(card, model, what=f"{path} (directions)", fine_tuned=fine_tuned)
        try:
            return cls(
                layers=tuple(card.data["layers"]),
                positions=tuple(card.data["positions"]),
                contrast=card.data["contrast"],
                first={kind: tensors[f"{kind}.first"] for kind in _KINDS},
                second={kind: tensors[f"{kind}.second"] for kind in _KINDS},
                quality={kind: [[Quality(**q) for q in row] for row in card.quality[kind]] for kind in _KINDS},
                cosine=tensors["cosine"],
                cosine_null=tensors["cosine_null"],
                counts=card.data["counts"],
                card=card,
            )
        except (KeyError, TypeError) as error:
            raise ArtefactError(f"{path} lacks {error} and cannot be read") from error

    def _repr_html_(self) -> str:
        found = [self.best(kind, where) for kind in _KINDS for where in self.positions]
        return direction_table("Best layer at each position", found)


def find_directions(
    model: LocalModel,
    groups: Groups,
    *,
    contrast: Contrast = "balanced",
    layers: Sequence[int] | None = None,
    positions: Sequence[str] | None = None,
    permutations: int = 200,
    seed: int = 0,
    batch_size: int = 32,
    out: Path | str | None = None,
) -> Directions:
    """Find the directions of harmfulness and of refusal.

    Args:
        model: The model whose behaviour made the groups.
        groups: Prompts by harm and behaviour.
        contrast: `balanced` needs two prompts in every group; `published` needs them among refused harmful and accepted
            harmless ones.
        layers: Block numbers; None means all.
        positions: Names of token positions; None means the last instruction token and every post-instruction token.
        permutations: Label sets of the null, and random directions.
        seed: Of folds, permutations and random directions.
        batch_size: Prompts at once.
        out: A new folder for the states, for sets larger than memory; one layer and position is held at a time then.

    Raises:
        InputError: A group is too small or holds one prompt again and again, a prompt stands on both sides, or the
            template has no post-instruction tokens.
        ModelError: States are not finite, or the model has no residual stream that can be read.
    """
    require_groups(groups, contrast)
    chosen = tuple(range(len(model.structure))) if layers is None else tuple(layers)
    where = positions_of(model, groups.prompts[0]) if positions is None else tuple(positions)
    if not chosen or not where or permutations < 1:
        raise InputError("find_directions needs at least one layer, one position and one permutation")
    states = captured(model, groups.prompts, chosen, where, batch_size, out)
    card = groups_card(
        "directions",
        model,
        groups,
        contrast=contrast,
        layers=list(chosen),
        positions=list(where),
        permutations=permutations,
        seed=seed,
    )
    return _fit(states, groups, chosen, where, contrast, permutations, seed, card)


def _fit(
    states: Captured,
    groups: Groups,
    layers: tuple[int, ...],
    positions: tuple[str, ...],
    contrast: Contrast,
    permutations: int,
    seed: int,
    card: Card,
) -> Directions:
    harmful, refused = torch.tensor(groups.harmful), torch.tensor(groups.refused)
    cells = harmful.long() * 2 + refused.long()
    clusters = [family(p) for p in groups.prompts]
    fold = folds(clusters, cells, count=groups.folds, seed=seed)
    free = torch.zeros_like(cells)
    sets: dict[Kind, tuple[Tensor, Tensor]] = {}
    for kind in _KINDS:
        own, other = (harmful, refused) if kind == "harmfulness" else (refused, harmful)
        # a balanced contrast holds the other label fixed, and so does its null
        strata = other.long() if contrast == "balanced" else free
        shuffled = torch.cat([own[None], permuted(own, strata, count=permutations, seed=seed)])
        fixed = other.expand_as(shuffled)
        sets[kind] = (shuffled, fixed) if kind == "harmfulness" else (fixed, shuffled)
    width = states.at((layers[0], "resid_post"), positions[0]).shape[-1]
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(width, permutations, generator=generator)
    ends: dict[str, dict[Kind, Tensor]] = {
        end: {kind: torch.empty(len(layers), len(positions), width) for kind in _KINDS} for end in ("first", "second")
    }
    cosine, null = torch.empty(len(layers), len(positions)), torch.empty(2, len(layers), len(positions))
    areas: dict[Kind, Tensor] = {k: torch.empty(len(layers), len(positions), 1 + permutations) for k in _KINDS}
    baseline: dict[Kind, Tensor] = {k: torch.empty(len(layers), len(positions)) for k in _KINDS}
    within: dict[tuple[Kind, int, int], float | None] = {}
    for i, layer in enumerate(layers):
        for j in range(len(positions)):
            x = states.at((layer, "resid_post"), positions[j])
            vectors: dict[Kind, Tensor] = {}
            for kind in _KINDS:
                a, b = (w @ x for w in centroid_weights(kind, contrast, *sets[kind]))
                ends["first"][kind][i, j], ends["second"][kind][i, j] = a[0], b[0]
                vectors[kind] = a - b
                scores = _out_of_fold(x, kind, contrast, *sets[kind], fold)
                own, other = (harmful, refused) if kind == "harmfulness" else (refused, harmful)
                labels = sets[kind][0 if kind == "harmfulness" else 1]
                areas[kind][i, j] = aurocs(labels.T, scores)
                within[kind, i, j] = _within(own, other, scores[:, :1])
                random = aurocs(own, x @ noise)
                baseline[kind][i, j] = (0.5 + (random - 0.5).abs()).quantile(0.95)
            turned = torch.nn.functional.cosine_similarity(vectors["harmfulness"], vectors["refusal"][:1], dim=-1)
            cosine[i, j] = turned[0]
            null[:, i, j] = turned[1:].quantile(torch.tensor([0.025, 0.975]))
    quality: dict[Kind, list[list[Quality]]] = {}
    for kind in _KINDS:
        highest = areas[kind][..., 1:].flatten(0, 1).amax(0)
        quality[kind] = [
            [
                Quality(
                    auroc=float(areas[kind][i, j, 0]),
                    within=within[kind, i, j],
                    null=float(areas[kind][i, j, 1:].quantile(0.95)),
                    p=float((1 + (highest >= areas[kind][i, j, 0]).sum()) / (1 + permutations)),
                    random=float(baseline[kind][i, j]),
                    n=len(groups.prompts),
                )
                for j in range(len(positions))
            ]
            for i in range(len(layers))
        ]
    told = card.model_copy(update={"quality": {k: [[vars(q) for q in row] for row in quality[k]] for k in _KINDS}})
    return Directions(
        layers=layers,
        positions=positions,
        contrast=contrast,
        first=ends["first"],
        second=ends["second"],
        quality=quality,
        cosine=cosine,
        cosine_null=null,
        counts=groups.counts,
        card=told,
    )


def _out_of_fold(
    x: Tensor, kind: Kind, contrast: Contrast, harmful: Tensor, refused: Tensor, fold: Tensor
) -> Float[Tensor, "prompt sets"]:
    """The projection of each prompt, from the midpoint, on directions fitted without its fold."""
    scores = torch.empty(x.shape[0], harmful.shape[0])
    for number in sorted(set(fold.tolist())):
        out = fold == number
        a, b = (w @ x[~out] for w in centroid_weights(kind, contrast, harmful[:, ~out], refused[:, ~out]))
        unit = torch.nn.functional.normalize(a - b, dim=-1)
        scores[out] = x[out] @ unit.T - ((a + b) / 2 * unit).sum(-1)
    return scores


def _within(own: Tensor, other: Tensor, scores: Tensor) -> float | None:
    found = [
        float(aurocs(own[part], scores[part])[0]) for part in (other, ~other) if own[part].any() and (~own[part]).any()
    ]
    return min(found) if found else None


def _ends(found: Directions) -> Iterable[tuple[str, dict[Kind, Tensor]]]:
    return (("first", found.first), ("second", found.second))
