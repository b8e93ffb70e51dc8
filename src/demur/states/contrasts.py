"""Contrasts between groups of states: centroids, differences, cluster scores, nulls. Pure functions on tensors.

States are (prompt, width). A contrast is a pair of weight vectors over the prompts, one a centroid, so that thousands
of permuted label sets cost one matrix product.

Source: Zhao et al. 2025, arXiv 2507.11878, equations 2 to 5, for the published contrasts and the cluster score.
"""

# ruff: noqa: F722, F821 - shapes stand in annotations as text

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from demur.errors import InputError

__all__ = ["Contrast", "Kind", "aurocs", "centroid_weights", "cluster_score", "folds", "permuted"]

Kind = Literal["harmfulness", "refusal"]
Contrast = Literal["balanced", "published"]
"""How a direction is taken from the four groups.

`published`: harmfulness is refused harmful minus accepted harmless, refusal is all refused minus all accepted. Harm and
refusal go together in both. `balanced`: each is the mean of its two differences with the other held fixed, so a model
that refuses most of what is harmful does not mix the two.
"""


def centroid_weights(
    kind: Kind, contrast: Contrast, harmful: Bool[Tensor, "*sets prompt"], refused: Bool[Tensor, "*sets prompt"]
) -> tuple[Float[Tensor, "*sets prompt"], Float[Tensor, "*sets prompt"]]:
    """Weights that turn states into the two centroids of a contrast; rows sum to 1 where their groups have members."""

    def mean(member: Tensor) -> Tensor:
        share = member.float()
        return share / share.sum(-1, keepdim=True).clamp(min=1)

    if contrast == "balanced":
        cells = {(h, r): mean((harmful == h) & (refused == r)) for h in (True, False) for r in (True, False)}
        if kind == "harmfulness":
            return (cells[True, True] + cells[True, False]) / 2, (cells[False, True] + cells[False, False]) / 2
        return (cells[True, True] + cells[False, True]) / 2, (cells[True, False] + cells[False, False]) / 2
    if kind == "harmfulness":
        return mean(harmful & refused), mean(~harmful & ~refused)
    return mean(refused), mean(~refused)


def cluster_score(
    states: Float[Tensor, "prompt width"], first: Float[Tensor, " width"], second: Float[Tensor, " width"]
) -> Float[Tensor, " prompt"]:
    """cos(h, first) - cos(h, second), in [-2, 2]; a zero vector has cosine 0 with everything."""

    def cosine(centroid: Tensor) -> Tensor:
        return torch.nn.functional.cosine_similarity(states.double(), centroid.double().unsqueeze(0), dim=-1)

    return (cosine(first) - cosine(second)).float()


def aurocs(truth: Bool[Tensor, prompt * sets], scores: Float[Tensor, "prompt sets"]) -> Float[Tensor, " sets"]:
    """The area under the ROC curve of each column, ties counted half; NaN where a class is missing.

    Args:
        truth: One label a prompt, or one column of labels a column of scores.
        scores: Higher means more likely true.
    """
    from scipy.stats import rankdata

    labels = truth.unsqueeze(-1).expand_as(scores) if truth.ndim == 1 else truth
    ranks = torch.from_numpy(rankdata(scores.numpy(), axis=0))
    positives = labels.sum(0).double()
    negatives = labels.shape[0] - positives
    above = (ranks * labels).sum(0) - positives * (positives + 1) / 2
    return (above / (positives * negatives)).float()


def folds(clusters: list[str], cells: Tensor, *, count: int, seed: int) -> Tensor:
    """A fold for each prompt; prompts of one cluster share it, and each cell is spread over the folds.

    Raises:
        InputError: There are fewer clusters than folds.
    """
    names = sorted(set(clusters))
    if len(names) < count:
        raise InputError(f"{len(names)} distinct prompts (or pairs of prompts) cannot be split into {count} folds")
    rng = np.random.default_rng(seed)
    rank = dict(zip(names, rng.permutation(len(names)).tolist(), strict=True))
    # clusters by their rarest cell, so that a small cell does not end in one fold
    sizes = torch.bincount(cells)
    rarest = {name: len(cells) for name in names}
    for name, cell in zip(clusters, cells.tolist(), strict=True):
        rarest[name] = min(rarest[name], int(sizes[cell]))
    order = sorted(names, key=lambda name: (rarest[name], rank[name]))
    fold = {name: place % count for place, name in enumerate(order)}
    return torch.tensor([fold[name] for name in clusters])


def permuted(labels: Bool[Tensor, " prompt"], strata: Tensor, *, count: int, seed: int) -> Bool[Tensor, "count prompt"]:
    """Label sets in which `labels` are shuffled among the prompts of each stratum."""
    rng = np.random.default_rng(seed)
    sets = labels.expand(count, -1).clone()
    for stratum in sorted(set(strata.tolist())):
        members = torch.nonzero(strata == stratum).squeeze(-1)
        own = labels[members]
        for number in range(count):
            sets[number, members] = own[torch.from_numpy(rng.permutation(len(members)))]
    return sets
