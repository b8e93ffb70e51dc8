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
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from demur.errors import ArtefactError, InputError
from demur.states.cards import Card, read_artefact, require_fit, versions, write_artefact
from demur.states.contrasts import Contrast, Kind, aurocs, centroid_weights, folds, permuted
from demur.states.groups import Groups
from demur.states.identity import identity

if TYPE_CHECKING:
    from demur.models import LocalModel, Steering
    from demur.models.request import ChatLike
    from demur.states.shards import Captured

__all__ = ["Direction", "Directions", "Quality", "find_directions", "positions_of", "require_groups", "states_of"]

_KINDS: tuple[Kind, ...] = ("harmfulness", "refusal")


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
        return _table(f"Direction of {escape(self.kind)}", [self])

    def __repr__(self) -> str:
        read = f", AUROC {self.quality.auroc:.3f}" if self.quality else ""
        return f"Direction({self.kind}, layer {self.layer}, {self.position}, norm {self.norm:.3g}{read})"


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
        return _table("Best layer at each position", found)


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
    states = _captured(model, groups.prompts, chosen, where, batch_size, out)
    card = Card(
        kind="directions",
        model=identity(model),
        data={
            "groups": groups.digest,
            "counts": groups.counts,
            "contrast": contrast,
            "layers": list(chosen),
            "positions": list(where),
            "permutations": permutations,
            "seed": seed,
        },
        versions=versions(),
    )
    return _fit(states, groups, chosen, where, contrast, permutations, seed, card)


def positions_of(model: LocalModel, chat: ChatLike) -> tuple[str, ...]:
    """The last instruction token and every post-instruction token, by name.

    Raises:
        InputError: The template puts nothing between the instruction and the answer.
    """
    after = len(model.positions(chat).post_instruction)
    if not after:
        raise InputError(
            f"the chat template of {model.name!r} has no tokens after the instruction, so there is no place that is "
            "read after it and before the answer; give positions, such as ['last_instruction']"
        )
    return ("last_instruction", *(f"post_instruction:{index}" for index in range(after)))


def states_of(
    model: LocalModel,
    chats: Sequence[ChatLike],
    *,
    layers: Sequence[int],
    positions: Sequence[str],
    batch_size: int = 32,
) -> Float[Tensor, "layer prompt position width"]:
    """The residual stream after some blocks at some positions, in float32 on the CPU.

    Raises:
        InputError: A chat has no such position, or there is no chat.
        ModelError: A state is not finite.
    """
    found = _captured(model, chats, layers, positions, batch_size, None)
    return torch.stack([found.states((layer, "resid_post")) for layer in layers])


def _captured(
    model: LocalModel,
    chats: Sequence[ChatLike],
    layers: Sequence[int],
    positions: Sequence[str],
    batch_size: int,
    out: Path | str | None,
) -> Captured:
    from demur.states.capturing import capture
    from demur.states.sites import Site

    if not chats:
        raise InputError("there are no prompts to read")
    sites = [Site(layer, "resid_post") for layer in layers]
    found = capture(model, list(chats), sites=sites, positions=list(positions), batch_size=batch_size, out=out)
    for position in positions:
        if not bool(found.mask(position).all()):
            lacking = int((~found.mask(position)).sum())
            raise InputError(f"{lacking} of {len(chats)} prompts have no position {position!r} under this template")
    return found


def require_groups(groups: Groups, contrast: Contrast) -> None:
    """Refuse groups that a contrast cannot be taken from.

    Raises:
        InputError: A group is too small or holds one prompt again and again, or a prompt stands on both sides.
    """
    if contrast not in ("balanced", "published"):
        raise InputError(f"contrast must be balanced or published, got {contrast!r}")
    needed = Groups._fields if contrast == "balanced" else ("refused_harmful", "accepted_harmless")
    for name in needed:
        group = getattr(groups, name)
        distinct = len({str(p.messages) for p in group})
        if distinct < 2:
            hint = (
                " A model that refuses all that is harmful, and nothing else, has no such prompts: take prompts under "
                "wrappers and harmless ones that sound harmful, or contrast='published'"
                if contrast == "balanced" and name in ("accepted_harmful", "refused_harmless")
                else ""
            )
            raise InputError(
                f"the group {name} holds {len(group)} prompts of {distinct} texts, at least 2 texts are needed.{hint}"
            )
    owners: dict[str, str] = {}
    for name, group in zip(groups._fields, groups, strict=True):
        for prompt in group:
            if (other := owners.setdefault(str(prompt.messages), name)) != name:
                raise InputError(f"the prompt {prompt.id!r} stands in {other} and in {name}; it can be in one only")


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
    clusters = [p.pair_id or str(p.messages) for p in groups.prompts]
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


def _table(caption: str, found: Sequence[Direction]) -> str:
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
