"""What a model believes of each prompt: how harmful it reads, and how much it leans to refuse, apart.

Belief is the paper's cluster score, the mean over layers of cos(h, first centroid) - cos(h, second centroid). Whether
the two are apart is asked inside each group: harm among prompts that are all refused or all accepted, refusal among
prompts that are all harmful or all harmless. A bag of words on the same split stands beside it.
"""

# ruff: noqa: F722 - shapes stand in annotations as text

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from demur.errors import InputError
from demur.states.contrasts import Kind, cluster_score
from demur.states.directions import Directions
from demur.states.groups import Groups, require_groups
from demur.states.residuals import states_of
from demur.stats import Interval, auroc

if TYPE_CHECKING:
    from demur.models import LocalModel
    from demur.records import Prompt

__all__ = ["Beliefs", "CategoryDirections", "bag_of_words", "category_directions", "read_beliefs"]


@dataclass(frozen=True, eq=False)
class Beliefs:
    """The two beliefs of each prompt: the points of a belief scatter.

    Attributes:
        harm: (prompt,), in [-2, 2].
        refusal: (prompt,), in [-2, 2].
        harmful: Whether each prompt is harmful.
        refused: Whether the model declined it.
    """

    harm: Float[Tensor, " prompt"]
    refusal: Float[Tensor, " prompt"]
    harmful: Bool[Tensor, " prompt"]
    refused: Bool[Tensor, " prompt"]

    def apart(self) -> dict[str, Interval | None]:
        """The area under the ROC curve of each belief, the other label held fixed; None where a class is missing."""
        harm, refusal = (self.harm, self.harmful), (self.refusal, self.refused)
        every = torch.ones_like(self.harmful)
        asked = {
            "harm": (*harm, every),
            "harm among refused": (*harm, self.refused),
            "harm among accepted": (*harm, ~self.refused),
            "refusal": (*refusal, every),
            "refusal among harmful": (*refusal, self.harmful),
            "refusal among harmless": (*refusal, ~self.harmful),
        }
        return {
            name: auroc(truth[part].numpy(), scores[part].numpy())
            if truth[part].any() and (~truth[part]).any()
            else None
            for name, (scores, truth, part) in asked.items()
        }

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{name}</td><td>{'' if a is None else f'{a.value:.3f} [{a.low:.3f}, {a.high:.3f}]'}</td>"
            f"<td>{0 if a is None else a.n}</td></tr>"
            for name, a in self.apart().items()
        )
        return f"<table><caption>Beliefs: AUROC, each label by itself</caption>{rows}</table>"


def read_beliefs(
    model: LocalModel,
    found: Directions,
    groups: Groups,
    *,
    layers: Sequence[int] | None = None,
    harm_position: str | None = None,
    refusal_position: str | None = None,
    batch_size: int = 32,
) -> Beliefs:
    """Read both beliefs of the prompts of some groups.

    Args:
        model: The model, or its fine-tuned child.
        found: Centroids.
        groups: Prompts, usually others than `found` was fitted on.
        layers: Layers that count; None means all that were fitted, as published.
        harm_position: None means the published one.
        refusal_position: None means the published one.
        batch_size: Prompts at once.

    Raises:
        InputError: No directions were fitted at such a layer or position.
    """
    chosen = found.layers if layers is None else tuple(layers)
    places: dict[Kind, str] = {
        "harmfulness": harm_position or found.published("harmfulness"),
        "refusal": refusal_position or found.published("refusal"),
    }
    for kind, place in places.items():
        for layer in chosen:
            found.at(kind, layer, place)
    if not chosen:
        raise InputError("beliefs need at least one layer")
    positions = list(dict.fromkeys(places.values()))
    states = states_of(model, groups.prompts, layers=chosen, positions=positions, batch_size=batch_size)
    scores: dict[Kind, Tensor] = {}
    for kind, place in places.items():
        j = found.positions.index(place)
        scores[kind] = torch.stack(
            [
                cluster_score(
                    states[i, :, positions.index(place)],
                    found.first[kind][found.layers.index(layer), j],
                    found.second[kind][found.layers.index(layer), j],
                )
                for i, layer in enumerate(chosen)
            ]
        ).mean(0)
    return Beliefs(scores["harmfulness"], scores["refusal"], torch.tensor(groups.harmful), torch.tensor(groups.refused))


def bag_of_words(fit: Sequence[Prompt], harmful: Sequence[bool], asked: Sequence[Prompt]) -> list[float]:
    """The log-odds of harm of each asked prompt by a logistic regression on single words.

    The baseline of every claim that a model represents harm: what the words alone say.

    Raises:
        InputError: The labels do not fit the prompts or are all the same.
    """
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression

    if len(fit) != len(harmful) or len(set(harmful)) < 2:
        raise InputError(f"a bag of words needs both labels, got {len(harmful)} labels for {len(fit)} prompts")
    words = CountVectorizer(analyzer=str.split)
    learned = LogisticRegression(max_iter=1000).fit(words.fit_transform([p.text for p in fit]), list(harmful))
    scores: list[float] = learned.decision_function(words.transform([p.text for p in asked])).tolist()
    return scores


@dataclass(frozen=True, eq=False)
class CategoryDirections:
    """One direction of harm a category, all at one position.

    Attributes:
        categories: Their names.
        vectors: (category, layer, width), mean of the category's harmful prompts minus mean of the harmless ones.
        cosines: (layer, category, category).
        counts: Harmful prompts of each category.
    """

    categories: tuple[str, ...]
    vectors: Float[Tensor, "category layer width"]
    cosines: Float[Tensor, "layer category category"]
    counts: dict[str, int]

    def _repr_html_(self) -> str:
        mean = self.cosines.mean(0)
        top = "".join(f"<th>{escape(name)}</th>" for name in self.categories)
        rows = "".join(
            f"<tr><th>{escape(name)} ({self.counts[name]})</th>"
            + "".join(f"<td>{value:.2f}</td>" for value in row.tolist())
            + "</tr>"
            for name, row in zip(self.categories, mean, strict=True)
        )
        caption = "Cosines of the categories' directions of harm, mean over layers"
        return f"<table><caption>{caption}</caption><tr><th></th>{top}</tr>{rows}</table>"


def category_directions(
    model: LocalModel,
    groups: Groups,
    *,
    position: str = "last_instruction",
    layers: Sequence[int] | None = None,
    batch_size: int = 32,
) -> CategoryDirections:
    """A direction of harm for each category of the refused harmful prompts, against all accepted harmless ones.

    Raises:
        InputError: A prompt has no category, a category has one prompt only, or a group is too small.
    """
    require_groups(groups, "published")
    bad, good = groups.refused_harmful, groups.accepted_harmless
    counts: dict[str, int] = {}
    for prompt in bad:
        if prompt.category is None:
            raise InputError(f"the prompt {prompt.id!r} has no category")
        counts[prompt.category] = counts.get(prompt.category, 0) + 1
    if small := next((name for name, n in counts.items() if n < 2), None):
        raise InputError(f"the category {small!r} has 1 refused harmful prompt; at least 2 are needed, or leave it out")
    names = tuple(sorted(counts))
    chosen = tuple(range(len(model.structure))) if layers is None else tuple(layers)
    states = states_of(model, [*bad, *good], layers=chosen, positions=[position], batch_size=batch_size)[:, :, 0]
    harmless = states[:, len(bad) :].mean(1)
    vectors = torch.stack(
        [states[:, [n for n, p in enumerate(bad) if p.category == name]].mean(1) - harmless for name in names]
    )
    unit = torch.nn.functional.normalize(vectors, dim=-1).transpose(0, 1)
    return CategoryDirections(names, vectors, unit @ unit.mT, counts)
